//! Datagrams that are kept for seconds while more arrive: the device does not overwrite their memory, and it is
//! returned.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use receiver::{OwnedDatagram, ReceiveMode};

use super::Outcome;
use crate::bench::{Bench, causes, expect_balance};

const KEPT: u64 = 6_000;
const PASSING: u64 = 6_000;
/// An emulated processor that pauses for a second fills no ring.
const RATE: u64 = 1_500;
/// Frames of each queue; half of them can be leased.
const FRAMES: u32 = 8_192;
const HELD: Duration = Duration::from_secs(3);

pub fn run(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    let subscription = "10.0.0.1@232.1.1.1:5000".parse()?;
    let mut receiver =
        bench.open(|builder| builder.subscribe(subscription).mode(mode).ring_size(FRAMES / 4).frames(FRAMES))?;
    let handle = receiver.handle();
    let stream = |count| -> Result<_> {
        let mut config = bench.stream("232.1.1.1", &["10.0.0.1"], RATE, count)?;
        config.traffic.size = 200;
        Ok(config)
    };
    let leased = || -> Result<u64> { handle.ledger()?.count("xsk_leased").context("no such cause") };

    let mut held: Vec<(OwnedDatagram, Vec<u8>)> = Vec::new();
    let (mut received, _) = bench.burst(&mut receiver, stream(KEPT)?, |datagram| {
        let before = datagram.payload().to_vec();
        held.extend(datagram.into_owned().map(|owned| (owned, before)));
    })?;
    let unchanged = |held: &[(OwnedDatagram, Vec<u8>)]| held.iter().all(|(owned, before)| owned.payload == before[..]);
    let first = leased()?;
    let copied = handle.ledger()?.count("copied").context("no such cause")?;
    let xdp = mode != ReceiveMode::Socket;
    let causes = causes(&handle.ledger()?);
    ensure!(
        received == KEPT && held.len() as u64 == KEPT,
        "{received} of {KEPT} arrived, {} were kept: {causes}",
        held.len()
    );
    ensure!(!xdp || first == u64::from(FRAMES) / 2, "{first} leases of one queue, {} expected", FRAMES / 2);
    ensure!(first + copied == KEPT, "{first} leased and {copied} copied are not {KEPT}");

    // Other datagrams pass while these are held.
    received += bench.expect_all(&mut receiver, stream(PASSING)?, |_| {}).context("while leases were held")?;
    sleep(HELD);
    ensure!(unchanged(&held), "a held payload was overwritten");
    ensure!(leased()? == first, "a lease came back by itself");

    std::thread::spawn(move || drop(held)).join().map_err(|_| anyhow::anyhow!("dropping panicked"))?;
    receiver.poll(receiver::Wait::Never, |_| {})?;
    ensure!(leased()? == 0, "{} leases did not come back", leased()?);
    let mut again = Vec::new();
    let (came, _) = bench.burst(&mut receiver, stream(500)?, |datagram| again.extend(datagram.into_owned()))?;
    received += came;
    ensure!(came == 500 && (!xdp || leased()? == 500), "{came} of 500 came, {} leased", leased()?);
    ensure!(
        handle.ledger()?.count("copied").context("no such cause")? == copied,
        "copied, although frames were free again"
    );
    drop(again);
    expect_balance(&handle.ledger()?)?;
    Ok(Outcome {
        sent: KEPT + PASSING + 500,
        received,
        note: format!("{first} leased for seconds"),
        ..Outcome::default()
    })
}
