//! Sending by the generator in the kernel: what to send, the threads, the report.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use receiver_common::generator::{self as layout, Flow};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::config::MAX_PAYLOAD_V4;
use super::error::SendError;
use super::frame::{FrameSpec, FrameTemplate, ip_udp_len};
use super::generator::Generator;
use super::link::{Link, LinkCounters};
use super::mix::{StreamSpec, cycle};
use super::report::{FlowSent, LinkSent, SendReport, Way};
use super::schedule::Schedule;
use crate::probe::PROBE_LEN;
use crate::subscription::{validate_group, validate_source};

/// First port of the range for private use (RFC 6335, section 6).
const FIRST_PRIVATE_PORT: u16 = 49_152;
/// Frames between two looks at the clock and at the stop flag, flat out. Some 10 ms.
const CHUNK: u32 = 16_384;
/// At a rate: frames of one run, at least those due in this time. A run costs some 20 microseconds beside its frames.
const RUN_EVERY: f64 = 0.000_25;
const LONGEST_SLEEP: Duration = Duration::from_millis(50);
/// How long the interface's counters may take to catch up with what was sent.
const COUNTERS_WAIT: Duration = Duration::from_millis(1500);

/// What the generator is to send. Start from [`LoadConfig::new`] and set what differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadConfig {
    /// Interface to send on. Its driver must take redirected frames; veth does while its other end has an XDP program in
    /// the driver (or `gro on`).
    pub interface: String,
    /// The streams of the mix, at least one. Sources need not be the interface's.
    pub streams: Vec<StreamSpec>,
    /// First source port; `None`: any. Each thread has its own ports.
    pub source_port: Option<u16>,
    /// Source ports of each stream in each thread, as many flows. Default 1.
    pub source_ports: u16,
    /// Packets a second over all; 0, the default: flat out.
    pub rate: u64,
    /// Stop after exactly so many packets.
    pub count: Option<u64>,
    /// Stop after this time.
    pub duration: Option<Duration>,
    /// UDP payload in bytes, from [`PROBE_LEN`], the default. What follows the probe header is zeros.
    pub size: usize,
    /// IP time to live, or hop limit. Default 16.
    pub ttl: u8,
    /// Threads, each on a CPU of its own, each with its own flows of every stream. Default 1.
    pub threads: usize,
    /// CPUs to run on, one for each thread. Empty: the first that the process may use.
    pub cpus: Vec<usize>,
    /// So many packets at line rate at the beginning of each period, per thread, in place of `rate`.
    pub burst: Option<Burst>,
}

/// A burst shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Packets of one burst, from 1.
    pub packets: u32,
    /// From the begin of one burst to that of the next. A burst that takes longer delays the next.
    pub every: Duration,
}

impl LoadConfig {
    /// Flat out, smallest payload, until stopped.
    pub fn new(interface: impl Into<String>, streams: Vec<StreamSpec>) -> Self {
        Self {
            interface: interface.into(),
            streams,
            source_port: None,
            source_ports: 1,
            rate: 0,
            count: None,
            duration: None,
            size: PROBE_LEN,
            ttl: 16,
            threads: 1,
            cpus: Vec::new(),
            burst: None,
        }
    }

    /// Checks all that can be told without asking the kernel.
    ///
    /// # Errors
    /// Those of [`SendError`] whose exit code is 2.
    pub fn validate(&self) -> Result<(), SendError> {
        if self.streams.is_empty() {
            return Err(SendError::NoStream);
        }
        for stream in &self.streams {
            validate_group(stream.group)?;
            if let Some(source) = stream.source {
                validate_source(source, stream.group)?;
            }
            if stream.port == 0 {
                return Err(SendError::PortZero);
            }
            if stream.weight == 0 {
                return Err(SendError::Weight("0".to_owned()));
            }
        }
        if self.source_ports == 0 {
            return Err(SendError::NoSourcePort);
        }
        if self.source_port == Some(0) {
            return Err(SendError::SourcePortZero);
        }
        let ports = usize::from(self.source_ports).saturating_mul(self.threads);
        let first = self.source_port.unwrap_or(1);
        if ports > usize::from(u16::MAX - first) + 1 {
            return Err(SendError::SourcePortRange { first, ports: ports.try_into().unwrap_or(u16::MAX) });
        }
        if self.size < PROBE_LEN {
            return Err(SendError::SizeTooSmall { size: self.size, min: PROBE_LEN });
        }
        if self.size > MAX_PAYLOAD_V4 {
            return Err(SendError::SizeTooLarge { size: self.size, max: MAX_PAYLOAD_V4 });
        }
        if self.ttl == 0 {
            return Err(SendError::TtlZero);
        }
        if self.count == Some(0) {
            return Err(SendError::CountZero);
        }
        if self.duration == Some(Duration::ZERO) {
            return Err(SendError::DurationZero);
        }
        if !(1..=256).contains(&self.threads) {
            return Err(SendError::Threads { threads: self.threads, max: 256 });
        }
        match self.burst {
            Some(burst) if burst.packets == 0 || burst.every.is_zero() || self.rate != 0 => Err(SendError::BurstShape),
            _ => Ok(()),
        }
    }
}

/// The generator, ready to run: all is checked and loaded.
#[derive(Debug)]
pub struct Load {
    config: LoadConfig,
    link: Link,
    threads: Vec<Thread>,
}

#[derive(Debug)]
struct Thread {
    cpu: usize,
    generator: Generator,
    flows: Vec<FlowSent>,
    count: Option<u64>,
    schedule: Option<Schedule>,
    /// Frames of a run at a rate.
    burst: u32,
}

struct Outcome {
    sent: Vec<u64>,
    elapsed: Duration,
    slipped: u64,
    stopped: bool,
}

impl Load {
    /// Checks the configuration and the interface, and loads a program for each thread, all in the network namespace of
    /// the calling thread. Needs CAP_BPF and CAP_NET_ADMIN.
    ///
    /// # Errors
    /// Any [`SendError`].
    pub fn new(config: LoadConfig) -> Result<Self, SendError> {
        config.validate()?;
        let link = Link::find(&config.interface)?;
        link.check_up()?;
        if link.mac.is_none() {
            let why = "the generator makes complete frames".to_owned();
            return Err(SendError::NotEthernet { interface: link.name, why });
        }
        for stream in &config.streams {
            let around = ip_udp_len(stream.group);
            if config.size + around > link.mtu {
                let max = link.mtu.saturating_sub(around);
                return Err(SendError::AboveMtu { size: config.size, max, interface: link.name, mtu: link.mtu });
            }
        }
        let cpus = cpus(&config)?;
        // Another run must take other stream ids, so that the receiver tells it from this one.
        let random = RandomState::new().build_hasher().finish();
        let threads = cpus
            .into_iter()
            .enumerate()
            .map(|(nth, cpu)| Thread::new(&config, &link, random, nth, cpu))
            .collect::<Result<_, _>>()?;
        Ok(Self { config, link, threads })
    }

    /// Sends until the count, the duration or `stop` ends it, and tells what was sent. Looks at `stop` some hundred times
    /// a second.
    ///
    /// # Errors
    /// [`SendError::NotRedirected`] where the interface took nothing of what was sent, [`SendError::Os`] and
    /// [`SendError::Generator`] where the kernel refuses a run.
    pub fn run(self, stop: &AtomicBool) -> Result<SendReport, SendError> {
        let Self { config, link, threads } = self;
        let before = link.counters()?;
        let together = Barrier::new(threads.len());
        let failed = AtomicBool::new(false);
        let flows: Vec<Vec<FlowSent>> = threads.iter().map(|thread| thread.flows.clone()).collect();
        let outcomes: Vec<Result<Outcome, SendError>> = thread::scope(|scope| {
            let running: Vec<_> = threads
                .into_iter()
                .map(|thread| {
                    let (config, together, failed) = (&config, &together, &failed);
                    scope.spawn(move || {
                        let outcome = thread
                            .run(config, together, &|| stop.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed));
                        if outcome.is_err() {
                            failed.store(true, Ordering::Relaxed);
                        }
                        outcome
                    })
                })
                .collect();
            running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let outcomes = outcomes.into_iter().collect::<Result<Vec<Outcome>, SendError>>()?;
        report(config, &link, before, flows, &outcomes)
    }
}

impl Thread {
    /// `random` is the same for all threads of a run.
    fn new(config: &LoadConfig, link: &Link, random: u64, nth: usize, cpu: usize) -> Result<Self, SendError> {
        let ports = usize::from(config.source_ports);
        let base = match config.source_port {
            Some(first) => first,
            None => {
                let most = (u16::MAX - FIRST_PRIVATE_PORT).saturating_sub((ports * config.threads) as u16).max(1);
                if ports * config.threads > 16_000 { 1 } else { FIRST_PRIVATE_PORT + (random >> 48) as u16 % most }
            }
        };
        let (mut told, mut flows, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for stream in &config.streams {
            let source = stream.source.map_or_else(|| link.default_source(stream.group), Ok)?;
            for port in 0..ports {
                // In range: validated.
                let source = SocketAddr::new(source, base + (nth * ports + port) as u16);
                let before = nth * config.streams.len() * ports + flows.len();
                let id = (random as u32).wrapping_add(before as u32);
                flows.push(flow(config, link, stream, source, id)?);
                weights.push(stream.weight);
                told.push(FlowSent {
                    source,
                    group: stream.group,
                    port: stream.port,
                    stream: id,
                    way: Way::Xdp,
                    packets: 0,
                    first_sequence: None,
                    last_sequence: None,
                });
            }
        }
        let generator = Generator::load(&link.name, link.index, &flows, &cycle(&weights)?)?;
        let threads = config.threads as u64;
        let count = config.count.map(|count| count / threads + u64::from((nth as u64) < count % threads));
        let schedule = (config.rate > 0).then(|| Schedule::new(config.rate, 1, config.threads));
        let burst = (config.rate as f64 / threads as f64 * RUN_EVERY).ceil().clamp(1.0, f64::from(CHUNK)) as u32;
        Ok(Self { cpu, generator, flows: told, count, schedule, burst })
    }

    fn run(mut self, config: &LoadConfig, together: &Barrier, stop: &dyn Fn() -> bool) -> Result<Outcome, SendError> {
        let pinned = pin(self.cpu);
        together.wait();
        pinned?;
        let start = Instant::now();
        let (mut sent, mut elapsed, mut stopped, mut bursts) = (0, Duration::ZERO, false, 0u32);
        loop {
            let left = self.count.map_or(u64::MAX, |count| count.saturating_sub(sent));
            let now = start.elapsed();
            if left == 0 || config.duration.is_some_and(|duration| now >= duration) {
                break;
            }
            if stop() {
                stopped = true;
                break;
            }
            let (due, next) = match (&mut self.schedule, config.burst) {
                (Some(schedule), _) => {
                    // What is due before the time is up is sent before the time is up.
                    let due = schedule.due(now);
                    let wanted = u64::from(self.burst).min(left);
                    let wait = schedule.next(wanted as usize).saturating_sub(now);
                    (if due >= wanted { due.min(u64::from(CHUNK)) } else { 0 }, wait)
                }
                (None, Some(burst)) => {
                    let at = burst.every.saturating_mul(bursts);
                    (if now >= at { u64::from(burst.packets) } else { 0 }, at.saturating_sub(now))
                }
                (None, None) => (u64::from(CHUNK), Duration::ZERO),
            };
            let frames = due.min(left) as u32;
            if frames == 0 {
                let rest = config.duration.map_or(LONGEST_SLEEP, |duration| duration.saturating_sub(now));
                thread::sleep(next.min(LONGEST_SLEEP).min(rest));
                continue;
            }
            let whole = self.generator.run(frames)?;
            elapsed = start.elapsed();
            let before = sent;
            sent = if whole { sent + u64::from(frames) } else { self.generator.sent()?.iter().sum() };
            if let Some(schedule) = &mut self.schedule {
                schedule.sent(sent - before);
            }
            bursts = bursts.saturating_add(1);
        }
        let slipped = self.schedule.as_ref().map_or(0, Schedule::slipped);
        Ok(Outcome { sent: self.generator.sent()?, elapsed, slipped, stopped })
    }
}

/// A flow as the program wants it.
fn flow(config: &LoadConfig, link: &Link, stream: &StreamSpec, source: SocketAddr, id: u32) -> Result<Flow, SendError> {
    let spec = FrameSpec {
        source_mac: link.mac.unwrap_or_default(),
        source: source.ip(),
        group: stream.group,
        source_port: source.port(),
        port: stream.port,
        ttl: config.ttl,
        vlan: &[],
        size: config.size,
    };
    // Families and lengths were checked; an MTU above what IP can say remains.
    let template = FrameTemplate::new(&spec).ok_or_else(|| SendError::AboveMtu {
        size: config.size,
        max: MAX_PAYLOAD_V4,
        interface: link.name.clone(),
        mtu: link.mtu,
    })?;
    let v6 = stream.group.is_ipv6();
    let (bytes, sum) = template.constant(id);
    let mut head = [0; 22];
    for (word, bytes) in head.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    let length = (bytes.len() + config.size - PROBE_LEN) as u32;
    Ok(Flow { next: 0, sum, length, v6: v6.into(), padding: 0, head })
}

const _: () = assert!(PROBE_LEN == layout::PROBE_LEN);

/// One CPU for each thread.
fn cpus(config: &LoadConfig) -> Result<Vec<usize>, SendError> {
    let mut cpus = config.cpus.clone();
    if cpus.is_empty() {
        let allowed = sched_getaffinity(None).map_err(|errno| SendError::Os {
            what: "asking which CPUs the process may use".to_owned(),
            source: errno.into(),
        })?;
        cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    }
    if cpus.len() < config.threads {
        return Err(SendError::TooFewCpus { threads: config.threads, cpus: cpus.len() });
    }
    cpus.truncate(config.threads);
    Ok(cpus)
}

fn pin(cpu: usize) -> Result<(), SendError> {
    let refused = |source| SendError::Os { what: format!("pinning a thread to CPU {cpu}"), source };
    if cpu >= CpuSet::MAX_CPU {
        return Err(refused(io::ErrorKind::InvalidInput.into()));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|errno| refused(errno.into()))
}

fn report(
    config: LoadConfig,
    link: &Link,
    before: LinkCounters,
    flows: Vec<Vec<FlowSent>>,
    outcomes: &[Outcome],
) -> Result<SendReport, SendError> {
    let mut told = Vec::new();
    for (flows, outcome) in flows.into_iter().zip(outcomes) {
        told.extend(flows.into_iter().zip(&outcome.sent).map(|(flow, &packets)| FlowSent {
            packets,
            first_sequence: (packets > 0).then_some(0),
            last_sequence: packets.checked_sub(1),
            ..flow
        }));
    }
    let packets = told.iter().map(|flow| flow.packets).sum();
    let sent = counted(link, before, packets)?;
    if packets > 0 && sent.packets == 0 && sent.dropped == 0 {
        return Err(SendError::NotRedirected(config.interface));
    }
    let elapsed = outcomes.iter().map(|outcome| outcome.elapsed).max().unwrap_or_default().as_secs_f64();
    Ok(SendReport {
        interface: config.interface,
        group: config.streams[0].group,
        port: config.streams[0].port,
        packets,
        bytes: packets.saturating_mul(config.size as u64),
        elapsed_seconds: elapsed,
        packets_per_second: if elapsed > 0.0 { packets as f64 / elapsed } else { 0.0 },
        rate: config.rate,
        slipped: outcomes.iter().map(|outcome| outcome.slipped).sum(),
        retries: 0,
        stopped: outcomes.iter().any(|outcome| outcome.stopped),
        link: Some(sent),
        flows: told,
    })
}

/// What the interface says it sent and dropped since `before`, once that adds up to `packets` or the wait is over.
fn counted(link: &Link, before: LinkCounters, packets: u64) -> Result<LinkSent, SendError> {
    let start = Instant::now();
    loop {
        let now = link.counters()?;
        let sent = LinkSent {
            packets: now.tx_packets.saturating_sub(before.tx_packets),
            dropped: now.tx_dropped.saturating_sub(before.tx_dropped),
        };
        if sent.packets + sent.dropped >= packets || start.elapsed() > COUNTERS_WAIT {
            return Ok(sent);
        }
        thread::sleep(Duration::from_millis(20));
    }
}
