//! `ethtool -L` changes the number of queues at run time. Some kernels and drivers reject that while XDP or AF_XDP is
//! in use: then nothing may change. If it succeeds, the receiver notices, reports it, and continues to receive.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netlab::Channels;
use receiver::{Queues, ReceiveMode};

use super::Outcome;
use crate::bench::{Bench, Receiving, causes, wait_until};

const RATE: u64 = 2_000;
/// Enough flows that more than one queue gets some.
const FLOWS: u16 = 16;

/// From two queues to one, with a socket on the first one only: the kernel does not remove a queue with a socket.
pub fn fewer(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    change(bench, mode, 2, 1)
}

/// From one queue to two.
pub fn more(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    change(bench, mode, 1, 2)
}

fn change(bench: &Bench, mode: ReceiveMode, from: u32, to: u32) -> Result<Outcome> {
    set(bench, from)?.context("before the start")?;
    let outcome = observed(bench, mode, to);
    // Whatever the result, the next row starts with both queues.
    let back = set(bench, 2)?;
    let outcome = outcome?;
    back.context("after the end")?;
    Ok(outcome)
}

fn observed(bench: &Bench, mode: ReceiveMode, to: u32) -> Result<Outcome> {
    let subscription = "10.0.0.1@232.1.1.1:5000".parse()?;
    let opened = bench.open(|builder| builder.subscribe(subscription).mode(mode).queues(Queues::First(1)))?;
    let receiving = Receiving::start(opened);
    let handle = receiving.handle.clone();
    let delivered = || -> Result<u64> { Ok(handle.ledger()?.delivered()) };
    let mut config = bench.stream("232.1.1.1", &["10.0.0.1"], RATE, u64::MAX)?;
    config.traffic.source_ports = FLOWS;
    let sending = bench.send(config)?;
    wait_until("datagrams come", || Ok(delivered()? > RATE / 2))?;

    let answer = set(bench, to)?;
    let now = bench.interface()?.queues;
    if answer.is_ok() {
        ensure!(now == to, "the kernel reports {now} queues after it accepted {to}");
        wait_until("the change is reported", || Ok(handle.warnings().iter().any(|warning| warning.contains("queue"))))?;
    } else {
        sleep(Duration::from_secs(2));
    }
    let before = delivered()?;
    wait_until("datagrams come afterwards", || Ok(delivered()? > before + RATE))?;
    let sent = sending.stop()?.packets;
    let (report, by_kernel, ledger, receiver) = receiving.finish()?;
    let warnings = handle.warnings().join("; ");
    drop(receiver);

    ensure!(report.duplicated == 0, "{report}");
    ensure!(ledger.unaccounted() == 0, "unaccounted: {}", causes(&ledger));
    let note = match answer {
        Ok(()) => {
            format!(
                "warnings: {warnings}; {by_kernel} by the kernel path, {} missed at the change",
                sent - report.received
            )
        }
        Err(complaint) => {
            ensure!(report.received == sent, "{} of {sent} arrived, although nothing changed", report.received);
            ensure!(warnings.is_empty(), "nothing changed, but this was reported: {warnings}");
            format!("refused by the kernel: {complaint}")
        }
    };
    Ok(Outcome { sent, received: report.received, note, ..Outcome::default() })
}

/// The kernel's answer.
fn set(bench: &Bench, count: u32) -> Result<std::result::Result<(), netlab::Error>> {
    if bench.interface()?.queues == count {
        return Ok(Ok(()));
    }
    Ok(bench.lab.rx().set_channels(bench.lab.rx_interface(), Channels::Combined, count))
}
