//! What a feed reports. The names in JSON do not change; those of a stream are those of `receiver analyze`. The views
//! of another process read the same types: a field that a run does not give has its default.

use std::borrow::Cow;
use std::collections::BTreeMap;

use receiver_feed::arbiter::{State, StreamStatistics};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Whether what was delivered is complete and current. A later one is worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", from = "String")]
pub enum FeedState {
    /// Nothing has come yet.
    #[default]
    Waiting,
    /// Complete so far, but for what was declared lost.
    Live,
    /// A missing range is waited for.
    Recovering,
    /// No leg has sent anything for a while.
    Stale,
}

impl FeedState {
    /// All, in their order.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Live, Self::Recovering, Self::Stale];

    /// Its name in JSON and for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Live => "live",
            Self::Recovering => "recovering",
            Self::Stale => "stale",
        }
    }
}

/// A state of a later version is read as `waiting`.
impl From<String> for FeedState {
    fn from(name: String) -> Self {
        Self::ALL.into_iter().find(|state| state.name() == name).unwrap_or_default()
    }
}

impl From<State> for FeedState {
    fn from(state: State) -> Self {
        match state {
            State::Live => Self::Live,
            State::Recovering => Self::Recovering,
            State::Stale => Self::Stale,
        }
    }
}

/// A feed at one moment. All counts are since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedReport {
    /// Its name: that of the configuration, or the protocol's.
    pub name: String,
    /// The protocol.
    pub feed: Cow<'static, str>,
    /// The worst state of its streams.
    pub state: FeedState,
    /// Delivered sequence numbers per second over the interval. Whoever takes the figures of an interval fills it.
    pub messages_per_second: f64,
    /// Seconds since the last gap was declared, if there was one.
    pub last_gap_seconds_ago: Option<f64>,
    /// The legs, in the order of the configuration.
    pub legs: Vec<LegReport>,
    /// The streams, in the order in which they appeared, up to a bound.
    pub streams: Vec<StreamReport>,
    /// Streams beyond the bound.
    pub more_streams: u64,
    /// Sums over all streams; `stream` is empty.
    pub total: StreamReport,
    /// TR 101 290 and the programs of the MPEG-TS that was delivered, as `receiver analyze` has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport_stream: Option<Value>,
    /// The Media Delivery Index (RFC 4445) of what was delivered, as `receiver analyze` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_index: Option<Value>,
    /// What was asked for again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerequest: Option<RerequestReport>,
    /// What was made again from parity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fec: Option<FecReport>,
    /// Where the missing sequence numbers of `total` were lost: a cause, and how many. Their sum is `total.missing`.
    pub missing_by: BTreeMap<Cow<'static, str>, u64>,
}

/// The requests of a feed for what is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RerequestReport {
    /// Requests that were made.
    pub requests: u64,
    /// Sequence numbers that they asked for, repetitions included.
    pub requested: u64,
    /// Sequence numbers that were given up.
    pub given_up: u64,
    /// Sequence numbers that were never asked for, because there were too many ranges.
    pub refused: u64,
    /// Requests that could not be sent.
    pub failed: u64,
    /// Datagrams of the server.
    pub answers: u64,
    /// Sequence numbers that they brought.
    pub filled: u64,
}

/// The parity of a feed (ST 2022-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FecReport {
    /// Parity packets of columns.
    pub columns: u64,
    /// Parity packets of rows.
    pub rows: u64,
    /// Media packets that were made again.
    pub recovered: u64,
    /// Parity packets that were given up: more than one of their packets was missing.
    pub unused: u64,
    /// Parity packets that were not understood.
    pub malformed: u64,
}

/// A leg of a feed, over all of its streams.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LegReport {
    /// The name of its subscription, or the subscription.
    pub name: String,
    /// The subscription as a user writes it.
    pub subscription: String,
    /// At least one stream has lost it, and it is not back.
    pub is_lost: bool,
    /// Datagrams.
    pub packets: u64,
    /// Datagrams that are not of the protocol.
    pub malformed: u64,
    /// Datagrams of streams beyond the bound of the arbiter.
    pub untracked: u64,
    /// Sequence numbers that it had first.
    pub first_arrivals: u64,
    /// Its part of all first arrivals, from 0 to 1.
    pub first_share: f64,
    /// Sequence numbers that had arrived before.
    pub duplicates: u64,
    /// Sequence numbers that it lost.
    pub missing: u64,
    /// Where it lost them: a cause, and how many. Their sum is `missing`.
    pub missing_by: BTreeMap<Cow<'static, str>, u64>,
    /// Sequence numbers that came after later ones.
    pub reordered: u64,
    /// How often a stream lost it.
    pub outages: u64,
    /// How much earlier than the next leg it was, median and 99th percentile, where it was first. `null` if it never
    /// was.
    pub lead_nanoseconds: Option<[u64; 2]>,
    /// How much later than the first leg it was, where it was not first.
    pub lag_nanoseconds: Option<[u64; 2]>,
    /// The highest rates over 100 µs, 1 ms and 10 ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_bits_per_second: Option<[u64; 3]>,
    /// Loss and jitter of RTP, as `receiver analyze` has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtp: Option<Value>,
    /// TR 101 290 and the programs of MPEG-TS, as `receiver analyze` has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport_stream: Option<Value>,
    /// The Media Delivery Index (RFC 4445), as `receiver analyze` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_index: Option<Value>,
}

/// A stream of a feed, over all of its legs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamReport {
    /// Session, unit, channel or SSRC; empty where the protocol has none.
    pub stream: String,
    /// Its state.
    pub state: FeedState,
    /// Datagrams of all legs.
    pub packets: u64,
    /// Sequence numbers that were delivered, in order or late.
    pub messages: u64,
    /// Heartbeats of all legs.
    pub heartbeats: u64,
    /// `null` where nothing was sequenced, as is `next_sequence`.
    pub first_sequence: Option<u64>,
    /// The sequence number that is expected next.
    pub next_sequence: Option<u64>,
    /// Gaps that were declared.
    pub gaps: u64,
    /// Sequence numbers that never came.
    pub missing: u64,
    /// The largest gap, in sequence numbers.
    pub longest_gap: u64,
    /// Sequence numbers that came after their gap was declared.
    pub recovered: u64,
    /// Datagrams with nothing new.
    pub duplicates: u64,
    /// Datagrams that came after a later one of their leg.
    pub reordered: u64,
    /// How often the sequence started anew.
    pub resets: u64,
    /// Datagrams that are held now.
    pub held: u64,
}

impl StreamReport {
    /// What an arbiter has counted for a stream.
    pub fn new(stream: String, state: State, found: &StreamStatistics) -> Self {
        let is_numbered = found.delivered + found.missing + found.heartbeats + found.resets > 0;
        Self {
            stream,
            state: state.into(),
            packets: found.datagrams,
            messages: found.delivered,
            heartbeats: found.heartbeats,
            first_sequence: is_numbered.then_some(found.first_sequence),
            next_sequence: is_numbered.then_some(found.next_sequence),
            gaps: found.gaps,
            missing: found.missing - found.recovered,
            longest_gap: found.longest_gap,
            recovered: found.recovered,
            duplicates: found.duplicates,
            reordered: found.reordered,
            resets: found.resets,
            held: found.held,
        }
    }
}
