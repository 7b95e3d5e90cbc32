//! iperf 2 in SSM mode with its own generator: whether it delivers, and its rate.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{BY_FLAG, require, supervised};
use crate::lab::{Bench, GENERATOR_CPU, GROUP, PORT, WANTED};
use crate::sample::Sample;

/// Payload length in bytes: the minimum that holds its own header.
const PAYLOAD: &str = "64";
const RATE: &str = "1000000pps";
const SECONDS: &str = "1";

/// One run of its client and its server.
pub fn sample(bench: &Bench) -> Result<Sample> {
    require("iperf", BY_FLAG)?;
    let (source, port) = (WANTED.to_string(), PORT.to_string());
    let group = format!("{GROUP}%{}", bench.lab.rx_interface());
    let arguments = ["-s", "-u", "-B", &group, "-H", &source, "-p", &port, "-l", PAYLOAD, "-y", "C"];
    let server = supervised(bench, "iperf", &arguments)?;
    std::thread::sleep(Duration::from_millis(400));
    let group = GROUP.to_string();
    let generator = GENERATOR_CPU.to_string();
    let client = bench
        .lab
        .tx()
        .command("taskset")
        .args(["-c", &generator, "iperf", "-u", "-c", &group, "-B", &source, "-p", &port, "-l", PAYLOAD])
        .args(["-b", RATE, "-t", SECONDS, "-y", "C"])
        .stdin(Stdio::null())
        .output()
        .context("running iperf's client")?;
    if !client.status.success() {
        bail!("iperf's client failed: {}", String::from_utf8_lossy(&client.stderr).trim());
    }
    std::thread::sleep(Duration::from_millis(200));
    let complaints = server.complaints();
    let lines = server.end()?;
    let report = lines.iter().rev().find_map(|line| Report::parse(line));
    let Some(Report { bytes, lost, total }) = report else {
        bail!("iperf's server reported nothing; it wrote: {} {complaints}", lines.join("; "));
    };
    let (packets, size) = (total.saturating_sub(lost), PAYLOAD.parse().unwrap_or(64u64));
    Ok(Sample {
        offered: total,
        offered_per_second: total as f64,
        packets,
        packets_per_second: (bytes / size) as f64,
        loss: if lost > 0 { [("iperf_lost".to_owned(), lost)].into() } else { Default::default() },
        ..Sample::default()
    })
}

/// A server's final line in CSV: … bytes, bits per second, jitter, lost, total, percent, out of order.
#[derive(Debug, PartialEq)]
struct Report {
    bytes: u64,
    lost: u64,
    total: u64,
}

impl Report {
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |at: usize| fields.get(at)?.trim().parse().ok();
        Some(Self { bytes: number(7)?, lost: number(10)?, total: number(11)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_line() {
        let line = "20261123041321,10.0.0.1,5000,232.1.1.1,4000,3,0.0-1.0,640000,5120000,0.004,17,10017,0.170,0";
        assert_eq!(Report::parse(line), Some(Report { bytes: 640_000, lost: 17, total: 10_017 }));
        assert_eq!(Report::parse("a,b"), None);
    }
}
