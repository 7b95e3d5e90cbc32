//! The XDP program: one verdict for each frame.
//!
//! A frame that is not a whole UDP datagram to a group passes to the kernel. For other frames the program looks up the
//! source's entry: a wanted source's frame goes to the AF_XDP socket of its queue, a blocked source's frame is dropped.
//! For a source without an entry the group's entry decides: unnamed sources are wanted (EXCLUDE) or unwanted (INCLUDE).
//! A frame of a group without an entry passes to the kernel.
//!
//! User space changes the maps while frames arrive. Each change is one map operation or one store, so a frame sees the
//! filter either before or after it.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod mapped;
mod maps;
mod packet;
mod tap;
mod verdict;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use aya_log_ebpf::debug;
use receiver_common::Action;

/// The entry for interfaces whose frames fit one buffer.
#[xdp]
pub fn receiver(ctx: XdpContext) -> u32 {
    run::<false>(&ctx)
}

/// The entry for frames in several buffers (Linux 5.18). It is separate because not every driver accepts such a
/// program.
#[xdp(frags)]
pub fn receiver_frags(ctx: XdpContext) -> u32 {
    run::<true>(&ctx)
}

/// Decides, counts, copies into the tap, and acts.
#[inline(always)]
fn run<const FRAGS: bool>(ctx: &XdpContext) -> u32 {
    let verdict = verdict::judge::<FRAGS>(ctx);
    maps::count(verdict);
    tap::take(ctx, verdict);
    debug!(ctx, "queue {} verdict {}", ctx.rx_queue_index(), verdict as u32);
    match verdict.action() {
        Action::Redirect => xdp_action::XDP_REDIRECT,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Pass => xdp_action::XDP_PASS,
        Action::Map if mapped::is_shared() => xdp_action::XDP_PASS,
        Action::Map => xdp_action::XDP_DROP,
    }
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
