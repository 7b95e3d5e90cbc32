//! One leg of one stream: its position in the sequence, and what it skipped.

use super::event::{Gap, LegLoss};
use super::ranges::Ranges;
use super::statistics::StreamLegStatistics;

/// Skipped ranges that a leg remembers to tell reordering from repetition.
const MAX_MISSING: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Leg {
    /// The numbering that it follows; `None` until it was seen.
    pub(super) epoch: Option<u32>,
    /// One above the highest sequence number that it sent, in its epoch.
    pub(super) next: u64,
    /// Its position in the numbering that may come, if it follows that.
    pub(super) upcoming: Option<u64>,
    /// When its last datagram arrived; until then, when the stream started.
    pub(super) last_ns: u64,
    /// The newest sending time in its epoch.
    pub(super) sent_ns: u64,
    pub(super) lost: Option<LegLoss>,
    /// Sweeps in a row that found it behind what was delivered before the sweep before.
    pub(super) behind: u8,
    missing: Ranges,
    pub(super) statistics: StreamLegStatistics,
}

/// What a range is to its leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In order, perhaps after a skip.
    Ahead,
    /// Behind, and not seen before.
    Reordered,
    /// Seen before.
    Repeated,
}

impl Leg {
    pub(super) fn new(now_ns: u64) -> Self {
        Self {
            epoch: None,
            next: 0,
            upcoming: None,
            last_ns: now_ns,
            sent_ns: 0,
            lost: None,
            behind: 0,
            missing: Ranges::default(),
            statistics: StreamLegStatistics::default(),
        }
    }

    /// Enters a numbering at `next`.
    pub(super) fn enter(&mut self, epoch: u32, next: u64) {
        self.missing.clear();
        (self.epoch, self.next, self.upcoming) = (Some(epoch), next, None);
        self.sent_ns = 0;
    }

    /// The leg sent nothing up to `next` that is still to come: what it skipped is missing.
    pub(super) fn skip_to(&mut self, next: u64, now_ns: u64) {
        if next > self.next {
            self.statistics.missing += next - self.next;
            if self.missing.len() == MAX_MISSING {
                self.missing.pop_first();
            }
            self.missing.append(Gap::new(self.next, next, now_ns));
            self.next = next;
        }
    }

    /// Counts a datagram with `first..end`.
    #[inline]
    pub(super) fn observe(&mut self, first: u64, end: u64, now_ns: u64) -> Place {
        self.statistics.datagrams += 1;
        if first >= self.next {
            if first > self.next {
                self.skip_to(first, now_ns);
            }
            self.next = end;
            return Place::Ahead;
        }
        self.observe_behind(first, end)
    }

    #[cold]
    fn observe_behind(&mut self, first: u64, end: u64) -> Place {
        let mut late = 0;
        self.missing.take(first, end, |gap| late += gap.to - gap.from);
        let new = end.saturating_sub(self.next);
        self.statistics.reordered += late;
        self.statistics.repeated += end - first - late - new;
        self.next = self.next.max(end);
        if late > 0 {
            Place::Reordered
        } else if new > 0 {
            Place::Ahead
        } else {
            Place::Repeated
        }
    }

    /// Returns true if `first..end` was sent by this leg before, as far as is known.
    pub(super) fn has_sent(&self, first: u64, end: u64) -> bool {
        end <= self.next && !self.missing.overlap(first, end)
    }
}
