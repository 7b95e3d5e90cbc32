//! What a sleeping receiver without traffic costs, by mode: wake-ups and CPU time.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::child::idle::Idle;
use crate::lab::Bench;
use crate::process::Process;
use crate::report::Table;

const MODES: [&str; 4] = ["socket", "generic", "copy", "mapped"];
const SUBSCRIPTIONS: [u32; 2] = [1, 100];
const PATIENCE: Duration = Duration::from_secs(30);

/// A mode's cost.
#[derive(Clone, Debug, Serialize)]
pub struct Asleep {
    pub name: &'static str,
    pub subscriptions: u32,
    #[serde(flatten)]
    pub idle: Idle,
}

pub fn measure(bench: &Bench, seconds: u64) -> Result<Vec<Asleep>> {
    let mut table = Vec::new();
    for (name, subscriptions) in MODES.into_iter().flat_map(|mode| SUBSCRIPTIONS.map(|count| (mode, count))) {
        bench.go_on()?;
        match one(bench, name, subscriptions, seconds) {
            Ok(idle) => table.push(Asleep { name, subscriptions, idle }),
            Err(error) => {
                bench.go_on()?;
                eprintln!("  {name}: {error:#}");
            }
        }
    }
    Ok(table)
}

fn one(bench: &Bench, mode: &str, subscriptions: u32, seconds: u64) -> Result<Idle> {
    let (subscriptions, seconds) = (subscriptions.to_string(), seconds.to_string());
    let interface = bench.lab.rx_interface();
    let arguments =
        ["idle", "--interface", interface, "--mode", mode, "--subscriptions", &subscriptions, "--seconds", &seconds];
    Process::report(bench.lab.rx(), "the idle table's child", &arguments, PATIENCE)
}

pub fn report(table: &[Asleep]) -> String {
    let mut text = Table::new(&["mode", "subscriptions", "wake-ups/s", "CPU us/s", "threads", ""]);
    for Asleep { name, subscriptions, idle } in table {
        text.line(vec![
            (*name).to_owned(),
            subscriptions.to_string(),
            format!("{:.1}", idle.wakeups_per_second),
            format!("{:.0}", idle.cpu_microseconds_per_second),
            idle.threads.to_string(),
            String::new(),
        ]);
    }
    format!("A sleeping receiver without traffic\n{text}")
}
