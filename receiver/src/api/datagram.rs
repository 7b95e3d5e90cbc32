//! One received datagram: lent to the consumer in place ([`Datagram`]), or owned ([`OwnedDatagram`]) with a payload
//! that is still the frame the kernel wrote, until the last `Bytes` of it is dropped.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;

use crate::api::origin::{Path, ReceiveTime};
use crate::api::vlan::Vlan;
use crate::engine::filter::{FlowKey, SubscriptionEntry, SubscriptionId};
use crate::engine::outcome::{Batch, Outcome};
use crate::paths::payload::{Kept, Payload};

/// A datagram in the consumer's hands for the length of a callback.
///
/// Its addresses are decoded only when a method asks for them. [`Datagram::into_owned`] keeps it for longer.
///
/// ```no_run
/// # fn main() -> Result<(), receiver::Error> {
/// use receiver::{Receiver, Wait};
///
/// let mut receiver = Receiver::builder("eth1").subscribe("10.0.0.1@232.1.1.1:5000".parse()?).build()?;
/// let (sender, kept) = std::sync::mpsc::channel();
/// receiver.poll(Wait::Forever, |datagram| {
///     if datagram.payload().starts_with(b"keep") {
///         // `None` if the copies that are held have reached their limit.
///         sender.send(datagram.into_owned()).ok();
///     }
/// })?;
/// # drop(kept);
/// # Ok(())
/// # }
/// ```
pub struct Datagram<'a> {
    payload: Payload<'a>,
    key: FlowKey,
    source_port: u16,
    time: ReceiveTime,
    lender: Lender<'a>,
}

/// Who lends the datagram.
#[derive(Clone, Copy)]
enum Lender<'a> {
    /// A worker, which counts what becomes of it.
    Worker(&'a Arc<SubscriptionEntry>, &'a Batch<'a>),
    /// Its owner, who lends it again.
    Owner(&'a OwnedDatagram),
}

impl<'a> Datagram<'a> {
    #[inline]
    pub(crate) fn new(
        payload: Payload<'a>,
        key: FlowKey,
        source_port: u16,
        entry: &'a Arc<SubscriptionEntry>,
        time: ReceiveTime,
        batch: &'a Batch<'a>,
    ) -> Self {
        Self { payload, key, source_port, time, lender: Lender::Worker(entry, batch) }
    }
}

impl Datagram<'_> {
    /// The UDP payload. It can be empty.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.payload.bytes()
    }

    /// The whole frame, for captures: from its Ethernet header, with its VLAN tags, to its last byte. Padding behind
    /// the IP packet is part of it; the Ethernet checksum (FCS) is not. VLAN tags that the NIC strips (`ethtool -k`:
    /// `rx-vlan-offload`) are missing.
    ///
    /// `None` on [`Path::Kernel`], as a UDP socket receives the payload alone, and for a datagram that was owned.
    #[inline]
    pub fn frame(&self) -> Option<&[u8]> {
        self.payload.frame()
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
        match self.lender {
            Lender::Worker(entry, _) => entry.id,
            Lender::Owner(owned) => owned.subscription,
        }
    }

    /// When it came.
    #[inline]
    pub fn time(&self) -> ReceiveTime {
        self.time
    }

    /// The path by which it came.
    #[inline]
    pub fn path(&self) -> Path {
        match self.lender {
            Lender::Worker(..) => self.payload.path(),
            Lender::Owner(owned) => owned.path,
        }
    }

    /// The VLAN tags it carried. The kernel path does not see them: `None` there.
    #[inline]
    pub fn vlan(&self) -> Option<Vlan> {
        match self.lender {
            Lender::Worker(_, batch) => batch.vlan,
            Lender::Owner(owned) => owned.vlan,
        }
    }

    /// Keeps the datagram beyond the callback.
    ///
    /// On the XDP path the payload is not copied. It stays in its frame, and the queue gets the frame back when the
    /// last `Bytes` of it is dropped, on any thread. The payload is copied (`copied` in the ledger) when the queue's
    /// frames run low, or when the packet came over several frames (an MTU above the frame size). On the kernel path it
    /// is always copied.
    ///
    /// Returns `None` when the copies that the consumer holds have reached their limit
    /// ([`Builder::copy_limit`](crate::Builder::copy_limit)). Then the datagram is lost, and counted as `not_kept`
    /// instead of delivered. A consumer that keeps everything thus loses datagrams, but never stalls the others and
    /// never uses up the memory.
    ///
    /// A datagram that its owner lends ([`OwnedDatagram::lend`]) is cloned.
    pub fn into_owned(self) -> Option<OwnedDatagram> {
        let (entry, batch) = match self.lender {
            Lender::Worker(entry, batch) => (entry, batch),
            Lender::Owner(owned) => return Some(owned.clone()),
        };
        let (source, group, port) = self.key.addresses();
        let path = self.path();
        let payload = match self.payload.keep(&batch.leases, batch.budget) {
            Some(Kept::Frame(payload) | Kept::Buffer(payload)) => payload,
            Some(Kept::Copy(payload)) => {
                batch.counters.copied.add(1);
                payload
            }
            None => {
                batch.outcome.set(Outcome::NotKept);
                return None;
            }
        };
        Some(OwnedDatagram {
            payload,
            source: SocketAddr::new(source, self.source_port),
            group,
            port,
            subscription: entry.id,
            time: self.time,
            path,
            vlan: batch.vlan,
        })
    }

    /// Keeps the datagram for a consumer that has not asked for it yet. Its outcome is open until
    /// [`Worker::settle`](crate::Worker).
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "only the async face defers datagrams"))]
    pub(crate) fn defer(self) -> Option<DeferredDatagram> {
        // What is lent by its owner needs no deferring.
        let Lender::Worker(entry, batch) = self.lender else { return None };
        let entry = Arc::clone(entry);
        let datagram = self.into_owned()?;
        batch.outcome.set(Outcome::Deferred);
        Some(DeferredDatagram { datagram, entry, path: batch.path })
    }
}

/// A datagram that was taken from a worker, and that its consumer has not seen yet.
pub(crate) struct DeferredDatagram {
    pub datagram: OwnedDatagram,
    pub entry: Arc<SubscriptionEntry>,
    /// The path by which it came: [`Shared::path`](crate::engine::shared::Shared::path).
    pub path: usize,
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
    /// The path by which it came.
    pub path: Path,
    /// The VLAN tags it carried, on the XDP path.
    pub vlan: Option<Vlan>,
}

impl OwnedDatagram {
    /// Lends it to code that takes a [`Datagram`], without a copy.
    ///
    /// ```
    /// use receiver::{Datagram, OwnedDatagram};
    ///
    /// fn length(datagram: &Datagram<'_>) -> usize {
    ///     datagram.payload().len()
    /// }
    ///
    /// fn length_of_kept(kept: &OwnedDatagram) -> usize {
    ///     length(&kept.lend())
    /// }
    /// ```
    pub fn lend(&self) -> Datagram<'_> {
        Datagram {
            payload: Payload::Buffer(&self.payload),
            key: FlowKey::new(self.source.ip(), self.group, self.port),
            source_port: self.source.port(),
            time: self.time,
            lender: Lender::Owner(self),
        }
    }
}
