//! Baselines for the benchmark: XDP programs that only drop, only pass, or only redirect.
//!
//! They parse, look up and count nothing. So their rates are upper bounds for every program that does more.
#![no_std]
#![no_main]

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::XskMap;
use aya_ebpf::programs::XdpContext;

/// The AF_XDP socket of each receive queue.
#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(64, 0);

/// Drops every frame.
#[xdp]
pub fn drop_all(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Hands every frame to the kernel stack.
#[xdp]
pub fn pass_all(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Hands every frame to the AF_XDP socket of its queue.
#[xdp]
pub fn redirect_only(ctx: XdpContext) -> u32 {
    match SOCKETS.redirect(ctx.rx_queue_index(), xdp_action::XDP_PASS as u64) {
        Ok(action) | Err(action) => action,
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier rejects a program that could reach this.
    loop {}
}

/// The same licence as the other programs.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
