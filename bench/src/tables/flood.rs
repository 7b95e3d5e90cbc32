//! One wanted packet among many that nobody asked for, at the highest rate that there is: what share of the wanted is delivered.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::child::Look;
use crate::lab::Bench;
use crate::offered::{Generator, Offer};
use crate::peers::testpmd::Settings;
use crate::report::{Table, millions};
use crate::rows::{BASE, Row, find, start};

/// Unwanted packets for each wanted one.
const MIXES: [u32; 3] = [1, 9, 99];
const ROWS: [&str; 4] = [BASE, "packet_v3", "socket", "copy"];
const LENGTH: Duration = Duration::from_millis(700);

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Flood {
    pub name: &'static str,
    pub others: u32,
    pub offered_per_second: f64,
    pub wanted: u64,
    pub delivered: u64,
    pub share: f64,
}

pub fn measure(bench: &Bench, runs: usize) -> Result<Vec<Flood>> {
    let mut floods = Vec::new();
    for name in ROWS {
        let Some(row) = find(name) else { continue };
        for others in MIXES {
            bench.go_on()?;
            let mut taken = Vec::new();
            for _ in 0..runs {
                taken.push(one(bench, row, others)?);
            }
            // The one in the middle.
            taken.sort_by(|a, b| a.share.total_cmp(&b.share));
            floods.push(taken.swap_remove(taken.len() / 2));
        }
    }
    Ok(floods)
}

fn one(bench: &Bench, row: &Row, others: u32) -> Result<Flood> {
    let mut session = start(bench, row, Look::Count, Settings::default())?;
    let generator = Generator::load(bench, &Offer::mixed(others, 0, LENGTH))?;
    generator.start();
    let offered = generator.finish()?;
    std::thread::sleep(Duration::from_millis(150));
    let delivered = session.totals()?.packets;
    session.end()?;
    let share = if offered.wanted > 0 { delivered as f64 / offered.wanted as f64 } else { 0.0 };
    let (wanted, offered_per_second) = (offered.wanted, offered.per_second());
    Ok(Flood { name: row.name, others, offered_per_second, wanted, delivered, share })
}

pub fn report(floods: &[Flood]) -> String {
    let mut text = Table::new(&["row", "unwanted for 1 wanted", "offered M/s", "wanted delivered %", ""]);
    for flood in floods {
        text.line(vec![
            flood.name.to_owned(),
            flood.others.to_string(),
            millions(flood.offered_per_second),
            format!("{:.3}", 100.0 * flood.share),
            String::new(),
        ]);
    }
    format!("Flood: unwanted sources of the same group, flat out\n{text}")
}
