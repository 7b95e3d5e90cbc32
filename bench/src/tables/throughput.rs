//! The main table: each row at full rate, in rounds, so that changes of the machine affect all rows alike.

use std::collections::BTreeMap;

use anyhow::Result;
use receiver_send::probe::PROBE_LEN;

use crate::child::Observation;
use crate::conditions::other_load;
use crate::lab::Bench;
use crate::offered::Offer;
use crate::peers::iperf;
use crate::peers::testpmd::Settings;
use crate::rows::{AGAIN, BASE, Kind, ROWS, Row, start};
use crate::sample::{RUN, Sample, take};
use crate::statistics::{Interval, Ratio, interval, median, noise, ratio};

/// The factor by which a run is longer than its time, so that it contains the middle even if the machine is faster than
/// before.
const MARGIN: f64 = 1.1;

/// All samples, by row and round.
#[derive(Debug, Default)]
pub struct Throughput {
    samples: BTreeMap<&'static str, Vec<Option<Sample>>>,
    /// A row's settings: mode, buffer.
    pub got: BTreeMap<&'static str, String>,
    /// Why a row is missing.
    pub missing: BTreeMap<&'static str, String>,
    /// The load of the machine by others before each round, in percent.
    pub other_load: Vec<f64>,
    /// The better of testpmd's settings.
    pub testpmd: Settings,
    /// Bytes of payload.
    payload: usize,
}

/// A row's medians.
#[derive(Clone, Debug)]
pub struct Medians {
    pub offered_per_second: f64,
    pub packets_per_second: f64,
    pub ratio: Option<Ratio>,
    pub loss_share: f64,
    pub loss: BTreeMap<String, u64>,
    pub unaccounted: u64,
    pub cpu_nanoseconds: f64,
    pub generator_bound: bool,
}

impl Throughput {
    /// Measures `rows` N times with frames of 64 bytes, and finds testpmd's better settings first.
    pub fn measure(bench: &Bench, rows: &[&'static Row], rounds: usize) -> Result<Self> {
        let has_testpmd = rows.iter().any(|row| row.kind == Kind::Testpmd);
        let testpmd = if has_testpmd { better_testpmd(bench)? } else { Settings::default() };
        Self::measure_with(bench, rows, rounds, PROBE_LEN, testpmd)
    }

    /// Measures `rows` N times with payloads of this many bytes.
    pub fn measure_with(
        bench: &Bench,
        rows: &[&'static Row],
        rounds: usize,
        payload: usize,
        testpmd: Settings,
    ) -> Result<Self> {
        let mut table = Self { testpmd, payload, ..Self::default() };
        for round in 0..rounds {
            table.other_load.push(other_load()?);
            for row in rows {
                bench.go_on()?;
                if table.missing.contains_key(row.name) {
                    continue;
                }
                let sample = match table.one(bench, row) {
                    Ok(sample) => Some(sample),
                    Err(error) if round == 0 && bench.go_on().is_ok() => {
                        eprintln!("  {}: not available: {error:#}", row.name);
                        table.missing.insert(row.name, format!("{error:#}"));
                        continue;
                    }
                    Err(error) => {
                        bench.go_on()?;
                        eprintln!("  {}: round {}: {error:#}", row.name, round + 1);
                        None
                    }
                };
                if let Some(sample) = &sample {
                    let (rate, offered) = (sample.packets_per_second / 1e6, sample.offered_per_second / 1e6);
                    eprintln!("  round {} {:19} {rate:6.3} of {offered:6.3} M/s", round + 1, row.name);
                }
                let samples = table.samples.entry(row.name).or_default();
                samples.resize(round, None);
                samples.push(sample);
            }
        }
        Ok(table)
    }

    fn one(&mut self, bench: &Bench, row: &Row) -> Result<Sample> {
        if row.kind == Kind::Iperf {
            return iperf::sample(bench);
        }
        let mut session = start(bench, row, Observation::Count, self.testpmd)?;
        self.got.entry(row.name).or_insert_with(|| session.got().to_owned());
        let mut offer = Offer { payload: self.payload, ..Offer::wanted(0, RUN) };
        if let Some(before) = self.samples(row.name).last() {
            // By count if the rate is known: a run that ends by time still has to drop the surplus of its frames.
            offer.count = Some((before.offered_per_second * RUN.as_secs_f64() * MARGIN) as u64);
            offer.duration = 2 * RUN;
        }
        let mut sample = take(bench, session.as_mut(), row, &offer)?;
        let counted = session.totals()?.packets;
        if let Some(own) = session.end()? {
            // Its own count may lack packets that were in its ring when it ended.
            sample.unaccounted += own.abs_diff(counted).saturating_sub(2048);
        }
        Ok(sample)
    }

    /// Rates by round.
    pub fn rates(&self, name: &str) -> Vec<Option<f64>> {
        let samples = self.samples.get(name).map_or(&[][..], Vec::as_slice);
        samples.iter().map(|sample| sample.as_ref().map(|sample| sample.packets_per_second)).collect()
    }

    /// A row's rate in packets per second, with its confidence interval.
    pub fn interval(&self, name: &str) -> Option<Interval> {
        interval(&self.rates(name))
    }

    /// The ratio of two rows, within the rounds.
    pub fn ratio(&self, of: &str, to: &str) -> Option<Ratio> {
        ratio(&self.rates(of), &self.rates(to))
    }

    /// The distance of the first row from itself.
    pub fn noise(&self) -> f64 {
        noise(&self.rates(BASE), &self.rates(AGAIN))
    }

    /// A row's samples.
    pub fn samples(&self, name: &str) -> Vec<&Sample> {
        self.samples.get(name).into_iter().flatten().flatten().collect()
    }

    /// A row's medians; `None` without a sample.
    pub fn medians(&self, name: &str) -> Option<Medians> {
        let samples = self.samples(name);
        let middle = |of: fn(&Sample) -> f64| median(&samples.iter().map(|sample| of(sample)).collect::<Vec<_>>());
        let mut loss = BTreeMap::new();
        for sample in &samples {
            for (cause, count) in &sample.loss {
                *loss.entry(cause.clone()).or_insert(0) += count;
            }
        }
        (!samples.is_empty()).then(|| Medians {
            offered_per_second: middle(|sample| sample.offered_per_second),
            packets_per_second: middle(|sample| sample.packets_per_second),
            ratio: self.ratio(name, BASE),
            loss_share: middle(Sample::loss_share),
            loss,
            unaccounted: samples.iter().map(|sample| sample.unaccounted).sum(),
            cpu_nanoseconds: middle(|sample| sample.cpu_nanoseconds),
            generator_bound: samples.iter().filter(|sample| sample.is_generator_bound()).count() * 2 > samples.len(),
        })
    }
}

/// Runs testpmd once with each setting.
pub fn better_testpmd(bench: &Bench) -> Result<Settings> {
    let Some(row) = ROWS.iter().find(|row| row.kind == Kind::Testpmd) else { return Ok(Settings::default()) };
    let mut best = (Settings::default(), 0.0);
    for settings in [Settings::Default, Settings::NoBusyPoll] {
        bench.go_on()?;
        let tried = start(bench, row, Observation::Count, settings).and_then(|mut session| {
            let sample = take(bench, session.as_mut(), row, &Offer::wanted(0, RUN))?;
            session.end()?;
            Ok(sample.packets_per_second)
        });
        match tried {
            Ok(rate) => {
                eprintln!("  testpmd, {settings:?}: {:.3} M/s", rate / 1e6);
                if rate > best.1 {
                    best = (settings, rate);
                }
            }
            // The row itself reports the error.
            Err(error) => eprintln!("  testpmd, {settings:?}: {error:#}"),
        }
    }
    Ok(best.0)
}
