//! The highest rate at which nothing is lost while packets are recorded to a file: this project's recorder and others,
//! on the same disk, with the same frames and buffers, in turn.
//!
//! A try is good if each packet that was sent is in the file, and if the recorder kept up: buffers of 256 MiB would
//! hide a recorder that is too slow for as long as a try lasts.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::lab::Bench;
use crate::offered::{Generator, Offer, keeps};
use crate::peers::recorder::{Recorder, Recording};
use crate::report::{Table, millions};
use crate::search::{Best, Try, bisect};
use crate::statistics::{self, Ratio, median, median_of_rounds};

/// Bytes of UDP payload.
pub const PAYLOADS: [usize; 2] = [64, 1316];
/// Bytes of the headers of Ethernet, IPv4 and UDP.
const HEADERS: u64 = 42;
const LENGTH: Duration = Duration::from_millis(1200);
/// The share of the file that must be there when the last packet has been sent.
const KEPT_UP: f64 = 0.93;
/// Halvings of the first search, and of those that begin near its result.
const STEPS: usize = 5;
const FURTHER_STEPS: usize = 4;
/// The range of a further search, around the best result before.
const AROUND: [f64; 2] = [0.6, 1.3];
/// Pauses between two tries, in which the kernel forgets a file that was removed.
const PAUSE: Duration = Duration::from_millis(100);

/// One recorder at one size.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub payload: usize,
    /// The highest rate without a loss of each round, in packets per second.
    pub rates: Vec<Option<f64>>,
    /// CPU time of the program for each packet at that rate, in nanoseconds.
    pub cpu_nanoseconds: Vec<f64>,
    /// True if a round has found no limit, since the generator could not send more.
    pub at_least: bool,
    /// Why it was not measured.
    pub missing: Option<String>,
}

/// The rounds of this table: each takes minutes.
pub fn rounds(rounds: usize, quick: bool) -> usize {
    if quick { 1 } else { rounds.min(3) }
}

pub fn measure(bench: &Bench, rounds: usize) -> Result<Vec<Row>> {
    let mut table: Vec<Row> = Vec::new();
    for payload in PAYLOADS {
        for recorder in Recorder::ALL {
            table.push(Row {
                name: recorder.name(),
                payload,
                rates: Vec::new(),
                cpu_nanoseconds: Vec::new(),
                at_least: false,
                missing: None,
            });
        }
    }
    for _ in 0..rounds {
        for (row, recorder) in table.iter_mut().zip(Recorder::ALL.into_iter().cycle()) {
            bench.go_on()?;
            match search(bench, recorder, row) {
                Ok(()) => {
                    let rate = row.rates.last().copied().flatten().unwrap_or(0.0);
                    eprintln!("  {} bytes, {:15} {:.3} M/s", row.payload, row.name, rate / 1e6);
                }
                Err(error) => {
                    bench.go_on()?;
                    eprintln!("  {} bytes, {}: {error:#}", row.payload, row.name);
                    row.rates.push(None);
                    row.missing = Some(format!("{error:#}"));
                }
            }
        }
    }
    Ok(table)
}

/// Adds the result of a round.
fn search(bench: &Bench, recorder: Recorder, row: &mut Row) -> Result<()> {
    let known = median_of_rounds(&row.rates);
    let mut cpu = (0.0, f64::NAN);
    let mut attempt = |rate: f64| -> Result<Try> {
        let tried = one(bench, recorder, row.payload, rate)?;
        if tried.0.good && tried.0.reached >= cpu.0 {
            cpu = (tried.0.reached, tried.1);
        }
        Ok(tried.0)
    };
    let best = if known > 0.0 {
        let [low, high] = AROUND.map(|share| share * known);
        let above = bisect(high - low, FURTHER_STEPS, |above| {
            let tried = attempt(low + above)?;
            Ok(Try { reached: (tried.reached - low).max(0.0), ..tried })
        })?;
        Best { value: if above.value > 0.0 { low + above.value } else { 0.0 }, ..above }
    } else {
        let flat_out = attempt(0.0)?;
        if flat_out.good {
            Best { value: flat_out.reached, at_least: true }
        } else {
            bisect(flat_out.reached, STEPS, &mut attempt)?
        }
    };
    row.rates.push(Some(best.value).filter(|value| *value > 0.0));
    row.at_least |= best.at_least;
    if cpu.1.is_finite() {
        row.cpu_nanoseconds.push(cpu.1);
    }
    Ok(())
}

/// One try, and the CPU time for each packet. A rate of 0 is the highest one.
fn one(bench: &Bench, recorder: Recorder, payload: usize, rate: f64) -> Result<(Try, f64)> {
    bench.go_on()?;
    sleep(PAUSE);
    let recording = Recording::start(bench, recorder)?;
    let offer = Offer { payload, ..Offer::wanted(rate as u64, LENGTH) };
    let generator = Generator::load(bench, &offer)?;
    generator.start();
    let offered = generator.finish()?;
    let by_then = recording.length();
    let recorded = recording.end()?;
    let is_whole =
        recorded.packets >= offered.packets && recorded.bytes >= offered.packets * (payload as u64 + HEADERS);
    let kept_up = by_then as f64 >= KEPT_UP * recorded.bytes as f64;
    let reached = offered.per_second();
    let tried = Try { good: is_whole && kept_up, reached, limited: rate > 0.0 && !keeps(reached, rate) };
    Ok((tried, recorded.cpu_nanoseconds / recorded.packets.max(1) as f64))
}

/// The ratio of this project's rate to that of another recorder.
pub fn ratio(table: &[Row], payload: usize, to: Recorder) -> Option<Ratio> {
    let rates = |recorder: Recorder| {
        let row = table.iter().find(|row| row.payload == payload && row.name == recorder.name())?;
        Some(row.rates.clone())
    };
    statistics::ratio(&rates(Recorder::Ours)?, &rates(to)?)
}

pub fn report(table: &[Row]) -> String {
    let mut text = Table::new(&["payload", "recorder", "M/s", "MB/s of frames", "CPU ns/packet", "ours / it", ""]);
    for row in table {
        let rate = median_of_rounds(&row.rates);
        let mark = if row.at_least { ">= " } else { "" };
        let recorder = Recorder::ALL.into_iter().find(|recorder| recorder.name() == row.name);
        let ratio = recorder.and_then(|recorder| ratio(table, row.payload, recorder));
        text.line(vec![
            row.payload.to_string(),
            row.name.to_owned(),
            format!("{mark}{}", millions(rate)),
            format!("{:.0}", rate * (row.payload as f64 + HEADERS as f64) / 1e6),
            format!("{:.0}", median(&row.cpu_nanoseconds)),
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.2}", ratio.median)),
            row.missing.clone().unwrap_or_default(),
        ]);
    }
    format!("Highest rate without a loss while recording to a file, 256 MiB of buffers\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_one_size() {
        let row = |recorder: Recorder, payload, rate| Row {
            name: recorder.name(),
            payload,
            rates: vec![Some(rate)],
            cpu_nanoseconds: vec![100.0],
            at_least: false,
            missing: None,
        };
        let table = [row(Recorder::Ours, 64, 4e6), row(Recorder::Dumpcap, 64, 2e6), row(Recorder::Ours, 1316, 1e6)];
        assert_eq!(ratio(&table, 64, Recorder::Dumpcap).map(|ratio| ratio.median), Some(2.0));
        assert_eq!(ratio(&table, 1316, Recorder::Dumpcap), None);
        assert!(report(&table).contains("dumpcap"));
    }
}
