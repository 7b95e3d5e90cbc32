//! The rows: which test runs in which mode.

mod capabilities;
mod channels;
mod delivery;
mod jumbo;
mod leases;
mod link;
pub mod modes;
mod replace;
mod restarts;
mod share;
mod vlan;

use anyhow::Result;
use receiver::ReceiveMode;

use crate::bench::Bench;

/// The counts of a row.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Wanted datagrams sent.
    pub sent: u64,
    /// Wanted datagrams received.
    pub received: u64,
    /// Unwanted datagrams dropped because of their source.
    pub blocked: u64,
    /// Further remarks.
    pub note: String,
}

/// One test in one mode.
pub struct Row {
    pub name: &'static str,
    pub mode: ReceiveMode,
    pub run: fn(&Bench, ReceiveMode) -> Result<Outcome>,
}

/// All rows for a system on which `best` is the fastest available mode.
pub fn all(best: ReceiveMode) -> Vec<Row> {
    use ReceiveMode::{Copy, Generic, Mapped, Socket};
    let had = |mode: &ReceiveMode| position(*mode) >= position(best);
    // The best mode, mode mapped, which is another path, and `more`.
    let with = |more: &[ReceiveMode]| {
        let all = ReceiveMode::ALL.into_iter().filter(had);
        all.filter(|mode| *mode == best || *mode == Mapped || more.contains(mode)).collect::<Vec<_>>()
    };
    let mut rows = vec![Row { name: "mode_selection", mode: best, run: modes::selection }];
    for mode in ReceiveMode::ALL.into_iter().filter(|mode| !had(mode)) {
        rows.push(Row { name: "refused by name", mode, run: modes::refused });
    }
    for mode in ReceiveMode::ALL.into_iter().filter(|mode| had(mode) && *mode != Socket) {
        rows.push(Row { name: "capabilities", mode, run: capabilities::run });
    }
    rows.push(Row { name: "receiver run, IPv4", mode: best, run: delivery::long });
    for mode in with(&[Copy, Generic, Socket]).into_iter().filter(|mode| *mode != best) {
        rows.push(Row { name: "receiver run, IPv4", mode, run: delivery::short });
    }
    for mode in with(&[]) {
        rows.push(Row { name: "receiver run, IPv6", mode, run: delivery::v6 });
        rows.push(Row { name: "leases held", mode, run: leases::run });
        rows.push(Row { name: "sources replaced", mode, run: replace::run });
    }
    for mode in with(&[Generic]) {
        rows.push(Row { name: "ten starts and stops", mode, run: restarts::run });
    }
    for mode in with(&[Generic, Socket]) {
        rows.push(Row { name: "link down and up", mode, run: link::run });
    }
    for mode in with(&[Generic]) {
        rows.push(Row { name: "ethtool -L, fewer queues", mode, run: channels::fewer });
        rows.push(Row { name: "ethtool -L, more queues", mode, run: channels::more });
    }
    for mode in ReceiveMode::ALL.into_iter().filter(|mode| had(mode) && *mode != Socket) {
        rows.push(Row { name: "MTU 9000", mode, run: jumbo::run });
    }
    for mode in with(&[Generic, Socket]) {
        rows.push(Row { name: "VLAN tag", mode, run: vlan::run });
    }
    if had(&Mapped) {
        rows.push(Row { name: "shared packets", mode: Mapped, run: share::run });
    }
    rows
}

fn position(mode: ReceiveMode) -> Option<usize> {
    ReceiveMode::ALL.iter().position(|other| *other == mode)
}
