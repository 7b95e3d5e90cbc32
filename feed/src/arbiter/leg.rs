//! One leg of one stream: its position in the sequence, and what it skipped.

use std::num::NonZeroU32;

use super::cursor::LegCursor;
use super::event::Gap;
use super::ranges::Ranges;
use super::statistics::StreamLegStatistics;

/// Skipped ranges that a leg remembers to tell reordering from repetition.
const MAX_MISSING: usize = 64;

/// What is rarely needed of a leg.
#[derive(Clone, Debug, Default)]
pub(super) struct Leg {
    /// Its position in the numbering that may come, if it follows that.
    pub(super) upcoming: Option<u64>,
    missing: Ranges,
    /// Without what its cursor tallied.
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
    /// Enters a numbering at `next`.
    pub(super) fn enter(&mut self, cursor: &mut LegCursor, epoch: NonZeroU32, next: u64) {
        self.missing.clear();
        (cursor.epoch, cursor.next, self.upcoming) = (Some(epoch), next, None);
        cursor.sent_ns = 0;
    }

    /// The leg sent nothing up to `next` that is still to come: what it skipped is missing.
    pub(super) fn skip_to(&mut self, cursor: &mut LegCursor, next: u64, now_ns: u64) {
        if next > cursor.next {
            self.statistics.missing += next - cursor.next;
            if self.missing.len() == MAX_MISSING {
                self.missing.pop_first();
            }
            self.missing.append(Gap::new(cursor.next, next, now_ns));
            cursor.next = next;
        }
    }

    /// Counts a datagram with `first..end`.
    pub(super) fn observe(&mut self, cursor: &mut LegCursor, first: u64, end: u64, now_ns: u64) -> Place {
        self.statistics.datagrams += 1;
        if first >= cursor.next {
            self.skip_to(cursor, first, now_ns);
            cursor.next = end;
            return Place::Ahead;
        }
        let mut late = 0;
        self.missing.take(first, end, |gap| late += gap.to - gap.from);
        let new = end.saturating_sub(cursor.next);
        self.statistics.reordered += late;
        self.statistics.repeated += end - first - late - new;
        cursor.next = cursor.next.max(end);
        if late > 0 {
            Place::Reordered
        } else if new > 0 {
            Place::Ahead
        } else {
            Place::Repeated
        }
    }

    /// Returns true if `first..end` was sent by this leg before, as far as is known.
    pub(super) fn has_sent(&self, cursor: &LegCursor, first: u64, end: u64) -> bool {
        end <= cursor.next && !self.missing.overlap(first, end)
    }
}
