//! The whole run: its tables and rows, their order, and the report.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::json;

use crate::conditions::{Conditions, CpuTime};
use crate::json::{self, Document};
use crate::lab::Bench;
use crate::measured::{Measured, TABLES};
use crate::rows::{AGAIN, BASE, ROWS, Row, find};
use crate::statistics::median;
use crate::{Options, chart, estimate, report, target_list, targets};

const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 5;

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
    let time = |table: &&str| estimate::seconds(table, &rows, rounds, options.quick);
    for (nth, table) in tables.iter().copied().enumerate() {
        let begin = Instant::now();
        let left: f64 = tables[nth..].iter().map(time).sum();
        eprintln!("{table} … (about {} left)", estimate::shown(left));
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
    let targets = target_list::all(&measured);
    println!("{}", targets::report(&targets));
    println!("{}", report::conditions(&conditions));
    if let Some(path) = &options.chart {
        chart::draw(path, &measured, &conditions)?;
        println!("Written: {}", path.display());
    }
    if let Some(path) = &options.json {
        let rows =
            rows.iter().filter_map(|row| json::row(&measured.throughput, row, measured.more(row.name))).collect();
        let targets = targets.iter().map(|target| json!(target)).collect();
        Document { conditions, rows, tables: measured.tables(), targets }.write(path)?;
        println!("Written: {}", path.display());
    }
    Ok(())
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
