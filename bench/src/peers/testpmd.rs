//! DPDK's testpmd with its af_xdp driver, which receives and frees packets.

use std::time::Duration;

use anyhow::{Context, Result};
use receiver_send::probe::now_ns;

use super::{BY_FLAG, Session, require};
use crate::child::Counts;
use crate::lab::{Bench, CONSUMER_CPU, GENERATOR_CPU};
use crate::process::Process;

const PATIENCE: Duration = Duration::from_secs(20);

/// testpmd's settings: the driver's default of busy polling, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Settings {
    #[default]
    Default,
    NoBusyPoll,
}

pub struct Testpmd {
    process: Process,
    got: &'static str,
}

impl Testpmd {
    pub fn start(bench: &Bench, settings: Settings) -> Result<Self> {
        require("dpdk-testpmd", BY_FLAG)?;
        let (more, got) = match settings {
            Settings::Default => ("", "busy polling as the driver has it"),
            Settings::NoBusyPoll => (",busy_budget=0", "busy_budget=0"),
        };
        let device = format!("net_af_xdp0,iface={},start_queue=0,queue_count=1{more}", bench.lab.rx_interface());
        // Its main thread sleeps; the second one forwards.
        let cpus = format!("{GENERATOR_CPU},{CONSUMER_CPU}");
        let main = GENERATOR_CPU.to_string();
        let prefix = format!("bench{}", std::process::id());
        let arguments = [
            "supervise",
            "--",
            "stdbuf",
            "-oL",
            "dpdk-testpmd",
            "-l",
            &cpus,
            "--main-lcore",
            &main,
            "--no-huge",
            "-m",
            "512",
            "--no-shconf",
            "--no-pci",
            "--no-telemetry",
            "--file-prefix",
            &prefix,
            "--vdev",
            &device,
            "--",
            "-i",
            "--forward-mode=rxonly",
            "--total-num-mbufs=16384",
        ];
        let mut process = Process::start(bench.lab.rx(), "dpdk-testpmd", &arguments)?;
        process.line_with("Done", PATIENCE)?;
        process.write_line("start")?;
        process.line_with("TX RS bit", PATIENCE)?;
        Ok(Self { process, got })
    }
}

impl Session for Testpmd {
    fn got(&self) -> &str {
        self.got
    }

    fn count(&mut self) -> Result<Counts> {
        self.totals()
    }

    fn totals(&mut self) -> Result<Counts> {
        self.process.write_line("show fwd stats all")?;
        let at = now_ns();
        self.process.line_with("Accumulated forward statistics", PATIENCE)?;
        let line = self.process.line_with("RX-packets:", PATIENCE)?;
        let (packets, dropped) = received(&line).with_context(|| format!("testpmd wrote: {line}"))?;
        let loss = [("rx_missed".to_owned(), dropped)].into_iter().filter(|(_, count)| *count > 0).collect();
        Ok(Counts { packets, at, loss, ..Counts::default() })
    }

    fn end(mut self: Box<Self>) -> Result<Option<u64>> {
        self.process.write_line("stop")?;
        self.process.write_line("quit")?;
        self.process.end().map(|_| None)
    }
}

/// `RX-packets: 4203712        RX-dropped: 0             RX-total: 4203712`.
fn received(line: &str) -> Option<(u64, u64)> {
    let after = |name: &str| line.split_once(name)?.1.split_whitespace().next()?.parse().ok();
    Some((after("RX-packets:")?, after("RX-dropped:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_and_drops_are_read() {
        let line = "  RX-packets: 4203712        RX-dropped: 17            RX-total: 4203729";
        assert_eq!(received(line), Some((4_203_712, 17)));
        assert_eq!(received("  TX-packets: 0"), None);
    }
}
