//! The frame as the parser's window: every piece is checked against `data_end`, which is what the verifier asks for.

use aya_ebpf::helpers::bpf_xdp_get_buff_len;
use aya_ebpf::programs::XdpContext;
use receiver_common::wire::{MAX_HEADERS_LEN, Window};

/// `data..data_end` of one frame: all of it, or with `FRAGS` the first of its buffers.
pub struct Packet<'a, const FRAGS: bool> {
    ctx: &'a XdpContext,
    start: usize,
    end: usize,
}

impl<'a, const FRAGS: bool> Packet<'a, FRAGS> {
    /// The frame of a context. Taken anew after `bpf_xdp_adjust_meta`, which invalidates it.
    #[inline(always)]
    pub fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx, start: ctx.data(), end: ctx.data_end() }
    }

    /// May headers lie in another buffer than the first?
    #[inline(always)]
    pub fn has_split_headers(&self) -> bool {
        FRAGS && self.end - self.start < MAX_HEADERS_LEN && self.end - self.start < self.len()
    }
}

impl<const FRAGS: bool> Window for Packet<'_, FRAGS> {
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        let piece = self.start + offset;
        if piece + N > self.end {
            return None;
        }
        // SAFETY: the kernel promises data..data_end readable while the program runs, and the piece lies within; nothing
        // of a frame lies at address 0. What the compiler is told, it does not check.
        unsafe {
            core::hint::assert_unchecked(piece != 0);
            Some(&*(piece as *const [u8; N]))
        }
    }

    #[inline(always)]
    fn len(&self) -> usize {
        if FRAGS {
            // SAFETY: the helper only reads the context, which is the kernel's.
            return unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) as usize };
        }
        self.end - self.start
    }
}
