//! A numbering that may take the place of the current one: the sequence starts anew, or jumps.
//!
//! One datagram out of place proves nothing: it may be old, or damaged. So what is out of place is held, and confirmed
//! by more of the same. A leg that restarts is followed only if no other leg goes on with the old numbering.

use super::event::LegId;
use super::held::Held;

/// Datagrams in a row that confirm a new numbering (RFC 3550, appendix A.1, takes two).
const CONFIRM: u32 = 3;

/// What a new numbering looked like at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The sender stated it.
    Stated,
    /// A leg went back.
    Back,
    /// A leg jumped ahead.
    Ahead,
}

/// The numbering that may come.
#[derive(Clone, Debug)]
pub(super) struct Upcoming<H> {
    pub(super) origin: Origin,
    /// Its lowest sequence number.
    pub(super) first: u64,
    /// One above its highest.
    pub(super) horizon: u64,
    pub(super) since_ns: u64,
    /// Sending time of the first and of the newest datagram; 0 where the protocol has none.
    pub(super) first_sent_ns: u64,
    pub(super) sent_ns: u64,
    pub(super) held: Held<H>,
    /// Another leg goes on with the old numbering: only the last datagram is held.
    pub(super) astray: bool,
    run: u32,
    joined: u64,
}

impl<H> Upcoming<H> {
    pub(super) fn new(origin: Origin, first: u64, now_ns: u64, sent_ns: u64) -> Self {
        let (held, run) = (Held::default(), 0);
        let (first_sent_ns, astray, joined) = (sent_ns, false, 0);
        Self { origin, first, horizon: first, since_ns: now_ns, first_sent_ns, sent_ns, held, astray, run, joined }
    }

    /// Counts a datagram of `leg`, whose position in this numbering was `position`.
    pub(super) fn observe(&mut self, leg: LegId, position: Option<u64>, first: u64, end: u64) {
        let (bit, others) = (1 << leg.index(), self.joined & !(1 << leg.index()) != 0);
        let agrees = position == Some(first) || (position.is_none() && others);
        self.run = if agrees || self.run == 0 { self.run + 1 } else { 1 };
        if position.is_none() && others {
            self.run = CONFIRM;
        }
        self.joined |= bit;
        self.first = self.first.min(first);
        self.horizon = self.horizon.max(end);
    }

    /// A leg went back to the current numbering. Returns true if no other leg is left here.
    pub(super) fn leave(&mut self, leg: LegId) -> bool {
        self.joined &= !(1 << leg.index());
        self.joined == 0
    }

    pub(super) fn confirm(&mut self) {
        self.run = self.run.max(CONFIRM);
    }

    pub(super) fn confirmed(&self) -> bool {
        self.origin == Origin::Stated || self.run >= CONFIRM
    }
}
