//! The load generator: an XDP program that user space runs over recycled frames (BPF_PROG_TEST_RUN with
//! BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18). Each run writes one flow's headers, sequence and time into the frame and
//! redirects it to the interface.
//!
//! A run is one long system call, since each begins and ends with a wait for all CPUs (the XDP dispatcher is patched). So
//! it is the program that keeps time, counts and ends: what is not due is dropped, and the frame comes round again.
//!
//! Flows take turns by a cycle that user space lays out. A frame's old contents are never relied upon but for the zeros
//! behind its head: whoever received it may have written to it. Each thread of the sender loads a program of its own, so
//! nothing here is shared between CPUs.
#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::{bpf_ktime_get_tai_ns, bpf_xdp_adjust_tail};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, DevMap};
use aya_ebpf::programs::XdpContext;
use receiver_common::generator::{CHECKSUM_V4, CHECKSUM_V6, Flow, HEAD_V4, HEAD_V6, MAX_BEHIND, Run, SAME_TIME};

#[map]
static GENERATED: Array<Flow> = Array::with_max_entries(1, 0);
#[map]
static TURNS: Array<u32> = Array::with_max_entries(1, 0);
#[map]
static RUN: Array<Run> = Array::with_max_entries(1, 0);
#[map]
static STOP: Array<u32> = Array::with_max_entries(1, 0);
#[map]
static LINK: DevMap = DevMap::with_max_entries(1, 0);

/// The entry: makes a frame and sends it off.
#[xdp]
pub fn generator(ctx: XdpContext) -> u32 {
    make(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

/// `None` where user space laid out the maps wrongly.
#[inline(always)]
fn make(ctx: &XdpContext) -> Option<u32> {
    let run = RUN.get_ptr_mut(0)?;
    // SAFETY: the kernel gives a valid entry, and the one thread that runs this program is alone in writing it.
    let run = unsafe { &mut *run };
    if !is_due(run) {
        return Some(xdp_action::XDP_DROP);
    }
    let now = run.now;
    let turn = run.turn;
    let flow = GENERATED.get_ptr_mut(*TURNS.get(turn)?)?;
    // SAFETY: as above.
    let flow = unsafe { &mut *flow };
    run.turn = if turn + 1 < run.turns { turn + 1 } else { 0 };
    if flow.v6 == 0 {
        clear_tail_of_v6(ctx);
    }
    // Frames are handed out as long as the longest flow's. Their length is not computed here: without CAP_PERFMON the
    // verifier refuses the difference of two packet pointers.
    if flow.trim != 0 {
        // SAFETY: the helper checks what it is given; the context is the kernel's.
        if unsafe { bpf_xdp_adjust_tail(ctx.ctx, (flow.trim as i32).wrapping_neg()) } != 0 {
            return None;
        }
    }
    let sequence = flow.next.to_be();
    let time = now.to_be();
    let checksum = checksum(flow.sum, sequence, time);
    if flow.v6 == 0 {
        write_v4(ctx, flow, sequence, time, checksum)?
    } else {
        write_v6(ctx, flow, sequence, time, checksum)?
    }
    match LINK.redirect(0, xdp_action::XDP_ABORTED as u64) {
        Ok(action) => {
            flow.next += 1;
            run.left -= 1;
            run.last = now;
            Some(action)
        }
        Err(_) => {
            run.refused += 1;
            None
        }
    }
}

/// A frame that an IPv6 flow had before holds the end of a longer head where an IPv4 flow's zeros are. Called while the
/// frame is still as long as the longest flow's, so that none of it stays.
#[inline(always)]
fn clear_tail_of_v6(ctx: &XdpContext) {
    let start = ctx.data();
    if start + HEAD_V6 * 4 > ctx.data_end() {
        return;
    }
    let tail = (start + HEAD_V4 * 8) as *mut u64;
    // Volatile, so that the compiler does not make a call of memset of it: that adds variables to a packet pointer, which the
    // verifier refuses without CAP_PERFMON.
    // SAFETY: the bytes were checked to be there; alignment as in `write_v4`.
    unsafe {
        tail.write_volatile(0);
        tail.add(1).write_volatile(0);
        tail.add(2).cast::<u32>().write_volatile(0);
    }
}

/// Must a frame be sent now? Leaves the time in `run.now`.
#[inline(always)]
fn is_due(run: &mut Run) -> bool {
    if run.left == 0 {
        return false;
    }
    // Flat out, a look at the clock for each frame would be a fifth of the frame's cost.
    if run.step == 0 && run.same_time > 0 {
        run.same_time -= 1;
        return true;
    }
    // SAFETY: takes no arguments, asks for nothing.
    let now = unsafe { bpf_ktime_get_tai_ns() };
    run.now = now;
    if run.first == 0 {
        run.first = now;
        run.due = now;
    }
    if now.wrapping_sub(run.first) >= run.duration || is_stopped() {
        return false;
    }
    if run.step == 0 {
        run.same_time = SAME_TIME - 1;
        return true;
    }
    if run.burst_left == 0 {
        if now < run.due {
            return false;
        }
        let behind = now - run.due;
        if behind > MAX_BEHIND {
            run.slipped += behind.checked_div(run.step).unwrap_or(0) * u64::from(run.burst);
            run.due = now;
        }
        let fraction = u64::from(run.due_fraction) + u64::from(run.step_fraction);
        run.due_fraction = fraction as u32;
        run.due += run.step + (fraction >> 32);
        run.burst_left = run.burst;
    }
    run.burst_left -= 1;
    true
}

#[inline(always)]
fn is_stopped() -> bool {
    match STOP.get_ptr(0) {
        // SAFETY: a word of the map, which user space replaces whole.
        Some(stop) => unsafe { stop.read_volatile() != 0 },
        None => true,
    }
}

/// The UDP checksum in memory order. Sequence and time lie on even bytes of the datagram, so their halves just add up
/// (RFC 1071, section 2).
#[inline(always)]
fn checksum(constant: u32, sequence: u64, time: u64) -> u16 {
    let low = |word: u64| word & 0xffff_ffff;
    let mut sum = u64::from(constant) + low(sequence) + (sequence >> 32) + low(time) + (time >> 32);
    // At most 35 bits, then 20, then 17, then 16.
    sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    let checksum = !(sum as u16);
    // 0 would mean that there is none (RFC 768).
    if checksum == 0 { 0xffff } else { checksum }
}

#[inline(always)]
fn write_v4(ctx: &XdpContext, flow: &Flow, sequence: u64, time: u64, checksum: u16) -> Option<()> {
    let start = ctx.data();
    if start + HEAD_V4 * 8 > ctx.data_end() {
        return None;
    }
    let from = flow.head.as_ptr().cast::<u64>();
    let to = start as *mut u64;
    // SAFETY: the bytes were checked to be there; the kernel lays live frames out on 8 bytes (`struct xdp_page_head`),
    // and the head begins on 8 bytes and is longer.
    unsafe {
        to.write(*from);
        to.add(1).write(*from.add(1));
        to.add(2).write(*from.add(2));
        to.add(3).write(*from.add(3));
        to.add(4).write(*from.add(4));
        to.add(5).write(*from.add(5));
        to.add(6).write(sequence);
        to.add(7).write(time);
        ((start + CHECKSUM_V4) as *mut u16).write(checksum);
    }
    Some(())
}

#[inline(always)]
fn write_v6(ctx: &XdpContext, flow: &Flow, sequence: u64, time: u64, checksum: u16) -> Option<()> {
    let start = ctx.data();
    if start + HEAD_V6 * 4 > ctx.data_end() {
        return None;
    }
    let from = flow.head.as_ptr().cast::<u64>();
    let to = start as *mut u64;
    // In memory order, so that the halves come out right on either kind of machine.
    let [s0, s1]: [u32; 2] = halves(sequence);
    let [t0, t1]: [u32; 2] = halves(time);
    // SAFETY: as for IPv4; from byte 64 on in words of 4, as sequence and time lie on 4 bytes.
    unsafe {
        to.write(*from);
        to.add(1).write(*from.add(1));
        to.add(2).write(*from.add(2));
        to.add(3).write(*from.add(3));
        to.add(4).write(*from.add(4));
        to.add(5).write(*from.add(5));
        to.add(6).write(*from.add(6));
        to.add(7).write(*from.add(7));
        let tail = (start + 64) as *mut u32;
        tail.write(flow.head[16]);
        tail.add(1).write(s0);
        tail.add(2).write(s1);
        tail.add(3).write(t0);
        tail.add(4).write(t1);
        ((start + CHECKSUM_V6) as *mut u16).write(checksum);
    }
    Some(())
}

#[inline(always)]
fn halves(word: u64) -> [u32; 2] {
    if cfg!(target_endian = "little") { [word as u32, (word >> 32) as u32] } else { [(word >> 32) as u32, word as u32] }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program in which this could be reached.
    loop {}
}

/// Helpers such as `bpf_ktime_get_tai_ns` ask for a GPL-compatible licence.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
