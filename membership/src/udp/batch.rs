//! One batch of `recvmmsg`: its buffers, and what the kernel wrote into them.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use crate::errno::Errno;

/// Messages that one `recvmmsg` takes.
pub(super) const BATCH: usize = 64;
/// The largest UDP payload is 65,507 bytes on IPv4 and 65,527 on IPv6, so that nothing is truncated.
const PAYLOAD: usize = 65_535;
/// The distance between payload buffers: not a multiple of 64 KiB, or the starts of all would share a few cache sets.
const STRIDE: usize = 65_536 + 4_096 + 3 * 64;

/// Aligned as `sockaddr_in6` and `cmsghdr` need.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Name([u8; 32]);
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);
/// Room for destination (40) and time stamp (32).
const CONTROL: usize = 128;

/// A heap array that is only reached through its raw pointer. Pointers that are derived from it stay valid, in the
/// headers and during system calls, until the array is dropped; no reference to the whole array ever exists.
struct RawArray<T>(NonNull<[T]>);

impl<T> RawArray<T> {
    fn new(elements: Vec<T>) -> Self {
        Self(NonNull::from(Box::leak(elements.into_boxed_slice())))
    }

    /// The address of element `i`.
    #[inline]
    fn at(&self, i: usize) -> *mut T {
        assert!(i < self.0.len());
        // SAFETY: the array has more than `i` elements.
        unsafe { self.0.cast::<T>().as_ptr().add(i) }
    }
}

impl<T> Drop for RawArray<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer is that of a leaked box, which is taken back here and nowhere else. Pointers derived from
        // it are only used by the `Batch` that owns this array.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Buffers for [`BATCH`] datagrams, and the headers that point to them. Memory is touched, and so taken, only as far
/// as datagrams are long: the 4 MiB are address space.
///
/// Invariants: the headers and I/O vectors point to elements of the other arrays, which live as long as the batch.
/// Between two calls of [`Batch::receive`] nobody writes to any of the arrays; during the call the kernel writes, and
/// `&mut self` excludes every reader. All elements are initialized from the start.
pub(super) struct Batch {
    headers: RawArray<libc::mmsghdr>,
    names: RawArray<Name>,
    controls: RawArray<Control>,
    payloads: RawArray<u8>,
    /// The headers point to these.
    _vectors: RawArray<libc::iovec>,
    /// Headers that the kernel has written since they were last reset.
    written: usize,
}

// SAFETY: the raw pointers lead to arrays that the same `Batch` owns. They move to another thread together with it, and
// no other pointer to them exists.
unsafe impl Send for Batch {}

/// One received message, as the kernel described it.
pub(super) struct Message<'a> {
    pub source: Option<SocketAddr>,
    pub payload: &'a [u8],
    pub truncated: bool,
    pub destination: Option<(IpAddr, u32)>,
    pub nanoseconds: Option<u64>,
}

impl Batch {
    pub(super) fn new() -> Self {
        let payloads = RawArray::new(vec![0_u8; STRIDE * BATCH]);
        let names = RawArray::new(vec![Name([0; 32]); BATCH]);
        let controls = RawArray::new(vec![Control([0; CONTROL]); BATCH]);
        let vector = |i| libc::iovec { iov_base: payloads.at(i * STRIDE).cast(), iov_len: PAYLOAD };
        let vectors = RawArray::new((0..BATCH).map(vector).collect());
        let header = |i| {
            // SAFETY: mmsghdr is integers and pointers, for which all zeroes are valid. It has private padding in some
            // C libraries, so that it cannot be written as a literal.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = names.at(i).cast();
            header.msg_hdr.msg_iov = vectors.at(i);
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = controls.at(i).cast();
            header
        };
        let headers = RawArray::new((0..BATCH).map(header).collect());
        Self { headers, names, controls, payloads, _vectors: vectors, written: BATCH }
    }

    /// Takes what is queued, up to [`BATCH`] datagrams, without waiting. `EAGAIN` is `Ok(0)`.
    pub(super) fn receive(&mut self, fd: BorrowedFd<'_>) -> Result<usize, Errno> {
        // Only what the kernel wrote: with small batches, resetting all headers would be a good part of the cost.
        for i in 0..self.written {
            // SAFETY: by the invariants the element is initialized, and `&mut self` excludes other accesses to it.
            let header = unsafe { &mut (*self.headers.at(i)).msg_hdr };
            header.msg_namelen = size_of::<Name>() as libc::socklen_t;
            header.msg_controllen = CONTROL as _;
            header.msg_flags = 0;
        }
        self.written = 0;
        // SAFETY: there are BATCH headers. The name, control and payload buffers that they point to have the lengths
        // given in `new` and above, and live as long as `self`. `&mut self` excludes readers of what the kernel writes.
        // `fd` is open (BorrowedFd).
        let count = unsafe {
            libc::recvmmsg(fd.as_raw_fd(), self.headers.at(0), BATCH as _, libc::MSG_DONTWAIT as _, ptr::null_mut())
        };
        match usize::try_from(count) {
            Ok(count) => {
                self.written = count.min(BATCH);
                Ok(self.written)
            }
            Err(_) => {
                // A failed call may have written part of the first header.
                self.written = 1;
                match Errno::last() {
                    Errno::AGAIN => Ok(0),
                    error => Err(error),
                }
            }
        }
    }

    /// Message `i` of the last [`Batch::receive`].
    #[inline]
    pub(super) fn message(&self, i: usize) -> Message<'_> {
        // SAFETY: by the invariants the elements are initialized, and nobody writes to them while `self` is borrowed.
        let (header, name, control) =
            unsafe { (&*self.headers.at(i), &(*self.names.at(i)).0, &(*self.controls.at(i)).0) };
        let length = (header.msg_len as usize).min(PAYLOAD);
        // SAFETY: as above. Payload buffer `i` has STRIDE bytes, and STRIDE is more than PAYLOAD.
        let payload = unsafe { std::slice::from_raw_parts(self.payloads.at(i * STRIDE), length) };
        #[allow(clippy::unnecessary_cast)] // a socklen_t with musl, a usize with glibc
        let control = &control[..(header.msg_hdr.msg_controllen as usize).min(CONTROL)];
        let mut message = Message {
            source: source(name, header.msg_hdr.msg_namelen as usize),
            payload,
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
    use std::os::fd::AsFd;

    use super::*;
    use proptest::prelude::*;

    /// Writes as the kernel does, through the pointers in the headers.
    #[test]
    fn each_message_is_read_where_its_header_points() {
        let batch = Batch::new();
        for round in 0..2_u8 {
            let content = |i: usize| [round, i as u8, 7];
            let source = |i: usize| SocketAddr::from(([10, 0, round, i as u8], 5000));
            for i in 0..BATCH {
                let [a, b] = (libc::AF_INET as u16).to_ne_bytes();
                let [c, d] = 5000_u16.to_be_bytes();
                // SAFETY: the element is initialized, nobody borrows the batch, and the buffers that the header points
                // to are longer than this.
                unsafe {
                    let header = &mut *batch.headers.at(i);
                    header.msg_len = 3;
                    header.msg_hdr.msg_namelen = 16;
                    header.msg_hdr.msg_controllen = 0;
                    header.msg_hdr.msg_name.cast::<[u8; 8]>().write([a, b, c, d, 10, 0, round, i as u8]);
                    (*header.msg_hdr.msg_iov).iov_base.cast::<[u8; 3]>().write(content(i));
                }
            }
            for i in 0..BATCH {
                let message = batch.message(i);
                assert_eq!((message.source, message.payload), (Some(source(i)), &content(i)[..]));
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "recvmmsg(2)")]
    fn datagrams_are_read_from_their_own_buffers_in_whatever_thread() {
        let (receiver, sender) = std::os::unix::net::UnixDatagram::pair().expect("socket pair");
        let mut batch = Batch::new();
        for round in 0..3_u8 {
            for n in 0..10_u8 {
                sender.send(&vec![n + round; usize::from(n) * 400]).expect("send");
            }
            let receiver = &receiver;
            batch = std::thread::scope(|scope| {
                let work = move || {
                    assert_eq!(batch.receive(receiver.as_fd()), Ok(10));
                    for n in 0..10_u8 {
                        let message = batch.message(n.into());
                        assert!(message.payload == vec![n + round; usize::from(n) * 400], "{n} in round {round}");
                        assert_eq!((message.source, message.truncated), (None, false));
                    }
                    assert_eq!(batch.receive(receiver.as_fd()), Ok(0), "EAGAIN");
                    batch
                };
                scope.spawn(work).join().expect("the thread")
            });
        }
    }

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
