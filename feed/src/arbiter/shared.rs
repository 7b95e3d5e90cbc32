//! What the arbiter lends to its streams, and what their parts tell each other.

use super::config::Config;
use super::epoch::Origin;
use super::statistics::LegStatistics;
use crate::protocol::SequenceWidth;

/// What the arbiter shares with its streams.
pub(super) struct Shared<'a> {
    pub(super) config: &'a Config,
    pub(super) legs: &'a mut [LegStatistics],
    /// Whether a sequence may go back within one session.
    pub(super) restarts: bool,
    pub(super) width: SequenceWidth,
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
