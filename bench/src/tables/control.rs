//! Join to first packet, and block to last packet: this receiver in modes socket, copy and mapped, and a plain kernel
//! socket.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::child::control::Delays;
use crate::lab::{Bench, CONSUMER_CPU, GROUP, PORT, SILENT, WANTED};
use crate::offered::{Generator, Offer};
use crate::process::Process;
use crate::report::Table;
use crate::statistics::median;

/// One datagram every 20 microseconds.
const RATE: u64 = 50_000;
const MODES: [(&str, &str); 4] =
    [("kernel_socket", "kernel"), ("socket", "socket"), ("copy", "copy"), ("mapped", "mapped")];

/// Medians, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Control {
    pub name: &'static str,
    pub join_to_first: f64,
    pub join_to_first_longest: f64,
    pub block_to_last: f64,
    pub block_to_last_longest: f64,
    pub block_call: f64,
    pub after_block: u64,
    pub times: usize,
}

pub fn measure(bench: &Bench, times: usize) -> Result<Vec<Control>> {
    MODES.iter().map(|&(name, mode)| one(bench, name, mode, times)).collect()
}

fn one(bench: &Bench, name: &'static str, mode: &str, times: usize) -> Result<Control> {
    bench.go_on()?;
    // A try takes about 100 ms. The duration stops the generator, so it gets enough packets.
    let duration = Duration::from_millis(1200 + 130 * times as u64);
    let generator = Generator::load(bench, &Offer::wanted(RATE, duration))?;
    generator.start();
    std::thread::sleep(Duration::from_millis(200));
    let (cpu, port, times_text) = (CONSUMER_CPU.to_string(), PORT.to_string(), times.to_string());
    let (source, silent, group) = (WANTED.to_string(), SILENT.to_string(), GROUP.to_string());
    let interface = bench.lab.rx_interface();
    let arguments = [
        "control",
        "--interface",
        interface,
        "--cpu",
        &cpu,
        "--source",
        &source,
        "--silent",
        &silent,
        "--group",
        &group,
        "--port",
        &port,
        "--times",
        &times_text,
        "--mode",
        mode,
    ];
    let mut process = Process::start(bench.lab.rx(), "the control table's child", &arguments)?;
    let line = process.line(duration + Duration::from_secs(20));
    let offered = generator.finish();
    let delays: Delays = serde_json::from_str(&line?).context("the control table's child")?;
    offered?;
    process.end()?;
    let micros = |times: &[u64]| times.iter().map(|&time| time as f64 / 1000.0).collect::<Vec<_>>();
    let (join, block, call) =
        (micros(&delays.join_to_first), micros(&delays.block_to_last), micros(&delays.block_call));
    let longest = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
    Ok(Control {
        name,
        join_to_first: median(&join),
        join_to_first_longest: longest(&join),
        block_to_last: median(&block),
        block_to_last_longest: longest(&block),
        block_call: median(&call),
        after_block: delays.after_block,
        times,
    })
}

pub fn report(table: &[Control]) -> String {
    let mut text = Table::new(&[
        "row",
        "join to first us",
        "longest",
        "block to last us",
        "longest",
        "call us",
        "delivered after the call",
        "",
    ]);
    let micros = |time: f64| format!("{time:.0}");
    for row in table {
        text.line(vec![
            row.name.to_owned(),
            micros(row.join_to_first),
            micros(row.join_to_first_longest),
            micros(row.block_to_last),
            micros(row.block_to_last_longest),
            micros(row.block_call),
            row.after_block.to_string(),
            String::new(),
        ]);
    }
    format!("Join to first packet, block to last packet, at {RATE} packets/s\n{text}")
}
