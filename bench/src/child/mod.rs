//! The children: each receiver under test is a separate process, whose consumer is pinned to one CPU.
//!
//! A child writes `ready` with its settings, answers each line of its standard input with a line of JSON, and ends when
//! its standard input ends. So it never outlives the bench.

pub mod control;
pub mod feed;
pub mod filter;
pub mod idle;
pub mod joined;
pub mod joins;
pub mod memory;
pub mod observer;
pub mod ours;
pub mod packet_v3;
pub mod recvmmsg;
pub mod spin;
pub mod supervise;
pub mod xdp_drop;
pub mod xsk_read;

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use receiver::{Builder, Receiver, Subscription, Wait, Worker};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};

use observer::Shared;

/// The kind of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// This project's receiver.
    Ours,
    /// A UDP socket with a source-specific join, read by recvmmsg.
    Recvmmsg,
    /// AF_PACKET with a TPACKET_V3 ring and a filter in the kernel.
    PacketV3,
    /// A minimal AF_XDP loop without a filter, which reads each payload.
    XskRead,
    /// An XDP program that drops everything.
    XdpDrop,
    /// A socket that is joined and not read.
    Joined,
}

/// What a consumer examines in each datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Observation {
    /// Nothing: the consumer only counts.
    Count,
    /// The source.
    Source,
    /// The sending time.
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
    observation: Observation,
    #[arg(long, default_value = "copy")]
    mode: String,
    /// Block the source in an any-source subscription instead of joining it.
    #[arg(long)]
    block: bool,
    #[arg(long)]
    owned: bool,
    #[arg(long)]
    no_verify: bool,
    #[arg(long)]
    probe: bool,
    /// Subscribe to this source as well.
    #[arg(long)]
    second: Option<Ipv4Addr>,
    /// Pass each datagram through the arbiter of a feed, whose two legs are the two sources.
    #[arg(long, requires = "second")]
    feed: bool,
    #[arg(long)]
    busy_poll: bool,
    /// Leave every packet to the kernel too.
    #[arg(long)]
    share: bool,
    /// Slots of the receive ring, a power of two; four times as many frames. Default: the receiver's.
    #[arg(long)]
    ring: Option<u32>,
    /// Sleep until something arrives instead of polling without a pause.
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
    /// The settings in a word: the mode, the buffer.
    pub got: String,
    /// Why the receiver is not running.
    pub refused: Option<String>,
}

/// A child's counts since its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Datagrams delivered.
    pub packets: u64,
    /// Time of the reading, in nanoseconds of CLOCK_TAI.
    pub at: u64,
    /// Datagrams delivered from another source than the wanted one; with [`Observation::Source`].
    pub others: u64,
    /// Lost datagrams, by cause.
    pub loss: BTreeMap<String, u64>,
    /// Datagrams dropped because they are unwanted, in the receiver's own count.
    pub unwanted: u64,
    /// Packets that wait in a ring; 1 for any number in a socket's buffer.
    #[serde(default)]
    pub waiting: u64,
    /// Datagrams that the receiver's ledger does not account for.
    pub unaccounted: u64,
    /// Messages that the arbiter of a feed delivered, and those that it declared missing.
    #[serde(default)]
    pub messages: u64,
    #[serde(default)]
    pub missing: u64,
    /// Latencies since the last request; with [`Observation::Latency`].
    pub latency: Option<Latency>,
}

/// Latencies in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Number of datagrams.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p99_9: u64,
}

/// Requests a child's packets and the time alone, which is cheap enough under load.
pub const COUNT: &str = "count";
/// Requests all of a child's counts.
pub const TOTALS: &str = "totals";
/// `pause PACKETS MICROSECONDS`: the consumer pauses once after PACKETS further packets.
pub const PAUSE: &str = "pause";

/// A running receiver, for the protocol.
pub struct Running {
    shared: Arc<Shared>,
    /// Adds what only the receiver knows.
    add_counts: Box<dyn FnMut(&mut Counts)>,
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
        Kind::XskRead => xsk_read::start(arguments),
        Kind::XdpDrop => xdp_drop::start(arguments),
        Kind::Joined => joined::start(arguments),
    };
    let mut running = match started {
        Ok(running) => running,
        Err(error) => return write_json(&Started { got: String::new(), refused: Some(format!("{error:#}")) }),
    };
    write_json(&Started { got: running.got.clone(), refused: None })?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if let Some(words) = line.strip_prefix(PAUSE) {
            let (packets, length) = parse_pause(words).with_context(|| format!("not understood: {line}"))?;
            running.shared.pause_after(packets, length);
        }
        let mut counts = running.shared.counts();
        if line == TOTALS {
            (running.add_counts)(&mut counts);
            counts.latency = running.shared.take_latency();
        }
        write_json(&counts)?;
    }
    running.shared.stop.store(true, Ordering::Relaxed);
    (running.end)();
    Ok(())
}

/// The numbers of [`PAUSE`].
fn parse_pause(words: &str) -> Option<(u64, Duration)> {
    let (packets, microseconds) = words.trim().split_once(' ')?;
    Some((packets.parse().ok()?, Duration::from_micros(microseconds.parse().ok()?)))
}

/// Subscribes to this many groups, of one source each.
fn subscribe(builder: Builder, groups: u32) -> Result<Builder> {
    (0..groups).try_fold(builder, |builder, nth| {
        let group = Ipv4Addr::from_bits(0xe801_0000 + nth);
        let subscription: Subscription = format!("10.0.0.1@{group}:5000").parse()?;
        Ok(builder.subscribe(subscription))
    })
}

/// A thread for each worker, which sleeps until something arrives and ignores it, up to the receiver's shutdown.
fn sleeping_consumers(receiver: Receiver) -> Vec<JoinHandle<()>> {
    let consume = |mut worker: Worker| thread::spawn(move || while worker.poll(Wait::Forever, |_| {}).is_ok() {});
    receiver.into_workers().into_iter().map(consume).collect()
}

/// Writes one line of JSON.
pub fn write_json(what: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, what)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Starts a consumer's thread on its own CPU. If it cannot be pinned, it reports that and runs anywhere.
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
