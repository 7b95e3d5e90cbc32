//! One measurement: a running receiver, one run of the generator, and the counts of both.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::child::Counts;
use crate::conditions::CpuTime;
use crate::lab::Bench;
use crate::offered::{Generator, Offer, Offered};
use crate::peers::Session;
use crate::rows::{Measures, Row};

/// From the generator's start to the middle part of a run, and the length of that part.
const WARM_UP: Duration = Duration::from_millis(100);
const WINDOW: Duration = Duration::from_millis(300);
/// Duration of a run that measures rates. Many short runs are better than few long ones, since the machine changes
/// every second.
pub const RUN: Duration = Duration::from_millis(450);
/// Time limit for buffered packets to arrive.
const DRAIN: Duration = Duration::from_secs(2);
const DRAIN_STEP: Duration = Duration::from_millis(15);

/// The result of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    pub offered: u64,
    pub offered_per_second: f64,
    /// Delivered packets, or dropped ones if the row is for that.
    pub packets: u64,
    pub packets_per_second: f64,
    /// Wanted packets that were not delivered, by cause. `veth_queue_full` is the receiving end's queue.
    pub loss: BTreeMap<String, u64>,
    /// Wanted packets that were not delivered, without a cause.
    pub unaccounted: u64,
    /// CPU time of the whole machine per delivered (or dropped) packet, in nanoseconds.
    pub cpu_nanoseconds: f64,
    /// Packets of another source that were delivered.
    pub others: u64,
}

impl Sample {
    /// Returns the number of lost packets.
    pub fn lost(&self) -> u64 {
        self.loss.values().sum::<u64>() + self.unaccounted
    }

    /// Returns the lost share of the offered packets.
    pub fn loss_share(&self) -> f64 {
        if self.offered > 0 { self.lost() as f64 / self.offered as f64 } else { 0.0 }
    }

    /// Returns true if no offered packet was lost.
    pub fn is_generator_bound(&self) -> bool {
        self.loss_share() < 0.001
    }
}

/// At full rate for [`RUN`], or as configured. For rows with large buffers the rate is from the middle of the run.
pub fn take(bench: &Bench, session: &mut dyn Session, row: &Row, offer: &Offer) -> Result<Sample> {
    bench.go_on()?;
    let before = session.totals()?;
    let generator = Generator::load(bench, offer)?;
    generator.start();
    let mut middle = None;
    if offer.duration >= RUN {
        sleep(WARM_UP);
        let begin = (CpuTime::read()?, session.count()?);
        sleep(WINDOW);
        middle = Some((begin, (CpuTime::read()?, session.count()?)));
    }
    let offered = generator.finish()?;
    drain(session)?;
    let after = session.totals()?;
    let mut sample = compare(row, offered, &before, &after);
    if let Some(((cpu, first), (cpu_after, last))) = middle {
        let seconds = last.at.saturating_sub(first.at) as f64 / 1e9;
        if row.buffered && row.measures == Measures::Delivered && seconds > 0.0 {
            sample.packets_per_second = (last.packets - first.packets) as f64 / seconds;
        }
        let packets = sample.packets_per_second * seconds;
        if packets > 0.0 {
            sample.cpu_nanoseconds = cpu_after.since(&cpu).busy / packets;
        }
    }
    Ok(sample)
}

/// Waits until nothing more arrives.
pub fn drain(session: &mut dyn Session) -> Result<()> {
    let start = Instant::now();
    let mut before = session.count()?.packets;
    let mut unchanged = 0;
    // Twice, and until no ring holds a packet, since the consumer may just have been paused by other load.
    while (unchanged < 2 || session.totals()?.waiting > 0) && start.elapsed() < DRAIN {
        sleep(DRAIN_STEP);
        let now = session.count()?.packets;
        unchanged = if now == before { unchanged + 1 } else { 0 };
        before = now;
    }
    Ok(())
}

fn compare(row: &Row, offered: Offered, before: &Counts, after: &Counts) -> Sample {
    let delivered = after.packets - before.packets;
    let mut loss: BTreeMap<String, u64> = after
        .loss
        .iter()
        .map(|(cause, &count)| (cause.clone(), count - before.loss.get(cause).copied().unwrap_or(0).min(count)))
        .filter(|(_, count)| *count > 0)
        .collect();
    if offered.queue_full > 0 {
        loss.insert("veth_queue_full".to_owned(), offered.queue_full);
    }
    let explained = delivered + loss.values().sum::<u64>();
    let (packets, unaccounted) = match row.measures {
        // The kernel sends a few frames on the link, and some peers count them too.
        Measures::Delivered => (delivered, offered.packets.saturating_sub(explained).max(after.unaccounted)),
        Measures::Dropped => (offered.taken.min(offered.packets).saturating_sub(delivered), after.unaccounted),
    };
    Sample {
        offered: offered.packets,
        offered_per_second: offered.per_second(),
        packets,
        packets_per_second: if offered.seconds > 0.0 { packets as f64 / offered.seconds } else { 0.0 },
        loss,
        unaccounted,
        cpu_nanoseconds: 0.0,
        others: after.others - before.others,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::find;

    fn counts(packets: u64, full: u64) -> Counts {
        Counts { packets, loss: [("full".to_owned(), full)].into(), ..Counts::default() }
    }

    #[test]
    fn what_is_neither_delivered_nor_booked_is_unaccounted() {
        let row = find("copy").expect("there is one");
        let offered = Offered { packets: 1000, wanted: 1000, seconds: 0.5, taken: 980, queue_full: 20 };
        let sample = compare(row, offered, &counts(10, 5), &counts(910, 75));
        assert_eq!((sample.packets, sample.loss["full"], sample.loss["veth_queue_full"]), (900, 70, 20));
        assert_eq!((sample.unaccounted, sample.lost()), (10, 100));
        assert!((sample.packets_per_second - 1800.0).abs() < 1e-9 && (sample.offered_per_second - 2000.0).abs() < 1e-9);
        assert!(!sample.is_generator_bound());
    }

    #[test]
    fn a_dropping_row_counts_what_it_was_given() {
        let row = find("xdp_drop").expect("there is one");
        let offered = Offered { packets: 1000, wanted: 1000, seconds: 1.0, taken: 990, queue_full: 10 };
        let sample = compare(row, offered, &Counts::default(), &Counts::default());
        assert_eq!((sample.packets, sample.unaccounted), (990, 0));
    }
}
