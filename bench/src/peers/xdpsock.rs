//! xdpsock of the XDP project's bpf-examples in mode rxdrop: AF_XDP without a filter; it ignores the frames' contents.
//!
//! It reports its packets only once a second. So they are read from the interface's counter of frames redirected into
//! its ring, and compared with its own final report.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use receiver_send::probe::now_ns;

use super::{BY_FLAG, Session, require, supervised};
use crate::child::Counts;
use crate::lab::Bench;
use crate::process::Process;

const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between attaching the program and putting the socket into its map.
const SETTLE: Duration = Duration::from_millis(250);

pub struct Xdpsock<'a> {
    bench: &'a Bench,
    process: Process,
    redirected: u64,
    dropped: u64,
}

impl<'a> Xdpsock<'a> {
    pub fn start(bench: &'a Bench) -> Result<Self> {
        require("xdpsock", "build it from the XDP project's bpf-examples (AF_XDP-example)")?;
        // The interface's counters have its packets.
        require("ethtool", BY_FLAG)?;
        let interface = bench.lab.rx_interface();
        let arguments = ["-i", interface, "-q", "0", "-r", "-N", "-c", "-n", "1"];
        let process = supervised(bench, "xdpsock", &arguments)?;
        let start = Instant::now();
        loop {
            let listing = bench.lab.rx().ip(&["-oneline", "link", "show", "dev", interface])?;
            if listing.contains(" xdp ") || listing.contains("prog/xdp") {
                break;
            }
            if start.elapsed() > PATIENCE {
                bail!("xdpsock attached no program to {interface}: {}", process.complaints());
            }
            sleep(Duration::from_millis(10));
        }
        sleep(SETTLE);
        let mut session = Self { bench, process, redirected: 0, dropped: 0 };
        let counts = session.totals()?;
        (session.redirected, session.dropped) = (counts.packets, counts.loss.values().sum());
        Ok(session)
    }
}

impl Session for Xdpsock<'_> {
    fn got(&self) -> &str {
        "native, copy"
    }

    fn count(&mut self) -> Result<Counts> {
        self.totals()
    }

    fn totals(&mut self) -> Result<Counts> {
        let counters = self.bench.link_counters()?;
        let get = |name: &str| counters.get(name).copied().unwrap_or(0);
        let packets = get("rx_queue_0_xdp_redirect").saturating_sub(self.redirected);
        let dropped = get("rx_queue_0_drops").saturating_sub(self.dropped);
        let loss = [("rx_ring_full".to_owned(), dropped)].into_iter().filter(|(_, count)| *count > 0).collect();
        Ok(Counts { packets, at: now_ns(), loss, ..Counts::default() })
    }

    fn end(self: Box<Self>) -> Result<Option<u64>> {
        let lines = self.process.end()?;
        Ok(lines.iter().rev().find_map(|line| own_count(line)))
    }
}

/// `rx   2698256   2699011`: packets per second, and all packets.
fn own_count(line: &str) -> Option<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let &["rx", _, packets] = words.as_slice() else { return None };
    packets.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_count_is_the_second_column() {
        assert_eq!(own_count("rx                 2,698,256      4,317,321      "), Some(4_317_321));
        assert_eq!(own_count("rx                 0              4317321        "), Some(4_317_321));
        assert_eq!(own_count("rx dropped         0              0             "), None);
        assert_eq!(own_count("tx                 0              0             "), None);
    }
}
