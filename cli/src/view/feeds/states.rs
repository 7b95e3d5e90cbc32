//! The states of feeds, legs and streams in words, and which streams are in trouble.

use std::cmp::Reverse;

use crate::feeds::{FeedReport, FeedState, LegReport, StreamReport};

/// The most streams that a summary names one by one. JSON names more.
pub const MOST_STREAMS: usize = 5;

/// The streams by their places: those in trouble first, the worst at the top, then the others as they appeared.
pub fn worst_first(streams: &[StreamReport]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..streams.len()).collect();
    let rank = |at: usize| (streams[at].missing, streams[at].state);
    order.sort_by_key(|&at| Reverse(rank(at)));
    order
}

/// Returns true if messages of the stream are missing, or it goes on and is not live.
pub fn is_troubled(feed: &FeedReport, stream: &StreamReport) -> bool {
    stream.missing > 0 || (stream.state > FeedState::Live && !has_ended(feed, stream))
}

/// Returns true if the session of a stream has ended: the state of the feed is the worst of those that go on.
pub fn has_ended(feed: &FeedReport, stream: &StreamReport) -> bool {
    stream.state > feed.state
}

/// The word for the state of a stream.
pub fn stream_state(feed: &FeedReport, stream: &StreamReport) -> &'static str {
    if has_ended(feed, stream) { "ended" } else { state_word(stream.state) }
}

/// The word for a state. What needs a hand is in capitals.
pub const fn state_word(state: FeedState) -> &'static str {
    match state {
        FeedState::Stale => "STALE",
        state => state.name(),
    }
}

/// The word for the state of a leg.
pub const fn leg_word(leg: &LegReport) -> &'static str {
    match leg {
        LegReport { is_lost: true, .. } => "LOST",
        LegReport { packets: 0, .. } => "never",
        _ => "receives",
    }
}

/// A protocol without streams has one without a name.
pub fn stream_name(stream: &StreamReport) -> &str {
    if stream.stream.is_empty() { "-" } else { &stream.stream }
}
