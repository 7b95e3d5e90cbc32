//! Ten receivers in sequence on the same interface, each with a stream: the device gets its queues back each time.

use anyhow::{Context, Result, ensure};
use receiver::ReceiveMode;

use super::Outcome;
use crate::bench::{Bench, causes, expect_balance};

const ROUNDS: u64 = 10;
const EACH: u64 = 300;

pub fn run(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    let mut received = 0;
    for round in 1..=ROUNDS {
        let subscription = "10.0.0.1@232.1.1.1:5000".parse()?;
        let built = bench.open(|builder| builder.subscribe(subscription).mode(mode));
        let mut receiver = built.with_context(|| format!("start {round}"))?;
        let handle = receiver.handle();
        ensure!(handle.mode() == mode, "start {round} selected {}", handle.mode());
        let (came, _) = bench.burst(&mut receiver, bench.stream("232.1.1.1", &["10.0.0.1"], 5_000, EACH)?, |_| {})?;
        ensure!(came == EACH, "start {round}: {came} of {EACH} came: {}", causes(&handle.ledger()?));
        expect_balance(&handle.ledger()?)?;
        received += came;
        drop(receiver);
        bench.expect_clean()?;
    }
    Ok(Outcome { sent: ROUNDS * EACH, received, ..Outcome::default() })
}
