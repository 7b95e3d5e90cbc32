//! How soon a join and a block take effect, while the stream flows: from the call to the first datagram, and from the call to the
//! last one. Ours, and a kernel socket for comparison.
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

use super::{pin, say};

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
    /// A mode of ours, or `kernel` for a plain socket.
    #[arg(long)]
    mode: String,
}

/// Nanoseconds of each try.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Delays {
    /// From the call to the first datagram.
    pub join_to_first: Vec<u64>,
    /// From the call to the last datagram; 0 where none came after the call.
    pub block_to_last: Vec<u64>,
    /// How long the call to block took.
    pub block_call: Vec<u64>,
    /// Datagrams delivered after the call to block had returned, over all tries.
    pub after_block: u64,
}

/// How long to wait for a first datagram, and until the last one is the last.
const PATIENCE: Duration = Duration::from_secs(2);
const REST: Duration = Duration::from_millis(20);
const LOOK: Duration = Duration::from_micros(200);
/// How long a consumer sleeps at most.
const WAIT: Duration = Duration::from_millis(50);

/// What the consumer saw last.
#[derive(Default)]
struct Seen {
    packets: AtomicU64,
    /// Of the first since it was set to 0.
    first: AtomicU64,
    last: AtomicU64,
    stop: AtomicBool,
}

impl Seen {
    fn book(&self) {
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

/// What is steered.
trait Steered {
    fn join(&mut self) -> Result<()>;
    fn leave(&mut self) -> Result<()>;
    /// Joins any source, to be blocked.
    fn join_any(&mut self) -> Result<()>;
    fn block(&mut self) -> Result<()>;
    fn leave_any(&mut self) -> Result<()>;
}

pub fn run(arguments: &Arguments) -> Result<()> {
    // The generator has the other CPU to itself; nothing here spins, so that who is measured need not wait for who measures.
    pin(arguments.cpu)?;
    let seen = Arc::new(Seen::default());
    let delays = if arguments.mode == "kernel" { kernel(arguments, &seen) } else { ours(arguments, &seen) };
    seen.stop.store(true, Ordering::Relaxed);
    say(&delays?)
}

fn ours(arguments: &Arguments, seen: &Arc<Seen>) -> Result<Delays> {
    let Arguments { source, silent, group, port, .. } = arguments;
    let mode: ModeRequest = arguments.mode.parse()?;
    // Another port, so that the receiver has something to begin with.
    let other: Subscription = format!("{silent}@{group}:{}", port.wrapping_add(1)).parse()?;
    let receiver =
        Receiver::builder(&arguments.interface).subscribe(other).mode(mode).allow_asm_in_ssm_range(true).build()?;
    let handle = receiver.handle();
    let mut workers = receiver.into_workers();
    let (Some(mut worker), None) = (workers.pop(), workers.pop()) else { bail!("not one queue, but several") };
    let eyes = Arc::clone(seen);
    let consumer = thread::spawn(move || while worker.poll(Wait::For(WAIT), |_| eyes.book()).is_ok() {});
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
    let (eyes, reader) = (Arc::clone(seen), Arc::clone(&socket));
    let consumer = thread::spawn(move || {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 2048];
        while !eyes.stop.load(Ordering::Relaxed) {
            if reader.recv(&mut buffer).is_ok() {
                eyes.book();
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
        // SAFETY: the request outlives the call, and its length is told.
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

/// When the first datagram came since that was forgotten.
fn first(seen: &Seen, start: u64) -> Result<u64> {
    loop {
        let first = seen.first.load(Ordering::Acquire);
        if first > 0 {
            return Ok(first);
        }
        if now_ns().saturating_sub(start) > PATIENCE.as_nanos() as u64 {
            bail!("nothing came within {} s of a join", PATIENCE.as_secs());
        }
        thread::sleep(LOOK);
    }
}
