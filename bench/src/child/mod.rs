//! The children: each receiver under test is a process of its own, whose consumer is pinned to one CPU.
//!
//! A child says `ready` with what it got, answers each line of its standard input with a line of JSON, and ends when that
//! input ends, so that it never outlives the bench.

pub mod control;
pub mod filter;
pub mod joined;
pub mod look;
pub mod memory;
pub mod ours;
pub mod packet_v3;
pub mod recvmmsg;
pub mod spin;
pub mod supervise;
pub mod xdp_drop;

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};

use look::Shared;

/// What a child is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Our receiver.
    Ours,
    /// A UDP socket with a source-specific join, read by recvmmsg.
    Recvmmsg,
    /// AF_PACKET with a TPACKET_V3 ring and a filter in the kernel.
    PacketV3,
    /// An XDP program that drops everything.
    XdpDrop,
    /// A socket that is joined and not read.
    Joined,
}

/// What a consumer looks at in each datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Look {
    /// Nothing: it counts.
    Count,
    /// Its source.
    Source,
    /// When it was sent.
    Latency,
}

/// Options of a child.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    #[arg(value_enum)]
    kind: Kind,
    #[arg(long)]
    interface: String,
    #[arg(long)]
    cpu: usize,
    #[arg(long)]
    source: Ipv4Addr,
    #[arg(long)]
    group: Ipv4Addr,
    #[arg(long)]
    port: u16,
    #[arg(long, value_enum, default_value = "count")]
    look: Look,
    #[arg(long, default_value = "copy")]
    mode: String,
    /// Block the source in an any-source subscription, in place of asking for it.
    #[arg(long)]
    block: bool,
    #[arg(long)]
    owned: bool,
    #[arg(long)]
    no_verify: bool,
    #[arg(long)]
    probe: bool,
    #[arg(long)]
    busy_poll: bool,
    /// Sleep until something comes, in place of polling without a pause.
    #[arg(long)]
    wait: bool,
}

impl Arguments {
    fn source(&self) -> IpAddr {
        self.source.into()
    }
}

/// The first line of a child.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Started {
    /// What it got, in a word: the mode, the buffer.
    pub got: String,
    /// Why it is not running.
    pub refused: Option<String>,
}

/// What a child has counted since it started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Datagrams delivered.
    pub packets: u64,
    /// When that was read, nanoseconds of CLOCK_TAI.
    pub at: u64,
    /// Delivered from another source than the wanted; with [`Look::Source`].
    pub others: u64,
    /// Lost, by cause.
    pub loss: BTreeMap<String, u64>,
    /// Dropped because nobody wanted it, as the receiver itself counts it.
    pub unwanted: u64,
    /// What the receiver's own books do not explain.
    pub unaccounted: u64,
    /// Since it was last asked for; with [`Look::Latency`].
    pub latency: Option<Latency>,
}

/// Latency in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Datagrams.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p99_9: u64,
}

/// Asks a child for its packets and the time alone: cheap, so that it can be asked under load.
pub const COUNT: &str = "count";
/// Asks a child for everything.
pub const TOTALS: &str = "totals";

/// A running receiver, as the protocol sees it.
pub struct Running {
    shared: Arc<Shared>,
    /// Fills in what only the receiver knows.
    books: Box<dyn FnMut(&mut Counts)>,
    /// Ends the consumer.
    end: Box<dyn FnOnce()>,
    got: String,
}

/// Runs a child until its standard input ends.
pub fn run(arguments: &Arguments) -> Result<()> {
    let started = match arguments.kind {
        Kind::Ours => ours::start(arguments),
        Kind::Recvmmsg => recvmmsg::start(arguments),
        Kind::PacketV3 => packet_v3::start(arguments),
        Kind::XdpDrop => xdp_drop::start(arguments),
        Kind::Joined => joined::start(arguments),
    };
    let mut running = match started {
        Ok(running) => running,
        Err(error) => return say(&Started { got: String::new(), refused: Some(format!("{error:#}")) }),
    };
    say(&Started { got: running.got.clone(), refused: None })?;
    for line in std::io::stdin().lock().lines() {
        let mut counts = running.shared.counts();
        if line? == TOTALS {
            (running.books)(&mut counts);
            counts.latency = running.shared.take_latency();
        }
        say(&counts)?;
    }
    running.shared.stop.store(true, Ordering::Relaxed);
    (running.end)();
    Ok(())
}

/// One line of JSON.
pub fn say(what: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, what)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// A thread for a consumer, on a CPU of its own. Where it cannot be pinned it says so, and runs anywhere.
fn consumer(cpu: usize, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let pinned = move || {
        if let Err(error) = pin(cpu) {
            eprintln!("{error:#}");
        }
        run();
    };
    thread::Builder::new().name("consumer".to_owned()).spawn(pinned).context("a thread for the consumer")
}

/// Pins the calling thread.
pub fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu % CpuSet::MAX_CPU);
    sched_setaffinity(None, &set).map_err(|errno| anyhow::anyhow!("pinning to CPU {cpu}: {errno}"))
}
