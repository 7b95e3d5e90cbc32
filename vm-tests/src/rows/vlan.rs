//! Tagged streams, with an interface for the VLAN: joined there, delivered by XDP with the tag.

use anyhow::{Result, ensure};
use receiver::{Path, ReceiveMode, Vlan};

use super::Outcome;
use crate::bench::{Bench, expect_balance, load_module};

const TAG: u16 = 100;
const EACH: u64 = 1_000;
const NAME: &str = "tagged";

pub fn run(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    load_module("8021q")?;
    let (rx, parent) = (bench.lab.rx(), bench.lab.rx_interface());
    rx.ip(&["link", "add", "link", parent, "name", NAME, "type", "vlan", "id", &TAG.to_string()])?;
    rx.ip(&["link", "set", "dev", NAME, "up"])?;
    let outcome = tagged(bench, mode);
    rx.ip(&["link", "delete", NAME])?;
    outcome
}

fn tagged(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    let vlan: Vlan = TAG.to_string().parse().map_err(anyhow::Error::msg)?;
    let (v4, v6) = ("10.0.0.1@232.1.1.1:5000".parse()?, "[2001:db8::1]@[ff3e::1]:5000".parse()?);
    let mut receiver = bench.open(|builder| builder.subscribe(v4).subscribe(v6).mode(mode).vlan(Some(vlan)))?;
    let handle = receiver.handle();
    ensure!(handle.warnings().is_empty(), "warnings: {}", handle.warnings().join("; "));
    let xdp = mode != ReceiveMode::Socket;
    let mut received = 0;
    for (group, source, unwanted) in [("232.1.1.1", "10.0.0.1", "10.0.0.2"), ("ff3e::1", "2001:db8::1", "2001:db8::2")]
    {
        let mut config = bench.stream(group, &[source, unwanted], 4_000, 2 * EACH)?;
        config.spoof = true;
        // Untagged frames of the same stream do not belong to this receiver.
        let (came, _) = bench.burst(&mut receiver, config.clone(), |_| {})?;
        ensure!(came == 0, "{came} untagged ones arrived");
        config.vlan = vec![TAG];
        let mut wrong = 0;
        let (came, _) = bench.burst(&mut receiver, config, |datagram| {
            let right = !xdp || (datagram.vlan(), datagram.path()) == (Some(vlan), Path::Xdp);
            wrong += u64::from(!right || datagram.source().ip().to_string() != source);
        })?;
        ensure!(
            (came, wrong) == (EACH, 0),
            "{came} of {EACH} of {source} arrived, {wrong} of them without tag, not by XDP, or foreign"
        );
        received += came;
    }
    expect_balance(&handle.ledger()?)?;
    let blocked = handle.subscriptions()?.iter().filter_map(|report| report.blocked).sum::<u64>();
    ensure!(!xdp || blocked == 2 * EACH, "{blocked} blocked");
    Ok(Outcome { sent: 2 * EACH, received, blocked, note: String::new() })
}
