//! The error number of a system call, as a type of this crate: no other crate's type is part of the public API.

use std::io;

/// The error number (`errno`) of a system call that failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

macro_rules! numbers {
    ($($name:ident = $value:ident, $doc:literal;)*) => {
        impl Errno {
            $(#[doc = $doc] pub const $name: Self = Self(libc::$value);)*
        }
    };
}

numbers! {
    ACCESS = EACCES, "`EACCES`: permission denied.";
    AFNOSUPPORT = EAFNOSUPPORT, "`EAFNOSUPPORT`: the kernel has no AF_XDP.";
    AGAIN = EAGAIN, "`EAGAIN`: the resource is temporarily unavailable.";
    BUSY = EBUSY, "`EBUSY`: another socket uses the queue.";
    INVAL = EINVAL, "`EINVAL`: an argument is invalid.";
    NETDOWN = ENETDOWN, "`ENETDOWN`: the interface is down or gone.";
    NOBUFS = ENOBUFS, "`ENOBUFS`: a limit on memory is reached.";
    NODEV = ENODEV, "`ENODEV`: there is no such interface.";
    NOMEM = ENOMEM, "`ENOMEM`: the kernel has no memory left.";
    NOPROTOOPT = ENOPROTOOPT, "`ENOPROTOOPT`: the kernel does not know the socket option.";
    OPNOTSUPP = EOPNOTSUPP, "`EOPNOTSUPP`: the driver does not support the operation.";
    PERM = EPERM, "`EPERM`: the process lacks a privilege.";
}

impl Errno {
    /// Linux's own `ENOTSUPP`, which some drivers return to user space instead of `EOPNOTSUPP`.
    pub(super) const KERNEL_NOTSUPP: Self = Self(524);

    /// Returns the number, as in the kernel's `errno.h`.
    pub const fn raw_os_error(self) -> i32 {
        self.0
    }

    pub(super) fn of(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

impl std::fmt::Debug for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Errno({self})")
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl std::error::Error for Errno {}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}
