//! MTU 9000: a datagram in several buffers arrives as one, or the refusal gives the reason before anything is joined.

use anyhow::{Context as _, Result, ensure};
use receiver::{ReceiveMode, ReceiverConfig};

use super::Outcome;
use crate::bench::{Bench, causes, expect_balance, kernel};

const MTU: u32 = 9_000;
/// Payload length in bytes: several buffers with any driver.
const PAYLOAD: usize = 8_000;
const COUNT: u64 = 2_000;
/// An emulated processor that pauses for a second fills no ring: each datagram takes five frames of 4,096.
const RATE: u64 = 500;
/// The first version whose kernel passes packets in several buffers to AF_XDP, and to generic mode from any driver.
const SINCE: (u32, u32) = (6, 6);

pub fn run(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    let set = |mtu: u32| -> Result<()> {
        for (namespace, interface) in
            [(bench.lab.rx(), bench.lab.rx_interface()), (bench.lab.tx(), bench.lab.tx_interface())]
        {
            namespace.ip(&["link", "set", "dev", interface, "mtu", &mtu.to_string()])?;
        }
        Ok(())
    };
    // In generic mode XDP only takes complete checksums: what a local sender leaves to its device goes to the kernel.
    let sender_sums = |on: bool| bench.lab.tx().set_feature(bench.lab.tx_interface(), "tx-checksum-ip-generic", on);
    sender_sums(false)?;
    let outcome = set(MTU).and_then(|()| jumbo(bench, mode));
    set(1_500)?;
    sender_sums(true)?;
    outcome
}

fn jumbo(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    let subscription = "10.0.0.1@232.1.1.1:5000".parse()?;
    let mut receiver = match bench.open(|builder| builder.subscribe(subscription).mode(mode)) {
        Ok(receiver) => receiver,
        Err(error) => return refused(bench, mode, &error.to_string()),
    };
    let handle = receiver.handle();
    ensure!(handle.mode() == mode, "the mode is {}", handle.mode());
    let mut config = bench.stream("232.1.1.1", &["10.0.0.1", "10.0.0.2"], RATE, 2 * COUNT)?;
    config.traffic.size = PAYLOAD;
    let mut wrong = 0;
    let (received, _) = bench.burst(&mut receiver, config, |datagram| {
        let payload = datagram.payload();
        // After the probe's header the sender writes zeros.
        let whole =
            payload.len() == PAYLOAD && payload[receiver_send::probe::PROBE_LEN..].iter().all(|&byte| byte == 0);
        wrong += u64::from(!whole || datagram.source().ip().to_string() != "10.0.0.1");
    })?;
    let ledger = handle.ledger()?;
    ensure!(
        (received, wrong) == (COUNT, 0),
        "{received} of {COUNT} arrived, {wrong} of them incomplete or foreign: {}",
        causes(&ledger)
    );
    expect_balance(&ledger)?;
    let continuations = ledger.count("xsk_further_descs").context("no such cause")?;
    let xdp = mode != ReceiveMode::Socket;
    let over_several_buffers = xdp && !ReceiverConfig::default().has_rings(mode);
    ensure!(
        !over_several_buffers || continuations >= COUNT,
        "{continuations} continuation descriptors: these packets need more"
    );
    let blocked = handle.subscriptions()?.iter().filter_map(|report| report.blocked).sum::<u64>();
    ensure!(!xdp || blocked == COUNT, "{blocked} blocked");
    Ok(Outcome { sent: COUNT, received, blocked, note: format!("{continuations} continuation descriptors") })
}

fn refused(bench: &Bench, mode: ReceiveMode, why: &str) -> Result<Outcome> {
    let must = mode == ReceiveMode::Socket || (mode == ReceiveMode::Generic && kernel()? >= SINCE);
    ensure!(!must, "refused: {why}");
    ensure!(why.contains(&MTU.to_string()), "the refusal does not name the MTU: {why}");
    bench.expect_clean()?;
    let joined = bench.at_receiver("ip", &["maddress", "show", "dev", bench.lab.rx_interface()])?;
    let joined = joined.map_err(anyhow::Error::msg)?;
    ensure!(!joined.contains("232.1.1.1"), "joined although refused: {joined}");
    Ok(Outcome { note: format!("refused: {why}"), ..Outcome::default() })
}
