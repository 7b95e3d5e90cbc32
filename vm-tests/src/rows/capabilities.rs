//! On this kernel the capabilities that README names suffice, and the receiver names each missing one. That includes
//! CAP_PERFMON, which older verifiers require.

use anyhow::{Context, Result, bail, ensure};
use receiver::{Error, ReceiveMode, ReceiverConfig};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::Outcome;
use crate::bench::{Bench, expect_balance, kernel};

/// CAP_IPC_LOCK is not in the list: whether it is needed depends on RLIMIT_MEMLOCK. Mapped rings need no
/// CAP_NET_RAW.
const NEEDED: [(&str, CapabilitySet); 3] = [
    ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN),
    ("CAP_NET_RAW", CapabilitySet::NET_RAW),
    ("CAP_BPF", CapabilitySet::BPF),
];
const COUNT: u64 = 300;
/// Linux 6.12 rejects the program without CAP_PERFMON, 6.18 accepts it. The versions between them were not tested.
const ASKS: (u32, u32) = (6, 12);
const TAKES: (u32, u32) = (6, 18);
/// On aarch64 Linux 7.3 rejects it as well: its verifier pursues more speculative branches than on x86-64.
const ALWAYS_ASKS: bool = cfg!(target_arch = "aarch64");

pub fn run(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    let mut enough = NEEDED.iter().fold(CapabilitySet::IPC_LOCK, |all, (_, one)| all | *one);
    let version = kernel()?;
    let asks = match open(bench, mode, enough)? {
        Ok(_) => false,
        Err(error @ Error::NotPermitted { .. }) if error.to_string().contains("lacks CAP_PERFMON,") => true,
        Err(error) => return Err(error).context("without CAP_PERFMON"),
    };
    ensure!(!asks || version < TAKES || ALWAYS_ASKS, "Linux {version:?} requires CAP_PERFMON");
    ensure!(asks || version > ASKS, "Linux {version:?} does not require CAP_PERFMON");
    bench.expect_clean()?;
    if asks {
        enough |= CapabilitySet::PERFMON;
    }
    let raw_socket = !ReceiverConfig::default().has_rings(mode);
    for (name, missing) in NEEDED.into_iter().filter(|(_, one)| raw_socket || *one != CapabilitySet::NET_RAW) {
        match open(bench, mode, enough - missing)? {
            Err(error @ Error::NotPermitted { .. }) if error.to_string().contains(&format!("lacks {name}.")) => {}
            Err(error) => bail!("without {name}: {error}"),
            Ok(_) => bail!("it starts without {name}"),
        }
        bench.expect_clean()?;
    }
    if !raw_socket {
        enough -= CapabilitySet::NET_RAW;
    }
    let mut receiver = open(bench, mode, enough)?.context("with all capabilities that README names")?;
    let handle = receiver.handle();
    ensure!(handle.mode() == mode, "{mode} was configured, but the mode is {}", handle.mode());
    let came = bench.expect_all(&mut receiver, bench.stream("232.1.1.1", &["10.0.0.1"], 5_000, COUNT)?, |_| {})?;
    expect_balance(&handle.ledger()?)?;
    drop(receiver);
    bench.expect_clean()?;
    let note = if asks { "with CAP_PERFMON" } else { "without CAP_PERFMON" };
    Ok(Outcome { sent: COUNT, received: came, note: note.into(), ..Outcome::default() })
}

/// Opens a receiver on a thread that keeps only these capabilities.
fn open(bench: &Bench, mode: ReceiveMode, kept: CapabilitySet) -> Result<Result<receiver::Receiver, Error>> {
    let subscription = "10.0.0.1@232.1.1.1:5000".parse()?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    let mut given_up = Ok(());
    // The bench opens it on a separate thread.
    let opened = bench.open(|builder| {
        given_up = set_capabilities(None, sets);
        builder.subscribe(subscription).mode(mode)
    });
    given_up.context("capset")?;
    Ok(opened)
}
