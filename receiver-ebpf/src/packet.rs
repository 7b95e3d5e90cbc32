//! The frame as the parser's window. Each access is checked against `data_end`, as the verifier requires.
//!
//! On newer kernels the verifier accepts this program from a process without CAP_PERFMON too. Such a program may
//! compare packet pointers and add constants to them, but must not subtract them or add a variable. With CAP_PERFMON
//! the program checks a length by an addition; without it, a helper returns the frame's length, which costs a call.

use core::arch::asm;

use aya_ebpf::helpers::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;
use receiver_common::wire::{ETHERNET_LEN, MAX_HEADERS_LEN, VLAN_TAG_LEN, Window};

use crate::maps;

const ONE_TAG: usize = ETHERNET_LEN + VLAN_TAG_LEN;
const TWO_TAGS: usize = ETHERNET_LEN + 2 * VLAN_TAG_LEN;

/// `data..data_end` of one frame, from some header on. With `FRAGS` this is only the frame's first buffer.
pub struct Packet<'a, const FRAGS: bool> {
    ctx: &'a XdpContext,
    start: usize,
    end: usize,
    /// Number of the frame's bytes before `start`.
    before: usize,
}

impl<'a, const FRAGS: bool> Packet<'a, FRAGS> {
    /// The frame of a context. `bpf_xdp_adjust_meta` invalidates it.
    #[inline(always)]
    pub fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx, start: ctx.data(), end: ctx.data_end(), before: 0 }
    }

    /// The window from the network header on. `offset` is the length of the Ethernet header and of up to two tags.
    #[inline(always)]
    pub fn network(&self, offset: usize) -> Self {
        let start = match offset {
            ETHERNET_LEN => plus::<ETHERNET_LEN>(self.start),
            ONE_TAG => plus::<ONE_TAG>(self.start),
            _ => plus::<TWO_TAGS>(self.start),
        };
        Self { start, before: offset, ..*self }
    }

    /// Returns true if headers may lie beyond the first buffer.
    #[inline(always)]
    pub fn has_split_headers(&self) -> bool {
        FRAGS && self.start + MAX_HEADERS_LEN > self.end && self.is_first_of_several()
    }

    /// Returns true if the frame continues in another buffer. The first must be shorter than [`MAX_HEADERS_LEN`].
    #[inline(always)]
    fn is_first_of_several(&self) -> bool {
        let len = self.len();
        if len >= MAX_HEADERS_LEN {
            return true;
        }
        // Bit by bit, so that each step adds a constant.
        let mut frame_end = self.start;
        if len & 1 != 0 {
            frame_end = plus::<1>(frame_end);
        }
        if len & 2 != 0 {
            frame_end = plus::<2>(frame_end);
        }
        if len & 4 != 0 {
            frame_end = plus::<4>(frame_end);
        }
        if len & 8 != 0 {
            frame_end = plus::<8>(frame_end);
        }
        if len & 16 != 0 {
            frame_end = plus::<16>(frame_end);
        }
        if len & 32 != 0 {
            frame_end = plus::<32>(frame_end);
        }
        if len & 64 != 0 {
            frame_end = plus::<64>(frame_end);
        }
        frame_end > self.end
    }

    /// Length of the frame in all its buffers, in bytes.
    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: the helper only reads the context, which is the kernel's.
        unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) as usize }
    }
}

impl<const FRAGS: bool> Window for Packet<'_, FRAGS> {
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        let piece = self.start + offset;
        if piece + N > self.end {
            return None;
        }
        // SAFETY: the kernel promises that data..data_end is readable while the program runs, and the piece lies
        // within. No byte of a frame is at address 0; the hint spares a check for a null reference.
        unsafe {
            core::hint::assert_unchecked(piece != 0);
            Some(&*(piece as *const [u8; N]))
        }
    }

    #[inline(always)]
    fn has(&self, len: usize) -> bool {
        if !FRAGS && maps::pointer_arithmetic() {
            return self.start + bounded(len) <= self.end;
        }
        self.before + len <= self.len()
    }
}

const _: () = assert!(MAX_HEADERS_LEN < 128, "a shorter length has 7 bits");

/// Bounds a length by that of the longest IPv6 packet, visibly for the verifier. Verifiers before Linux 6.2 do not know
/// the bound of a number whose bytes were swapped. The compiler knows it and would remove a plain mask.
#[inline(always)]
fn bounded(mut len: usize) -> usize {
    // SAFETY: the instruction only changes the register that it names.
    unsafe { asm!("{0} &= 0x1ffff", inout(reg) len, options(pure, nomem, nostack)) };
    len
}

/// Adds a constant by a separate instruction, which the compiler can neither split nor merge into the addition of a
/// variable.
#[inline(always)]
fn plus<const N: usize>(mut address: usize) -> usize {
    // SAFETY: the instruction only changes the register that it names.
    unsafe { asm!("{0} += {1}", inout(reg) address, const N, options(pure, nomem, nostack)) };
    address
}
