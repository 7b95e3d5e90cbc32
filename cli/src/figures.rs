//! The figures that views show: counts at one moment, and rates since an earlier one.

use std::collections::HashMap;
use std::time::Instant;

use receiver::{Evidence, Handle, Ledger, ReceiveMode, Refused, SubscriptionId, SubscriptionReport, Verdict};
use receiver_send::probe::{ProbeReport, now_ns};

use crate::causes::explain;
use crate::feeds::FeedReport;
use crate::sink::SinkReport;

/// The facts of a run, which are known from its start.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The interface's name.
    pub interface: String,
    /// The receive mode.
    pub mode: ReceiveMode,
    /// The kernel gets each packet too.
    pub share: bool,
    /// The faster modes, each with the reason why it was refused.
    pub refused: Vec<Refused>,
    /// Receive queues with an AF_XDP socket or a mapped ring.
    pub queues: Vec<u32>,
    /// The subscriptions as they were joined.
    pub subscriptions: Vec<String>,
}

/// Counts at one moment.
pub struct Snapshot {
    base: Base,
    streams: Vec<SubscriptionReport>,
    feeds: Vec<FeedReport>,
    now_ns: u64,
    warnings: Vec<String>,
}

/// What the rates since a snapshot are taken from.
pub struct Base {
    at: Instant,
    streams: Vec<(SubscriptionId, Counts)>,
    /// Delivered sequence numbers by the name of the feed.
    feeds: HashMap<String, u64>,
    total: Counts,
    ledger: Ledger,
}

impl Snapshot {
    /// Reads the counters of the receiver. The feeds are those of the same moment.
    pub fn take(handle: &Handle, feeds: Vec<FeedReport>) -> Result<Self, receiver::Error> {
        // The ledger first: if it does not move until the next snapshot, neither do the streams.
        let ledger = handle.ledger()?;
        let at = Instant::now();
        let streams = handle.subscriptions()?;
        let total = totals(handle, &ledger);
        let counted = streams.iter().map(|stream| (stream.id, counts(stream))).collect();
        let delivered = feeds.iter().map(|feed| (feed.name.clone(), feed.total.messages)).collect();
        let base = Base { at, streams: counted, feeds: delivered, total, ledger };
        Ok(Self { base, streams, feeds, now_ns: now_ns(), warnings: handle.warnings() })
    }

    /// The ids of the subscriptions, in the order of joining.
    pub fn ids(&self) -> impl Iterator<Item = SubscriptionId> {
        self.streams.iter().map(|stream| stream.id)
    }

    /// What rates since this snapshot are taken from. The rest is dropped.
    pub fn into_base(self) -> Base {
        self.base
    }
}

/// The figures of an interval, or of the whole run.
pub struct Figures {
    /// Seconds since everything was joined.
    pub elapsed: f64,
    /// Seconds over which the rates are taken.
    pub span: f64,
    /// Each subscription, in the order of joining.
    pub streams: Vec<Stream>,
    /// The sum over all subscriptions, those that were left included.
    pub total: Flow,
    /// Every frame under its cause.
    pub ledger: Ledger,
    /// Frames in flight: in the rings, held, or between two counters.
    pub in_flight: u64,
    /// Frames without a cause. `None` while traffic flows: they then cannot be distinguished from those in flight.
    pub unaccounted: Option<u64>,
    /// The feeds, in the order of the configuration.
    pub feeds: Vec<FeedReport>,
    /// The results of the checker of test streams.
    pub probe: Option<ProbeReport>,
    /// Warnings of the receiver.
    pub warnings: Vec<String>,
    /// What was dropped because a reader did not read.
    pub dropped: Dropped,
    /// Why subscriptions received nothing. Empty until the summary.
    pub evidence: Evidence,
}

/// What was dropped because a reader did not read.
#[derive(Clone, Debug, Default)]
pub struct Dropped {
    /// Datagrams, by sink.
    pub sinks: Vec<SinkReport>,
    /// Lines, objects or table updates that were not shown.
    pub display: u64,
    /// Lines of the log that were not written.
    pub log: u64,
}

impl Dropped {
    /// Datagrams that any sink did not write.
    pub fn output(&self) -> u64 {
        self.sinks.iter().map(|sink| sink.dropped).sum()
    }
}

/// One subscription.
pub struct Stream {
    /// The number of its id.
    pub id: u32,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The subscription as a user writes it.
    pub subscription: String,
    /// Its counts.
    pub flow: Flow,
    /// Frames of unwanted sources that passed to the kernel; `None` if unknown.
    pub passed_shared: Option<u64>,
    /// Other members of the group; `None` if unknown.
    pub other_members: Option<u64>,
    /// Seconds since the last packet, if there was one.
    pub last_seconds_ago: Option<f64>,
}

/// Counts since the start, and rates over the span.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flow {
    /// Delivered datagrams.
    pub packets: u64,
    /// Bytes of UDP payload in them.
    pub bytes: u64,
    /// Frames dropped because of their source; `None` if unknown.
    pub blocked: Option<u64>,
    /// Datagrams per second.
    pub packet_rate: f64,
    /// Payload bits per second.
    pub bit_rate: f64,
    /// Blocked frames per second; `None` if unknown.
    pub block_rate: Option<f64>,
}

impl Flow {
    fn new(now: Counts, before: Counts, span: f64) -> Self {
        let rate = |now, before| per_second(now, before, span);
        Self {
            packets: now.packets,
            bytes: now.bytes,
            blocked: now.blocked,
            packet_rate: rate(now.packets, before.packets),
            bit_rate: 8.0 * rate(now.bytes, before.bytes),
            block_rate: now.blocked.map(|blocked| rate(blocked, before.blocked.unwrap_or(0))),
        }
    }
}

/// The rate of a counter over a number of seconds; 0 without any.
pub fn per_second(now: u64, before: u64, span: f64) -> f64 {
    if span > 0.0 { now.saturating_sub(before) as f64 / span } else { 0.0 }
}

impl Figures {
    /// The figures from one snapshot to another, or since `start`, when everything was joined.
    pub fn between(start: Instant, before: Option<&Base>, now: &Snapshot, probe: Option<ProbeReport>) -> Self {
        let elapsed = now.base.at.saturating_duration_since(start).as_secs_f64();
        let span = before.map_or(elapsed, |before| now.base.at.saturating_duration_since(before.at).as_secs_f64());
        let earlier: HashMap<SubscriptionId, Counts> =
            before.iter().flat_map(|before| before.streams.iter().copied()).collect();
        let streams = now.streams.iter().map(|stream| {
            let before = earlier.get(&stream.id).copied().unwrap_or_default();
            let last_seconds_ago = stream.last.map(|last| now.now_ns.saturating_sub(last) as f64 / 1e9);
            let flow = Flow::new(counts(stream), before, span);
            Stream {
                id: stream.id.number(),
                name: None,
                subscription: stream.subscription.to_string(),
                flow,
                passed_shared: stream.passed_shared,
                other_members: stream.other_members,
                last_seconds_ago,
            }
        });
        let total = Flow::new(now.base.total, before.map(|before| before.total).unwrap_or_default(), span);
        let (ledger, warnings) = (now.base.ledger.clone(), now.warnings.clone());
        let (in_flight, unaccounted) = in_flight(before.map(|before| &before.ledger), &ledger);
        let feeds = now.feeds.iter().map(|feed| {
            let earlier = before.and_then(|before| before.feeds.get(&feed.name)).copied().unwrap_or_default();
            FeedReport { messages_per_second: per_second(feed.total.messages, earlier, span), ..feed.clone() }
        });
        let (streams, feeds) = (streams.collect(), feeds.collect());
        let (dropped, evidence) = (Dropped::default(), Evidence::default());
        Self {
            elapsed,
            span,
            streams,
            total,
            ledger,
            in_flight,
            unaccounted,
            feeds,
            probe,
            warnings,
            dropped,
            evidence,
        }
    }
}

/// Frames in flight, and frames without a cause, which are known at rest and at the end only.
pub fn in_flight(before: Option<&Ledger>, now: &Ledger) -> (u64, Option<u64>) {
    match before {
        Some(before) if !now.is_at_rest_since(before) => (now.in_flight() + now.unaccounted(), None),
        _ => (now.in_flight(), Some(now.unaccounted())),
    }
}

/// Counts since the start.
#[derive(Clone, Copy, Default)]
struct Counts {
    packets: u64,
    bytes: u64,
    blocked: Option<u64>,
}

fn counts(stream: &SubscriptionReport) -> Counts {
    Counts { packets: stream.packets, bytes: stream.bytes, blocked: stream.blocked }
}

/// Subscriptions that share a group and port share their count of blocked frames. The ledger has it once.
fn totals(handle: &Handle, ledger: &Ledger) -> Counts {
    let total = handle.totals();
    let known = handle.mode() != ReceiveMode::Socket;
    Counts { packets: total.packets, bytes: total.bytes, blocked: known.then(|| blocked(ledger)) }
}

fn blocked(ledger: &Ledger) -> u64 {
    ledger.verdict(Verdict::DroppedNotIncluded) + ledger.verdict(Verdict::DroppedBlocked)
}

/// Drops by cause, without those that are 0.
pub fn drops(ledger: &Ledger) -> Vec<(&'static str, u64)> {
    ledger.causes().filter(|(name, count)| *count > 0 && explain(name).is_some()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_span() {
        let counts = |packets, bytes, blocked| Counts { packets, bytes, blocked };
        let flow = Flow::new(counts(30, 3000, Some(5)), counts(10, 1000, Some(5)), 2.0);
        assert_eq!((flow.packets, flow.bytes, flow.blocked), (30, 3000, Some(5)));
        assert_eq!((flow.packet_rate, flow.bit_rate, flow.block_rate), (10.0, 8000.0, Some(0.0)));
        let flow = Flow::new(counts(1, 1, None), Counts::default(), 0.0);
        assert_eq!((flow.packet_rate, flow.block_rate), (0.0, None), "no span, no rate; what is not known has none");
    }
}
