//! The link goes down and up under traffic: the receiver notices and records it, and recovers.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use receiver::{LinkChange, ReceiveMode};

use super::Outcome;
use crate::bench::{Bench, Receiving, causes, wait_until};

const RATE: u64 = 2_000;
const AFTER: u64 = 2_000;

pub fn run(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    let subscription = "10.0.0.1@232.1.1.1:5000".parse()?;
    let receiving = Receiving::start(bench.open(|builder| builder.subscribe(subscription).mode(mode))?);
    let handle = receiving.handle.clone();
    let delivered = || -> Result<u64> { Ok(handle.ledger()?.delivered()) };
    let link = |state| bench.lab.rx().ip(&["link", "set", "dev", bench.lab.rx_interface(), state]).map(drop);

    let sending = bench.send(bench.stream("232.1.1.1", &["10.0.0.1"], RATE, u64::MAX)?)?;
    // The rate is known after two measurements, a second apart.
    wait_until("datagrams come", || Ok(delivered()? > 3 * RATE))?;
    link("down")?;
    sleep(Duration::from_millis(1_500));
    link("up")?;
    wait_until("the outage is recorded", || Ok(handle.ledger()?.link().outages == 1))?;
    let before = delivered()?;
    wait_until("datagrams come again", || Ok(delivered()? > before + RATE))?;
    let sent = sending.stop()?.packets;

    let (report, _, _, mut receiver) = receiving.finish()?;
    ensure!(handle.mode() == mode, "the mode is {} now", handle.mode());
    ensure!(report.duplicated + report.reordered + report.late == 0, "{sent} sent: {report}");
    let stream = bench.stream("232.1.1.1", &["10.0.0.1"], RATE, AFTER)?;
    let came = bench
        .expect_all(&mut receiver, stream, |_| {})
        .with_context(|| format!("after the link was back, and {sent} before"))?;
    let ledger = handle.ledger()?;
    ensure!(ledger.unaccounted() == 0, "unaccounted: {}", causes(&ledger));
    // The kernel has them still: leaving them would close the NIC's filter for a moment.
    ensure!(handle.link_events().count(LinkChange::MembershipsLost) == 0, "{}", handle.warnings().join("; "));
    let (times, missed) = (ledger.link(), report.lost);
    let note = format!(
        "away {} ms, recovered in {} ms, {missed} missed, {} estimated",
        times.outage_milliseconds, times.recovery_milliseconds, times.missed_estimate
    );
    Ok(Outcome { sent: sent + AFTER, received: report.received + came, note, ..Outcome::default() })
}
