//! One received datagram: lent to the consumer in place ([`Datagram`]), or owned ([`OwnedDatagram`]) with a payload that
//! is still the frame the kernel wrote, until the last `Bytes` of it is dropped.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;

use crate::api::vlan::Vlan;
use crate::engine::filter::{FlowKey, SubscriptionEntry, SubscriptionId};
use crate::stats::ledger::{DropReason, QueueCounters, add};
use receiver_xsk::Received;

/// Which way a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// XDP and AF_XDP.
    Xdp,
    /// The kernel's network stack and a UDP socket.
    Kernel,
}

/// Who took the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeOrigin {
    /// The XDP program, in the driver (`bpf_ktime_get_tai_ns`).
    Xdp,
    /// The kernel, for a UDP socket (`SO_TIMESTAMPNS`).
    Kernel,
    /// This library, when it took the batch out of the ring or the socket.
    UserSpace,
}

/// When a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReceiveTime {
    /// Nanoseconds since 1970 on CLOCK_TAI: it never steps back for a leap second. It equals CLOCK_REALTIME on machines
    /// where nobody told the kernel the difference between TAI and UTC.
    pub nanoseconds: u64,
    /// Who took it.
    pub origin: TimeOrigin,
}

/// A datagram in the consumer's hands for the length of a callback.
///
/// What it says of itself costs nothing until it is asked for; [`Datagram::into_owned`] keeps it for longer.
pub struct Datagram<'a> {
    pub(crate) payload: Payload<'a>,
    pub(crate) key: FlowKey,
    pub(crate) source_port: u16,
    pub(crate) member: &'a Arc<SubscriptionEntry>,
    pub(crate) time: ReceiveTime,
    pub(crate) vlan: Option<Vlan>,
    pub(crate) keep: Keep<'a>,
}

pub(crate) enum Payload<'a> {
    /// In the frame (or put together from several), at these bytes.
    Frame(Received<'a>, Range<usize>),
    /// In the kernel path's buffer.
    Buffer(&'a [u8]),
}

/// What is needed to keep a payload beyond the callback, and to book it when it can not be kept.
#[derive(Clone, Copy)]
pub(crate) struct Keep<'a> {
    /// How many more frames of this queue may be leased out.
    pub leases: &'a Cell<u32>,
    pub budget: &'a Arc<CopyBudget>,
    pub counters: &'a QueueCounters,
    /// The queue's place among the subscription's counters.
    pub cell: usize,
}

impl Datagram<'_> {
    /// The UDP payload. It can be empty.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        match &self.payload {
            // The range was checked against the frame when the datagram was parsed.
            Payload::Frame(frame, range) => frame.bytes().get(range.clone()).unwrap_or(&[]),
            Payload::Buffer(bytes) => bytes,
        }
    }

    /// The sender's address and UDP port.
    #[inline]
    pub fn source(&self) -> SocketAddr {
        SocketAddr::new(self.key.addresses().0, self.source_port)
    }

    /// The group it was sent to.
    #[inline]
    pub fn group(&self) -> IpAddr {
        self.key.addresses().1
    }

    /// The UDP port it was sent to.
    #[inline]
    pub fn port(&self) -> u16 {
        self.key.addresses().2
    }

    /// The subscription that wanted it.
    #[inline]
    pub fn subscription(&self) -> SubscriptionId {
        self.member.id
    }

    /// When it came.
    #[inline]
    pub fn time(&self) -> ReceiveTime {
        self.time
    }

    /// Which way it came.
    #[inline]
    pub fn path(&self) -> Path {
        match self.payload {
            Payload::Frame(..) => Path::Xdp,
            Payload::Buffer(_) => Path::Kernel,
        }
    }

    /// The VLAN tags it carried. The kernel path does not see them: `None` there.
    #[inline]
    pub fn vlan(&self) -> Option<Vlan> {
        self.vlan
    }

    /// Keeps the datagram beyond the callback.
    ///
    /// On the XDP path the payload is not copied: it stays in its frame, which comes back to the queue when the last
    /// `Bytes` of it is dropped, on whatever thread. When the queue's frames run low, or when it came over several
    /// (an MTU above the frame size), the payload is copied instead (`copied` in the ledger), and on the kernel path
    /// always.
    ///
    /// `None` when the copies that are still held have reached their limit
    /// ([`Builder::copy_limit`](crate::Builder::copy_limit)): the datagram is lost then, and booked as `not_kept`. A
    /// consumer that keeps everything thus loses datagrams, but never stalls the others and never eats all memory.
    pub fn into_owned(self) -> Option<OwnedDatagram> {
        let (source, group, port) = self.key.addresses();
        let path = self.path();
        let keep = self.keep;
        let len = self.payload().len();
        let payload = match self.payload {
            Payload::Frame(frame, range) if keep.leases.get() > 0 && !frame.is_gathered() => {
                keep.leases.set(keep.leases.get() - 1);
                let mut lease = frame.into_lease();
                // In range: it was parsed out of this frame.
                let _narrowed = lease.narrow(range);
                Some(Bytes::from_owner(lease))
            }
            Payload::Frame(frame, range) => {
                let copy = keep.budget.copy(frame.bytes().get(range).unwrap_or(&[]));
                add(&keep.counters.copied, u64::from(copy.is_some()));
                copy
            }
            Payload::Buffer(bytes) => keep.budget.copy(bytes),
        };
        let Some(payload) = payload else {
            keep.counters.take_back_delivery(DropReason::NotKept);
            self.member.counters[keep.cell].take_back(len);
            return None;
        };
        Some(OwnedDatagram {
            payload,
            source: SocketAddr::new(source, self.source_port),
            group,
            port,
            subscription: self.member.id,
            time: self.time,
            path,
            vlan: self.vlan,
        })
    }
}

/// A datagram that can be kept, sent to other threads and cloned. The clones share the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedDatagram {
    /// The UDP payload.
    pub payload: Bytes,
    /// The sender's address and UDP port.
    pub source: SocketAddr,
    /// The group it was sent to.
    pub group: IpAddr,
    /// The UDP port it was sent to.
    pub port: u16,
    /// The subscription that wanted it.
    pub subscription: SubscriptionId,
    /// When it came.
    pub time: ReceiveTime,
    /// Which way it came.
    pub path: Path,
    /// The VLAN tags it carried, on the XDP path.
    pub vlan: Option<Vlan>,
}

/// How many bytes of copied payloads may be held at once.
#[derive(Debug)]
pub(crate) struct CopyBudget {
    left: AtomicI64,
}

/// Copies up to this many bytes are kept in one allocation together with their bookkeeping.
const SMALL: usize = 256;
const LARGE: usize = 2048;

impl CopyBudget {
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicI64::new(i64::try_from(bytes).unwrap_or(i64::MAX)) })
    }

    /// A copy that counts against the budget until its last `Bytes` is dropped.
    pub fn copy(self: &Arc<Self>, bytes: &[u8]) -> Option<Bytes> {
        if bytes.len() <= SMALL {
            self.inline::<SMALL>(bytes)
        } else if bytes.len() <= LARGE {
            self.inline::<LARGE>(bytes)
        } else {
            self.reserve(bytes.len()).map(|held| Bytes::from_owner(Copied { bytes: bytes.to_vec(), _held: held }))
        }
    }

    fn inline<const N: usize>(self: &Arc<Self>, bytes: &[u8]) -> Option<Bytes> {
        let _held = self.reserve(N)?;
        let mut copy = Inline { len: bytes.len(), bytes: [0; N], _held };
        copy.bytes[..bytes.len()].copy_from_slice(bytes);
        Some(Bytes::from_owner(copy))
    }

    fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        let bytes = bytes as i64;
        if self.left.fetch_sub(bytes, Ordering::Relaxed) < bytes {
            self.left.fetch_add(bytes, Ordering::Relaxed);
            return None;
        }
        Some(Held { budget: Arc::clone(self), bytes })
    }
}

/// A part of the budget, given back on drop.
struct Held {
    budget: Arc<CopyBudget>,
    bytes: i64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

struct Inline<const N: usize> {
    len: usize,
    bytes: [u8; N],
    _held: Held,
}

impl<const N: usize> AsRef<[u8]> for Inline<N> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

struct Copied {
    bytes: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_bounded_and_given_back() {
        let budget = CopyBudget::new(2 * SMALL as u64 + 3000);
        let a = budget.copy(b"one").expect("room");
        let b = budget.copy(&[7; SMALL]).expect("room");
        let c = budget.copy(&[9; 3000]).expect("room");
        assert_eq!((a.as_ref(), b.as_ref(), c.as_ref()), (&b"one"[..], &[7; SMALL][..], &[9; 3000][..]));
        assert!(budget.copy(b"").is_none(), "even an empty payload takes room");
        let clone = a.clone();
        drop(a);
        assert!(budget.copy(b"x").is_none(), "a clone still holds it");
        drop(clone);
        assert_eq!(budget.copy(b"x").expect("room again").as_ref(), b"x");
        drop((b, c));
        assert_eq!(budget.left.load(Ordering::Relaxed), 2 * SMALL as i64 + 3000);
    }
}
