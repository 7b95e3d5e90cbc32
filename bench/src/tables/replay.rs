//! Replay at 100,000 packets a second: how far each gap is from the recording's, by the receiver's own timestamps in
//! another namespace. The row `schedule` is a loop on the same CPU that keeps the same schedule and sends nothing: what
//! it misses is the machine's, and no sender can do better.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use receiver::{Receiver, Wait};
use receiver_send::ReplaySender;
use serde::Serialize;

use crate::child::pin;
use crate::frames::v4_with_payload;
use crate::lab::{Bench, CONSUMER_CPU, GENERATOR_CPU, GROUP, PORT, WANTED};
use crate::report::Table;

/// Between two frames, in nanoseconds.
const GAP: u64 = 10_000;
/// The error of a gap that counts, in nanoseconds.
const MOST: u64 = 20_000;
/// Frames that are handed to the sender together.
const BATCH: u64 = 256;
const PAYLOAD: usize = 64;
const HEADERS: usize = 14 + 20 + 8;
/// Slots of the receiver's ring: it is not the receiver that is measured.
const RING: u32 = 16_384;

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct Replayed {
    pub name: &'static str,
    pub seconds: u64,
    pub frames: u64,
    /// Frames that the receiver did not get.
    pub missing: u64,
    /// Gaps whose error is beyond 20 µs, in percent.
    pub beyond_percent: f64,
    /// Errors of gaps, in microseconds: median, and those that 1 % and 0.1 % exceed.
    pub median_microseconds: f64,
    pub p99_microseconds: f64,
    pub p999_microseconds: f64,
    pub longest_microseconds: f64,
    /// How much later the last hundredth of the frames was than the first, in microseconds, by the least late ones.
    pub drift_microseconds: f64,
    /// Frames that left more than 20 µs after their time.
    pub late: u64,
}

pub fn measure(bench: &Bench, quick: bool) -> Result<Vec<Replayed>> {
    let seconds = if quick { 10 } else { 60 };
    let frames = seconds * 1_000_000_000 / GAP;
    let mut table = Vec::new();
    // Before and after: the machine may change meanwhile.
    for name in ["schedule", "replay", "schedule again"] {
        bench.go_on()?;
        let (times, late) = if name == "replay" { replay(bench, frames)? } else { schedule(bench, frames)? };
        table.push(row(name, seconds, &times, late));
    }
    Ok(table)
}

/// The times at which a loop comes to each time of the schedule.
fn schedule(bench: &Bench, frames: u64) -> Result<(Vec<Option<u64>>, u64)> {
    let keep = || -> Result<Vec<Option<u64>>> {
        pin(GENERATOR_CPU)?;
        let mut times = Vec::with_capacity(frames as usize);
        let start = Instant::now();
        for due in (0..frames).map(|number| Duration::from_nanos(number * GAP)) {
            let now = loop {
                let now = start.elapsed();
                if now >= due {
                    break now;
                }
                std::hint::spin_loop();
            };
            times.push(Some(now.as_nanos() as u64));
        }
        Ok(times)
    };
    let times = bench.lab.tx().run(keep)??;
    let late = (0..).zip(&times).filter(|(number, time)| time.is_some_and(|time| time > number * GAP + MOST)).count();
    Ok((times, late as u64))
}

/// The times at which the receiver got each frame, and the frames that left late.
fn replay(bench: &Bench, frames: u64) -> Result<(Vec<Option<u64>>, u64)> {
    let lab = &bench.lab;
    let subscription = format!("{WANTED}@{GROUP}:{PORT}").parse().context("the subscription")?;
    let open =
        || Receiver::builder(lab.rx_interface()).timestamps(true).ring_size(RING).subscribe(subscription).build();
    let mut receiver = lab.rx().run(open)??;
    let (over, mut times) = (AtomicBool::new(false), vec![None; frames as usize]);
    let report = thread::scope(|scope| {
        let receiving = scope.spawn(|| -> Result<()> {
            pin(CONSUMER_CPU)?;
            // One more look once the sender has ended.
            let mut is_over = false;
            loop {
                let count = receiver.poll(Wait::For(Duration::from_millis(100)), |datagram| {
                    let number = datagram.payload().first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
                    if let Some(place) = number.and_then(|number| times.get_mut(number as usize)) {
                        *place = Some(datagram.time().nanoseconds);
                    }
                })?;
                if is_over && count == 0 {
                    return Ok(());
                }
                is_over = over.load(Ordering::Acquire);
            }
        });
        let report = lab.tx().run(|| send(bench, frames)).map_err(anyhow::Error::from).and_then(|sent| sent);
        over.store(true, Ordering::Release);
        receiving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        report
    })?;
    Ok((times, report))
}

fn send(bench: &Bench, frames: u64) -> Result<u64> {
    pin(GENERATOR_CPU)?;
    let mut sender = ReplaySender::new(bench.lab.tx_interface())?;
    let mut batch: Vec<Vec<u8>> = vec![frame(); BATCH as usize];
    let mut next = 0;
    while next < frames {
        let count = BATCH.min(frames - next);
        for (number, frame) in (next..next + count).zip(&mut batch) {
            frame[HEADERS..HEADERS + 8].copy_from_slice(&number.to_be_bytes());
        }
        let due = |number| Some(Duration::from_nanos(number * GAP));
        let all: Vec<_> = (next..next + count).map(due).zip(batch.iter().map(Vec::as_slice)).collect();
        if !sender.send_all(&all, &bench.stop)? {
            break;
        }
        next += count;
    }
    Ok(sender.report().late)
}

/// A frame of the wanted source, without a UDP checksum, as its number is written later.
fn frame() -> Vec<u8> {
    let mut frame = v4_with_payload(WANTED, GROUP, PORT, PAYLOAD);
    frame[HEADERS - 2..HEADERS].fill(0);
    frame
}

fn row(name: &'static str, seconds: u64, times: &[Option<u64>], late: u64) -> Replayed {
    let mut errors: Vec<u64> =
        times.windows(2).filter_map(|pair| Some(pair[1]?.saturating_sub(pair[0]?).abs_diff(GAP))).collect();
    errors.sort_unstable();
    let beyond = errors.len() - errors.partition_point(|&error| error <= MOST);
    let at = |share: f64| errors.get((errors.len() as f64 * share) as usize).map_or(0.0, |&error| error as f64 / 1e3);
    // How late the least late frame of a part is: a pause of the machine at either end is no drift.
    let lateness: Vec<i64> = (0..times.len() as u64)
        .zip(times)
        .filter_map(|(number, time)| Some((*time)?.wrapping_sub(number * GAP) as i64))
        .collect();
    let part = (lateness.len() / 100).max(1).min(lateness.len());
    let least = |part: &[i64]| part.iter().copied().min().unwrap_or(0);
    let drift = (least(&lateness[lateness.len() - part..]) - least(&lateness[..part])) as f64 / 1e3;
    Replayed {
        name,
        seconds,
        frames: times.len() as u64,
        missing: times.iter().filter(|time| time.is_none()).count() as u64,
        beyond_percent: 100.0 * beyond as f64 / errors.len().max(1) as f64,
        median_microseconds: at(0.5),
        p99_microseconds: at(0.99),
        p999_microseconds: at(0.999),
        longest_microseconds: errors.last().map_or(0.0, |&error| error as f64 / 1e3),
        drift_microseconds: drift,
        late,
    }
}

pub fn report(table: &[Replayed]) -> String {
    let head =
        ["row", "beyond 20 µs %", "median µs", "99 %", "99.9 %", "longest µs", "drift µs", "late", "missing", ""];
    let mut text = Table::new(&head);
    for row in table {
        text.line(vec![
            row.name.to_owned(),
            format!("{:.3}", row.beyond_percent),
            format!("{:.2}", row.median_microseconds),
            format!("{:.1}", row.p99_microseconds),
            format!("{:.1}", row.p999_microseconds),
            format!("{:.0}", row.longest_microseconds),
            format!("{:.1}", row.drift_microseconds),
            row.late.to_string(),
            row.missing.to_string(),
            String::new(),
        ]);
    }
    let seconds = table.first().map_or(0, |row| row.seconds);
    let title = "errors of the gaps, and a loop that only keeps the schedule";
    format!("Replay at 100,000 packets/s for {seconds} s: {title}\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_drift_are_those_of_the_gaps() {
        let times = [Some(5), Some(10_005), None, Some(30_005), Some(70_005), Some(70_006), Some(80_006)];
        let row = row("replay", 1, &times, 0);
        assert_eq!((row.frames, row.missing), (7, 1));
        assert_eq!(row.beyond_percent, 25.0);
        assert_eq!((row.longest_microseconds, row.drift_microseconds), (30.0, 20.001));
    }

    #[test]
    fn a_frame_is_whole() {
        let frame = frame();
        assert_eq!(frame.len(), HEADERS + PAYLOAD);
        let sum: u32 = frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
