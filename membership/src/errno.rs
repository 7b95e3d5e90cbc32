//! Error numbers of the kernel, with their names.

use std::fmt;
use std::io;

/// An error number that the kernel returned, or that a socket option would return (errno(3)).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

macro_rules! numbers {
    ($($constant:ident = $number:ident;)*) => {
        impl Errno {
            $(#[doc = concat!("`", stringify!($number), "`.")] pub const $constant: Self = Self(libc::$number);)*

            /// The name, as in errno(3); `None` for a number that this crate has no name for.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$constant => Some(stringify!($number)),)*
                    _ => None,
                }
            }
        }
    };
}

numbers! {
    ACCES = EACCES;
    ADDRINUSE = EADDRINUSE;
    ADDRNOTAVAIL = EADDRNOTAVAIL;
    AFNOSUPPORT = EAFNOSUPPORT;
    AGAIN = EAGAIN;
    INVAL = EINVAL;
    IO = EIO;
    MFILE = EMFILE;
    NFILE = ENFILE;
    NOBUFS = ENOBUFS;
    NODEV = ENODEV;
    NOMEM = ENOMEM;
    NOPROTOOPT = ENOPROTOOPT;
    PERM = EPERM;
    PROTO = EPROTO;
}

impl Errno {
    /// The number.
    pub fn raw_os_error(self) -> i32 {
        self.0
    }

    /// The number of the last system call that failed in this thread.
    pub(crate) fn last() -> Self {
        Self::of(&io::Error::last_os_error())
    }

    /// The number in an error of the standard library; `EIO` if it has none.
    pub(crate) fn of(error: &io::Error) -> Self {
        error.raw_os_error().map_or(Self::IO, Self)
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl fmt::Display for Errno {
    /// The kernel's words and the name: `Address already in use (EADDRINUSE)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = io::Error::from(*self).to_string();
        match (self.name(), text.split_once(" (os error ")) {
            (Some(name), Some((words, _))) => write!(f, "{words} ({name})"),
            _ => f.write_str(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_their_names() {
        assert_eq!(Errno::ADDRINUSE.to_string(), "Address already in use (EADDRINUSE)");
        assert_eq!(Errno(libc::EXDEV).to_string(), "Invalid cross-device link (os error 18)");
        assert_eq!(format!("{:?} {:?}", Errno::NOBUFS, Errno(libc::EXDEV)), "ENOBUFS Errno(18)");
    }
}
