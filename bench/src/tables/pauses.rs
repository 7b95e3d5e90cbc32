//! A consumer that pauses while packets go on arriving: packets lost by mode and ring size, at two rates. The table
//! gives the smallest ring that loses nothing, from which the default ring is chosen.
//!
//! After some packets the consumer's thread spins for the time of the pause. A pause of the machine itself adds to it,
//! so a try is repeated, and the median and the worst try are reported. xdpsock has no such pause: `xsk_read` has the
//! same kind of ring. A socket has a buffer of its own, whatever the ring.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::child::Observation;
use crate::lab::Bench;
use crate::offered::Offer;
use crate::peers::Session;
use crate::peers::child::Child;
use crate::report::Table;
use crate::rows::{BASE, Row, find};
use crate::sample::take;
use crate::statistics::median;

/// Rows with rings of a chosen size.
pub const RINGS: [(&str, &[&str]); 4] = [
    ("xsk_read", &["xsk-read"]),
    ("generic", &["ours", "--mode", "generic"]),
    ("copy", &["ours", "--mode", "copy"]),
    ("mapped", &["ours", "--mode", "mapped"]),
];
/// Rows with a socket's buffer.
const SOCKETS: [(&str, &[&str]); 2] = [(BASE, &["recvmmsg"]), ("socket", &["ours", "--mode", "socket"])];
/// Slots.
const SIZES: [u32; 7] = [512, 1024, 2048, 4096, 8192, 16_384, 32_768];
/// Packets per second.
const RATES: [u64; 2] = [1_000_000, 2_000_000];
/// Milliseconds. The first shows what is lost without a pause.
const PAUSES: [u64; 5] = [0, 1, 2, 5, 10];
/// Milliseconds of traffic before and after the pause.
const BEFORE: u64 = 8;
const AFTER: u64 = 12;
/// Tries of a ring that is far too small.
const HOPELESS: usize = 1;
/// The generator's shortfall from the rate that is accepted, in percent.
const SHORTFALL: u64 = 10;

/// The tries of one row, ring, rate and pause.
#[derive(Clone, Debug, Serialize)]
pub struct Paused {
    pub name: &'static str,
    /// Slots of the ring; `None` for a socket's buffer.
    pub slots: Option<u32>,
    pub rate: u64,
    pub pause_milliseconds: u64,
    /// Lost in the receiver's ring or buffer, by try.
    pub lost: Vec<u64>,
    pub lost_median: f64,
    pub lost_worst: u64,
    pub unaccounted: u64,
    /// The least rate that the generator reached in a try.
    pub offered_least: f64,
}

pub fn measure(bench: &Bench, rows: &[&'static Row], tries: usize) -> Result<Vec<Paused>> {
    let mut table: Vec<Paused> = Vec::new();
    let chosen = |name: &str| rows.iter().any(|row| row.name == name);
    let rings = RINGS.iter().filter(|(name, _)| chosen(name)).flat_map(|row| SIZES.map(|slots| (row, Some(slots))));
    let sockets = SOCKETS.iter().filter(|(name, _)| chosen(name)).map(|row| (row, None));
    for (&(name, words), slots) in rings.chain(sockets) {
        bench.go_on()?;
        if let Err(error) = one(bench, name, words, slots, tries, &mut table) {
            bench.go_on()?;
            eprintln!("  {name}, {slots:?} slots: {error:#}");
        }
    }
    Ok(table)
}

/// Tries all rates and pauses with one ring, except those in which a smaller ring lost nothing.
fn one(
    bench: &Bench,
    name: &'static str,
    words: &[&str],
    slots: Option<u32>,
    tries: usize,
    table: &mut Vec<Paused>,
) -> Result<()> {
    let wanted: Vec<(u64, u64)> = RATES
        .into_iter()
        .flat_map(|rate| PAUSES.map(|pause| (rate, pause)))
        .filter(|&(rate, pause)| !table.iter().any(|row| row.is_of(name, rate, pause) && row.lost_worst == 0))
        .collect();
    let Some(row) = find(name).filter(|_| !wanted.is_empty()) else { return Ok(()) };
    let slots_word = slots.map(|slots| slots.to_string());
    let mut words = words.to_vec();
    if let Some(slots) = &slots_word {
        words.extend(["--ring", slots]);
    }
    let mut session: Box<dyn Session> = Box::new(Child::start(bench, &words, crate::lab::WANTED, Observation::Count)?);
    for (rate, pause) in wanted {
        let hopeless = slots.is_some_and(|slots| rate * pause / 1000 > 2 * u64::from(slots));
        let mut paused = Paused {
            name,
            slots,
            rate,
            pause_milliseconds: pause,
            lost: Vec::new(),
            lost_median: 0.0,
            lost_worst: 0,
            unaccounted: 0,
            offered_least: f64::INFINITY,
        };
        for _ in 0..if hopeless { HOPELESS } else { tries } {
            attempt(bench, session.as_mut(), row, &mut paused)?;
        }
        paused.lost_median = median(&paused.lost.iter().map(|&lost| lost as f64).collect::<Vec<_>>());
        paused.lost_worst = paused.lost.iter().copied().max().unwrap_or(0);
        table.push(paused);
    }
    let ring = slots_word.as_deref().unwrap_or("its buffer");
    eprintln!("  {name}, {ring}");
    session.end().map(drop)
}

fn attempt(bench: &Bench, session: &mut dyn Session, row: &Row, paused: &mut Paused) -> Result<()> {
    let (rate, pause) = (paused.rate, paused.pause_milliseconds);
    // Long enough that the count ends the run, and too short for `take` to measure the middle of it.
    let mut offer = Offer::wanted(rate, Duration::from_millis(400));
    offer.count = Some(rate * (BEFORE + pause + AFTER) / 1000);
    if pause > 0 {
        session.pause_after(rate * BEFORE / 1000, Duration::from_millis(pause))?;
    }
    let sample = take(bench, session, row, &offer)?;
    // The queue between the two ends is not the receiver's.
    let lost = sample.loss.iter().filter(|(cause, _)| *cause != "veth_queue_full").map(|(_, count)| count).sum();
    paused.lost.push(lost);
    paused.unaccounted += sample.unaccounted;
    paused.offered_least = paused.offered_least.min(sample.offered_per_second);
    Ok(())
}

impl Paused {
    fn is_of(&self, name: &str, rate: u64, pause: u64) -> bool {
        self.name == name && self.rate == rate && self.pause_milliseconds == pause
    }
}

/// The smallest ring of which no try lost a packet; `None` if there is none.
pub fn smallest(table: &[Paused], name: &str, rate: u64, pause: u64) -> Option<u32> {
    let found = table.iter().filter(|row| row.is_of(name, rate, pause) && row.lost_worst == 0);
    found.filter_map(|row| row.slots).min()
}

pub fn report(table: &[Paused]) -> String {
    let head: Vec<String> = PAUSES.iter().map(|pause| format!("{pause} ms")).collect();
    let mut words = vec!["row", "M/s", "slots"];
    words.extend(head.iter().map(String::as_str));
    words.extend(["unaccounted", ""]);
    let mut text = Table::new(&words);
    let mut least = Table::new(&[["row", "M/s"].as_slice(), &words[3..3 + PAUSES.len()], &[""]].concat());
    let names = RINGS.iter().chain(&SOCKETS).map(|(name, _)| *name);
    for (name, rate) in names.flat_map(|name| RATES.map(|rate| (name, rate))) {
        let rows = || table.iter().filter(move |row| row.name == name && row.rate == rate);
        if rows().next().is_none() {
            continue;
        }
        let millions = format!("{}", rate / 1_000_000);
        for slots in SIZES.map(Some).into_iter().chain([None]) {
            let of = |pause| rows().find(|row| row.slots == slots && row.pause_milliseconds == pause);
            if PAUSES.iter().all(|&pause| of(pause).is_none()) {
                continue;
            }
            let shown = slots.map_or_else(|| "buffer".to_owned(), |slots| slots.to_string());
            let mut line = vec![name.to_owned(), millions.clone(), shown];
            line.extend(PAUSES.iter().map(|&pause| match of(pause) {
                Some(row) if row.lost_worst == 0 => "0".to_owned(),
                Some(row) => format!("{:.0} ({})", row.lost_median, row.lost_worst),
                None => String::new(),
            }));
            let same = || rows().filter(|row| row.slots == slots);
            line.push(same().map(|row| row.unaccounted).sum::<u64>().to_string());
            let slow = same().any(|row| row.offered_least * 100.0 < (rate * (100 - SHORTFALL)) as f64);
            line.push(if slow { "the generator was slower at times".to_owned() } else { String::new() });
            text.line(line);
        }
        let mut line = vec![name.to_owned(), millions];
        line.extend(PAUSES.iter().map(|&pause| {
            smallest(table, name, rate, pause).map_or_else(|| "-".to_owned(), |slots| slots.to_string())
        }));
        line.push(String::new());
        if RINGS.iter().any(|(ring, _)| *ring == name) {
            least.line(line);
        }
    }
    format!(
        "Packets lost while the consumer pauses: median of the tries (and the worst)\n{text}\n\
         Smallest ring of which no try lost a packet, in slots\n{least}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paused(slots: u32, lost: u64) -> Paused {
        Paused {
            name: "mapped",
            slots: Some(slots),
            rate: RATES[0],
            pause_milliseconds: 2,
            lost: vec![0, lost],
            lost_median: 0.0,
            lost_worst: lost,
            unaccounted: 0,
            offered_least: 1e6,
        }
    }

    #[test]
    fn the_smallest_ring_without_a_loss_is_found() {
        let table = [paused(1024, 900), paused(2048, 0), paused(4096, 0)];
        assert_eq!(smallest(&table, "mapped", RATES[0], 2), Some(2048));
        assert_eq!(smallest(&table, "copy", RATES[0], 2), None);
        let text = report(&table);
        assert!(text.contains("mapped") && text.contains("0 (900)"), "{text}");
    }
}
