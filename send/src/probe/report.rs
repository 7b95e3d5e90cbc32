//! The checker's findings as plain data. Field names are part of the JSON output: they stay.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

/// All flows, and their sums. Every datagram that was observed is in exactly one of `received`, `untracked` and
/// `foreign`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProbeReport {
    /// Probes of tracked flows, duplicates and late ones included.
    pub received: u64,
    /// Sum over the flows: see [`FlowReport::lost`].
    pub lost: u64,
    /// Sum over the flows: see [`FlowReport::duplicated`].
    pub duplicated: u64,
    /// Sum over the flows: see [`FlowReport::reordered`].
    pub reordered: u64,
    /// Sum over the flows: see [`FlowReport::late`].
    pub late: u64,
    /// How often a sender started again, with a new stream id or with the old one.
    pub restarts: u64,
    /// Probes of flows beyond the limit on the number of flows, which are not checked.
    pub untracked: u64,
    /// Datagrams that are not probes.
    pub foreign: u64,
    /// From the send time to the receive time, over all flows; the first copy of each datagram counts.
    pub latency: LatencyReport,
    /// Each flow, in the order in which their first datagrams came.
    pub flows: Vec<FlowReport>,
}

impl ProbeReport {
    /// Returns true if at least one probe came, and none was lost, duplicated, reordered, late or left unchecked.
    pub fn is_clean(&self) -> bool {
        self.received > 0 && self.lost + self.duplicated + self.reordered + self.late + self.untracked == 0
    }
}

impl fmt::Display for ProbeReport {
    /// One line: counts, then latency.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, lost, duplicated, reordered, late, restarts, untracked, foreign, latency, flows } = self;
        write!(
            f,
            "{received} probes in {} flows: {lost} lost, {duplicated} duplicated, {reordered} reordered",
            flows.len()
        )?;
        for (count, name) in [(late, "late"), (restarts, "restarts"), (untracked, "untracked"), (foreign, "foreign")] {
            if *count > 0 {
                write!(f, ", {count} {name}")?;
            }
        }
        write!(f, "; latency {latency}")
    }
}

/// One flow: what one sender sent to one group and port with one stream id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowReport {
    /// The sender's address and UDP port.
    pub source: SocketAddr,
    /// The group.
    pub group: IpAddr,
    /// The group's UDP port.
    pub port: u16,
    /// The stream id in the payload.
    pub stream: u32,
    /// Datagrams, duplicates and late ones included.
    pub received: u64,
    /// Sequence numbers between the first and the last that have not come. Losses before the first and after the last
    /// cannot be known here: compare `first_sequence` and `last_sequence` with the sender's report.
    pub lost: u64,
    /// Datagrams whose sequence number came before (RFC 5560), within the window.
    pub duplicated: u64,
    /// First copies whose sequence number is below the highest that came before them (RFC 4737, section 3.3).
    pub reordered: u64,
    /// Datagrams more than [`WINDOW`](super::WINDOW) behind the highest: duplicates or reordered, which cannot be
    /// distinguished any more. They do not lower `lost`.
    pub late: u64,
    /// The lowest sequence number since the last restart.
    pub first_sequence: u64,
    /// The highest sequence number since the last restart.
    pub last_sequence: u64,
    /// How often the sender started again with the same stream id. Loss and the rest are summed over the runs.
    pub restarts: u64,
    /// The stream id that the same sender used before on this group and port, if there was one.
    pub succeeds: Option<u32>,
}

/// Latency in nanoseconds. The percentiles are exact to three digits; values above
/// [`LATENCY_MAX_NS`](super::LATENCY_MAX_NS) count as that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LatencyReport {
    /// Datagrams measured.
    pub count: u64,
    /// Datagrams that were received before they were sent, which is clock skew: in no percentile.
    pub negative: u64,
    /// Smallest.
    pub min_ns: u64,
    /// Mean.
    pub mean_ns: f64,
    /// Half of all are at or below.
    pub p50_ns: u64,
    /// 90 % are at or below.
    pub p90_ns: u64,
    /// 99 % are at or below.
    pub p99_ns: u64,
    /// 99.9 % are at or below.
    pub p99_9_ns: u64,
    /// Largest.
    pub max_ns: u64,
}

impl fmt::Display for LatencyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            write!(f, "not measured")?;
        } else {
            let us = |ns: u64| ns as f64 / 1000.0;
            let (p50, p90, p99, p99_9) = (us(self.p50_ns), us(self.p90_ns), us(self.p99_ns), us(self.p99_9_ns));
            write!(f, "p50 {p50:.1} p90 {p90:.1} p99 {p99:.1} p99.9 {p99_9:.1} max {:.1} us", us(self.max_ns))?;
        }
        if self.negative > 0 {
            write!(f, " ({} received before they were sent: the clocks differ)", self.negative)?;
        }
        Ok(())
    }
}
