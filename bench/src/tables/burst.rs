//! The longest burst at line rate without a loss.

use std::time::Duration;

use anyhow::Result;
use receiver_send::Burst;
use serde::Serialize;

use crate::child::Observation;
use crate::lab::Bench;
use crate::offered::Offer;
use crate::peers::testpmd::Settings;
use crate::report::Table;
use crate::rows::{BASE, Row, find, start};
use crate::sample::take;
use crate::search::{Try, bisect};

const ROWS: [&str; 8] = [BASE, "packet_v3", "xdpsock", "xsk_read", "socket", "generic", "copy", "mapped"];
/// Longer sequences are no bursts.
const LONGEST: u32 = 1 << 19;
const SHORTEST: u32 = 64;

#[derive(Clone, Debug, Serialize)]
pub struct Longest {
    pub name: &'static str,
    /// 0 if even the shortest burst lost packets.
    pub packets: u64,
    /// True if the limit could be higher.
    pub at_least: bool,
}

pub fn measure(bench: &Bench, quick: bool) -> Result<Vec<Longest>> {
    let mut table = Vec::new();
    for row in ROWS.iter().filter_map(|name| find(name)) {
        bench.go_on()?;
        match longest(bench, row, if quick { 4 } else { 6 }) {
            Ok(longest) => table.push(longest),
            Err(error) => {
                bench.go_on()?;
                eprintln!("  {}: {error:#}", row.name);
            }
        }
    }
    Ok(table)
}

fn longest(bench: &Bench, row: &'static Row, steps: usize) -> Result<Longest> {
    let mut session = start(bench, row, Observation::Count, Settings::default())?;
    let mut attempt = |packets: u32| -> Result<bool> {
        let mut offer = Offer::wanted(0, Duration::from_secs(1));
        offer.burst = Some(Burst { packets, every: Duration::from_millis(10) });
        offer.count = Some(packets.into());
        // Too short for `take` to measure the middle of the run.
        offer.duration = Duration::from_millis(800);
        let sample = take(bench, session.as_mut(), row, &offer)?;
        Ok(sample.lost() == 0 && sample.offered == u64::from(packets))
    };
    let mut twice = |packets: u32| -> Result<bool> { Ok(attempt(packets)? || attempt(packets)?) };
    // Doubles the length until something is lost, then bisects.
    let mut good = 0;
    let mut next = SHORTEST;
    while next <= LONGEST && twice(next)? {
        good = next;
        next *= 4;
    }
    if next > LONGEST {
        session.end()?;
        return Ok(Longest { name: row.name, packets: good.into(), at_least: true });
    }
    let (low, span) = (f64::from(good), f64::from(next - good));
    let best = bisect(span, steps, |above| {
        let packets = low + above;
        Ok(Try { good: attempt(packets as u32)?, reached: above.floor(), limited: false })
    })?;
    session.end()?;
    Ok(Longest { name: row.name, packets: (low + best.value) as u64, at_least: false })
}

pub fn report(table: &[Longest]) -> String {
    let mut text = Table::new(&["row", "packets", ""]);
    for Longest { name, packets, at_least } in table {
        let shown = format!("{}{packets}", if *at_least { ">= " } else { "" });
        text.line(vec![(*name).to_owned(), shown, String::new()]);
    }
    format!("Longest burst at line rate without a loss\n{text}")
}
