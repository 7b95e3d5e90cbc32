//! The rows: all receivers that are measured, and how to start them. The JSON contains the names, so they stay.

use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use crate::child::Observation;
use crate::lab::{Bench, SILENT, WANTED};
use crate::peers::Session;
use crate::peers::child::Child;
use crate::peers::testpmd::{Settings, Testpmd};
use crate::peers::xdpsock::Xdpsock;

/// The reference (1.00) of all ratios.
pub const BASE: &str = "recvmmsg";
/// The same receiver once more in each round, which shows the noise of ratios.
pub const AGAIN: &str = "recvmmsg_again";

/// The pause before a peer that failed to start is started once more.
const MOMENT: Duration = Duration::from_millis(200);

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub about: &'static str,
    pub kind: Kind,
    pub measures: Measures,
    /// True if the kernel can buffer more than a part of a run for it: then its rate is taken in the middle of the run.
    pub buffered: bool,
    /// True if it can report latencies and sources.
    pub observes: bool,
}

/// The kind of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A child of this program, with these arguments.
    Child(&'static [&'static str]),
    /// A child that is joined to another source than the one that sends.
    Elsewhere(&'static [&'static str]),
    Testpmd,
    Xdpsock,
    /// A program with its own generator.
    Iperf,
}

/// What the rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measures {
    Delivered,
    /// Nothing that is sent is wanted.
    Dropped,
}

const fn peer(name: &'static str, about: &'static str, kind: Kind) -> Row {
    Row { name, about, kind, measures: Measures::Delivered, buffered: false, observes: false }
}

const fn child(name: &'static str, about: &'static str, words: &'static [&'static str]) -> Row {
    Row { observes: true, ..peer(name, about, Kind::Child(words)) }
}

const fn buffered(row: Row) -> Row {
    Row { buffered: true, ..row }
}

const fn dropped(row: Row) -> Row {
    Row { measures: Measures::Dropped, observes: false, ..row }
}

/// All rows in the order of a round. Rows that are compared are adjacent.
pub const ROWS: [Row; 27] = [
    buffered(child(BASE, "UDP socket with an SSM join, recvmmsg", &["recvmmsg"])),
    buffered(child("packet_v3", "AF_PACKET, TPACKET_V3, BPF filter", &["packet-v3"])),
    peer("iperf2", "iperf 2 in SSM mode, its own generator", Kind::Iperf),
    buffered(child("socket", "ours, mode socket", &["ours", "--mode", "socket"])),
    child("generic", "ours, mode generic", &["ours", "--mode", "generic"]),
    peer("testpmd", "DPDK, af_xdp driver, rxonly: reads no payload", Kind::Testpmd),
    peer("xdpsock", "AF_XDP rxdrop, no filter: reads no payload", Kind::Xdpsock),
    child("mapped", "ours, mode mapped, lending loop: verifies checksums", &["ours", "--mode", "mapped"]),
    child("xsk_read", "a minimal AF_XDP loop, no filter: reads each payload and nothing else", &["xsk-read"]),
    child("copy", "ours, mode copy, lending loop: verifies checksums", &["ours", "--mode", "copy"]),
    child("zero_copy", "ours, mode zero-copy", &["ours", "--mode", "zero-copy"]),
    child("copy_owned", "copy, each datagram as Bytes", &["ours", "--owned"]),
    child("copy_no_checksums", "copy, checksums not verified", &["ours", "--no-verify"]),
    Row {
        observes: false,
        ..child("copy_probe_check", "copy, each datagram checked as a probe", &["ours", "--probe"])
    },
    child("copy_busy_poll", "copy, SO_PREFER_BUSY_POLL", &["ours", "--busy-poll"]),
    child("mapped_owned", "mapped, each datagram as Bytes", &["ours", "--mode", "mapped", "--owned"]),
    child("mapped_no_checksums", "mapped, checksums not verified", &["ours", "--mode", "mapped", "--no-verify"]),
    Row {
        observes: false,
        ..child(
            "mapped_probe_check",
            "mapped, each datagram checked as a probe",
            &["ours", "--mode", "mapped", "--probe"],
        )
    },
    child("mapped_share", "mapped, every packet also passes to the kernel", &["ours", "--mode", "mapped", "--share"]),
    buffered(child(AGAIN, "the first row once more: the noise", &["recvmmsg"])),
    dropped(child(
        "mapped_blocked",
        "ours, mode mapped, the source is blocked, the consumer sleeps",
        &["ours", "--mode", "mapped", "--block", "--wait"],
    )),
    dropped(child("xdp_drop", "XDP_DROP and nothing else: the ceiling", &["xdp-drop"])),
    dropped(child("copy_blocked", "ours, the source is blocked, the consumer sleeps", &["ours", "--block", "--wait"])),
    dropped(peer("kernel_dropped", "a socket joined to another source", Kind::Elsewhere(&["joined"]))),
    dropped(peer("copy_not_included", "ours, joined to another source", Kind::Elsewhere(&["ours", "--wait"]))),
    dropped(peer(
        "mapped_not_included",
        "ours, mode mapped, joined to another source",
        Kind::Elsewhere(&["ours", "--mode", "mapped", "--wait"]),
    )),
    dropped(child("xdp_drop_again", "the ceiling once more: the noise", &["xdp-drop"])),
];

/// Starts a row's receiver.
pub fn start<'a>(
    bench: &'a Bench,
    row: &Row,
    observation: Observation,
    testpmd: Settings,
) -> Result<Box<dyn Session + 'a>> {
    let child = |words: &[&str], source: Ipv4Addr| -> Result<Box<dyn Session + 'a>> {
        Ok(Box::new(Child::start(bench, words, source, observation)?))
    };
    match row.kind {
        Kind::Child(words) => child(words, WANTED),
        Kind::Elsewhere(words) => child(words, SILENT),
        Kind::Testpmd => Ok(Box::new(twice(bench, || Testpmd::start(bench, testpmd))?)),
        Kind::Xdpsock => Ok(Box::new(twice(bench, || Xdpsock::start(bench))?)),
        Kind::Iperf => anyhow::bail!("iperf has its own generator"),
    }
}

/// Retries once: the row before may hold its resources for a moment, and these two peers do not wait.
fn twice<T>(bench: &Bench, start: impl Fn() -> Result<T>) -> Result<T> {
    start().or_else(|_| {
        bench.go_on()?;
        sleep(MOMENT);
        start()
    })
}

/// Those of a table's rows that were chosen, in the table's order.
pub fn of_table(names: &[&str], chosen: &[&'static Row]) -> Vec<&'static Row> {
    names.iter().filter_map(|name| chosen.iter().copied().find(|row| row.name == *name)).collect()
}

/// Finds the row with a name.
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for row in &ROWS {
            assert_eq!(ROWS.iter().filter(|other| other.name == row.name).count(), 1, "{}", row.name);
            assert_eq!(find(row.name).map(|row| row.about), Some(row.about));
        }
        assert!(find(BASE).is_some() && find(AGAIN).is_some() && find("nobody").is_none());
    }
}
