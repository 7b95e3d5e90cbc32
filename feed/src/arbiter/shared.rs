//! What the arbiter lends to its streams, and what their parts tell each other.

use super::config::Config;
use super::epoch::Origin;
use super::event::LegId;
use super::lag::{Arrivals, Sampled};
use super::statistics::LegStatistics;
use crate::protocol::SequenceWidth;

/// What the arbiter shares with its streams.
pub(super) struct Shared<'a> {
    pub(super) config: &'a Config,
    pub(super) legs: &'a mut [LegStatistics],
    /// `None` with one leg.
    pub(super) arrivals: Option<&'a mut Arrivals>,
    /// Whether a sequence may go back within one session.
    pub(super) restarts: bool,
    pub(super) width: SequenceWidth,
}

impl Shared<'_> {
    /// Measures by how much a later copy was later.
    #[inline]
    pub(super) fn compare(&mut self, sampled: Sampled, leg: LegId, now_ns: u64) {
        let Some(arrivals) = &mut self.arrivals else { return };
        if let Some((leader, lag_ns)) = arrivals.again(sampled, leg, now_ns) {
            self.legs[leader.index()].lead.record(lag_ns);
            self.legs[leg.index()].lag.record(lag_ns);
        }
    }
}

/// Where a datagram belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belongs {
    /// The current numbering, at this sequence number.
    Current(u64),
    /// The numbering that may come.
    Upcoming(u64),
    /// A numbering that nobody has seen yet.
    New(Origin, u64),
    /// Nowhere.
    Nowhere,
}
