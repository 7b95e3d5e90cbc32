//! What each datagram of a stream touches: one cache line of the stream, and one of the leg. All else is in
//! [`Rest`](super::stream::Rest) and [`Leg`](super::leg::Leg), so that the lines of 10,000 streams stay in the cache.

use std::num::NonZeroU32;

use super::event::{LegLoss, State};
use crate::protocol::{Kind, Packet, SequenceWidth, StreamKey};

const _: () = assert!(size_of::<Cursor>() == 64 && size_of::<LegCursor>() == 64);

/// Where a stream is.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Cursor {
    pub(super) key: StreamKey,
    /// The next sequence number to deliver.
    pub(super) next: u64,
    /// One above the highest sequence number that is known to exist.
    pub(super) horizon: u64,
    pub(super) newest_sent_ns: u64,
    /// The numbering that it follows.
    pub(super) epoch: NonZeroU32,
    /// All that is known to exist was delivered or declared missing, and nothing else is expected: the next datagram in
    /// order concerns this line and its leg's alone.
    pub(super) plain: bool,
    /// What deliveries report.
    pub(super) state: State,
}

/// Where one leg of a stream is, and what it sent while the stream was [`plain`](Cursor::plain).
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct LegCursor {
    /// One above the highest sequence number that it sent, in its epoch.
    pub(super) next: u64,
    /// When its last datagram arrived; until then, when the stream started.
    pub(super) last_ns: u64,
    /// The newest sending time in its epoch.
    pub(super) sent_ns: u64,
    pub(super) tally: Tally,
    /// The numbering that it follows; `None` until it was seen.
    pub(super) epoch: Option<NonZeroU32>,
    pub(super) lost: Option<LegLoss>,
    /// Sweeps in a row that found it behind what was delivered before the sweep before.
    pub(super) behind: u8,
}

/// Counters of datagrams that came when their stream was plain. The statistics add them to their own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) datagrams: u64,
    /// Sequence numbers that were delivered at once.
    pub(super) delivered: u64,
    /// Datagrams that held nothing new, and their sequence numbers.
    pub(super) copies: u64,
    pub(super) duplicates: u64,
}

/// What a datagram was to a plain stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is what the stream expected next.
    InOrder(u64),
    /// All of it was delivered before. It begins with this sequence number.
    Copy(u64),
}

impl Cursor {
    pub(super) fn new(key: StreamKey) -> Self {
        Self { key, next: 0, horizon: 0, newest_sent_ns: 0, epoch: NonZeroU32::MIN, plain: false, state: State::Live }
    }

    /// Takes a datagram of a plain stream that continues its leg. `None` for any other, which changes nothing here.
    #[inline]
    pub(super) fn take(
        &mut self,
        leg: &mut LegCursor,
        width: SequenceWidth,
        now_ns: u64,
        packet: &Packet,
    ) -> Option<Taken> {
        let first = leg.next;
        let follows = leg.epoch == Some(self.epoch) && leg.lost.is_none();
        if !(self.plain && follows && packet.kind == Kind::Data && width.extend(packet.first, first) == Some(first)) {
            return None;
        }
        let end = first.saturating_add(packet.count.into());
        let is_next = first == self.next && end > first;
        // While a gap is open to a late fill, an old datagram may hold a part of it.
        if !is_next && (end > self.next || self.state != State::Live) {
            return None;
        }
        if let Some(sent_ns) = packet.sent_ns {
            leg.sent_ns = leg.sent_ns.max(sent_ns);
            self.newest_sent_ns = self.newest_sent_ns.max(sent_ns);
        }
        leg.next = end;
        leg.last_ns = leg.last_ns.max(now_ns);
        leg.tally.datagrams += 1;
        if is_next {
            leg.tally.delivered += end - first;
            (self.next, self.horizon) = (end, end);
            return Some(Taken::InOrder(first));
        }
        leg.tally.copies += 1;
        leg.tally.duplicates += end - first;
        Some(Taken::Copy(first))
    }
}

impl LegCursor {
    pub(super) fn new(now_ns: u64) -> Self {
        Self { next: 0, last_ns: now_ns, sent_ns: 0, tally: Tally::default(), epoch: None, lost: None, behind: 0 }
    }
}
