//! The whole run: its tables and rows, their order, and the report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use crate::conditions::{Conditions, CpuTime};
use crate::json::{self, Document};
use crate::lab::Bench;
use crate::rows::{AGAIN, BASE, ROWS, Row, find};
use crate::statistics::{Ratio, median};
use crate::tables::burst::{self, Longest};
use crate::tables::control::{self, Control};
use crate::tables::flood::{self, Flood};
use crate::tables::loss_free::{self, LossFree};
use crate::tables::memory::{self, Taken};
use crate::tables::rules::{self, Cost, cost};
use crate::tables::throughput::Throughput;
use crate::tables::wrong_source::{self, WrongSource};
use crate::tables::{latency, latency::LatencyTable as Latencies};
use crate::targets::{self, Target};
use crate::{Options, report};

/// The tables, in their order.
const TABLES: [&str; 9] =
    ["throughput", "wrong_source", "loss_free", "latency", "flood", "rules", "burst", "control", "memory"];
const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 5;

/// The results.
#[derive(Default)]
struct Measured {
    throughput: Throughput,
    wrong_source: WrongSource,
    loss_free: LossFree,
    latency: Latencies,
    flood: Vec<Flood>,
    rules: Vec<Cost>,
    burst: Vec<Longest>,
    control: Vec<Control>,
    memory: Option<Taken>,
}

/// Runs the suite.
pub fn run(options: &Options) -> Result<()> {
    let rows = chosen_rows(options)?;
    let tables = chosen_tables(options)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    crate::wake::prepare()?;
    let rounds = options.rounds.map_or(if options.quick { QUICK_ROUNDS } else { ROUNDS }, usize::from);
    let mut conditions = Conditions::read(rounds, options.quick);
    let (start, cpu) = (Instant::now(), CpuTime::read()?);
    let bench = Bench::new(stop)?;
    let mut measured = Measured::default();
    for table in tables {
        let begin = Instant::now();
        eprintln!("{table} …");
        match measured.table(&bench, table, &rows, rounds, options.quick) {
            Ok(text) => println!("\n{text}"),
            // A failing table does not affect the others.
            Err(error) => {
                bench.go_on()?;
                println!("\n{table}: not measured: {error:#}\n");
            }
        }
        eprintln!("{table}: {:.0} s", begin.elapsed().as_secs_f64());
    }
    conditions.other_load_percent = median(&measured.throughput.other_load);
    conditions.noise = measured.throughput.noise();
    conditions.steal_percent = CpuTime::read()?.since(&cpu).steal_percent();
    conditions.seconds = start.elapsed().as_secs_f64();
    let targets = measured.targets();
    println!("{}", targets::report(&targets));
    println!("{}", report::conditions(&conditions));
    if let Some(path) = &options.json {
        let rows =
            rows.iter().filter_map(|row| json::row(&measured.throughput, row, measured.more(row.name))).collect();
        let targets = targets.iter().map(|target| json!(target)).collect();
        Document { conditions, rows, tables: measured.tables(), targets }.write(path)?;
        println!("Written: {}", path.display());
    }
    Ok(())
}

impl Measured {
    /// Measures one table, and returns it as text.
    fn table(
        &mut self,
        bench: &Bench,
        name: &str,
        rows: &[&'static Row],
        rounds: usize,
        quick: bool,
    ) -> Result<String> {
        let some = if quick { 3 } else { 5 };
        Ok(match name {
            "throughput" => {
                self.throughput = Throughput::measure(bench, rows, rounds)?;
                report::throughput(&self.throughput, rows)
            }
            "wrong_source" => {
                self.wrong_source = wrong_source::measure(bench, rows, self.throughput.testpmd)?;
                report::wrong_source(&self.wrong_source, rows)
            }
            "loss_free" => {
                self.need_rates(bench, rows)?;
                self.loss_free = loss_free::measure(bench, rows, &self.throughput, quick)?;
                loss_free::report(&self.loss_free, rows)
            }
            "latency" => {
                if self.loss_free.is_empty() {
                    self.need_rates(bench, rows)?;
                    self.loss_free = loss_free::measure(bench, rows, &self.throughput, true)?;
                }
                self.latency = latency::measure(bench, rows, &self.loss_free)?;
                latency::report(&self.latency, rows)
            }
            "flood" => {
                self.flood = flood::measure(bench, some)?;
                flood::report(&self.flood)
            }
            "rules" => {
                self.rules = rules::measure(bench, some)?;
                rules::report(&self.rules)
            }
            "burst" => {
                self.burst = burst::measure(bench, quick)?;
                burst::report(&self.burst)
            }
            "control" => {
                self.control = control::measure(bench, if quick { 10 } else { 25 })?;
                control::report(&self.control)
            }
            "memory" => {
                let taken = memory::measure(bench)?;
                self.memory = Some(taken);
                memory::report(&taken)
            }
            other => bail!("there is no table {other}"),
        })
    }

    /// Searches start from the rate of a row at full load.
    fn need_rates(&mut self, bench: &Bench, rows: &[&'static Row]) -> Result<()> {
        if self.throughput.medians(BASE).is_none() {
            self.throughput = Throughput::measure(bench, rows, 1)?;
        }
        Ok(())
    }

    /// The results of other tables for a row.
    fn more(&self, name: &str) -> Map<String, Value> {
        let mut more = self.loss_free.get(name).map(loss_free::fields).unwrap_or_default();
        if let Some((delivered, sent)) = self.wrong_source.get(name) {
            more.insert("wrong_source_delivered".to_owned(), json!(delivered));
            more.insert("wrong_source_sent".to_owned(), json!(sent));
        }
        if let Some(latencies) = self.latency.get(name) {
            more.insert("latency_nanoseconds".to_owned(), json!(latencies));
        }
        more
    }

    fn tables(&self) -> BTreeMap<&'static str, Value> {
        [
            ("flood", json!(self.flood)),
            ("rules", json!(self.rules)),
            ("burst", json!(self.burst)),
            ("control", json!(self.control)),
            ("memory", json!(self.memory)),
        ]
        .into_iter()
        .collect()
    }

    fn targets(&self) -> Vec<Target> {
        let ratio = |of: &str, to: &str| self.throughput.ratio(of, to);
        let rule = |verdict: &str, entries| cost(&self.rules, verdict, entries);
        // Medians of rounds have about this error.
        let by = |of: Option<f64>, to: Option<f64>, share| Some(Ratio::within(of? / to.filter(|to| *to > 0.0)?, share));
        let p99 = |name: &str| self.latency.get(name).map(|latencies| latencies.common.latency.p99 as f64);
        let flood =
            |name: &str| self.flood.iter().find(|flood| flood.name == name && flood.others == 99 && !flood.flat_out);
        let wanted = |name: &str| flood(name).map(|flood| Ratio::within(flood.share, 0.0));
        let p99_of_ours = [p99("copy"), p99("copy_busy_poll")].into_iter().flatten().reduce(f64::min);
        let allowed = |entries| rule("allowed, v4", Some(entries));
        vec![
            Target::at_least("copy / xdpsock", ratio("copy", "xdpsock"), 0.97),
            Target::at_least("copy / testpmd", ratio("copy", "testpmd"), 1.15),
            Target::at_least("copy / recvmmsg", ratio("copy", BASE), 5.5),
            Target::at_least("copy_owned / copy", ratio("copy_owned", "copy"), 0.85),
            Target::at_least("copy_blocked / xdp_drop", ratio("copy_blocked", "xdp_drop"), 0.95),
            Target::at_least("copy_blocked / kernel_dropped", ratio("copy_blocked", "kernel_dropped"), 4.0),
            Target::at_most(
                "verdict allowed v4 / redirect_only, 1 entry",
                by(allowed(1), rule("redirect_only", None), 0.05),
                1.5,
            ),
            Target::at_most(
                "verdict allowed v4, 1,000,000 entries / 1,000",
                by(allowed(1_000_000), allowed(1_000), 0.05),
                1.5,
            ),
            Target::at_least("flood 99:1, copy: share of the wanted", wanted("copy"), 1.0),
            Target::at_most("flood 99:1, recvmmsg: share of the wanted", wanted(BASE), 0.5),
            Target::at_least("socket / recvmmsg", ratio("socket", BASE), 0.97),
            Target::at_most("latency p99, busy poll / recvmmsg, same rate", by(p99_of_ours, p99(BASE), 0.1), 0.5),
        ]
    }
}

/// All rows, or the named ones and the references of their ratios.
fn chosen_rows(options: &Options) -> Result<Vec<&'static Row>> {
    for name in &options.rows {
        if find(name).is_none() {
            let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
            bail!("there is no row {name}; there are {}", names.join(", "));
        }
    }
    let chosen = |row: &&Row| {
        options.rows.is_empty() || options.rows.iter().any(|name| name == row.name) || [BASE, AGAIN].contains(&row.name)
    };
    Ok(ROWS.iter().filter(chosen).collect())
}

fn chosen_tables(options: &Options) -> Result<Vec<&'static str>> {
    for name in &options.tables {
        if !TABLES.contains(&name.as_str()) {
            bail!("there is no table {name}; there are {}", TABLES.join(", "));
        }
    }
    let chosen = |name: &&str| options.tables.is_empty() || options.tables.iter().any(|asked| asked == name);
    Ok(TABLES.into_iter().filter(chosen).collect())
}
