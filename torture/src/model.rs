//! The model: which packets must arrive, and which must not. Moments are numbers of packets, not times, so that a slow
//! machine changes nothing. What lies between two intervals may arrive.
//!
//! An epoch is a time without an outage. Packets that must arrive in it may be missing only as far as the counters that
//! grew in it count lost packets.

use std::collections::BTreeMap;

use crate::consumer::Received;
use crate::plan::Subscribed;
use crate::stream::{STREAMS, parts};

/// Lost packets by their causes, as counted until a moment.
pub type Losses = BTreeMap<&'static str, u64>;

/// Counters of the ledger that count lost packets.
pub const LOST: [&str; 10] = [
    "dropped_ring_full",
    "dropped_ring_busy",
    "xsk_rx_dropped",
    "xsk_rx_ring_full",
    "xsk_refused_descs",
    "xsk_unbound",
    "ring_not_copied",
    "kernel_dropped",
    "not_kept",
    "interface_dropped",
];

/// What is expected of the packets in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expectation {
    /// Each arrives, or is counted as lost in this epoch.
    Arrives { epoch: usize },
    /// None arrives.
    StaysAway,
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    stream: usize,
    from: u64,
    to: u64,
    expectation: Expectation,
}

#[derive(Debug, Default)]
struct Epoch {
    before: Losses,
    after: Losses,
}

/// What is known to be expected.
pub struct Model {
    /// What the run has subscribed.
    pub subscribed: Subscribed,
    open: [Option<(u64, Expectation)>; STREAMS],
    intervals: Vec<Interval>,
    epochs: Vec<Epoch>,
    /// No outage now.
    is_whole: bool,
    /// A stream of which nothing is known: the second leg of a feed.
    ignored: Option<usize>,
}

/// What the judge found.
#[derive(Debug, Default)]
pub struct Judgement {
    /// What is wrong.
    pub faults: Vec<String>,
    /// Packets that had to arrive.
    pub demanded: u64,
    /// Those that are missing, for a counted cause.
    pub missing: u64,
    /// Those that are missing without a counted cause.
    pub uncounted: u64,
    /// Packets that must not arrive, and did.
    pub wrong: u64,
    /// Packets that had to stay away.
    pub forbidden: u64,
    /// Lost packets by cause, of all epochs.
    pub losses: Losses,
}

impl Model {
    /// Nothing is expected yet.
    pub fn new(subscribed: Subscribed, ignored: Option<usize>) -> Self {
        let open = [None; STREAMS];
        Self { subscribed, open, intervals: Vec::new(), epochs: Vec::new(), is_whole: false, ignored }
    }

    /// Returns true if packets of a stream are wanted.
    pub fn wants(&self, stream: usize) -> bool {
        let (group, source) = parts(stream);
        self.ignored != Some(stream) && self.subscribed.filters[group].wants(source)
    }

    /// The streams that are wanted.
    pub fn wanted(&self) -> impl Iterator<Item = usize> + '_ {
        (0..STREAMS).filter(|&stream| self.wants(stream))
    }

    /// Expects, from this packet on, what the subscriptions ask for.
    pub fn expect(&mut self, stream: usize, from: u64) {
        let expectation = match (self.wants(stream), self.is_whole) {
            (true, true) => Expectation::Arrives { epoch: self.epochs.len() - 1 },
            (true, false) => return,
            (false, _) if self.ignored == Some(stream) => return,
            (false, _) => Expectation::StaysAway,
        };
        self.open[stream] = Some((from, expectation));
    }

    /// Expects nothing of a stream from this packet on.
    pub fn relax(&mut self, stream: usize, to: u64) {
        if let Some((from, expectation)) = self.open[stream].take()
            && from < to
        {
            self.intervals.push(Interval { stream, from, to, expectation });
        }
    }

    /// Returns true if something is expected of a stream to arrive.
    pub fn is_expected(&self, stream: usize) -> bool {
        matches!(self.open[stream], Some((_, Expectation::Arrives { .. })))
    }

    /// Returns true between an outage and the next one.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Begins an epoch.
    pub fn begin_epoch(&mut self, before: Losses) {
        self.epochs.push(Epoch { before, after: Losses::new() });
        self.is_whole = true;
    }

    /// Ends the epoch. What was expected to arrive in it ends before.
    pub fn end_epoch(&mut self, after: Losses) {
        self.is_whole = false;
        if let Some(epoch) = self.epochs.last_mut() {
            epoch.after = after;
        }
    }

    /// Compares what came with what was expected.
    pub fn judge(&self, received: &Received) -> Judgement {
        let mut judgement = Judgement::default();
        let mut missing = vec![(0, None); self.epochs.len()];
        for &Interval { stream, from, to, expectation } in &self.intervals {
            let arrived = &received.streams[stream];
            match expectation {
                Expectation::Arrives { epoch } => {
                    judgement.demanded += to - from;
                    let mut absent = (from..to).filter(|&sequence| !arrived.has(sequence)).peekable();
                    let first = absent.peek().copied();
                    missing[epoch].0 += absent.count() as u64;
                    missing[epoch].1 = missing[epoch].1.or(first.map(|sequence| (stream, sequence, from, to)));
                }
                Expectation::StaysAway => {
                    judgement.forbidden += to - from;
                    let mut came = (from..to).filter(|&sequence| arrived.has(sequence)).peekable();
                    if let Some(first) = came.peek().copied() {
                        let count = came.count();
                        judgement.wrong += count as u64;
                        judgement.faults.push(format!(
                            "{count} packets of stream {stream} came unwanted, {first} first, of {from} to {to}"
                        ));
                    }
                }
            }
        }
        for (number, (epoch, (missing, first))) in self.epochs.iter().zip(missing).enumerate() {
            let mut counted = 0;
            let mut causes = Vec::new();
            for (cause, after) in &epoch.after {
                let count = after.saturating_sub(epoch.before.get(cause).copied().unwrap_or_default());
                *judgement.losses.entry(cause).or_default() += count;
                counted += count;
                causes.extend((count > 0).then(|| format!("{cause} {count}")));
            }
            judgement.missing += missing.min(counted);
            if missing > counted {
                judgement.uncounted += missing - counted;
                let first = first.map_or_else(String::new, |(stream, sequence, from, to)| {
                    format!("; first packet {sequence} of stream {stream}, expected from {from} to {to}")
                });
                judgement.faults.push(format!(
                    "{missing} packets are missing in epoch {number}, and {counted} are counted as lost: {}{first}",
                    if causes.is_empty() { "no cause".to_owned() } else { causes.join(", ") }
                ));
            }
        }
        judgement.losses.retain(|_, count| *count > 0);
        judgement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Streams 0 and 1 are wanted, stream 4 is not.
    fn model() -> Model {
        let mut model = Model::new(Subscribed::at_the_start(3), None);
        model.begin_epoch(Losses::from([("ring full", 5)]));
        for stream in [0, 4] {
            model.expect(stream, 10);
            model.relax(stream, 20);
        }
        model
    }

    fn received(stream: usize, numbers: impl Iterator<Item = u64>) -> Received {
        let mut received = Received::default();
        for sequence in numbers {
            received.streams[stream] = received.streams[stream].with(sequence);
        }
        received
    }

    #[test]
    fn a_missing_packet_needs_a_counted_cause() {
        let mut model = model();
        let came = received(0, (10..20).filter(|&sequence| sequence != 13));
        model.end_epoch(Losses::from([("ring full", 5)]));
        let judgement = model.judge(&came);
        assert_eq!((judgement.uncounted, judgement.missing, judgement.faults.len()), (1, 0, 1), "{judgement:?}");
        model.end_epoch(Losses::from([("ring full", 6)]));
        let judgement = model.judge(&came);
        assert_eq!((judgement.uncounted, judgement.missing, judgement.faults.len()), (0, 1, 0), "{judgement:?}");
    }

    #[test]
    fn what_nobody_wanted_must_stay_away() {
        let mut model = model();
        model.end_epoch(Losses::from([("ring full", 100)]));
        assert_eq!(model.judge(&received(4, 0..10)).wrong, 0, "before the interval");
        assert_eq!(model.judge(&received(4, 20..30)).wrong, 0, "after it");
        let judgement = model.judge(&received(4, 19..20));
        assert_eq!((judgement.wrong, judgement.faults.len()), (1, 1), "{judgement:?}");
    }

    #[test]
    fn an_outage_demands_nothing() {
        let mut model = model();
        model.end_epoch(Losses::new());
        model.expect(0, 20);
        assert!(!model.is_expected(0));
        model.expect(4, 20);
        model.relax(4, 30);
        assert_eq!(model.judge(&received(4, 25..26)).wrong, 1, "what is not wanted stays away in an outage too");
    }
}
