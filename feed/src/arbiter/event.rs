//! What the application sees.

use bytes::Bytes;

/// One of the redundant legs, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(u8);

impl LegId {
    /// The leg with this index, from 0.
    #[must_use]
    pub const fn new(index: u8) -> Self {
        Self(index)
    }

    /// Its index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One stream of an arbiter, in the order in which they appeared, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub(super) u32);

impl StreamId {
    /// Its index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Whether what was delivered is complete and current.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Every message so far was delivered, or was declared lost for good.
    Live,
    /// A missing range is waited for, or is still open to a late fill.
    Recovering,
    /// No leg has sent anything for a while: what was delivered may be out of date.
    Stale,
}

/// A datagram that the arbiter can hold back.
///
/// Implement it for a lent datagram to hold it as a lease. `hold` is called only for datagrams that arrive ahead of a
/// gap.
pub trait Hold: AsRef<[u8]> {
    /// What is held. A clone must be cheap: a datagram that fills several ranges is cloned.
    type Held: AsRef<[u8]> + Clone;

    /// Makes it last.
    fn hold(self) -> Self::Held;
}

impl Hold for Bytes {
    type Held = Bytes;

    fn hold(self) -> Bytes {
        self
    }
}

/// Copied when it is held.
impl Hold for &[u8] {
    type Held = Bytes;

    fn hold(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

/// A delivered datagram: passed through, or held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<L, H> {
    /// As it was pushed.
    Direct(L),
    /// It waited for a gap.
    Held(H),
}

impl<L: AsRef<[u8]>, H: AsRef<[u8]>> AsRef<[u8]> for Payload<L, H> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Direct(datagram) => datagram.as_ref(),
            Self::Held(datagram) => datagram.as_ref(),
        }
    }
}

/// Messages of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Data<L, H> {
    /// The whole datagram, header included.
    pub datagram: Payload<L, H>,
    /// Sequence number of the first message that is new, extended to 64 bits.
    pub first: u64,
    /// How many sequence numbers are new, from `first` on.
    pub count: u32,
    /// How many of the datagram's sequence numbers come before `first`: its first `skip` messages are not new.
    pub skip: u32,
    /// The leg that it arrived on.
    pub leg: LegId,
    /// When it arrived.
    pub arrived_ns: u64,
}

/// A missing range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// First sequence number that is missing.
    pub from: u64,
    /// One above the last.
    pub to: u64,
    /// When the first datagram beyond the range arrived.
    pub since_ns: u64,
}

impl Gap {
    pub(super) const fn new(from: u64, to: u64, since_ns: u64) -> Self {
        Self { from, to, since_ns }
    }
}

/// Why a leg counts as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LegLoss {
    /// It sends nothing.
    Silent,
    /// It sends what the other legs sent long ago.
    Behind,
    /// It follows a numbering of its own, while another leg goes on with the old one.
    Astray,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<L, H> {
    /// A stream was found. `succeeds` is the stream whose place it takes on its channel.
    Started {
        /// The stream of the session before.
        succeeds: Option<StreamId>,
    },
    /// The next messages, in order.
    Data(Data<L, H>),
    /// Messages of a gap that was declared before.
    Recovered(Data<L, H>),
    /// Messages without a place in the sequence. Each leg's copy is delivered.
    Unsequenced(Data<L, H>),
    /// Messages are missing. What follows is delivered without them.
    Gap(Gap),
    /// A declared gap is no longer open to a late fill.
    Lost(Gap),
    /// The sequence starts anew.
    Reset {
        /// The sequence number that comes next.
        next: u64,
    },
    /// The session is over.
    End {
        /// One above its last sequence number.
        next: u64,
    },
    /// A heartbeat of one leg.
    Heartbeat {
        /// The leg.
        leg: LegId,
        /// The sequence number that it expects to send next.
        next: u64,
    },
    /// A leg is lost.
    LegLost {
        /// The leg.
        leg: LegId,
        /// Why.
        loss: LegLoss,
    },
    /// A lost leg is back.
    LegBack {
        /// The leg.
        leg: LegId,
    },
    /// The stream became stale.
    Stale {
        /// When its last datagram arrived.
        since_ns: u64,
    },
}

/// An event of one stream, and the stream's state after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery<L, H> {
    /// The stream.
    pub stream: StreamId,
    /// Whether what was delivered is complete and current.
    pub state: State,
    /// What happened.
    pub event: Event<L, H>,
}

impl<L, H> Delivery<L, H> {
    pub(super) fn new(stream: StreamId, state: State, event: Event<L, H>) -> Self {
        Self { stream, state, event }
    }
}
