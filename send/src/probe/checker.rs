//! Finds loss, duplicates, reordering, restarts and latency per flow, from each datagram.

use std::net::{IpAddr, SocketAddr};

use hdrhistogram::Histogram;
use rustc_hash::FxHashMap;

use super::payload::ProbePayload;
use super::report::{FlowReport, LatencyReport, ProbeReport};
use super::window::{Place, SequenceWindow};

/// The number of flows that [`ProbeChecker::new`] tracks: 4,096, which take about 10 MiB if all are used.
pub const DEFAULT_MAX_FLOWS: usize = 4096;

/// Latencies above this, one minute, count as this.
pub const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// What one datagram is to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Observation {
    /// The first of a flow that was not known.
    NewFlow,
    /// Its sequence number is above all before it.
    InOrder,
    /// A first copy, below the highest.
    Reordered,
    /// The sequence number came before.
    Duplicate,
    /// More than [`WINDOW`](super::WINDOW) behind the highest.
    Late,
    /// The sequence number is not above the highest although it was sent later: the sender started again.
    Restart,
    /// Its flow is beyond the limit on the number of flows.
    Untracked,
    /// Not a probe.
    Foreign,
}

/// Checks test streams.
///
/// A flow is (source address and port, group, port, stream id). Memory is bounded: about 2.3 KiB for each flow up to
/// the limit, and 0.25 MiB for the histogram. One checker is for one thread; a flow must not be spread over checkers.
///
/// The send time distinguishes a restart within a stream id from reordering: a datagram whose sequence number is not
/// above the highest, but which was sent later than that one, belongs to a new run.
#[derive(Debug)]
pub struct ProbeChecker {
    max_flows: usize,
    index: FxHashMap<FlowKey, usize>,
    /// The newest stream of each sender, to find out that a new one succeeds it.
    newest: FxHashMap<FlowKey, usize>,
    flows: Vec<Flow>,
    /// The flow of the previous datagram: bursts of one flow need no look-up.
    last: usize,
    latency: Histogram<u64>,
    negative: u64,
    stream_changes: u64,
    untracked: u64,
    foreign: u64,
}

impl Default for ProbeChecker {
    fn default() -> Self {
        Self::new()
    }
}

impl ProbeChecker {
    /// Tracks up to [`DEFAULT_MAX_FLOWS`] flows.
    pub fn new() -> Self {
        Self::with_max_flows(DEFAULT_MAX_FLOWS)
    }

    /// Tracks up to `max_flows` flows; the datagrams of others are counted as untracked.
    pub fn with_max_flows(max_flows: usize) -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("the bounds are constants that fit");
        Self {
            max_flows,
            index: FxHashMap::default(),
            newest: FxHashMap::default(),
            flows: Vec::new(),
            last: 0,
            latency,
            negative: 0,
            stream_changes: 0,
            untracked: 0,
            foreign: 0,
        }
    }

    /// Takes one datagram: who sent it, to which group and port, its UDP payload, and when it was received, in
    /// nanoseconds of `CLOCK_TAI`.
    #[inline]
    pub fn observe(
        &mut self,
        source: SocketAddr,
        group: IpAddr,
        port: u16,
        payload: &[u8],
        received_ns: u64,
    ) -> Observation {
        let Some(probe) = ProbePayload::parse(payload) else {
            self.foreign += 1;
            return Observation::Foreign;
        };
        let key = FlowKey::new(source, group, port, probe.stream);
        let at = match self.flows.get(self.last) {
            Some(flow) if flow.key == key => self.last,
            _ => match self.index.get(&key) {
                Some(&at) => at,
                None => return self.begin(key, source, group, port, probe, received_ns),
            },
        };
        self.last = at;
        let observation = self.flows[at].take(probe);
        if observation != Observation::Duplicate {
            self.time(probe.sent_ns, received_ns);
        }
        observation
    }

    /// The findings so far. Datagrams that are still on their way count as lost until they arrive.
    pub fn report(&self) -> ProbeReport {
        let flows: Vec<FlowReport> = self.flows.iter().map(Flow::report).collect();
        let sum = |of: fn(&FlowReport) -> u64| flows.iter().map(of).fold(0, u64::saturating_add);
        ProbeReport {
            received: sum(|flow| flow.received),
            lost: sum(|flow| flow.lost),
            duplicated: sum(|flow| flow.duplicated),
            reordered: sum(|flow| flow.reordered),
            late: sum(|flow| flow.late),
            restarts: sum(|flow| flow.restarts).saturating_add(self.stream_changes),
            untracked: self.untracked,
            foreign: self.foreign,
            latency: self.latency_report(),
            flows,
        }
    }

    #[cold]
    fn begin(
        &mut self,
        key: FlowKey,
        source: SocketAddr,
        group: IpAddr,
        port: u16,
        probe: ProbePayload,
        received_ns: u64,
    ) -> Observation {
        if self.flows.len() >= self.max_flows {
            self.untracked += 1;
            return Observation::Untracked;
        }
        let at = self.flows.len();
        self.index.insert(key, at);
        let before = self.newest.insert(FlowKey::new(source, group, port, 0), at);
        let succeeds = before.map(|before| self.flows[before].stream);
        self.stream_changes += u64::from(succeeds.is_some());
        self.flows.push(Flow {
            key,
            newest_sent_ns: probe.sent_ns,
            window: SequenceWindow::new(probe.sequence),
            received: 1,
            duplicated: 0,
            reordered: 0,
            late: 0,
            restarts: 0,
            lost_before: 0,
            source,
            group,
            port,
            stream: probe.stream,
            succeeds,
        });
        self.last = at;
        self.time(probe.sent_ns, received_ns);
        Observation::NewFlow
    }

    #[inline]
    fn time(&mut self, sent_ns: u64, received_ns: u64) {
        match received_ns.checked_sub(sent_ns) {
            Some(latency) => self.latency.saturating_record(latency.min(LATENCY_MAX_NS)),
            None => self.negative += 1,
        }
    }

    fn latency_report(&self) -> LatencyReport {
        let latency = &self.latency;
        LatencyReport {
            count: latency.len(),
            negative: self.negative,
            min_ns: latency.min(),
            mean_ns: latency.mean(),
            p50_ns: latency.value_at_quantile(0.5),
            p90_ns: latency.value_at_quantile(0.9),
            p99_ns: latency.value_at_quantile(0.99),
            p99_9_ns: latency.value_at_quantile(0.999),
            max_ns: latency.max(),
        }
    }
}

/// The flow, packed so that it is hashed in five words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FlowKey {
    source: u128,
    group: u128,
    /// Source port, port, stream id.
    rest: u64,
}

impl FlowKey {
    #[inline]
    fn new(source: SocketAddr, group: IpAddr, port: u16, stream: u32) -> Self {
        let rest = u64::from(source.port()) << 48 | u64::from(port) << 32 | u64::from(stream);
        Self { source: bits(source.ip()), group: bits(group), rest }
    }
}

/// IPv4 addresses as mapped IPv6 ones (RFC 4291, section 2.5.5.2), which never appear on the wire themselves.
#[inline]
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => 0xffff << 32 | u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[derive(Debug)]
struct Flow {
    key: FlowKey,
    /// Send time of the highest sequence number.
    newest_sent_ns: u64,
    window: SequenceWindow,
    received: u64,
    duplicated: u64,
    reordered: u64,
    late: u64,
    restarts: u64,
    /// Lost in the runs before the last restart.
    lost_before: u64,
    source: SocketAddr,
    group: IpAddr,
    port: u16,
    stream: u32,
    succeeds: Option<u32>,
}

impl Flow {
    #[inline]
    fn take(&mut self, probe: ProbePayload) -> Observation {
        self.received += 1;
        if probe.sequence <= self.window.highest() && probe.sent_ns > self.newest_sent_ns {
            self.lost_before = self.lost_before.saturating_add(self.window.missing());
            self.window.restart(probe.sequence);
            self.newest_sent_ns = probe.sent_ns;
            self.restarts += 1;
            return Observation::Restart;
        }
        match self.window.insert(probe.sequence) {
            Place::Ahead => {
                self.newest_sent_ns = probe.sent_ns;
                Observation::InOrder
            }
            Place::Behind => {
                self.reordered += 1;
                Observation::Reordered
            }
            Place::Duplicate => {
                self.duplicated += 1;
                Observation::Duplicate
            }
            Place::BeyondWindow => {
                self.late += 1;
                Observation::Late
            }
        }
    }

    fn report(&self) -> FlowReport {
        FlowReport {
            source: self.source,
            group: self.group,
            port: self.port,
            stream: self.stream,
            received: self.received,
            lost: self.lost_before.saturating_add(self.window.missing()),
            duplicated: self.duplicated,
            reordered: self.reordered,
            late: self.late,
            first_sequence: self.window.lowest(),
            last_sequence: self.window.highest(),
            restarts: self.restarts,
            succeeds: self.succeeds,
        }
    }
}

#[cfg(test)]
mod tests;
