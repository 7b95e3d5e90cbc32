//! The command as users start it: `receiver run --probe`, with a wanted and an unwanted source at once.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use receiver::ReceiveMode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Outcome;
use crate::bench::Bench;

/// Number of wanted datagrams in the rows other than the long one.
const SHORT: u64 = 20_000;
/// The pause between the last datagram and the end of the receiver.
const REST: Duration = Duration::from_secs(2);

/// The row with the most datagrams.
pub fn long(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    deliver(bench, mode, "232.1.1.1", ["10.0.0.1", "10.0.0.2"], bench.packets)
}

pub fn short(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    deliver(bench, mode, "232.1.1.1", ["10.0.0.1", "10.0.0.2"], SHORT.min(bench.packets))
}

pub fn v6(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    deliver(bench, mode, "ff3e::1", ["2001:db8::1", "2001:db8::2"], SHORT.min(bench.packets))
}

/// Each wanted datagram arrives once and in order, no unwanted one does, and the ledger balances.
fn deliver(bench: &Bench, mode: ReceiveMode, group: &str, sources: [&str; 2], count: u64) -> Result<Outcome> {
    let bracketed = |address: &str| if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let subscription = format!("{}@{}:5000", bracketed(sources[0]), bracketed(group));
    let (mut child, mut lines) = start(bench, mode, &subscription)?;
    let start = object(&mut lines).and_then(|start| {
        ensure!(start["mode"] == mode.name(), "{mode} was configured, but the mode is {}", start["mode"]);
        Ok(start)
    });
    if let Err(error) = start {
        // It has ended already, or has to.
        let _ = child.kill();
        let status = child.wait().context("receiver run ended unexpectedly")?;
        return Err(error.context(format!("receiver run did not start ({status})")));
    }

    let sent = bench.send(bench.stream(group, &sources, bench.rate, 2 * count)?)?.wait();
    std::thread::sleep(REST);
    interrupt(&child)?;
    let summary = object(&mut lines)?;
    let status = child.wait().context("receiver run ended unexpectedly")?;
    ensure!(status.success(), "receiver run ended with {status}");
    let sent = sent?;
    judge(&summary, mode, count)
        .with_context(|| format!("sent {}, slipped {}; summary {summary}", sent.packets, sent.slipped))
}

fn judge(summary: &Value, mode: ReceiveMode, count: u64) -> Result<Outcome> {
    ensure!(summary["type"] == "summary", "no summary");
    let number = |value: &Value| value.as_u64().context("a number is missing");
    let (probe, stream) = (&summary["probe"], &summary["subscriptions"][0]);
    let received = number(&probe["received"])?;
    for what in ["duplicated", "reordered", "late", "foreign", "untracked"] {
        ensure!(number(&probe[what])? == 0, "{what}: {}", probe[what]);
    }
    ensure!(probe["flows"].as_array().is_some_and(|flows| flows.len() == 1), "another source's datagrams arrived");
    ensure!(number(&summary["unaccounted"])? == 0 && number(&summary["lost"])? == 0, "lost or unaccounted");
    // Without XDP the kernel drops them without a count.
    let known = mode != ReceiveMode::Socket;
    ensure!(stream["blocked"].is_null() != known, "blocked is {}", stream["blocked"]);
    let (blocked, unwanted) = if known { (number(&stream["blocked"])?, count) } else { (0, 0) };
    ensure!(received <= count && blocked <= unwanted, "{received} and {blocked} of {count} each are too many");
    ensure!(received == count, "{} wanted ones are missing", count - received);
    ensure!(blocked == unwanted, "{} unwanted ones are missing", unwanted - blocked);
    let note = match summary["queues"].as_array() {
        Some(queues) if !queues.is_empty() => format!("{} queues", queues.len()),
        _ => String::new(),
    };
    Ok(Outcome { sent: count, received, blocked, note })
}

type Lines = std::io::Lines<BufReader<std::process::ChildStdout>>;

fn start(bench: &Bench, mode: ReceiveMode, subscription: &str) -> Result<(Child, Lines)> {
    let mut command = bench.lab.rx().command(&bench.receiver);
    command.args(["run", "--interface", bench.lab.rx_interface(), "--mode", mode.name(), "--probe", "--json"]);
    // Enough room for the pauses of an emulated processor, since the test is about the receiver's losses.
    command.args(["--interval", "3600", "--ring-size", "8192", "--frames", "32768", "--socket-buffer", "67108864"]);
    command.arg(subscription).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {}", bench.receiver.display()))?;
    let output = child.stdout.take().context("receiver run has no standard output")?;
    Ok((child, BufReader::new(output).lines()))
}

/// The next line of `--json`.
fn object(lines: &mut Lines) -> Result<Value> {
    match lines.next() {
        Some(line) => serde_json::from_str(&line?).context("not JSON"),
        None => bail!("it wrote nothing more; see its error above"),
    }
}

fn interrupt(child: &Child) -> Result<()> {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("process id")?;
    kill_process(id, Signal::INT).context("cannot interrupt receiver run")
}
