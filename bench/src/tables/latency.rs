//! Latency from the generator's time stamp to the consumer, at half of the row's PDR, and at half of recvmmsg's, which
//! is the same rate for all. Both ends read CLOCK_TAI of one machine.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::loss_free::LossFree;
use crate::child::{Latency, Observation};
use crate::lab::Bench;
use crate::offered::{Generator, Offer};
use crate::peers::testpmd::Settings;
use crate::report::{Table, millions};
use crate::rows::{AGAIN, BASE, Measures, Row, start};
use crate::sample::take;
use crate::statistics::{Ratio, median, ratio};

/// Duration of the warm-up, and of the measurement.
const WARM_UP: Duration = Duration::from_millis(200);
const LENGTH: Duration = Duration::from_millis(400);
/// Number of runs, of which the percentiles are the medians. So one run in which the machine was busy elsewhere has no
/// effect.
const RUNS: usize = 3;

/// Latencies at one rate.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct At {
    pub packets_per_second: f64,
    #[serde(flatten)]
    pub latency: Latency,
}

/// A row's latencies.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latencies {
    pub half_of_pdr: At,
    /// At half of recvmmsg's PDR.
    pub common: At,
}

/// By row, and by row and round at half of recvmmsg's PDR for the rows whose ratio is a target.
#[derive(Clone, Debug, Default)]
pub struct LatencyTable {
    rows: BTreeMap<&'static str, Latencies>,
    rounds: BTreeMap<&'static str, Vec<Option<Latency>>>,
}

/// The rows whose ratio is a target: they are measured several times, in turn.
const REPEATED: [&str; 2] = ["copy", "mapped"];

impl LatencyTable {
    pub fn get(&self, name: &str) -> Option<&Latencies> {
        self.rows.get(name)
    }

    /// The ratio of two rows at half of recvmmsg's PDR, within the rounds.
    pub fn ratio(&self, of: &str, to: &str, value: fn(&Latency) -> u64) -> Option<Ratio> {
        let rounds = |name: &str| -> Option<Vec<Option<f64>>> {
            Some(self.rounds.get(name)?.iter().map(|one| one.as_ref().map(|one| value(one) as f64)).collect())
        };
        ratio(&rounds(of)?, &rounds(to)?)
    }

    /// The latencies of each round, for the JSON.
    pub fn rounds(&self) -> &BTreeMap<&'static str, Vec<Option<Latency>>> {
        &self.rounds
    }
}

pub fn measure(bench: &Bench, rows: &[&'static Row], rates: &LossFree, rounds: usize) -> Result<LatencyTable> {
    let mut table = LatencyTable::default();
    let Some(common) = rates.get(BASE).map(|rates| rates.pdr / 2.0) else { return Ok(table) };
    for row in rows.iter().filter(|row| row.observes && row.measures == Measures::Delivered && row.name != AGAIN) {
        bench.go_on()?;
        let Some(own) = rates.get(row.name).map(|rates| rates.pdr / 2.0) else { continue };
        match one(bench, row, own, common) {
            Ok(latencies) => {
                table.rows.insert(row.name, latencies);
            }
            Err(error) => {
                bench.go_on()?;
                eprintln!("  {}: {error:#}", row.name);
            }
        }
    }
    for _ in 0..rounds {
        for row in rows.iter().filter(|row| REPEATED.contains(&row.name)) {
            bench.go_on()?;
            let latency = round(bench, row, common);
            bench.go_on()?;
            table.rounds.entry(row.name).or_default().push(latency.ok());
        }
    }
    Ok(table)
}

/// One measurement at a rate.
fn round(bench: &Bench, row: &Row, rate: f64) -> Result<Latency> {
    let mut session = start(bench, row, Observation::Latency, Settings::default())?;
    take(bench, session.as_mut(), row, &Offer::wanted(rate.max(1000.0) as u64, WARM_UP))?;
    session.totals()?;
    let generator = Generator::load(bench, &Offer::wanted(rate.max(1000.0) as u64, LENGTH))?;
    generator.start();
    generator.finish()?;
    sleep(Duration::from_millis(30));
    let latency = session.totals()?.latency.context("nothing arrived")?;
    session.end()?;
    Ok(latency)
}

fn one(bench: &Bench, row: &Row, own: f64, common: f64) -> Result<Latencies> {
    let mut session = start(bench, row, Observation::Latency, Settings::default())?;
    let mut at = |rate: f64| -> Result<At> {
        let rate = rate.max(1000.0);
        take(bench, session.as_mut(), row, &Offer::wanted(rate as u64, WARM_UP))?;
        session.totals()?;
        let (mut rates, mut latencies) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let generator = Generator::load(bench, &Offer::wanted(rate as u64, LENGTH))?;
            generator.start();
            rates.push(generator.finish()?.per_second());
            sleep(Duration::from_millis(30));
            latencies.push(session.totals()?.latency.context("nothing arrived")?);
        }
        let middle =
            |of: fn(&Latency) -> u64| median(&latencies.iter().map(|one| of(one) as f64).collect::<Vec<_>>()) as u64;
        let latency = Latency {
            count: latencies.iter().map(|one| one.count).sum(),
            p50: middle(|one| one.p50),
            p99: middle(|one| one.p99),
            p99_9: middle(|one| one.p99_9),
        };
        Ok(At { packets_per_second: median(&rates), latency })
    };
    let latencies = Latencies { half_of_pdr: at(own)?, common: at(common)? };
    session.end()?;
    Ok(latencies)
}

pub fn report(table: &LatencyTable, rows: &[&'static Row]) -> String {
    let mut text =
        Table::new(&["row", "at M/s", "p50 us", "p99", "p99.9", "at M/s (same)", "p50 us", "p99", "p99.9", ""]);
    for row in rows {
        let Some(latencies) = table.get(row.name) else { continue };
        let mut line = vec![row.name.to_owned()];
        for At { packets_per_second, latency } in [latencies.half_of_pdr, latencies.common] {
            line.push(millions(packets_per_second));
            let micros = |nanoseconds: u64| format!("{:.1}", nanoseconds as f64 / 1000.0);
            line.extend([latency.p50, latency.p99, latency.p99_9].map(micros));
        }
        line.push(String::new());
        text.line(line);
    }
    format!("Latency at half of the row's PDR, and at half of recvmmsg's\n{text}")
}
