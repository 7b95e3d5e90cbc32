//! The XDP program: one verdict for each frame.
//!
//! A frame that is not a whole UDP datagram to a group passes to the kernel. For the others one look-up tells most of
//! what there is to know: (source, group, port) is either wanted, and goes to the AF_XDP socket of its queue, or
//! blocked, and is dropped. Without such an entry the group's own entry tells whether unnamed sources are wanted
//! (EXCLUDE), unwanted (INCLUDE), or nobody's business (no entry: pass).
//!
//! User space changes the maps while frames arrive; each change is one map operation, so each frame sees the filter
//! before or after it, never between.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod maps;
mod packet;
mod verdict;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use aya_log_ebpf::debug;
use receiver_common::Action;

/// The entry for interfaces whose frames fit one buffer.
#[xdp]
pub fn receiver(ctx: XdpContext) -> u32 {
    run::<false>(&ctx)
}

/// The entry for frames over several buffers (Linux 5.18). Of its own, since not every driver takes such a program.
#[xdp(frags)]
pub fn receiver_frags(ctx: XdpContext) -> u32 {
    run::<true>(&ctx)
}

/// Decides, counts, acts.
#[inline(always)]
fn run<const FRAGS: bool>(ctx: &XdpContext) -> u32 {
    let verdict = verdict::judge::<FRAGS>(ctx);
    maps::count(verdict);
    debug!(ctx, "queue {} verdict {}", ctx.rx_queue_index(), verdict as u32);
    match verdict.action() {
        Action::Redirect => xdp_action::XDP_REDIRECT,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Pass => xdp_action::XDP_PASS,
    }
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
