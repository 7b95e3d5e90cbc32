//! The time to join 10,000 channels and to leave them, by mode and family. The bare sockets show what the kernel takes.

use std::time::Duration;

use anyhow::Result;
use netlab::Lab;
use serde::Serialize;

use crate::child::joins::Seconds;
use crate::lab::Bench;
use crate::process::Process;
use crate::report::Table;
use crate::statistics::{Interval, interval, median};

const COUNT: u32 = 10_000;
const MODES: [(&str, &str); 4] =
    [("kernel_sockets", "kernel"), ("socket", "socket"), ("copy", "copy"), ("mapped", "mapped")];
const PATIENCE: Duration = Duration::from_secs(120);

/// One mode and family.
#[derive(Clone, Debug, Serialize)]
pub struct Joins {
    pub name: &'static str,
    pub family: &'static str,
    pub count: u32,
    /// Medians.
    #[serde(flatten)]
    pub seconds: Seconds,
    pub rounds: Vec<Seconds>,
}

/// Measures in a lab of its own, since the kernel goes on sending reports of what was joined.
pub fn measure(bench: &Bench, rounds: usize) -> Result<Vec<Joins>> {
    let mut table: Vec<Joins> = Vec::new();
    for round in 0..rounds {
        for (name, mode) in MODES {
            for family in ["IPv4", "IPv6"] {
                bench.go_on()?;
                match one(mode, family) {
                    Ok(seconds) => record(&mut table, name, family, seconds),
                    Err(error) => {
                        bench.go_on()?;
                        eprintln!("  {name}, {family}, round {}: {error:#}", round + 1);
                    }
                }
            }
        }
    }
    for row in &mut table {
        let middle = |of: fn(&Seconds) -> Option<f64>| {
            let values: Vec<f64> = row.rounds.iter().filter_map(of).collect();
            (!values.is_empty()).then(|| median(&values))
        };
        row.seconds = Seconds {
            join: middle(|one| Some(one.join)).unwrap_or(0.0),
            leave: middle(|one| Some(one.leave)).unwrap_or(0.0),
            join_all: middle(|one| one.join_all),
            leave_all: middle(|one| one.leave_all),
            shutdown: middle(|one| one.shutdown),
        };
    }
    Ok(table)
}

fn record(table: &mut Vec<Joins>, name: &'static str, family: &'static str, seconds: Seconds) {
    match table.iter_mut().find(|row| row.name == name && row.family == family) {
        Some(row) => row.rounds.push(seconds),
        None => table.push(Joins { name, family, count: COUNT, seconds, rounds: vec![seconds] }),
    }
}

/// One call for each channel, then one call for all in another process and lab.
fn one(mode: &str, family: &str) -> Result<Seconds> {
    let each = child(mode, family, &[])?;
    if mode == MODES[0].1 {
        return Ok(each);
    }
    let Seconds { join_all, leave_all, .. } = child(mode, family, &["--at-once"])?;
    Ok(Seconds { join_all, leave_all, ..each })
}

fn child(mode: &str, family: &str, more: &[&str]) -> Result<Seconds> {
    let lab = Lab::new()?;
    let count = COUNT.to_string();
    let mut arguments = vec!["joins", "--interface", lab.rx_interface(), "--mode", mode, "--count", &count];
    arguments.extend(more);
    if family == "IPv6" {
        arguments.push("--v6");
    }
    Process::report(lab.rx(), "the joins table's child", &arguments, PATIENCE)
}

/// The seconds of a mode and family, and their confidence interval.
pub fn seconds(table: &[Joins], name: &str, family: &str, of: fn(&Seconds) -> f64) -> Option<Interval> {
    let row = table.iter().find(|row| row.name == name && row.family == family)?;
    interval(&row.rounds.iter().map(|one| Some(of(one))).collect::<Vec<_>>())
}

pub fn report(table: &[Joins]) -> String {
    let mut text = Table::new(&[
        "row",
        "family",
        "join s",
        "leave s",
        "join in one call s",
        "leave in one call s",
        "shutdown s",
        "",
    ]);
    let shown = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.3}"));
    for Joins { name, family, seconds, .. } in table {
        text.line(vec![
            (*name).to_owned(),
            (*family).to_owned(),
            shown(Some(seconds.join)),
            shown(Some(seconds.leave)),
            shown(seconds.join_all),
            shown(seconds.leave_all),
            shown(seconds.shutdown),
            if *name == MODES[0].0 { "socket, bind, join; leave, close: the floor".to_owned() } else { String::new() },
        ]);
    }
    format!("Joining and leaving {COUNT} channels\n{text}")
}
