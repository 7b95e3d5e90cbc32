//! The rows: every receiver that is measured, and how it is started. The names stand in the JSON and stay.

use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use crate::child::Look;
use crate::lab::{Bench, SILENT, WANTED};
use crate::peers::Session;
use crate::peers::child::Child;
use crate::peers::testpmd::{Settings, Testpmd};
use crate::peers::xdpsock::Xdpsock;

/// The 1.00 of all ratios.
pub const BASE: &str = "recvmmsg";
/// The same once more in each round: what of a ratio is noise.
pub const AGAIN: &str = "recvmmsg_again";

/// Before a peer that did not start is started once more.
const MOMENT: Duration = Duration::from_millis(200);

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub about: &'static str,
    pub kind: Kind,
    pub measures: Measures,
    /// What waits in the kernel for it can be more than a part of a run: its rate is taken in the middle of the run.
    pub buffered: bool,
    /// Whether it can tell how long a datagram took, and from whom it came.
    pub looks: bool,
}

/// Who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A child of this program, with these words.
    Child(&'static [&'static str]),
    /// As a child, joined to another source than the one that sends.
    Elsewhere(&'static [&'static str]),
    Testpmd,
    Xdpsock,
    /// With its own generator.
    Iperf,
}

/// What its rate is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measures {
    Delivered,
    /// Nothing of what is sent is wanted.
    Dropped,
}

const fn peer(name: &'static str, about: &'static str, kind: Kind) -> Row {
    Row { name, about, kind, measures: Measures::Delivered, buffered: false, looks: false }
}

const fn child(name: &'static str, about: &'static str, words: &'static [&'static str]) -> Row {
    Row { looks: true, ..peer(name, about, Kind::Child(words)) }
}

const fn buffered(row: Row) -> Row {
    Row { buffered: true, ..row }
}

const fn dropped(row: Row) -> Row {
    Row { measures: Measures::Dropped, looks: false, ..row }
}

/// All of them, in the order in which a round runs them: those that are compared follow each other.
pub const ROWS: [Row; 19] = [
    buffered(child(BASE, "UDP socket with an SSM join, recvmmsg", &["recvmmsg"])),
    buffered(child("packet_v3", "AF_PACKET, TPACKET_V3, BPF filter", &["packet-v3"])),
    peer("iperf2", "iperf 2 in SSM mode, its own generator", Kind::Iperf),
    buffered(child("socket", "ours, mode socket", &["ours", "--mode", "socket"])),
    child("generic", "ours, mode generic", &["ours", "--mode", "generic"]),
    peer("testpmd", "DPDK, af_xdp driver, rxonly", Kind::Testpmd),
    peer("xdpsock", "AF_XDP rxdrop, no filter", Kind::Xdpsock),
    child("copy", "ours, mode copy, lending loop", &["ours", "--mode", "copy"]),
    child("zero_copy", "ours, mode zero-copy", &["ours", "--mode", "zero-copy"]),
    child("copy_owned", "copy, each datagram as Bytes", &["ours", "--owned"]),
    child("copy_no_checksums", "copy, checksums not verified", &["ours", "--no-verify"]),
    Row { looks: false, ..child("copy_probe_check", "copy, each datagram checked as a probe", &["ours", "--probe"]) },
    child("copy_busy_poll", "copy, SO_PREFER_BUSY_POLL", &["ours", "--busy-poll"]),
    buffered(child(AGAIN, "the first row once more: the noise", &["recvmmsg"])),
    dropped(child("xdp_drop", "XDP_DROP and nothing else: the ceiling", &["xdp-drop"])),
    dropped(child("copy_blocked", "ours, the source is blocked, the consumer sleeps", &["ours", "--block", "--wait"])),
    dropped(peer("kernel_dropped", "a socket joined to another source", Kind::Elsewhere(&["joined"]))),
    dropped(peer("copy_not_included", "ours, joined to another source", Kind::Elsewhere(&["ours", "--wait"]))),
    dropped(child("xdp_drop_again", "the ceiling once more: the noise", &["xdp-drop"])),
];

/// Starts a row's receiver.
pub fn start<'a>(bench: &'a Bench, row: &Row, look: Look, testpmd: Settings) -> Result<Box<dyn Session + 'a>> {
    let child = |words: &[&str], source: Ipv4Addr| -> Result<Box<dyn Session + 'a>> {
        Ok(Box::new(Child::start(bench, words, source, look)?))
    };
    match row.kind {
        Kind::Child(words) => child(words, WANTED),
        Kind::Elsewhere(words) => child(words, SILENT),
        Kind::Testpmd => Ok(Box::new(twice(bench, || Testpmd::start(bench, testpmd))?)),
        Kind::Xdpsock => Ok(Box::new(twice(bench, || Xdpsock::start(bench))?)),
        Kind::Iperf => anyhow::bail!("iperf has its own generator"),
    }
}

/// Once more if it fails: what the row before held may be free only after a moment, and these two do not wait for it.
fn twice<T>(bench: &Bench, start: impl Fn() -> Result<T>) -> Result<T> {
    start().or_else(|_| {
        bench.go_on()?;
        sleep(MOMENT);
        start()
    })
}

/// The row of a name.
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
