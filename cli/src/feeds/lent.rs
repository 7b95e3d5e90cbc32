//! Datagrams in the hands of an arbiter: lent by a worker, and held as leases.

use receiver::{Datagram, OwnedDatagram};
use receiver_feed::arbiter::{Hold, Payload};

/// A datagram that a worker lends.
pub struct Lent<'a>(pub Datagram<'a>);

impl AsRef<[u8]> for Lent<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.0.payload()
    }
}

/// A datagram that is held. `None` if copies have reached their limit: it is lost, and the ledger has it as `not_kept`.
#[derive(Clone)]
pub struct Held(Option<OwnedDatagram>);

impl Held {
    /// Of a datagram that did not come by a leg.
    pub fn new(datagram: OwnedDatagram) -> Self {
        Self(Some(datagram))
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |datagram| &datagram.payload)
    }
}

impl Hold for Lent<'_> {
    type Held = Held;

    fn hold(self) -> Held {
        Held(self.0.into_owned())
    }
}

impl Hold for Held {
    type Held = Self;

    fn hold(self) -> Self {
        self
    }
}

/// What an arbiter delivers can be lent to a consumer.
pub trait Lend: AsRef<[u8]> {
    /// Gives the consumer the datagram. Returns false if it is lost.
    fn lend(&self, consumer: impl FnOnce(&Datagram<'_>)) -> bool;
}

impl Lend for Lent<'_> {
    #[inline]
    fn lend(&self, consumer: impl FnOnce(&Datagram<'_>)) -> bool {
        consumer(&self.0);
        true
    }
}

impl Lend for Held {
    fn lend(&self, consumer: impl FnOnce(&Datagram<'_>)) -> bool {
        self.0.as_ref().map(|datagram| consumer(&datagram.lend())).is_some()
    }
}

impl<L: Lend> Lend for Payload<L, Held> {
    #[inline]
    fn lend(&self, consumer: impl FnOnce(&Datagram<'_>)) -> bool {
        match self {
            Self::Direct(datagram) => datagram.lend(consumer),
            Self::Held(datagram) => datagram.lend(consumer),
        }
    }
}
