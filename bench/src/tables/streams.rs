//! The cost of a datagram in the arbiter alone, by the number of streams: from memory, without a receiver.
//!
//! The datagrams of a batch are made before the time is taken. The streams take turns, in the order in which they
//! appeared or in a shuffled one, which no prefetcher follows. A round takes the least of some tries of each case. Time
//! is that of the CPU in this thread, so that what else runs on it does not count.

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use receiver_feed::Bytes;
use receiver_feed::arbiter::{Arbiter, Config, Event, Hold, LegId};
use receiver_feed::protocol::MoldUdp64;
use serde::Serialize;

use crate::allocations;
use crate::child::feed::is_lost;
use crate::child::pin;
use crate::conditions::cpu_time;
use crate::lab::{Bench, CONSUMER_CPU};
use crate::report::Table;
use crate::statistics::{self, Interval, Ratio, interval};

const STREAMS: [u32; 4] = [10, 100, 1_000, 10_000];
/// Datagrams that are made at once.
const BATCH: usize = 2048;
/// Datagrams of one try, after each stream was seen once.
const MEASURED: usize = 30 * BATCH;
/// Tries of a case in a round.
const TRIES: usize = 5;
/// The time between two datagrams.
const PAUSE_NS: u64 = 200;
/// How far the second leg is behind the first, in messages.
const BEHIND: u64 = 8;
/// A MoldUDP64 datagram of one message of 22 bytes.
const LENGTH: usize = 44;

/// What arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// One leg; the streams in the order in which they appeared.
    InTurn,
    /// One leg; the streams in another order.
    Shuffled,
    /// Two legs without loss; the streams in turn.
    TwoLegs,
    /// Two legs, of which each loses one datagram in a thousand.
    TwoLegsWithLoss,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    pub pattern: Pattern,
    pub streams: u32,
    /// The least nanoseconds per datagram in each round.
    pub rounds: Vec<f64>,
    /// Allocations per datagram, after the first try.
    pub allocations: f64,
}

/// A held datagram shares the prepared bytes.
struct Prepared<'a>(&'a Bytes);

impl AsRef<[u8]> for Prepared<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

impl Hold for Prepared<'_> {
    type Held = Bytes;

    fn hold(self) -> Bytes {
        self.0.clone()
    }
}

struct Case {
    pattern: Pattern,
    arbiter: Arbiter<MoldUdp64, Bytes>,
    order: Vec<u32>,
    step: u64,
    bytes: Vec<u8>,
    legs: Vec<LegId>,
    delivered: u64,
    cost: Cost,
    counted: u64,
    allocations: u64,
}

impl Case {
    fn new(pattern: Pattern, streams: u32) -> Self {
        let mut order: Vec<u32> = (0..streams).collect();
        if pattern == Pattern::Shuffled {
            // Fisher and Yates, by a multiplicative generator: the same order in each run.
            let mut random = 0x9e37_79b9_7f4a_7c15_u64;
            for at in (1..order.len()).rev() {
                random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                order.swap(at, (random >> 33) as usize % (at + 1));
            }
        }
        let legs = if matches!(pattern, Pattern::InTurn | Pattern::Shuffled) { 1 } else { 2 };
        Self {
            pattern,
            arbiter: Arbiter::new(MoldUdp64, Config::new(legs)),
            order: (0..streams).collect(),
            step: 0,
            bytes: Vec::with_capacity(BATCH * LENGTH),
            legs: Vec::with_capacity(BATCH),
            delivered: 0,
            cost: Cost { pattern, streams, rounds: Vec::new(), allocations: 0.0 },
            counted: 0,
            allocations: 0,
        }
        .first(order)
    }

    /// Lets each stream appear in its own order; then they come in `order`.
    fn first(mut self, order: Vec<u32>) -> Self {
        self.push(order.len());
        self.order = order;
        self
    }

    /// Leg, stream and sequence number of a step; `None` if the datagram is lost.
    fn at(&self, step: u64) -> Option<(u8, u32, u64)> {
        let streams = self.order.len() as u64;
        let stream = |turn: u64| self.order[(turn % streams) as usize];
        match self.pattern {
            Pattern::InTurn | Pattern::Shuffled => Some((0, stream(step), 1 + step / streams)),
            Pattern::TwoLegs => Some(((step % 2) as u8, stream(step / 2), 1 + step / 2 / streams)),
            Pattern::TwoLegsWithLoss => {
                let leg = step % 2;
                let sequence = (1 + step / 2 / streams).checked_sub(leg * BEHIND).filter(|sequence| *sequence > 0)?;
                (!is_lost(sequence, leg)).then(|| (leg as u8, stream(step / 2), sequence))
            }
        }
    }

    /// Makes the datagrams of `count` steps, and hands them to the arbiter. Returns how many, the time that the arbiter
    /// took, and its allocations.
    fn push(&mut self, mut count: usize) -> (u64, Duration, u64) {
        let (mut pushed, mut time, mut allocated) = (0, Duration::ZERO, 0);
        while count > 0 {
            let steps = count.min(BATCH);
            count -= steps;
            self.bytes.clear();
            self.legs.clear();
            let begin = self.step;
            self.step += steps as u64;
            for step in begin..self.step {
                let Some((leg, stream, sequence)) = self.at(step) else { continue };
                self.legs.push(LegId::new(leg));
                self.bytes.extend(stream.to_be_bytes());
                self.bytes.extend(b"FEED01");
                self.bytes.extend(sequence.to_be_bytes());
                self.bytes.extend([0, 1, 0, 22]);
                self.bytes.extend([0; 22]);
            }
            let whole = Bytes::copy_from_slice(&self.bytes);
            // The first clone of `Bytes` makes its count, so this one is made before.
            let _counted = whole.clone();
            let datagrams: Vec<Bytes> =
                (0..self.legs.len()).map(|at| whole.slice(at * LENGTH..(at + 1) * LENGTH)).collect();
            let (delivered, mut now) = (&mut self.delivered, begin * PAUSE_NS);
            let before = allocations::count();
            let start = cpu_time();
            for (leg, datagram) in self.legs.iter().zip(&datagrams) {
                now += PAUSE_NS;
                let parsed = self.arbiter.push(*leg, now, Prepared(datagram), |delivery| {
                    if let Event::Data(data) | Event::Recovered(data) = &delivery.event {
                        *delivered += u64::from(black_box(data.count));
                    }
                });
                debug_assert!(parsed.is_ok());
            }
            time += cpu_time() - start;
            allocated += allocations::count() - before;
            pushed += datagrams.len() as u64;
        }
        (pushed, time, allocated)
    }

    /// One try: the nanoseconds of a datagram.
    fn one(&mut self) -> f64 {
        // The lines of the case before are in the cache.
        self.push(self.order.len().max(BATCH));
        let (pushed, time, allocated) = self.push(MEASURED);
        self.counted += pushed;
        self.allocations += allocated;
        time.as_nanos() as f64 / pushed as f64
    }

    /// Ends the measurement: every message was delivered, or its loss on both legs was found.
    fn end(mut self) -> Result<Cost> {
        let streams = self.arbiter.streams();
        let totals = streams.map(|stream| stream.statistics()).fold((0, 0), |(sum, lost), statistics| {
            (sum + statistics.next_sequence - 1, lost + statistics.missing - statistics.recovered)
        });
        let open = if self.pattern == Pattern::TwoLegsWithLoss { 64 * self.cost.streams } else { 0 };
        ensure!(
            totals.0.abs_diff(self.delivered + totals.1) <= open.into(),
            "the arbiter delivered {} of {} messages, and found {} missing",
            self.delivered,
            totals.0,
            totals.1
        );
        self.cost.allocations = self.allocations as f64 / self.counted.max(1) as f64;
        Ok(self.cost)
    }
}

fn cases() -> Vec<Case> {
    let by_number = |pattern| STREAMS.into_iter().map(move |streams| Case::new(pattern, streams));
    let mut cases: Vec<Case> =
        [Pattern::InTurn, Pattern::Shuffled, Pattern::TwoLegs].into_iter().flat_map(by_number).collect();
    cases.push(Case::new(Pattern::TwoLegsWithLoss, 1));
    cases
}

/// Measures on the consumer's CPU.
pub fn measure(bench: &Bench, rounds: usize) -> Result<Vec<Cost>> {
    let measure = || -> Result<Vec<Cost>> {
        pin(CONSUMER_CPU)?;
        let mut cases = cases();
        // The first try of each case allocates what later ones use again.
        for case in &mut cases {
            case.push(MEASURED);
        }
        for _ in 0..rounds {
            let mut least = vec![f64::MAX; cases.len()];
            for _ in 0..TRIES {
                bench.go_on()?;
                for (case, least) in cases.iter_mut().zip(&mut least) {
                    *least = least.min(case.one());
                }
            }
            cases.iter_mut().zip(least).for_each(|(case, least)| case.cost.rounds.push(least));
        }
        cases.into_iter().map(Case::end).collect()
    };
    thread::scope(|scope| scope.spawn(measure).join()).ok().context("the thread that measures streams panicked")?
}

fn find(costs: &[Cost], pattern: Pattern, streams: u32) -> Option<&Cost> {
    costs.iter().find(|cost| (cost.pattern, cost.streams) == (pattern, streams))
}

fn rounds(cost: &Cost) -> Vec<Option<f64>> {
    cost.rounds.iter().copied().map(Some).collect()
}

/// The cost with this number of streams to that with ten, within the rounds.
pub fn ratio(costs: &[Cost], pattern: Pattern, streams: u32) -> Option<Ratio> {
    statistics::ratio(&rounds(find(costs, pattern, streams)?), &rounds(find(costs, pattern, STREAMS[0])?))
}

/// The most allocations per datagram of all cases whose datagrams come in order.
pub fn allocations(costs: &[Cost]) -> Option<Interval> {
    let in_order = costs.iter().filter(|cost| cost.pattern != Pattern::TwoLegsWithLoss);
    in_order.map(|cost| cost.allocations).reduce(f64::max).map(|most| Ratio::within(most, 0.0))
}

pub fn report(costs: &[Cost]) -> String {
    let mut text = Table::new(&[
        "datagrams of",
        "streams",
        "ns/datagram",
        "between",
        "of ten streams",
        "allocations/datagram",
        "",
    ]);
    for cost in costs {
        let Some(nanoseconds) = interval(&rounds(cost)) else { continue };
        let name = match cost.pattern {
            Pattern::InTurn => "one leg, in turn",
            Pattern::Shuffled => "one leg, shuffled",
            Pattern::TwoLegs => "two legs, in turn",
            Pattern::TwoLegsWithLoss => "two legs, 0.1 % lost on each",
        };
        let ratio = ratio(costs, cost.pattern, cost.streams);
        text.line(vec![
            name.to_owned(),
            cost.streams.to_string(),
            format!("{:.1}", nanoseconds.median),
            format!("{:.1}..{:.1}", nanoseconds.low, nanoseconds.high),
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.2}", ratio.median)),
            format!("{:.6}", cost.allocations),
            String::new(),
        ]);
    }
    format!("Nanoseconds of a datagram in the arbiter, MoldUDP64, by the number of streams\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_delivered_without_an_allocation() {
        for (pattern, streams) in [(Pattern::InTurn, 10), (Pattern::Shuffled, 100), (Pattern::TwoLegs, 10)] {
            let mut case = Case::new(pattern, streams);
            case.push(BATCH);
            assert!(case.one() > 0.0);
            let cost = case.end().expect("all are delivered");
            assert_eq!(cost.allocations, 0.0, "{pattern:?}");
        }
    }

    #[test]
    fn loss_on_each_leg_is_filled_by_the_other() {
        let mut case = Case::new(Pattern::TwoLegsWithLoss, 1);
        case.push(20 * BATCH);
        let statistics = case.arbiter.streams().next().expect("one").statistics();
        assert!(statistics.missing <= 2 && statistics.held_peak > 0, "{statistics:?}");
        case.end().expect("all are delivered");
    }
}
