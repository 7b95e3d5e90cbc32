//! The frame as the parser's window: every piece is checked against `data_end`, which is what the verifier asks for.

use aya_ebpf::programs::XdpContext;
use receiver_common::wire::Window;

/// `data..data_end` of one frame.
pub struct Packet {
    start: usize,
    end: usize,
}

impl Packet {
    /// The frame of a context. Taken anew after `bpf_xdp_adjust_meta`, which invalidates it.
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        Self { start: ctx.data(), end: ctx.data_end() }
    }
}

impl Window for Packet {
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        let piece = self.start + offset;
        if piece + N > self.end {
            return None;
        }
        // SAFETY: the kernel promises data..data_end readable while the program runs, and the piece lies within.
        Some(unsafe { &*(piece as *const [u8; N]) })
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.start
    }
}
