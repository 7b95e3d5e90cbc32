//! Sources are added and removed under a stream: the source that stays loses no datagram, and the one that comes and
//! goes is heard each time.

use anyhow::{Result, ensure};
use receiver::ReceiveMode;

use super::Outcome;
use crate::bench::{Bench, Receiving, expect_balance, wait_until};

const RATE: u64 = 2_000;
const ROUNDS: usize = 20;

pub fn run(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    let subscription = "10.0.0.1@232.1.1.1:5000".parse()?;
    let receiving = Receiving::start(bench.open(|builder| builder.subscribe(subscription).mode(mode))?);
    let handle = receiving.handle.clone();
    let id = handle.subscriptions()?[0].id;
    let (stays, changes) = ("10.0.0.1".parse()?, "10.0.0.2".parse()?);
    let sending = bench.send(bench.stream("232.1.1.1", &["10.0.0.1", "10.0.0.2"], RATE, u64::MAX)?)?;
    let counts = || -> Result<(u64, u64)> {
        let report = &handle.subscriptions()?[0];
        Ok((report.packets, report.blocked.unwrap_or(0)))
    };
    wait_until("datagrams come", || Ok(counts()?.0 > RATE / 4))?;
    for _ in 0..ROUNDS {
        let before = counts()?;
        bench.lab.rx().run(|| handle.set_sources(id, [stays, changes].into()))??;
        wait_until("both come", || Ok(counts()?.0 > before.0 + 100))?;
        bench.lab.rx().run(|| handle.set_sources(id, [stays].into()))??;
        wait_until("one is blocked again", || Ok(counts()?.1 > before.1 + 20))?;
    }
    let sent = sending.stop()?;
    let (report, _, ledger, _receiver) = receiving.finish()?;
    expect_balance(&ledger)?;
    let of = |source| report.flows.iter().find(|flow| flow.source.ip() == source);
    let all = sent.flows.iter().find(|flow| flow.source.ip() == stays).map_or(0, |flow| flow.packets);
    let (kept, came) = (of(stays).map_or(0, |flow| flow.received), of(changes).map_or(0, |flow| flow.received));
    ensure!(kept == all, "{kept} of {all} datagrams arrived of the source that stays");
    ensure!(came > 0 && came < all, "{came} datagrams arrived of the source that comes and goes");
    Ok(Outcome { sent: all, received: kept, note: format!("{came} of the other source"), ..Outcome::default() })
}
