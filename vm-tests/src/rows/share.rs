//! Packets that are shared: a receiver on kernel sockets beside the one that shares gets each of them too.

use anyhow::{Result, ensure};
use receiver::{Path, ReceiveMode, Verdict};

use super::Outcome;
use crate::bench::{Bench, Receiving, expect_balance};

const EACH: u64 = 2_000;

pub fn run(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    let wanted = || "10.0.0.1@232.1.1.1:5000".parse();
    let (first, second) = (wanted()?, wanted()?);
    let beside = bench.open(|builder| builder.subscribe(first).mode(ReceiveMode::Socket))?;
    let mut receiver = bench.open(|builder| builder.subscribe(second).mode(mode).share(true))?;
    let handle = receiver.handle();
    let beside = Receiving::start(beside);
    let mut by_kernel = 0;
    let config = bench.stream("232.1.1.1", &["10.0.0.1", "10.0.0.2"], 4_000, 2 * EACH)?;
    let (received, _) =
        bench.burst(&mut receiver, config, |datagram| by_kernel += u64::from(datagram.path() == Path::Kernel))?;
    let (theirs, ..) = beside.finish()?;
    ensure!(
        (received, by_kernel, theirs.received) == (EACH, 0, EACH),
        "{received} of {EACH} arrived, {by_kernel} of them by the kernel path, and {} beside",
        theirs.received
    );
    let ledger = handle.ledger()?;
    expect_balance(&ledger)?;
    let unwanted = ledger.verdict(Verdict::PassedShared);
    ensure!(unwanted == EACH, "{unwanted} of {EACH} of the other source passed");
    Ok(Outcome { sent: EACH, received, blocked: 0, note: format!("{} beside", theirs.received) })
}
