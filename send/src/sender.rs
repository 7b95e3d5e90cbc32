//! From the configuration to open sockets, threads and the report.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use socket2::Socket;

use super::config::SendConfig;
use super::error::SendError;
use super::flow::{Exit, Flow, SEND_BUFFER, SEND_TIMEOUT, open_socket};
use super::frame::{FrameSpec, FrameTemplate, ip_udp_len};
use super::link::Link;
use super::raw;
use super::report::SendReport;
use super::schedule::{Schedule, due_in};
use super::worker::{Worker, WorkerReport};

/// First port of the range for private use (RFC 6335, section 6), for frames without a given source port.
pub(crate) const FIRST_PRIVATE_PORT: u16 = 49_152;

const DEFAULT_BURST: usize = 64;

/// A test sender that is ready to run: all is checked, and every socket is open.
#[derive(Debug)]
#[must_use = "nothing is sent before `run`"]
pub struct Sender {
    config: SendConfig,
    workers: Vec<Worker>,
}

impl Sender {
    /// Checks the configuration, then the interface, then opens the sockets, all in the network namespace of the
    /// calling thread. Sources that the interface does not own, VLAN tags and [`SendConfig::spoof`] need CAP_NET_RAW.
    ///
    /// # Errors
    /// Any [`SendError`] but [`SendError::Send`].
    pub fn new(config: SendConfig) -> Result<Self, SendError> {
        config.validate()?;
        let link = Link::find(&config.traffic.interface)?;
        link.require_carrier()?;
        let sources = match config.sources.as_slice() {
            [] => vec![link.default_source(config.group)?],
            sources => sources.to_vec(),
        };
        let plans =
            sources.iter().map(|&source| plan(&config, &link, source)).collect::<Result<Vec<Plan>, SendError>>()?;
        let flows = open_flows(&config, &link, &plans)?;
        let workers = split(&config, &link, flows, plans.iter().find_map(|plan| plan.raw.as_ref()))?;
        Ok(Self { config, workers })
    }

    /// Sends until the count, the duration or `stop` ends it, and reports what was sent. Reads `stop` at least every
    /// 0.1 s.
    ///
    /// # Errors
    /// [`SendError::Send`] if the kernel refuses for another reason than a full queue. Other threads are stopped then.
    pub fn run(self, stop: &AtomicBool) -> Result<SendReport, SendError> {
        self.run_until(&|_| stop.load(Ordering::Relaxed))
    }

    /// Sends as [`Sender::run`] does, until `stop` returns true. Each thread calls `stop` before each batch, with the
    /// number of packets that the thread has sent. A batch has up to 256 packets, or [`SendConfig::burst`] if that is
    /// more.
    ///
    /// While `stop` waits, its thread sends nothing. At a rate, a thread catches up on the last 50 ms of a delay.
    ///
    /// # Errors
    /// As for [`Sender::run`].
    pub fn run_until(self, stop: &(dyn Fn(u64) -> bool + Sync)) -> Result<SendReport, SendError> {
        let Self { config, workers } = self;
        let failed = AtomicBool::new(false);
        let start = Instant::now();
        let run = |worker: Worker| {
            let report = worker.run(start, &|sent| failed.load(Ordering::Relaxed) || stop(sent));
            if report.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            report
        };
        let reports: Vec<Result<WorkerReport, SendError>> = if workers.len() == 1 {
            workers.into_iter().map(run).collect()
        } else {
            thread::scope(|scope| {
                let threads: Vec<_> = workers.into_iter().map(|worker| scope.spawn(|| run(worker))).collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                    .collect()
            })
        };
        let reports = reports.into_iter().collect::<Result<Vec<WorkerReport>, SendError>>()?;
        Ok(summarize(config, &reports))
    }
}

/// How one source is sent.
pub(crate) struct Plan {
    source: IpAddr,
    /// What needs complete frames, if anything does.
    pub(crate) raw: Option<String>,
}

pub(crate) fn plan(config: &SendConfig, link: &Link, source: IpAddr) -> Result<Plan, SendError> {
    let raw = if !config.vlan.is_empty() {
        Some("a VLAN tag".to_owned())
    } else if config.spoof {
        Some("the requested spoofing".to_owned())
    } else if link.owns(source)? {
        None
    } else {
        Some(format!("source {source}, which interface {} does not own,", link.name))
    };
    if let Some(why) = &raw {
        if link.mac.is_none() {
            return Err(SendError::NotEthernet { interface: link.name.clone(), why: why.clone() });
        }
        check_fits(config, link)?;
    }
    Ok(Plan { source, raw })
}

/// Checks that a complete frame fits. The kernel allows one 802.1Q tag, not one of 802.1ad, above the MTU
/// (`packet_snd`).
fn check_fits(config: &SendConfig, link: &Link) -> Result<(), SendError> {
    let tags = match config.vlan.len() {
        0 | 1 => 0,
        more => 4 * more,
    };
    let around = ip_udp_len(config.group) + tags;
    if config.traffic.size + around <= link.mtu {
        return Ok(());
    }
    Err(SendError::AboveMtu {
        size: config.traffic.size,
        max: link.mtu.saturating_sub(around),
        interface: link.name.clone(),
        mtu: link.mtu,
    })
}

fn open_flows(config: &SendConfig, link: &Link, plans: &[Plan]) -> Result<Vec<Flow>, SendError> {
    // Another run must have other stream ids, so that a receiver can distinguish the two.
    let random = RandomState::new().build_hasher().finish();
    let first_stream = random as u32;
    let chosen_port = FIRST_PRIVATE_PORT + (random >> 32) as u16 % (u16::MAX - FIRST_PRIVATE_PORT);
    let mut flows = Vec::new();
    for plan in plans {
        for nth in 0..config.traffic.source_ports {
            let stream = first_stream.wrapping_add(flows.len() as u32);
            let (source, exit) = if plan.raw.is_some() {
                let port = match config.traffic.source_port {
                    Some(first) => first + nth,
                    // Wraps around, but never to 0.
                    None => (u32::from(chosen_port - 1) + u32::from(nth)).rem_euclid(65_535) as u16 + 1,
                };
                (SocketAddr::new(plan.source, port), Exit::Raw(template(config, link, plan.source, port)?))
            } else {
                let port = config.traffic.source_port.map_or(0, |first| first + nth);
                let (source, socket) = open_socket(config, link, plan.source, port)?;
                (source, Exit::Socket(socket))
            };
            flows.push(Flow { source, stream, next: 0, exit });
        }
    }
    Ok(flows)
}

fn template(config: &SendConfig, link: &Link, source: IpAddr, source_port: u16) -> Result<FrameTemplate, SendError> {
    let spec = FrameSpec {
        source_mac: link.mac.unwrap_or_default(),
        source,
        group: config.group,
        source_port,
        port: config.port,
        ttl: config.traffic.ttl,
        vlan: &config.vlan,
        size: config.traffic.size,
    };
    // Families and lengths were checked; what remains is an MTU above the largest IP packet.
    FrameTemplate::new(&spec).ok_or_else(|| SendError::AboveMtu {
        size: config.traffic.size,
        max: super::MAX_PAYLOAD_V4,
        interface: link.name.clone(),
        mtu: link.mtu,
    })
}

/// Gives each thread its flows, and its part of rate and count.
fn split(config: &SendConfig, link: &Link, flows: Vec<Flow>, raw: Option<&String>) -> Result<Vec<Worker>, SendError> {
    let total = flows.len();
    // A duration at a rate is a number of packets, so that it does not depend on the last time slice.
    let duration = config.traffic.duration.filter(|_| config.traffic.rate > 0);
    let due_count = duration.map(|duration| due_in(duration, config.traffic.rate));
    let mut shares: Vec<Vec<Flow>> = (0..config.traffic.threads).map(|_| Vec::new()).collect();
    for (at, flow) in flows.into_iter().enumerate() {
        shares[at % config.traffic.threads].push(flow);
    }
    shares
        .into_iter()
        .enumerate()
        .map(|(thread, flows)| {
            let frame_len = flows.iter().find_map(|flow| match &flow.exit {
                Exit::Raw(template) => Some(template.len()),
                Exit::Socket(_) => None,
            });
            let packet_socket = match raw {
                Some(why) if frame_len.is_some() => Some(open_packet_socket(link, config.bypass_qdisc, why)?),
                _ => None,
            };
            let per_second = config.traffic.rate as f64 * flows.len() as f64 / total as f64;
            let burst = config.burst.unwrap_or(match config.traffic.rate {
                0 => DEFAULT_BURST,
                _ => (per_second / 10_000.0).ceil().clamp(1.0, DEFAULT_BURST as f64) as usize,
            });
            let schedule = (config.traffic.rate > 0).then(|| Schedule::new(config.traffic.rate, flows.len(), total));
            Ok(Worker {
                interface: link.name.clone(),
                group: config.group,
                port: config.port,
                has_sockets: flows.iter().any(|flow| matches!(flow.exit, Exit::Socket(_))),
                frame_len: frame_len.unwrap_or(0),
                packet_socket,
                schedule,
                count: config.traffic.count.map(|count| share(count, total, config.traffic.threads, thread)),
                due_count: due_count.map(|count| share(count, total, config.traffic.threads, thread)),
                flows,
                duration: config.traffic.duration,
                size: config.traffic.size,
                burst,
                turn: 0,
                retries: 0,
            })
        })
        .collect()
}

/// The part of `count` packets of one thread's flows (flow n is of thread n mod `threads`), if all flows take turns.
fn share(count: u64, flows: usize, threads: usize, thread: usize) -> u64 {
    let (each, more) = (count / flows as u64, count % flows as u64);
    (thread..flows).step_by(threads).map(|flow| each + u64::from((flow as u64) < more)).sum()
}

pub(crate) fn open_packet_socket(link: &Link, bypass_qdisc: bool, why: &str) -> Result<Socket, SendError> {
    let open = || -> io::Result<Socket> {
        let socket = raw::packet_socket(link.index, bypass_qdisc)?;
        // As large as the limit allows; less only costs speed.
        let _ = socket.set_send_buffer_size(SEND_BUFFER);
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(socket)
    };
    open().map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => SendError::NoPrivilege { why: why.to_owned() },
        _ => SendError::os(format!("opening a packet socket on {}", link.name))(error),
    })
}

fn summarize(config: SendConfig, reports: &[WorkerReport]) -> SendReport {
    // In the order in which the sources were named.
    let threads = reports.len();
    let total: usize = reports.iter().map(|report| report.flows.len()).sum();
    let flows: Vec<_> = (0..total).map(|at| reports[at % threads].flows[at / threads].clone()).collect();
    let packets = flows.iter().map(|flow| flow.packets).sum();
    let elapsed = reports.iter().map(|report| report.elapsed).max().unwrap_or_default().as_secs_f64();
    SendReport {
        interface: config.traffic.interface,
        group: config.group,
        port: config.port,
        packets,
        bytes: packets.saturating_mul(config.traffic.size as u64),
        elapsed_seconds: elapsed,
        packets_per_second: if elapsed > 0.0 { packets as f64 / elapsed } else { 0.0 },
        rate: config.traffic.rate,
        slipped: reports.iter().map(|report| report.slipped).sum(),
        retries: reports.iter().map(|report| report.retries).sum(),
        stopped: reports.iter().any(|report| report.stopped),
        link: None,
        flows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shares_add_up(count in 0u64..1_000_000, flows in 1usize..50, threads in 1usize..50) {
            let threads = threads.min(flows);
            let shares: Vec<u64> = (0..threads).map(|thread| share(count, flows, threads, thread)).collect();
            prop_assert_eq!(shares.iter().sum::<u64>(), count);
        }
    }
}
