//! The delay of a join and of a block while the stream flows: from the call to the first datagram, and from the call to
//! the last one. For this receiver, and for a kernel socket as a comparison.
#![allow(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use receiver::{ModeRequest, Receiver, Subscription, Wait};
use receiver_send::probe::now_ns;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use super::{pin, write_json};

/// Options of the child.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    #[arg(long)]
    interface: String,
    #[arg(long)]
    cpu: usize,
    #[arg(long)]
    source: Ipv4Addr,
    /// A source that never sends.
    #[arg(long)]
    silent: Ipv4Addr,
    #[arg(long)]
    group: Ipv4Addr,
    #[arg(long)]
    port: u16,
    #[arg(long)]
    times: usize,
    /// A mode of this receiver, or `kernel` for a plain socket.
    #[arg(long)]
    mode: String,
}

/// Results of each try, in nanoseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Delays {
    /// From the call to the first datagram.
    pub join_to_first: Vec<u64>,
    /// From the call to the last datagram; 0 if none arrived after the call.
    pub block_to_last: Vec<u64>,
    /// Duration of the call to block.
    pub block_call: Vec<u64>,
    /// Datagrams delivered after the call to block had returned, in all tries.
    pub after_block: u64,
}

/// Time limit for a first datagram, and the pause after which a datagram counts as the last.
const PATIENCE: Duration = Duration::from_secs(2);
const REST: Duration = Duration::from_millis(20);
const LOOK: Duration = Duration::from_micros(200);
/// Upper bound of a consumer's sleep.
const WAIT: Duration = Duration::from_millis(50);

/// The consumer's last observations.
#[derive(Default)]
struct Seen {
    packets: AtomicU64,
    /// The time of the first datagram since this was set to 0.
    first: AtomicU64,
    last: AtomicU64,
    stop: AtomicBool,
}

impl Seen {
    fn record(&self) {
        let now = now_ns();
        if self.first.load(Ordering::Acquire) == 0 {
            self.first.store(now, Ordering::Release);
        }
        self.last.store(now, Ordering::Release);
        self.packets.fetch_add(1, Ordering::AcqRel);
    }

    fn packets(&self) -> u64 {
        self.packets.load(Ordering::Acquire)
    }
}

/// The receiver under control.
trait Steered {
    fn join(&mut self) -> Result<()>;
    fn leave(&mut self) -> Result<()>;
    /// Joins any source, which is blocked later.
    fn join_any(&mut self) -> Result<()>;
    fn block(&mut self) -> Result<()>;
    fn leave_any(&mut self) -> Result<()>;
}

pub fn run(arguments: &Arguments) -> Result<()> {
    // The generator has the other CPU alone. Nothing here spins, so the measuring thread does not delay the measured
    // one.
    pin(arguments.cpu)?;
    let seen = Arc::new(Seen::default());
    let delays = if arguments.mode == "kernel" { kernel(arguments, &seen) } else { ours(arguments, &seen) };
    seen.stop.store(true, Ordering::Relaxed);
    write_json(&delays?)
}

fn ours(arguments: &Arguments, seen: &Arc<Seen>) -> Result<Delays> {
    let Arguments { source, silent, group, port, .. } = arguments;
    let mode: ModeRequest = arguments.mode.parse()?;
    // Another port, so that the receiver has a subscription at its start.
    let other: Subscription = format!("{silent}@{group}:{}", port.wrapping_add(1)).parse()?;
    let receiver =
        Receiver::builder(&arguments.interface).subscribe(other).mode(mode).allow_asm_in_ssm_range(true).build()?;
    let handle = receiver.handle();
    let mut workers = receiver.into_workers();
    let (Some(mut worker), None) = (workers.pop(), workers.pop()) else { bail!("not one queue, but several") };
    let observed = Arc::clone(seen);
    let consumer = thread::spawn(move || while worker.poll(Wait::For(WAIT), |_| observed.record()).is_ok() {});
    let mut steered = Ours {
        one: format!("{source}@{group}:{port}").parse()?,
        any: format!("!{silent}@{group}:{port}").parse()?,
        source: (*source).into(),
        id: None,
        handle: handle.clone(),
    };
    let delays = measure(&mut steered, seen, arguments.times);
    handle.shutdown()?;
    let _ = consumer.join();
    delays
}

struct Ours {
    handle: receiver::Handle,
    one: Subscription,
    any: Subscription,
    source: IpAddr,
    id: Option<receiver::SubscriptionId>,
}

impl Ours {
    fn id(&self) -> Result<receiver::SubscriptionId> {
        self.id.context("not joined")
    }
}

impl Steered for Ours {
    fn join(&mut self) -> Result<()> {
        self.id = Some(self.handle.join(&self.one)?);
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        Ok(self.handle.leave(self.id()?)?)
    }

    fn join_any(&mut self) -> Result<()> {
        self.id = Some(self.handle.join(&self.any)?);
        Ok(())
    }

    fn block(&mut self) -> Result<()> {
        Ok(self.handle.block(self.id()?, self.source)?)
    }

    fn leave_any(&mut self) -> Result<()> {
        self.leave()
    }
}

/// One plain socket, read datagram by datagram.
fn kernel(arguments: &Arguments, seen: &Arc<Seen>) -> Result<Delays> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    let _ = socket.set_recv_buffer_size(64 << 20);
    socket.set_read_timeout(Some(WAIT))?;
    socket.bind(&SocketAddr::from((arguments.group, arguments.port)).into())?;
    let socket = Arc::new(socket);
    let (observed, reader) = (Arc::clone(seen), Arc::clone(&socket));
    let consumer = thread::spawn(move || {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 2048];
        while !observed.stop.load(Ordering::Relaxed) {
            if reader.recv(&mut buffer).is_ok() {
                observed.record();
            }
        }
    });
    let mut steered = Plain { socket, source: arguments.source, group: arguments.group };
    let delays = measure(&mut steered, seen, arguments.times);
    seen.stop.store(true, Ordering::Relaxed);
    let _ = consumer.join();
    delays
}

struct Plain {
    socket: Arc<Socket>,
    source: Ipv4Addr,
    group: Ipv4Addr,
}

impl Steered for Plain {
    fn join(&mut self) -> Result<()> {
        Ok(self.socket.join_ssm_v4(&self.source, &self.group, &Ipv4Addr::UNSPECIFIED)?)
    }

    fn leave(&mut self) -> Result<()> {
        Ok(self.socket.leave_ssm_v4(&self.source, &self.group, &Ipv4Addr::UNSPECIFIED)?)
    }

    fn join_any(&mut self) -> Result<()> {
        Ok(self.socket.join_multicast_v4(&self.group, &Ipv4Addr::UNSPECIFIED)?)
    }

    fn block(&mut self) -> Result<()> {
        let address = |address: Ipv4Addr| libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) };
        let request = libc::ip_mreq_source {
            imr_multiaddr: address(self.group),
            imr_interface: address(Ipv4Addr::UNSPECIFIED),
            imr_sourceaddr: address(self.source),
        };
        // SAFETY: the request lives during the call, and the length is its size.
        let set = unsafe {
            let length = size_of_val(&request) as libc::socklen_t;
            let value = (&raw const request).cast();
            libc::setsockopt(self.socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_BLOCK_SOURCE, value, length)
        };
        if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).context("blocking a source") }
    }

    fn leave_any(&mut self) -> Result<()> {
        Ok(self.socket.leave_multicast_v4(&self.group, &Ipv4Addr::UNSPECIFIED)?)
    }
}

fn measure(steered: &mut dyn Steered, seen: &Seen, times: usize) -> Result<Delays> {
    let mut delays = Delays::default();
    for _ in 0..times {
        seen.first.store(0, Ordering::Release);
        let start = now_ns();
        steered.join()?;
        let first = first(seen, start)?;
        delays.join_to_first.push(first.saturating_sub(start));
        steered.leave()?;
        thread::sleep(REST);
    }
    for _ in 0..times {
        seen.first.store(0, Ordering::Release);
        steered.join_any()?;
        first(seen, now_ns())?;
        thread::sleep(REST);
        let start = now_ns();
        steered.block()?;
        let (returned, packets) = (now_ns(), seen.packets());
        thread::sleep(REST);
        delays.block_to_last.push(seen.last.load(Ordering::Acquire).saturating_sub(start));
        delays.block_call.push(returned.saturating_sub(start));
        delays.after_block += seen.packets() - packets;
        steered.leave_any()?;
        thread::sleep(REST);
    }
    Ok(delays)
}

/// The time of the first datagram since the last reset.
fn first(seen: &Seen, start: u64) -> Result<u64> {
    loop {
        let first = seen.first.load(Ordering::Acquire);
        if first > 0 {
            return Ok(first);
        }
        if now_ns().saturating_sub(start) > PATIENCE.as_nanos() as u64 {
            bail!("nothing arrived within {} s of a join", PATIENCE.as_secs());
        }
        thread::sleep(LOOK);
    }
}
