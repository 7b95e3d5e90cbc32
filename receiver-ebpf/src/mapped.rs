//! Delivery into the mapped ring of a queue: reserve a slot, copy the packet, publish it, wake a sleeping consumer.
//!
//! The layout and the protocol are in `receiver_common::mapped`. What the rings hold is user space's to write, so no
//! number from there is used without a bounded look-up.

use core::arch::asm;

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_RB_FORCE_WAKEUP, xdp_md};
use aya_ebpf::btf_maps::{ArrayOfMaps, RingBuf};
use aya_ebpf::helpers::{bpf_ktime_get_tai_ns, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;
use receiver_common::mapped::{
    Control, Frame, FrameHeader, LARGE_MAX_PACKET, LargeFrame, MAX_PACKET, PACKET_OFFSET, Producer, Refused,
    WAKER_SIZE, reserve,
};
use receiver_common::{MAX_QUEUES, Stamp, Verdict};

use crate::maps::{global, pointer_arithmetic, stamp, stores_in_order};

/// The state of each queue's ring. User space makes it and the others as large as they have to be.
#[map]
static RING_CONTROL: Array<Control> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// The entries of all rings: frame numbers.
#[map]
static RING_ENTRIES: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// The frames of all rings.
#[map]
static RING_FRAMES: Array<Frame> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// The frames of all rings, if they are large.
#[map]
static RING_LARGE_FRAMES: Array<LargeFrame> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// By queue, the ring buffer whose descriptor wakes the consumer.
#[btf_map]
static RING_WAKERS: ArrayOfMaps<RingBuf<u64, WAKER_SIZE>, { MAX_QUEUES as usize }> = ArrayOfMaps::new();

#[unsafe(no_mangle)]
static MAPPED: u32 = 0;
#[unsafe(no_mangle)]
static LARGE_FRAMES: u32 = 0;
#[unsafe(no_mangle)]
static RING_SLOTS: u32 = 1;
#[unsafe(no_mangle)]
static SHARE: u32 = 0;

/// Returns true if wanted packets go into mapped rings, and not to AF_XDP sockets.
#[inline(always)]
pub fn is_on() -> bool {
    global(&MAPPED) != 0
}

/// Returns true if the kernel gets the packets of the mapped rings too.
#[inline(always)]
pub fn is_shared() -> bool {
    global(&SHARE) != 0
}

/// The longest packet that fits a frame, in bytes.
///
/// To the verifier the global is a constant, and so is the result: a bound of the copy into the frame.
#[inline(always)]
fn max_packet() -> usize {
    if global(&LARGE_FRAMES) != 0 { LARGE_MAX_PACKET } else { MAX_PACKET }
}

/// The start of a frame, by its number.
#[inline(always)]
fn frame(number: u32) -> Option<*mut FrameHeader> {
    if global(&LARGE_FRAMES) != 0 {
        return RING_LARGE_FRAMES.get_ptr_mut(number).map(|frame| frame.cast());
    }
    RING_FRAMES.get_ptr_mut(number).map(|frame| frame.cast())
}

/// Copies the packet into the ring of its queue.
#[inline(always)]
pub fn deliver(ctx: &XdpContext) -> Verdict {
    deliver_packet(ctx.ctx)
}

/// As [`deliver`]. A function of its own, so that it costs the AF_XDP modes no registers;
/// its plain name as in [`maps`](crate::maps).
#[inline(never)]
#[unsafe(no_mangle)]
fn deliver_packet(ctx: *mut xdp_md) -> Verdict {
    let ctx = &XdpContext::new(ctx);
    let queue = ctx.rx_queue_index();
    let Some(control) = RING_CONTROL.get_ptr_mut(queue) else { return Verdict::PassedNoSocket };
    let control = Shared(control);
    if control.is_closed() {
        return Verdict::PassedNoSocket;
    }
    let length = length(ctx);
    if length > max_packet() {
        return Verdict::PassedTooLong;
    }
    let slots = global(&RING_SLOTS);
    let reserved = match reserve(&control, slots.into()) {
        Ok(reserved) => reserved,
        Err(Refused::Full) => return Verdict::DroppedRingFull,
        Err(Refused::Busy) => return Verdict::DroppedRingBusy,
    };
    let entry = control.first_entry().wrapping_add(reserved.position as u32 & (slots - 1));
    // User space wrote a number that is no frame's. Its ring ends here, and nobody else's.
    let Some(number) = RING_ENTRIES.get_ptr(entry) else { return Verdict::DroppedRingFull };
    // SAFETY: a whole element of the map; user space may change it meanwhile, so it is read once.
    let number = unsafe { number.read_volatile() };
    let Some(header) = frame(number as u32) else { return Verdict::DroppedRingFull };
    let copied = copy(ctx, header, length, max_packet());
    // SAFETY: the frame is a whole element of the map and begins with a header. The entry names it for this position,
    // so that no other producer writes to it, and user space reads it once it is published.
    unsafe {
        (&raw mut (*header).length).write_volatile(if copied { length as u32 } else { 0 });
        if stamp() {
            let tai_ns = bpf_ktime_get_tai_ns();
            (&raw mut (*header).stamp).write_volatile(Stamp { magic: Stamp::MAGIC, tai_ns });
        }
        store_release(&raw mut (*header).sequence, reserved.position + 1);
    }
    if reserved.must_wake {
        wake(queue);
    }
    Verdict::Mapped
}

/// Wakes the consumer of a queue.
#[inline(always)]
fn wake(queue: u32) {
    if let Some(waker) = RING_WAKERS.get(queue) {
        // A record that finds no room is none too few: the descriptor is readable as long as one is there.
        let _ = waker.output(0, BPF_RB_FORCE_WAKEUP.into());
    }
}

/// Bytes of the packet, over all of its buffers.
#[inline(always)]
pub fn length(ctx: &XdpContext) -> usize {
    // SAFETY: the helper only reads the context, which is the kernel's.
    unsafe { bpf_xdp_get_buff_len(ctx.ctx) as usize }
}

/// Copies the first `length` bytes of the packet behind the frame's header, which has room for `limit`. Returns true if
/// it did.
#[inline(always)]
pub fn copy(ctx: &XdpContext, header: *mut FrameHeader, length: usize, limit: usize) -> bool {
    // SAFETY: the packet begins there, behind the header.
    let to = unsafe { header.cast::<u8>().add(PACKET_OFFSET) };
    if pointer_arithmetic() && (copy_words::<32>(ctx, to, length) || copy_words::<64>(ctx, to, length)) {
        return true;
    }
    // The verifier wants a length from 1 on.
    let less = bounded(length.wrapping_sub(1));
    if less >= limit {
        return false;
    }
    // SAFETY: `less + 1` is at most what is left of the frame behind its header; the helper checks the packet's side.
    unsafe { bpf_xdp_load_bytes(ctx.ctx, 0, to.cast(), less as u32 + 1) == 0 }
}

/// Copies a packet of `N` to `2 * N` bytes, by words: its first `N` bytes and its last `N`, which may overlap. Returns
/// false if the length is another, or if the packet lies in several buffers.
#[inline(always)]
fn copy_words<const N: usize>(ctx: &XdpContext, to: *mut u8, length: usize) -> bool {
    let rest = bounded(length.wrapping_sub(N));
    if rest > N {
        return false;
    }
    let first = ctx.data();
    let last = first + rest;
    if first + N > ctx.data_end() || last + N > ctx.data_end() {
        return false;
    }
    let mut at = 0;
    while at < N {
        // SAFETY: both pieces were checked to lie within the packet, and the frame has room for `2 * N` bytes.
        unsafe {
            let (head, tail) = ((first + at) as *const u64, (last + at) as *const u64);
            to.add(at).cast::<u64>().write_unaligned(head.read_unaligned());
            to.add(rest + at).cast::<u64>().write_unaligned(tail.read_unaligned());
        }
        at += 8;
    }
    true
}

/// The same number if it is below 64 KiB, as the verifier can see; the compiler cannot, and leaves the checks behind
/// it.
#[inline(always)]
fn bounded(mut number: usize) -> usize {
    // SAFETY: it changes the one register that it names.
    unsafe { asm!("{0} &= 0xffff", inout(reg) number, options(pure, nomem, nostack)) };
    number
}

/// The control element of one ring, which other CPUs and user space write to as well.
pub struct Shared(pub *mut Control);

impl Shared {
    #[inline(always)]
    pub fn is_closed(&self) -> bool {
        // SAFETY: a whole element of the map, in all of these functions.
        unsafe { (&raw const (*self.0).is_open).read_volatile() == 0 }
    }

    #[inline(always)]
    pub fn first_entry(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (&raw const (*self.0).first_entry).read_volatile() }
    }
}

impl Producer for Shared {
    #[inline(always)]
    fn next(&self) -> u64 {
        // SAFETY: as above.
        unsafe { (&raw const (*self.0).next).read_volatile() }
    }

    #[inline(always)]
    fn replace_next(&self, from: u64, to: u64) -> bool {
        let found: u64;
        // SAFETY: as above; the word begins on 8 bytes.
        unsafe {
            let next = &raw mut (*self.0).next;
            #[cfg(target_arch = "bpf")]
            asm!("r0 = cmpxchg_64({0} + 0, r0, {1})", in(reg) next, in(reg) to, inout("r0") from => found);
            // Clippy checks the program for the machine's own target, which has no `r0`.
            #[cfg(not(target_arch = "bpf"))]
            asm!("/* {0} {1} {2} */", in(reg) next, in(reg) to, inout(reg) from => found);
        }
        found == from
    }

    #[inline(always)]
    fn consumed_seen(&self) -> u64 {
        // SAFETY: as above.
        unsafe { (&raw const (*self.0).consumed_seen).read_volatile() }
    }

    #[inline(always)]
    fn set_consumed_seen(&self, position: u64) {
        // SAFETY: as above.
        unsafe { store_release(&raw mut (*self.0).consumed_seen, position) }
    }

    #[inline(always)]
    fn consumed(&self) -> u64 {
        // SAFETY: as above. Loads stay in order where stores do.
        unsafe {
            let consumed = &raw mut (*self.0).consumed;
            if stores_in_order() {
                return consumed.read_volatile();
            }
            let mut found = 0_u64;
            asm!("{1} = atomic_fetch_add((u64 *)({0} + 0), {1})", in(reg) consumed, inout(reg) found);
            found
        }
    }
}

/// Stores a word after everything that was written before. Where the CPU keeps the order of stores (x86-64), only the
/// compiler has to be held back; elsewhere an atomic exchange is a barrier.
///
/// # Safety
/// The word is writable and begins on 8 bytes.
#[inline(always)]
pub unsafe fn store_release(word: *mut u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        if stores_in_order() {
            asm!("", options(nostack));
            word.write_volatile(value);
        } else {
            asm!("{1} = xchg_64({0} + 0, {1})", in(reg) word, inout(reg) value => _);
        }
    }
}
