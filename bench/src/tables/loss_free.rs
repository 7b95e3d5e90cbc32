//! The highest rate without a loss (NDR), and with half a percent lost (PDR), by bisection over the generator's rate.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::child::Observation;
use crate::lab::Bench;
use crate::offered::{Offer, keeps};
use crate::peers::testpmd::Settings;
use crate::report::{Table, millions};
use crate::rows::{AGAIN, Kind, Measures, Row, start};
use crate::sample::take;
use crate::search::{Best, Try, bisect};
use crate::statistics::{self, Ratio, median};
use crate::tables::throughput::Throughput;

/// Share of packets that PDR allows to be lost.
const PARTIAL: f64 = 0.005;
/// Duration of a run for a row without large buffers.
const SHORT: Duration = Duration::from_millis(350);
/// Duration of a run for a row with large buffers: long enough that the buffers cannot hide a loss.
const LONG: Duration = Duration::from_millis(900);
/// Such rows must also deliver this share of the rate in the middle of the run.
const SUSTAINED: f64 = 0.985;

/// A row's rates.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rates {
    pub ndr: f64,
    /// True if the limit could be higher: the generator could not send more.
    pub ndr_at_least: bool,
    pub pdr: f64,
    pub pdr_at_least: bool,
    /// The NDR of each search. `ndr` is their median.
    pub ndr_rounds: Vec<f64>,
}

/// The rows whose ratio is a target: they are searched several times, in turn, for a confidence interval.
pub const REPEATED: [&str; 2] = ["xdpsock", "mapped"];
const SEARCHES: usize = 5;

/// By row.
pub type LossFree = BTreeMap<&'static str, Rates>;

/// Searches for each row that delivers, starting from its rate at full load.
///
/// A quick run repeats no search.
pub fn measure(bench: &Bench, rows: &[&'static Row], flat_out: &Throughput, quick: bool) -> Result<LossFree> {
    let mut table = once(bench, rows, flat_out, quick)?;
    let repeated: Vec<&'static Row> = rows.iter().copied().filter(|row| REPEATED.contains(&row.name)).collect();
    let searches = if quick || repeated.len() < REPEATED.len() { 1 } else { SEARCHES };
    for _ in 1..searches {
        for (name, rates) in once(bench, &repeated, flat_out, quick)? {
            table.entry(name).or_default().ndr_rounds.extend(rates.ndr_rounds);
        }
    }
    for rates in table.values_mut().filter(|rates| rates.ndr_rounds.len() > 1) {
        rates.ndr = median(&rates.ndr_rounds);
    }
    Ok(table)
}

/// The ratio of the highest rates without a loss. The confidence interval is that of the repeated searches.
pub fn ratio(table: &LossFree, of: &str, to: &str) -> Option<Ratio> {
    let rounds = |name: &str| Some(table.get(name)?.ndr_rounds.iter().copied().map(Some).collect::<Vec<_>>());
    statistics::ratio(&rounds(of)?, &rounds(to)?)
}

fn once(bench: &Bench, rows: &[&'static Row], flat_out: &Throughput, quick: bool) -> Result<LossFree> {
    let steps = if quick { 4 } else { 5 };
    let mut table = LossFree::new();
    for row in rows {
        bench.go_on()?;
        let Some(medians) = flat_out.medians(row.name) else { continue };
        if row.measures == Measures::Dropped || row.kind == Kind::Iperf || row.name == AGAIN {
            continue;
        }
        match search(bench, row, medians.offered_per_second * 1.05, steps, flat_out.testpmd) {
            Ok(rates) => {
                eprintln!("  {:19} NDR {:.3} PDR {:.3} M/s", row.name, rates.ndr / 1e6, rates.pdr / 1e6);
                table.insert(row.name, rates);
            }
            Err(error) => {
                bench.go_on()?;
                eprintln!("  {}: {error:#}", row.name);
            }
        }
    }
    Ok(table)
}

fn search(bench: &Bench, row: &Row, high: f64, steps: usize, testpmd: Settings) -> Result<Rates> {
    let mut session = start(bench, row, Observation::Count, testpmd)?;
    let length = if row.buffered { LONG } else { SHORT };
    let mut attempt = |rate: f64, limit: f64| -> Result<Try> {
        // At a given rate the generator reaches less than at full rate, so the highest try is at full rate.
        let asked = if rate >= high { 0 } else { rate.max(1.0) as u64 };
        let sample = take(bench, session.as_mut(), row, &Offer::wanted(asked, length))?;
        let sustained = !row.buffered || sample.packets_per_second >= SUSTAINED * sample.offered_per_second;
        let lost = sample.lost() as f64;
        Ok(Try {
            good: sustained && lost <= limit * sample.offered as f64,
            reached: sample.offered_per_second,
            // The generator could not send more.
            limited: !keeps(sample.offered_per_second, rate),
        })
    };
    let pdr = bisect(high, steps, |rate| attempt(rate, PARTIAL))?;
    let from = if pdr.value > 0.0 && !pdr.at_least { pdr.value } else { high };
    let ndr = bisect(from, steps, |rate| attempt(rate, 0.0))?;
    session.end()?;
    Ok(rates(ndr, pdr))
}

/// A rate without a loss also has few losses, even if the search for the latter was less lucky.
fn rates(ndr: Best, pdr: Best) -> Rates {
    let pdr = if ndr.value > pdr.value { ndr } else { pdr };
    // It starts at PDR, which may be the result.
    Rates {
        ndr: ndr.value,
        ndr_at_least: ndr.at_least && pdr.at_least,
        pdr: pdr.value,
        pdr_at_least: pdr.at_least,
        ndr_rounds: vec![ndr.value],
    }
}

pub fn report(table: &LossFree, rows: &[&'static Row]) -> String {
    let mut text = Table::new(&["row", "NDR M/s", "PDR M/s", ""]);
    for row in rows {
        let Some(rates) = table.get(row.name) else { continue };
        let shown = |rate: f64, at_least: bool| format!("{}{}", if at_least { ">= " } else { "" }, millions(rate));
        let note = if rates.pdr_at_least { "generator-bound" } else { "" };
        text.line(vec![
            row.name.to_owned(),
            shown(rates.ndr, rates.ndr_at_least),
            shown(rates.pdr, rates.pdr_at_least),
            note.to_owned(),
        ]);
    }
    format!("Highest rate without a loss (NDR), and with 0.5 % lost (PDR)\n{text}")
}

/// For a row of the main table.
pub fn fields(rates: &Rates) -> Map<String, Value> {
    let value = json!(rates);
    value.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_loss_is_little_loss() {
        let best = |value, at_least| Best { value, at_least };
        let found = rates(best(3.0, true), best(2.0, true));
        assert_eq!((found.pdr, found.pdr_at_least), (3.0, true));
        let found = rates(best(2.0, true), best(2.5, false));
        assert_eq!((found.ndr, found.ndr_at_least, found.pdr), (2.0, false, 2.5));
    }
}
