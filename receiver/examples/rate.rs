//! How many datagrams a second come through: a thread per queue, pinned, that polls without sleeping and only counts.
//!
//! ```text
//! rate INTERFACE SUBSCRIPTION [--mode copy|generic|socket|…] [--owned] [--no-verify] [--seconds N] [--cpu FIRST]
//! rate INTERFACE SUBSCRIPTION --recvmmsg
//! ```
//!
//! `--owned` keeps each datagram as `Bytes` for the length of the callback. `--recvmmsg` is what to compare with: a plain
//! UDP socket with a source-specific join, read 64 datagrams at a time. A line a second: datagrams, and nanoseconds of
//! this process's CPU time for each.
#![allow(unsafe_code)]

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use receiver::{Handle, ModeRequest, Receiver, SourceFilter, Subscription, Wait, Worker};
use rustix::thread::{CpuSet, sched_setaffinity};
use socket2::{Domain, Protocol, Socket, Type};

const BATCH: usize = 64;
const PAYLOAD: usize = 2048;

struct Options {
    interface: String,
    subscription: Subscription,
    mode: ModeRequest,
    owned: bool,
    verify: bool,
    recvmmsg: bool,
    seconds: u64,
    cpu: usize,
    ring: u32,
    frames: u32,
    frame_size: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let (count, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    if options.recvmmsg {
        let socket = joined(&options)?;
        return std::thread::scope(|scope| {
            scope.spawn(|| pinned(options.cpu, || plain(&socket, &count, &stop)));
            watch(&options, &count);
            stop.store(true, Ordering::Relaxed);
            Ok(())
        });
    }
    let receiver = Receiver::builder(&options.interface)
        .subscribe(options.subscription.clone())
        .mode(options.mode)
        .verify_checksums(options.verify)
        .ring_size(options.ring)
        .frames(options.frames)
        .frame_size(options.frame_size)
        .busy_poll(std::env::var_os("BP").map(|_| receiver::xsk::BusyPoll { budget: 64, microseconds: 20 }))
        .build()?;
    let handle: Handle = receiver.handle();
    println!("mode {}", handle.mode());
    std::thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        for (nth, worker) in receiver.into_workers().into_iter().enumerate() {
            let (options, count) = (&options, &count);
            scope.spawn(move || pinned(options.cpu + nth, || serve(worker, options.owned, count)));
        }
        watch(&options, &count);
        Ok(handle.shutdown()?)
    })?;
    let ledger = handle.ledger()?;
    for (name, count) in ledger.causes().filter(|(_, count)| *count > 0) {
        print!("{name} {count}, ");
    }
    println!("unaccounted {}", ledger.unaccounted());
    Ok(())
}

fn serve(mut worker: Worker, owned: bool, count: &AtomicU64) {
    loop {
        let mut bytes = 0;
        let polled = if owned {
            worker.poll(Wait::Never, |datagram| {
                bytes += datagram.into_owned().map_or(0, |datagram| std::hint::black_box(datagram).payload.len());
            })
        } else {
            worker.poll(Wait::Never, |datagram| bytes += datagram.payload().len())
        };
        std::hint::black_box(bytes);
        match polled {
            Ok(some) => count.fetch_add(some as u64, Ordering::Relaxed),
            Err(_) => return,
        };
    }
}

/// A socket with a source-specific join, as any program would open it.
fn joined(options: &Options) -> Result<Socket, Box<dyn Error>> {
    let (group, port) = (options.subscription.group(), options.subscription.port());
    let (IpAddr::V4(group), SourceFilter::Include(sources)) = (group, options.subscription.filter()) else {
        return Err("recvmmsg: IPv4 and a source, please".into());
    };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    let _ = socket.set_recv_buffer_size(64 << 20);
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    socket.bind(&SocketAddr::from((group, port)).into())?;
    for source in sources {
        // Joins by the interface that the route to the group names.
        let IpAddr::V4(source) = source else { continue };
        socket.join_ssm_v4(source, &group, &Ipv4Addr::UNSPECIFIED)?;
    }
    Ok(socket)
}

fn plain(socket: &Socket, count: &AtomicU64, stop: &AtomicBool) {
    let mut buffers = vec![[0u8; PAYLOAD]; BATCH];
    let mut parts: Vec<libc::iovec> = buffers
        .iter_mut()
        .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: PAYLOAD })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = parts
        .iter_mut()
        .map(|part| {
            // SAFETY: all zeros is a message header without anything.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    while !stop.load(Ordering::Relaxed) {
        // SAFETY: headers, parts and buffers outlive the call, and each part is as long as its buffer.
        let received = unsafe {
            let timeout = std::ptr::null_mut();
            libc::recvmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), BATCH as u32, libc::MSG_WAITFORONE, timeout)
        };
        count.fetch_add(u64::try_from(received).unwrap_or(0), Ordering::Relaxed);
    }
}

/// A line a second.
fn watch(options: &Options, count: &AtomicU64) {
    let (mut before, mut cpu_before) = (0, cpu_time());
    for _ in 0..options.seconds {
        let start = Instant::now();
        std::thread::sleep(Duration::from_secs(1));
        let (now, cpu) = (count.load(Ordering::Relaxed), cpu_time());
        let packets = now - before;
        let each = (cpu - cpu_before).as_nanos() as f64 / packets.max(1) as f64;
        println!("{:.0} packets/s, {each:.0} ns each of CPU", packets as f64 / start.elapsed().as_secs_f64());
        (before, cpu_before) = (now, cpu);
    }
    println!("{before} packets");
}

/// CPU time of the process, of user and kernel.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn pinned(cpu: usize, run: impl FnOnce()) {
    let mut set = CpuSet::new();
    set.set(cpu % CpuSet::MAX_CPU);
    if let Err(error) = sched_setaffinity(None, &set) {
        eprintln!("not pinned to CPU {cpu}: {error}");
    }
    run();
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let mut word = || words.next().ok_or("usage: rate INTERFACE SUBSCRIPTION [--mode M] [--owned] [--no-verify] …");
    let mut options = Options {
        interface: word()?,
        subscription: word()?.parse()?,
        mode: ModeRequest::Auto,
        owned: false,
        verify: true,
        recvmmsg: false,
        seconds: 5,
        cpu: 1,
        ring: 2048,
        frames: 8192,
        frame_size: 2048,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} what?"));
        match word.as_str() {
            "--mode" => options.mode = value()?.parse()?,
            "--owned" => options.owned = true,
            "--no-verify" => options.verify = false,
            "--recvmmsg" => options.recvmmsg = true,
            "--seconds" => options.seconds = value()?.parse()?,
            "--ring" => options.ring = value()?.parse()?,
            "--frames" => options.frames = value()?.parse()?,
            "--frame-size" => options.frame_size = value()?.parse()?,
            "--cpu" => options.cpu = value()?.parse()?,
            other => return Err(format!("what is {other}?").into()),
        }
    }
    Ok(options)
}
