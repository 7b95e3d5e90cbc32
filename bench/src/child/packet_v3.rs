//! AF_PACKET with a TPACKET_V3 ring (Documentation/networking/packet_mmap.rst) and a filter for the channel. A further
//! socket joins the group, since otherwise a NIC would not receive it.
#![allow(unsafe_code)]

use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::net::netdevice::name_to_index;
use socket2::{Domain, Protocol, Socket, Type};

use super::filter::{Instruction, channel};
use super::observer::{Observer, Shared, with_observer};
use super::{Arguments, Counts, Running, consumer};

/// linux/if_packet.h.
const PACKET_RX_RING: libc::c_int = 5;
const PACKET_STATISTICS: libc::c_int = 6;
const PACKET_VERSION: libc::c_int = 10;
const TPACKET_V3: libc::c_int = 2;
/// Offsets in the block descriptor: status, count and first frame.
const BLOCK_STATUS: usize = 8;
const BLOCK_PACKETS: usize = 12;
const BLOCK_FIRST: usize = 16;
const STATUS_USER: u32 = 1;
/// Offsets in the frame header: next frame, length, start of the frame.
const NEXT: usize = 0;
const LENGTH: usize = 12;
const MAC: usize = 24;

const BLOCK: usize = 1 << 20;
const BLOCKS: usize = 64;
const FRAME: usize = 2048;
/// The kernel hands over a block that is not full after this time in milliseconds, which is the minimum.
const RETIRE: u32 = 1;
/// Ethernet, IPv4 without options, UDP.
const HEADERS: usize = 42;
const SOURCE: usize = 26;

/// `struct tpacket_req3`.
#[repr(C)]
struct Request {
    block_size: u32,
    blocks: u32,
    frame_size: u32,
    frames: u32,
    retire: u32,
    private: u32,
    features: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    filter: *const Instruction,
}

/// The ring, mapped.
struct Ring {
    start: *mut u8,
}

// SAFETY: the mapping belongs to the process, and only the one consumer uses it.
unsafe impl Send for Ring {}

pub fn start(arguments: &Arguments) -> Result<Running> {
    let membership = super::recvmmsg::joined(&Arguments { port: arguments.port.wrapping_add(1), ..arguments.clone() })?;
    let socket = Arc::new(open(arguments).context("opening an AF_PACKET socket")?);
    let ring = Ring::map(&socket).context("mapping the ring of an AF_PACKET socket")?;
    let shared = Arc::new(Shared::new());
    let thread = {
        let (socket, shared, arguments) = (Arc::clone(&socket), Arc::clone(&shared), arguments.clone());
        consumer(arguments.cpu, move || {
            with_observer!(arguments, |observer| consume(&socket, &ring, observer, &shared))
        })?
    };
    let mut dropped = 0;
    let add_counts = move |counts: &mut Counts| {
        dropped += drops(&socket);
        if dropped > 0 {
            counts.loss.insert("packet_ring_full".to_owned(), dropped);
        }
    };
    let end = move || {
        let _ = thread.join();
        drop(membership);
    };
    let got = format!("ring of {} MiB", (BLOCK * BLOCKS) >> 20);
    Ok(Running { shared, add_counts: Box::new(add_counts), end: Box::new(end), got })
}

fn open(arguments: &Arguments) -> std::io::Result<Socket> {
    // Protocol 0: nothing arrives before the filter and the ring are set up.
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    let filter = channel(arguments.source, arguments.group, arguments.port);
    let program = Program { length: filter.len() as u16, filter: filter.as_ptr() };
    set(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
    set(&socket, libc::SOL_PACKET, PACKET_VERSION, &TPACKET_V3)?;
    let request = Request {
        block_size: BLOCK as u32,
        blocks: BLOCKS as u32,
        frame_size: FRAME as u32,
        frames: (BLOCK / FRAME * BLOCKS) as u32,
        retire: RETIRE,
        private: 0,
        features: 0,
    };
    set(&socket, libc::SOL_PACKET, PACKET_RX_RING, &request)?;
    // SAFETY: all zeros is a valid, empty address.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_IP as u16).to_be();
    address.sll_ifindex = name_to_index(&socket, &arguments.interface)? as i32;
    // SAFETY: the address lives during the call, and the length is its size.
    let bound = unsafe {
        let length = size_of_val(&address) as libc::socklen_t;
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length)
    };
    if bound == 0 { Ok(socket) } else { Err(std::io::Error::last_os_error()) }
}

fn set<T>(socket: &Socket, level: libc::c_int, option: libc::c_int, value: &T) -> std::io::Result<()> {
    // SAFETY: the value lives during the call, and the length is its size.
    let set = unsafe {
        let length = size_of::<T>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length)
    };
    if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// The packets that the kernel dropped because the ring was full, since the last call: PACKET_STATISTICS resets its
/// counters.
fn drops(socket: &Socket) -> u64 {
    // Packets (including dropped ones), drops, freezes.
    let mut statistics = [0u32; 3];
    let mut length = size_of_val(&statistics) as libc::socklen_t;
    // SAFETY: the array lives during the call, and the length is its size.
    let asked = unsafe {
        let to = statistics.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_PACKET, PACKET_STATISTICS, to, &raw mut length)
    };
    if asked == 0 { statistics[1].into() } else { 0 }
}

impl Ring {
    fn map(socket: &Socket) -> std::io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            mmap(std::ptr::null_mut(), BLOCK * BLOCKS, protection, MapFlags::SHARED, socket, 0)?
        };
        Ok(Self { start: start.cast() })
    }

    fn block(&self, nth: usize) -> *mut u8 {
        // SAFETY: the number is in range, so the block lies within the mapping.
        unsafe { self.start.add(nth % BLOCKS * BLOCK) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: `Ring::map` mapped this range, and it is not used afterwards.
        let _ = unsafe { munmap(self.start.cast(), BLOCK * BLOCKS) };
    }
}

fn consume(socket: &Socket, ring: &Ring, mut observer: impl Observer, shared: &Shared) {
    let mut nth = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        let block = ring.block(nth);
        // SAFETY: the word lies in the mapping, is aligned, and is shared with the kernel.
        let status = unsafe { AtomicU32::from_ptr(block.add(BLOCK_STATUS).cast()) };
        if status.load(Ordering::Acquire) & STATUS_USER == 0 {
            let mut wait = [PollFd::new(socket, PollFlags::IN | PollFlags::ERR)];
            let timeout = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            let _ = poll(&mut wait, Some(&timeout));
            continue;
        }
        // SAFETY: the block belongs to this process until its status is reset, and the kernel defined its layout.
        let packets = unsafe { walk(block, &mut observer, shared) };
        shared.add(packets);
        status.store(0, Ordering::Release);
        nth += 1;
    }
}

/// # Safety
/// `block` is a block of the ring that the kernel has handed over.
unsafe fn walk(block: *const u8, observer: &mut impl Observer, shared: &Shared) -> u64 {
    // SAFETY: for all: the reads stay inside the block, at the offsets of linux/if_packet.h.
    unsafe {
        let word = |at: *const u8, offset: usize| at.add(offset).cast::<u32>().read_unaligned();
        let packets = word(block, BLOCK_PACKETS);
        let mut frame = block.add(word(block, BLOCK_FIRST) as usize);
        for _ in 0..packets {
            let start = frame.add(usize::from(frame.add(MAC).cast::<u16>().read_unaligned()));
            let bytes = std::slice::from_raw_parts(start, word(frame, LENGTH) as usize);
            let source = || match bytes.get(SOURCE..SOURCE + 4) {
                Some(&[a, b, c, d]) => IpAddr::from([a, b, c, d]),
                _ => IpAddr::from([0; 4]),
            };
            observer.observe(shared, source, bytes.get(HEADERS..).unwrap_or(&[]));
            frame = frame.add(word(frame, NEXT) as usize);
        }
        packets.into()
    }
}
