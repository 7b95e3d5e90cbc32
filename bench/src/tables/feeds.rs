//! Sequencing: the rate of a receiver whose datagrams pass through the arbiter of a feed with two legs, beside the same
//! receiver that only counts the same frames. Each leg loses one datagram in a thousand.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use crate::child::Observation;
use crate::lab::Bench;
use crate::offered::Offer;
use crate::peers::testpmd::Settings;
use crate::report::{self, Table, millions};
use crate::rows::{Kind, Measures, Row, start};
use crate::sample::{RUN, Sample, take};
use crate::statistics::{Ratio, interval, median, ratio};

/// The second leg's source is [`UNWANTED`](crate::lab::UNWANTED).
const SECOND: &str = "10.0.0.2";
/// Compared rows are adjacent: a plain one, and the one with the arbiter.
const ROWS: [Row; 4] = [
    row("mapped_plain", &["ours", "--mode", "mapped", "--second", SECOND], false),
    row("mapped_feed", &["ours", "--mode", "mapped", "--second", SECOND, "--feed"], false),
    row("socket_plain", &["ours", "--mode", "socket", "--second", SECOND], true),
    row("socket_feed", &["ours", "--mode", "socket", "--second", SECOND, "--feed"], true),
];

const fn row(name: &'static str, words: &'static [&'static str], buffered: bool) -> Row {
    let (about, kind) = ("two legs of one group", Kind::Child(words));
    Row { name, about, kind, measures: Measures::Delivered, buffered, observes: false }
}

/// One run.
#[derive(Clone, Debug)]
struct Run {
    sample: Sample,
    messages: u64,
    missing: u64,
}

/// All runs, by row and round.
#[derive(Debug, Default)]
pub struct Feeds {
    runs: BTreeMap<&'static str, Vec<Option<Run>>>,
}

pub fn measure(bench: &Bench, rounds: usize) -> Result<Feeds> {
    let mut feeds = Feeds::default();
    for round in 0..rounds {
        for row in &ROWS {
            bench.go_on()?;
            let run = match one(bench, row) {
                Ok(run) => Some(run),
                Err(error) => {
                    bench.go_on()?;
                    eprintln!("  {}: round {}: {error:#}", row.name, round + 1);
                    None
                }
            };
            if let Some(Run { sample, .. }) = &run {
                let (rate, offered) = (sample.packets_per_second / 1e6, sample.offered_per_second / 1e6);
                eprintln!("  round {} {:19} {rate:6.3} of {offered:6.3} M/s", round + 1, row.name);
            }
            feeds.runs.entry(row.name).or_default().push(run);
        }
    }
    Ok(feeds)
}

/// Each run has a receiver of its own, so each has a numbering of its own.
fn one(bench: &Bench, row: &Row) -> Result<Run> {
    let mut session = start(bench, row, Observation::Count, Settings::default())?;
    let sample = take(bench, session.as_mut(), row, &Offer::mixed(1, 0, RUN))?;
    let counts = session.totals()?;
    session.end()?;
    Ok(Run { sample, messages: counts.messages, missing: counts.missing })
}

impl Feeds {
    fn rates(&self, name: &str) -> Vec<Option<f64>> {
        let runs = self.runs.get(name).map_or(&[][..], Vec::as_slice);
        runs.iter().map(|run| run.as_ref().map(|run| run.sample.packets_per_second)).collect()
    }

    /// The rate of `mode` with the arbiter to the plain rate, within the rounds.
    pub fn ratio(&self, mode: &str) -> Option<Ratio> {
        ratio(&self.rates(&format!("{mode}_feed")), &self.rates(&format!("{mode}_plain")))
    }

    fn runs(&self, name: &str) -> Vec<&Run> {
        self.runs.get(name).into_iter().flatten().flatten().collect()
    }

    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            let (runs, rates) = (self.runs(row.name), interval(&self.rates(row.name))?);
            let sum = |of: fn(&Run) -> u64| runs.iter().map(|run| of(run)).sum::<u64>();
            Some(json!({
                "name": row.name,
                "packets_per_second": rates.median.round(),
                "between": [rates.low.round(), rates.high.round()],
                "offered": sum(|run| run.sample.offered),
                "packets": sum(|run| run.sample.packets),
                "messages": sum(|run| run.messages),
                "missing": sum(|run| run.missing),
                "unaccounted": sum(|run| run.sample.unaccounted),
                "rounds": self.rates(row.name),
            }))
        };
        ROWS.iter().filter_map(row).collect()
    }
}

pub fn report(feeds: &Feeds) -> String {
    let mut text = Table::new(&[
        "row",
        "offered M/s",
        "M/s",
        "of plain",
        "lost %",
        "CPU ns/packet",
        "messages",
        "missing",
        "unaccounted",
        "",
    ]);
    for row in &ROWS {
        let runs = feeds.runs(row.name);
        if runs.is_empty() {
            continue;
        }
        let middle = |of: fn(&Sample) -> f64| median(&runs.iter().map(|run| of(&run.sample)).collect::<Vec<_>>());
        let sum = |of: fn(&Run) -> u64| runs.iter().map(|run| of(run)).sum::<u64>();
        let sequenced = row.name.strip_suffix("_feed");
        let of_feed = |count: u64| if sequenced.is_some() { count.to_string() } else { "-".to_owned() };
        text.line(vec![
            row.name.to_owned(),
            millions(middle(|sample| sample.offered_per_second)),
            millions(middle(|sample| sample.packets_per_second)),
            sequenced.map_or_else(|| "1.00".to_owned(), |mode| report::ratio(feeds.ratio(mode))),
            format!("{:.2}", 100.0 * middle(Sample::loss_share)),
            format!("{:.0}", middle(|sample| sample.cpu_nanoseconds)),
            of_feed(sum(|run| run.messages)),
            of_feed(sum(|run| run.missing)),
            sum(|run| run.sample.unaccounted).to_string(),
            String::new(),
        ]);
    }
    format!("Sequencing: two legs, 0.1 % lost on each, beside the plain receive rate of the same frames\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::UNWANTED;

    #[test]
    fn the_second_leg_is_the_other_source() {
        assert_eq!(SECOND, UNWANTED.to_string());
        assert_eq!(Feeds::default().ratio("mapped"), None);
    }
}
