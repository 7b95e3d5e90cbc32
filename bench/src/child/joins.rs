//! The time to join many channels and to leave them: for this receiver, one call at a time and in one call, and for
//! bare sockets, which is what the kernel itself takes. Each way has a process of its own: the kernel keeps groups that
//! were left for a while, and each join walks over them.
#![allow(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Instant;

use anyhow::{Context, Result};
use receiver::{Interface, ModeRequest, Receiver, SourceFilter, Subscription};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{sleeping_consumers, write_json};

/// Options of the child.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    #[arg(long)]
    interface: String,
    /// A mode of this receiver, or `kernel` for bare sockets.
    #[arg(long)]
    mode: String,
    #[arg(long)]
    v6: bool,
    #[arg(long)]
    count: u32,
    /// All channels in one call, in place of one call for each.
    #[arg(long)]
    at_once: bool,
}

/// Seconds for all channels.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Seconds {
    /// One call for each channel.
    pub join: f64,
    pub leave: f64,
    /// One call for all channels; `None` for bare sockets.
    pub join_all: Option<f64>,
    /// One call for all channels; `None` for bare sockets.
    pub leave_all: Option<f64>,
    /// The receiver's shutdown with all channels joined.
    pub shutdown: Option<f64>,
}

const PORT: u16 = 5000;

pub fn run(arguments: &Arguments) -> Result<()> {
    // A socket for each group.
    let limit = getrlimit(Resource::Nofile);
    let more = Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, more).context("raising the limit of file descriptors")?;
    write_json(&if arguments.mode == "kernel" { kernel(arguments)? } else { ours(arguments)? })
}

/// A channel of its own group.
fn channel(v6: bool, number: u32) -> (IpAddr, IpAddr) {
    if v6 {
        let group = Ipv6Addr::from((0xff3e_u128 << 112) + 0x8000_0000 + u128::from(number));
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(), group.into())
    } else {
        (Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::from_bits(0xe801_0000 + number).into())
    }
}

fn ours(arguments: &Arguments) -> Result<Seconds> {
    let subscription = |number| {
        let (source, group) = channel(arguments.v6, number);
        Subscription::new(group, PORT, SourceFilter::Include([source].into()))
    };
    let all = (1..=arguments.count).map(subscription).collect::<Result<Vec<_>, _>>()?;
    let timed = |start: Instant| start.elapsed().as_secs_f64();
    let builder = Receiver::builder(&arguments.interface).mode(arguments.mode.parse::<ModeRequest>()?);
    let receiver = builder.subscribe(subscription(0)?).max_flows(arguments.count + 1).build()?;
    let handle = receiver.handle();
    // The worker closes the sockets of groups that were left.
    let consumers = sleeping_consumers(receiver);
    let mut seconds = Seconds::default();
    let start = Instant::now();
    if arguments.at_once {
        let ids = handle.join_all(&all)?;
        seconds.join_all = Some(timed(start));
        let start = Instant::now();
        handle.leave_all(&ids)?;
        seconds.leave_all = Some(timed(start));
    } else {
        let ids = all.iter().map(|subscription| handle.join(subscription)).collect::<Result<Vec<_>, _>>()?;
        seconds.join = timed(start);
        let start = Instant::now();
        ids.into_iter().try_for_each(|id| handle.leave(id))?;
        seconds.leave = timed(start);
    }
    handle.join_all(&all)?;
    let start = Instant::now();
    handle.shutdown()?;
    seconds.shutdown = Some(timed(start));
    for consumer in consumers {
        let _ = consumer.join();
    }
    Ok(seconds)
}

/// One socket for each channel: socket(2), bind(2), MCAST_JOIN_SOURCE_GROUP; then MCAST_LEAVE_SOURCE_GROUP, close(2).
fn kernel(arguments: &Arguments) -> Result<Seconds> {
    let interface = Interface::lookup(&arguments.interface)?.index;
    let mut sockets = Vec::new();
    let start = Instant::now();
    for number in 1..=arguments.count {
        let (source, group) = channel(arguments.v6, number);
        let domain = if arguments.v6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).context("a socket")?;
        socket.bind(&SocketAddr::new(group, PORT).into()).context("binding a socket")?;
        change(&socket, libc::MCAST_JOIN_SOURCE_GROUP, interface, source, group).context("joining a channel")?;
        sockets.push((socket, source, group));
    }
    let join = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for (socket, source, group) in sockets {
        change(&socket, libc::MCAST_LEAVE_SOURCE_GROUP, interface, source, group).context("leaving a channel")?;
    }
    Ok(Seconds { join, leave: start.elapsed().as_secs_f64(), ..Seconds::default() })
}

/// `struct group_source_req`.
#[repr(C)]
struct Request {
    interface: u32,
    group: libc::sockaddr_storage,
    source: libc::sockaddr_storage,
}

fn change(socket: &Socket, option: libc::c_int, interface: u32, source: IpAddr, group: IpAddr) -> std::io::Result<()> {
    let level = if group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    let storage = |address: IpAddr| {
        let address = SockAddr::from(SocketAddr::new(address, 0));
        // SAFETY: all zeros is an address without a family.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        // SAFETY: the address is at most as long as the storage, and the two do not overlap.
        unsafe {
            let to = (&raw mut storage).cast::<u8>();
            std::ptr::copy_nonoverlapping(address.as_ptr().cast::<u8>(), to, address.len() as usize);
        }
        storage
    };
    let request = Request { interface, group: storage(group), source: storage(source) };
    // SAFETY: the request lives during the call, and the length is its size.
    let set = unsafe {
        let length = size_of_val(&request) as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const request).cast(), length)
    };
    if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
