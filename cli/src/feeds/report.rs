//! What a feed reports. The names in JSON do not change; those of a stream are those of `receiver analyze`.

use std::collections::BTreeMap;

use serde::Serialize;

/// A feed at one moment. All counts are since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FeedReport {
    /// Its name: that of the configuration, or the protocol's.
    pub name: String,
    /// The protocol.
    pub feed: &'static str,
    /// The worst state of its streams: `waiting` (nothing has come), `live`, `recovering` or `stale`.
    pub state: &'static str,
    /// The legs, in the order of the configuration.
    pub legs: Vec<LegReport>,
    /// The streams, in the order in which they appeared, up to a bound.
    pub streams: Vec<StreamReport>,
    /// Streams beyond the bound.
    pub more_streams: u64,
    /// Sums over all streams; `stream` is empty.
    pub total: StreamReport,
    /// Where the missing sequence numbers of `total` were lost: a cause, and how many. Their sum is `total.missing`.
    pub missing_by: BTreeMap<&'static str, u64>,
}

/// A leg of a feed, over all of its streams.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
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
    /// Sequence numbers that came after later ones.
    pub reordered: u64,
    /// How often a stream lost it.
    pub outages: u64,
    /// How much earlier than the next leg it was, median and 99th percentile, where it was first. `null` if it never
    /// was.
    pub lead_nanoseconds: Option<[u64; 2]>,
    /// How much later than the first leg it was, where it was not first.
    pub lag_nanoseconds: Option<[u64; 2]>,
}

/// A stream of a feed, over all of its legs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StreamReport {
    /// Session, unit, channel or SSRC; empty where the protocol has none.
    pub stream: String,
    /// `live`, `recovering` or `stale`.
    pub state: &'static str,
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
