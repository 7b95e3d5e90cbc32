//! The whole run: which tables of which rows, in which order, and what is told of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::Map;

use crate::conditions::{Conditions, CpuTime};
use crate::json::{self, Document};
use crate::lab::Bench;
use crate::rows::{AGAIN, BASE, ROWS, Row, find};
use crate::tables::throughput::Throughput;
use crate::{Options, report};

/// The tables, in their order.
const TABLES: [&str; 1] = ["throughput"];
const ROUNDS: usize = 7;
const QUICK_ROUNDS: usize = 3;

/// Runs it.
pub fn run(options: &Options) -> Result<()> {
    let rows = chosen_rows(options)?;
    let tables = chosen_tables(options)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let rounds = options.rounds.map_or(if options.quick { QUICK_ROUNDS } else { ROUNDS }, usize::from);
    let mut conditions = Conditions::read(rounds, options.quick);
    let (start, cpu) = (Instant::now(), CpuTime::read()?);
    let bench = Bench::new(stop)?;
    let mut document_tables = BTreeMap::new();
    let mut throughput = Throughput::default();
    if tables.contains(&"throughput") {
        throughput = Throughput::measure(&bench, &rows, rounds)?;
        conditions.noise = throughput.noise();
        println!("\n{}", report::throughput(&throughput, &rows));
    }
    document_tables.insert("throughput", serde_json::json!({ "rounds": rounds }));
    conditions.steal_percent = CpuTime::read()?.since(&cpu).steal_percent();
    conditions.seconds = start.elapsed().as_secs_f64();
    println!("{}", report::conditions(&conditions));
    if let Some(path) = &options.json {
        let rows = rows.iter().filter_map(|row| json::row(&throughput, row, Map::new())).collect();
        Document { conditions, rows, tables: document_tables, targets: Vec::new() }.write(path)?;
        println!("Written: {}", path.display());
    }
    Ok(())
}

/// All rows, or the ones named and what their ratios are against.
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
