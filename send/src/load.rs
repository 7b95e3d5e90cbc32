//! The load: sends by the generator in the kernel. Its configuration, threads and report.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use receiver_common::generator::{self as layout, Flow};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

use super::error::SendError;
use super::frame::{FrameSpec, FrameTemplate, ip_udp_len};
use super::generator::{Generator, Run, Stopper};
use super::link::Link;
use super::mix::{StreamSpec, cycle};
use super::report::{FlowSent, LinkSent, SendReport, Way};
use crate::probe::PROBE_LEN;
use crate::traffic::{MAX_PAYLOAD_V4, Traffic};
use receiver_host::LinkCounters;
use receiver_membership::{validate_group, validate_source};

/// First port of the range for private use (RFC 6335, section 6).
const FIRST_PRIVATE_PORT: u16 = 49_152;
/// Frames of one run of the program, sent or dropped. A run begins and ends with some 10 ms of waiting. It cannot be
/// ended early, only made to send nothing: then it ends after some 0.2 s.
const RUN: u64 = 1 << 23;
/// The shortest time that a frame takes at a rate, in nanoseconds.
const ROUND: u64 = 30;
/// How often the stop flag is read.
const WATCH: Duration = Duration::from_millis(10);
/// How long the interface's counters can lag behind what was sent.
const COUNTERS_WAIT: Duration = Duration::from_millis(1500);

/// What the generator in the kernel sends. Start from [`LoadConfig::new`] and set what differs.
///
/// ```
/// use receiver_send::{LoadConfig, StreamSpecs};
///
/// let streams: StreamSpecs = "10.0.0.1,10.0.0.2@232.1.1.1:5000=3".parse()?;
/// let mut config = LoadConfig::new("veth0", streams.0);
/// config.traffic.rate = 1_000_000;
/// config.validate()?;
/// # Ok::<(), receiver_send::SendError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LoadConfig {
    /// The streams of the mix, at least one. The interface need not own their sources.
    pub streams: Vec<StreamSpec>,
    /// The interface, the rate and the end, the packets and the threads. The interface's driver must take redirected
    /// frames; veth does while its other end has an XDP program in the driver (or `gro on`). Each thread is on a CPU of
    /// its own, and has flows of its own of every stream.
    pub traffic: Traffic,
    /// The CPUs to run on, one for each thread. Empty: the first that the process may use.
    #[serde(default)]
    pub cpus: Vec<usize>,
    /// In place of a rate: a burst at line rate at the beginning of each period, per thread.
    #[serde(default)]
    pub burst: Option<Burst>,
}

/// The shape of bursts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// Packets of one burst, from 1.
    pub packets: u32,
    /// The time from the beginning of one burst to that of the next. A burst that takes longer delays the next.
    pub every: Duration,
}

impl LoadConfig {
    /// As fast as possible, with the smallest payload, until stopped.
    #[must_use]
    pub fn new(interface: impl Into<String>, streams: Vec<StreamSpec>) -> Self {
        Self { streams, traffic: Traffic::new(interface), cpus: Vec::new(), burst: None }
    }

    /// Checks all that can be checked without asking the kernel.
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
        // Each thread has source ports of its own.
        self.traffic.validate(MAX_PAYLOAD_V4, self.traffic.threads)?;
        match self.burst {
            Some(burst) if burst.packets == 0 || burst.every.is_zero() || self.traffic.rate != 0 => {
                Err(SendError::BurstShape)
            }
            _ => Ok(()),
        }
    }
}

/// The generator, ready to run: all is checked and loaded.
#[derive(Debug)]
#[must_use = "nothing is sent before `run`"]
pub struct Load {
    config: LoadConfig,
    link: Link,
    threads: Vec<Thread>,
}

#[derive(Debug)]
struct Thread {
    cpu: usize,
    generator: Generator,
    stopper: Stopper,
    flows: Vec<FlowSent>,
    plan: Run,
}

/// What one thread did.
struct ThreadReport {
    sent: Vec<u64>,
    run: Run,
}

impl Load {
    /// Checks the configuration and the interface, and loads a program for each thread, all in the network namespace of
    /// the calling thread. Needs CAP_BPF and CAP_NET_ADMIN.
    ///
    /// # Errors
    /// Any [`SendError`].
    pub fn new(config: LoadConfig) -> Result<Self, SendError> {
        config.validate()?;
        let link = Link::find(&config.traffic.interface)?;
        link.require_carrier()?;
        if link.mac.is_none() {
            let why = "the load generator".to_owned();
            return Err(SendError::NotEthernet { interface: link.name, why });
        }
        for stream in &config.streams {
            let around = ip_udp_len(stream.group);
            if config.traffic.size + around > link.mtu {
                let max = link.mtu.saturating_sub(around);
                return Err(SendError::AboveMtu {
                    size: config.traffic.size,
                    max,
                    interface: link.name,
                    mtu: link.mtu,
                });
            }
        }
        let cpus = cpus(&config)?;
        // Another run must have other stream ids, so that a receiver can distinguish the two.
        let random = RandomState::new().build_hasher().finish();
        let threads = cpus
            .into_iter()
            .enumerate()
            .map(|(nth, cpu)| Thread::new(&config, &link, random, nth, cpu))
            .collect::<Result<_, _>>()?;
        Ok(Self { config, link, threads })
    }

    /// Sends until the count, the duration or `stop` ends it, and reports what was sent. `stop` ends the sending within
    /// 0.1 s, and the call returns within a second.
    ///
    /// # Errors
    /// [`SendError::NotRedirected`] if the interface took few or none of the frames, [`SendError::Os`] and
    /// [`SendError::Generator`] if the kernel refuses a run.
    pub fn run(self, stop: &AtomicBool) -> Result<SendReport, SendError> {
        let Self { config, link, threads } = self;
        let before = link.counters()?;
        let together = Barrier::new(threads.len());
        let (mut flows, mut stoppers, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
        for Thread { cpu, generator, stopper, flows: own, plan } in threads {
            flows.push(own);
            stoppers.push(stopper);
            jobs.push((cpu, generator, plan));
        }
        let mut stopped = false;
        let ended = AtomicBool::new(false);
        let reports: Vec<Result<ThreadReport, SendError>> = thread::scope(|scope| {
            let (together, ended) = (&together, &ended);
            let running: Vec<_> = jobs
                .into_iter()
                .map(|(cpu, generator, plan)| {
                    scope.spawn(move || {
                        let report = send(generator, cpu, plan, together, ended);
                        if report.is_err() {
                            ended.store(true, Ordering::Relaxed);
                        }
                        report
                    })
                })
                .collect();
            while running.iter().any(|thread| !thread.is_finished()) {
                if !stopped && (stop.load(Ordering::Relaxed) || ended.load(Ordering::Relaxed)) {
                    stopped = stop.load(Ordering::Relaxed);
                    ended.store(true, Ordering::Relaxed);
                    stoppers.iter_mut().for_each(Stopper::stop);
                }
                thread::sleep(WATCH);
            }
            running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let reports = reports.into_iter().collect::<Result<Vec<ThreadReport>, SendError>>()?;
        summarize(config, &link, before, flows, &reports, stopped)
    }
}

impl Thread {
    /// `random` is the same for all threads of a run.
    fn new(config: &LoadConfig, link: &Link, random: u64, nth: usize, cpu: usize) -> Result<Self, SendError> {
        let ports = usize::from(config.traffic.source_ports);
        let base = match config.traffic.source_port {
            Some(first) => first,
            None => {
                let most =
                    (u16::MAX - FIRST_PRIVATE_PORT).saturating_sub((ports * config.traffic.threads) as u16).max(1);
                if ports * config.traffic.threads > 16_000 {
                    1
                } else {
                    FIRST_PRIVATE_PORT + (random >> 48) as u16 % most
                }
            }
        };
        let (mut reported, mut flows, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for stream in &config.streams {
            let source = stream.source.map_or_else(|| link.default_source(stream.group), Ok)?;
            for port in 0..ports {
                // In range: validated.
                let source = SocketAddr::new(source, base + (nth * ports + port) as u16);
                let before = nth * config.streams.len() * ports + flows.len();
                let id = (random as u32).wrapping_add(before as u32);
                flows.push(flow(config, link, stream, source, id)?);
                weights.push(stream.weight);
                reported.push(FlowSent {
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
        let threads = config.traffic.threads as u64;
        // Nanoseconds in 2^-32 between two packets of this thread.
        let step = ((u128::from(threads) * 1_000_000_000) << 32).checked_div(config.traffic.rate.into()).unwrap_or(0);
        let mut plan = Run {
            left: config
                .traffic
                .count
                .map_or(u64::MAX, |count| count / threads + u64::from((nth as u64) < count % threads)),
            duration: config.traffic.duration.map_or(u64::MAX, nanoseconds),
            step: (step >> 32) as u64,
            step_fraction: step as u32,
            burst: 1,
            ..Run::default()
        };
        if let Some(burst) = config.burst {
            (plan.step, plan.burst) = (nanoseconds(burst.every), burst.packets);
        }
        let (generator, stopper) = Generator::load(&link.name, link.index, &flows, &cycle(&weights)?, plan)?;
        Ok(Self { cpu, generator, stopper, flows: reported, plan })
    }
}

/// One thread's work.
fn send(
    mut generator: Generator,
    cpu: usize,
    plan: Run,
    together: &Barrier,
    ended: &AtomicBool,
) -> Result<ThreadReport, SendError> {
    let pinned = pin(cpu);
    together.wait();
    pinned?;
    let mut run = plan;
    let start = Instant::now();
    let mut sending = Duration::ZERO;
    while run.left > 0 && nanoseconds(sending) < run.duration && !ended.load(Ordering::Relaxed) {
        // Not many more than needed: the rest is dropped at the end, one by one.
        let frames = match run.step {
            0 => run.left,
            step => {
                let bursts = run.left.div_ceil(u64::from(run.burst).max(1));
                let time = bursts.saturating_mul(step).min(run.duration.saturating_sub(nanoseconds(sending)));
                (time / ROUND).saturating_add(run.left.min(u64::from(run.burst)))
            }
        };
        run = generator.run(frames.clamp(1, RUN) as u32)?;
        sending = start.elapsed();
    }
    Ok(ThreadReport { sent: generator.sent()?, run })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A flow as the program takes it.
fn flow(config: &LoadConfig, link: &Link, stream: &StreamSpec, source: SocketAddr, id: u32) -> Result<Flow, SendError> {
    let spec = FrameSpec {
        source_mac: link.mac.unwrap_or_default(),
        source: source.ip(),
        group: stream.group,
        source_port: source.port(),
        port: stream.port,
        ttl: config.traffic.ttl,
        vlan: &[],
        size: config.traffic.size,
    };
    // Families and lengths were checked; what remains is an MTU above the largest IP packet.
    let template = FrameTemplate::new(&spec).ok_or_else(|| SendError::AboveMtu {
        size: config.traffic.size,
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
    let length = (bytes.len() + config.traffic.size - PROBE_LEN) as u32;
    Ok(Flow { next: 0, sum, length, v6: v6.into(), trim: 0, head })
}

const _: () = assert!(PROBE_LEN == layout::PROBE_LEN);

/// One CPU for each thread.
fn cpus(config: &LoadConfig) -> Result<Vec<usize>, SendError> {
    let mut cpus = config.cpus.clone();
    if cpus.is_empty() {
        let allowed = sched_getaffinity(None).map_err(|errno| SendError::Os {
            what: "reading which CPUs the process may use".to_owned(),
            source: errno.into(),
            remedy: "",
        })?;
        cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    }
    if cpus.len() < config.traffic.threads {
        return Err(SendError::TooFewCpus { threads: config.traffic.threads, cpus: cpus.len() });
    }
    cpus.truncate(config.traffic.threads);
    Ok(cpus)
}

fn pin(cpu: usize) -> Result<(), SendError> {
    let refused = |source| SendError::Os {
        what: format!("pinning a thread to CPU {cpu}"),
        source,
        remedy: "; name CPUs that the process may use",
    };
    if cpu >= CpuSet::MAX_CPU {
        return Err(refused(io::ErrorKind::InvalidInput.into()));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|errno| refused(errno.into()))
}

fn summarize(
    config: LoadConfig,
    link: &Link,
    before: LinkCounters,
    flows: Vec<Vec<FlowSent>>,
    reports: &[ThreadReport],
    stopped: bool,
) -> Result<SendReport, SendError> {
    let mut sent_flows = Vec::new();
    for (flows, report) in flows.into_iter().zip(reports) {
        sent_flows.extend(flows.into_iter().zip(&report.sent).map(|(flow, &packets)| FlowSent {
            packets,
            first_sequence: (packets > 0).then_some(0),
            last_sequence: packets.checked_sub(1),
            ..flow
        }));
    }
    let packets = sent_flows.iter().map(|flow| flow.packets).sum();
    let sent = counted(link, before, packets)?;
    // Others send on the interface, too, if little: the kernel sends its membership reports.
    if sent.packets + sent.dropped < packets.div_ceil(2) {
        return Err(SendError::NotRedirected(config.traffic.interface));
    }
    // From the first frame to the last, over all threads.
    let ran = reports.iter().map(|report| report.run).filter(|run| run.last > 0);
    let first = ran.clone().map(|run| run.first).min().unwrap_or(0);
    let last = ran.map(|run| run.last).max().unwrap_or(0);
    let elapsed = Duration::from_nanos(last.saturating_sub(first)).as_secs_f64();
    Ok(SendReport {
        interface: config.traffic.interface,
        group: config.streams[0].group,
        port: config.streams[0].port,
        packets,
        bytes: packets.saturating_mul(config.traffic.size as u64),
        elapsed_seconds: elapsed,
        packets_per_second: if elapsed > 0.0 { packets as f64 / elapsed } else { 0.0 },
        rate: config.traffic.rate,
        slipped: reports.iter().map(|report| report.run.slipped).sum(),
        retries: 0,
        stopped,
        link: Some(sent),
        flows: sent_flows,
    })
}

/// What the interface sent and dropped since `before`, once that adds up to `packets` or the wait is over.
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
