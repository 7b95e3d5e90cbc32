//! The load generator: an XDP program that user space runs over recycled frames (BPF_PROG_TEST_RUN with
//! BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18). For each frame it writes one flow's headers, sequence number and time, and
//! redirects the frame to the interface.
//!
//! A run is one long system call, since each call waits for all CPUs at its start and its end, where the kernel patches
//! the XDP dispatcher. So the program itself keeps time, counts and ends the run. It drops a frame that is not due; the
//! kernel then offers the frame again.
//!
//! Flows take turns in a cycle that user space defines. A receiver may have written to a recycled frame, so the program
//! relies on none of its contents except the zeros after the head. Each thread of the sender loads its own program, so
//! CPUs share nothing.
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

/// The entry: writes a frame and redirects it.
#[xdp]
pub fn generator(ctx: XdpContext) -> u32 {
    make(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

/// Returns `None` if user space filled the maps wrongly, or if the frame cannot be redirected.
#[inline(always)]
fn make(ctx: &XdpContext) -> Option<u32> {
    let run = RUN.get_ptr_mut(0)?;
    // SAFETY: the kernel returns a valid entry, and only the one thread that runs this program writes it.
    let run = unsafe { &mut *run };
    if !is_due(run) {
        return Some(xdp_action::XDP_DROP);
    }
    let now = run.now;
    let turn = run.turn;
    // SAFETY: the kernel returns a whole element of one word or nothing.
    let flow = unsafe { TURNS.get_ptr(turn)?.read_volatile() };
    let flow = GENERATED.get_ptr_mut(flow)?;
    // SAFETY: as above.
    let flow = unsafe { &mut *flow };
    run.turn = if turn + 1 < run.turns { turn + 1 } else { 0 };
    if flow.v6 == 0 {
        clear_tail_of_v6(ctx);
    }
    // Every frame arrives with the length of the longest flow. The program does not compute its length: without
    // CAP_PERFMON the verifier rejects the difference of two packet pointers.
    if flow.trim != 0 {
        // SAFETY: the helper checks its arguments, and the context comes from the kernel.
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

/// Clears the end of an IPv6 head, which is longer than an IPv4 head, from a recycled frame. Called while the frame
/// still has the length of the longest flow, so that nothing of it remains.
#[inline(always)]
fn clear_tail_of_v6(ctx: &XdpContext) {
    let start = ctx.data();
    if start + HEAD_V6 * 4 > ctx.data_end() {
        return;
    }
    let tail = (start + HEAD_V4 * 8) as *mut u64;
    // Volatile, so that the compiler does not call memset, which adds variables to a packet pointer. Without
    // CAP_PERFMON the verifier rejects that. SAFETY: the check above showed that the bytes exist. For the alignment see
    // `write_v4`.
    unsafe {
        tail.write_volatile(0);
        tail.add(1).write_volatile(0);
        tail.add(2).cast::<u32>().write_volatile(0);
    }
}

/// Returns true if a frame is due now. Stores the time in `run.now`.
#[inline(always)]
fn is_due(run: &mut Run) -> bool {
    if run.left == 0 {
        return false;
    }
    // At full rate, reading the clock for each frame would take a fifth of the frame's cost.
    if run.step == 0 && run.same_time > 0 {
        run.same_time -= 1;
        return true;
    }
    // SAFETY: the helper takes no arguments and has no preconditions.
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
        // SAFETY: a word in the map, which user space replaces whole.
        Some(stop) => unsafe { stop.read_volatile() != 0 },
        None => true,
    }
}

/// The UDP checksum in memory order. Sequence and time have even offsets in the datagram, so their halves simply add up
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
    // 0 would mean that there is no checksum (RFC 768).
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
    // SAFETY: the check above showed that the bytes exist. The kernel aligns live frames to 8 bytes (`struct
    // xdp_page_head`). The flow's head is aligned to 8 bytes as well, and longer.
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
    // In memory order, so that the halves are right on either byte order.
    let [s0, s1]: [u32; 2] = halves(sequence);
    let [t0, t1]: [u32; 2] = halves(time);
    // SAFETY: as in `write_v4`. From byte 64 on in words of 4 bytes, to which sequence and time are aligned.
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
    // The verifier rejects a program that could reach this.
    loop {}
}

/// Helpers such as `bpf_ktime_get_tai_ns` require a GPL-compatible licence.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
