//! Socket options as bytes, and one batch of `recvmmsg`: the only unsafe code of the kernel path and of membership.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::io::Errno;

/// `setsockopt` with the bytes of `value`.
pub(crate) fn set_option(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: &[u8]) -> Result<(), Errno> {
    let length = libc::socklen_t::try_from(value.len()).map_err(|_| Errno::INVAL)?;
    // SAFETY: `value` points to `length` readable bytes for the duration of the call (the borrow), the kernel only
    // reads them, and `fd` is open (BorrowedFd).
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// `getsockopt` into `value`; returns how many bytes the kernel says it has.
pub(crate) fn get_option(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: &mut [u8]) -> Result<usize, Errno> {
    let mut length = libc::socklen_t::try_from(value.len()).map_err(|_| Errno::INVAL)?;
    // SAFETY: `value` points to `length` writable bytes borrowed for the call, the kernel writes at most `length` of
    // them and the new length into a local, and `fd` is open (BorrowedFd).
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &mut length) };
    if result == 0 { Ok((length as usize).min(value.len())) } else { Err(last_error()) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Messages that one `recvmmsg` takes.
pub(crate) const BATCH: usize = 64;
/// The largest UDP payload is 65,507 bytes on IPv4 and 65,527 on IPv6, so nothing is cut.
const PAYLOAD: usize = 65_535;
/// Payload buffers lie this far apart: not a multiple of 64 KiB, or all heads would share a few cache sets.
const STRIDE: usize = 65_536 + 4_096 + 3 * 64;

/// Aligned as `sockaddr_in6` and `cmsghdr` ask.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Name([u8; 32]);
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);
/// Room for destination (40) and time stamp (32).
const CONTROL: usize = 128;

/// Buffers for [`BATCH`] datagrams, and the headers that point to them. Memory is touched, and so taken, only as far
/// as datagrams are long: the 4 MiB are address space.
pub(crate) struct Batch {
    headers: Vec<libc::mmsghdr>,
    /// Never touched after `new`; the headers and the kernel go through pointers into these.
    _iovecs: Vec<libc::iovec>,
    names: Vec<Name>,
    controls: Vec<Control>,
    payloads: Vec<u8>,
    /// Headers the kernel has written since they were last reset.
    written: usize,
}

// SAFETY: the raw pointers in the headers point into vectors that the same `Batch` owns and never grows; they move to
// another thread together with it, and no other pointer to them exists.
unsafe impl Send for Batch {}

/// Room for what `epoll_wait` tells.
pub(super) struct Events(pub Vec<rustix::event::epoll::Event>);

// SAFETY: the union that holds an event's data has a variant for a pointer, which is never stored: `KernelPath` puts
// numbers in.
unsafe impl Send for Events {}

/// One received message, as the kernel described it.
pub(crate) struct Message<'a> {
    pub source: Option<SocketAddr>,
    pub payload: &'a [u8],
    pub truncated: bool,
    pub destination: Option<(IpAddr, u32)>,
    pub nanoseconds: Option<u64>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        let mut payloads = vec![0_u8; STRIDE * BATCH];
        let mut names = vec![Name([0; 32]); BATCH];
        let mut controls = vec![Control([0; CONTROL]); BATCH];
        let mut iovecs: Vec<libc::iovec> = payloads
            .chunks_exact_mut(STRIDE)
            .map(|chunk| libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: PAYLOAD })
            .collect();
        let headers = (0..BATCH)
            .map(|i| {
                // SAFETY: mmsghdr is plain integers and pointers, for which all zeroes are valid; it has private padding
                // on some libc's, so that it can not be written as a literal.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_name = (&raw mut names[i]).cast();
                header.msg_hdr.msg_iov = &raw mut iovecs[i];
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_control = (&raw mut controls[i]).cast();
                header
            })
            .collect();
        Self { headers, _iovecs: iovecs, names, controls, payloads, written: BATCH }
    }

    /// Takes what is queued, up to [`BATCH`], without waiting. `EAGAIN` is `Ok(0)`.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>) -> Result<usize, Errno> {
        // Only what the kernel wrote: with small batches, resetting all would be a good part of the cost.
        for header in &mut self.headers[..self.written] {
            header.msg_hdr.msg_namelen = size_of::<Name>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL as _;
            header.msg_hdr.msg_flags = 0;
        }
        self.written = 0;
        // SAFETY: `headers` has BATCH entries; the name, control and payload buffers they point to were set up in `new`,
        // have the lengths given there and above, and live as long as `self`, in vectors that are never resized. `self`
        // is borrowed mutably, so nothing else reads them meanwhile. `fd` is open (BorrowedFd).
        let count = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as _,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        match usize::try_from(count) {
            Ok(count) => {
                self.written = count.min(BATCH);
                Ok(self.written)
            }
            Err(_) => {
                // A failed call may have written part of the first header.
                self.written = 1;
                match last_error() {
                    Errno::AGAIN => Ok(0),
                    error => Err(error),
                }
            }
        }
    }

    /// Message `i` of the last [`Batch::receive`].
    #[inline]
    pub(crate) fn message(&self, i: usize) -> Message<'_> {
        let header = &self.headers[i];
        let length = (header.msg_len as usize).min(PAYLOAD);
        #[allow(clippy::unnecessary_cast)] // a socklen_t with musl, a usize with glibc
        let control = &self.controls[i].0[..(header.msg_hdr.msg_controllen as usize).min(CONTROL)];
        let mut message = Message {
            source: source(&self.names[i].0, header.msg_hdr.msg_namelen as usize),
            payload: &self.payloads[i * STRIDE..i * STRIDE + length],
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            destination: None,
            nanoseconds: None,
        };
        control_messages(control, &mut message);
        message
    }
}

fn source(name: &[u8; 32], length: usize) -> Option<SocketAddr> {
    let port = u16::from_be_bytes([name[2], name[3]]);
    match c_int::from(u16::from_ne_bytes([name[0], name[1]])) {
        libc::AF_INET if length >= 8 => {
            Some(SocketAddr::from((Ipv4Addr::new(name[4], name[5], name[6], name[7]), port)))
        }
        libc::AF_INET6 if length >= 28 => {
            let address = Ipv6Addr::from(array::<16>(&name[8..])?);
            Some(SocketAddrV6::new(address, port, 0, u32::from_ne_bytes(array(&name[24..])?)).into())
        }
        _ => None,
    }
}

/// Walks the control messages: a header (length, level, type), its data, and padding to the next word.
#[inline]
fn control_messages(mut rest: &[u8], message: &mut Message<'_>) {
    const WORD: usize = size_of::<usize>();
    const HEADER: usize = size_of::<libc::cmsghdr>();
    while let (Some(length), Some(level), Some(kind)) =
        (array(rest).map(usize::from_ne_bytes), at(rest, WORD), at(rest, WORD + 4))
    {
        if length < HEADER || length > rest.len() {
            return;
        }
        let data = &rest[HEADER..length];
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // in_pktinfo: index, local address, and the destination in the header.
                if let (Some(index), Some(group)) = (array(data), data.get(8..).and_then(array::<4>)) {
                    message.destination = Some((Ipv4Addr::from(group).into(), u32::from_ne_bytes(index)));
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let (Some(group), Some(index)) = (array::<16>(data), data.get(16..).and_then(array)) {
                    message.destination = Some((Ipv6Addr::from(group).into(), u32::from_ne_bytes(index)));
                }
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => message.nanoseconds = timespec(data),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(WORD)..).unwrap_or_default();
    }
}

/// A `timespec` in nanoseconds since 1970.
fn timespec(data: &[u8]) -> Option<u64> {
    let seconds = libc::time_t::from_ne_bytes(array(data)?);
    let nanoseconds = libc::c_long::from_ne_bytes(array(data.get(size_of::<libc::time_t>()..)?)?);
    u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(u64::try_from(nanoseconds).ok()?)
}

fn array<const N: usize>(data: &[u8]) -> Option<[u8; N]> {
    data.first_chunk().copied()
}

fn at(data: &[u8], offset: usize) -> Option<c_int> {
    data.get(offset..).and_then(array).map(c_int::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn control_messages_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..CONTROL), name: [u8; 32]) {
            let mut message = Message {
                source: None, payload: &[], truncated: false, destination: None, nanoseconds: None,
            };
            control_messages(&bytes, &mut message);
            let _ = source(&name, name.len());
        }
    }
}
