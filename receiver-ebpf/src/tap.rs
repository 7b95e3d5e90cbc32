//! The tap: copies frames by their verdict into rings for a reader of its own. The layout is in `receiver_common::tap`.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_RB_FORCE_WAKEUP, xdp_md};
use aya_ebpf::helpers::bpf_ktime_get_tai_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, RingBuf};
use aya_ebpf::programs::XdpContext;
use receiver_common::Verdict;
use receiver_common::mapped::{Control, Frame, FrameHeader, MAX_PACKET, Refused, WAKER_SIZE, reserve};
use receiver_common::tap::{TapLoss, TapMark};

use crate::mapped::{Shared, copy, length, store_release};
use crate::maps::global;

/// The state of each of the tap's rings. User space makes it and the next two as large as they have to be.
#[map]
static TAP_CONTROL: Array<Control> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// The entries of the tap's rings: frame numbers.
#[map]
static TAP_ENTRIES: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// The frames of the tap's rings.
#[map]
static TAP_FRAMES: Array<Frame> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// Its descriptor wakes the reader.
#[map]
static TAP_WAKER: RingBuf = RingBuf::with_byte_size(WAKER_SIZE as u32, 0);
/// Number of frames that the tap lost, by reason.
#[map]
static TAP_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(TapLoss::COUNT as u32, 0);

#[unsafe(no_mangle)]
static TAP: u32 = 0;
#[unsafe(no_mangle)]
static TAP_VERDICTS: u64 = 0;
#[unsafe(no_mangle)]
static TAP_RINGS_MASK: u32 = 0;
#[unsafe(no_mangle)]
static TAP_SLOTS: u32 = 1;

/// Copies the frame into the tap if its verdict is one that the tap takes. Without a tap the verifier removes this.
#[inline(always)]
pub fn take(ctx: &XdpContext, verdict: Verdict) {
    if global(&TAP) != 0 && (global(&TAP_VERDICTS) >> verdict as u32) & 1 != 0 {
        tap_frame(ctx.ctx, verdict as u32);
    }
}

/// Copies the frame, or counts it as lost. A function of its own, so that it costs the other frames no registers; its
/// plain name as in [`maps`](crate::maps). Returns 0: the verifier wants a number.
#[inline(never)]
#[unsafe(no_mangle)]
fn tap_frame(ctx: *mut xdp_md, verdict: u32) -> u32 {
    if let Err(loss) = put(&XdpContext::new(ctx), verdict)
        && let Some(counter) = TAP_LOST.get_ptr_mut(loss as u32)
    {
        // SAFETY: the kernel gives this CPU's own slot, and the program is not interrupted by itself on one CPU.
        unsafe { *counter += 1 };
    }
    0
}

#[inline(always)]
fn put(ctx: &XdpContext, verdict: u32) -> Result<(), TapLoss> {
    let queue = ctx.rx_queue_index();
    let control = TAP_CONTROL.get_ptr_mut(queue & global(&TAP_RINGS_MASK)).ok_or(TapLoss::Closed)?;
    let control = Shared(control);
    if control.is_closed() {
        return Err(TapLoss::Closed);
    }
    let whole = length(ctx);
    let slots = global(&TAP_SLOTS);
    let reserved = reserve(&control, slots.into()).map_err(|refused| match refused {
        Refused::Full => TapLoss::RingFull,
        Refused::Busy => TapLoss::RingBusy,
    })?;
    let entry = control.first_entry().wrapping_add(reserved.position as u32 & (slots - 1));
    // User space wrote a number that is no frame's, here and below. Its ring ends here.
    let number = TAP_ENTRIES.get_ptr(entry).ok_or(TapLoss::Closed)?;
    // SAFETY: a whole element of the map; user space may change it meanwhile, so it is read once.
    let number = unsafe { number.read_volatile() };
    let header = TAP_FRAMES.get_ptr_mut(number as u32).ok_or(TapLoss::Closed)?.cast::<FrameHeader>();
    let kept = if whole > MAX_PACKET { MAX_PACKET } else { whole };
    let copied = copy(ctx, header, kept, MAX_PACKET);
    // SAFETY: the frame is a whole element of the map and begins with a header, which ends with a stamp or a mark. The
    // entry names it for this position, so that no other producer writes to it, and user space reads it once it is
    // published.
    unsafe {
        (&raw mut (*header).length).write_volatile(if copied { kept as u32 } else { 0 });
        let mark = (&raw mut (*header).stamp).cast::<TapMark>();
        (&raw mut (*mark).length).write_volatile(whole as u32);
        (&raw mut (*mark).verdict).write_volatile(verdict as u16);
        (&raw mut (*mark).queue).write_volatile(queue as u16);
        (&raw mut (*mark).tai_ns).write_volatile(bpf_ktime_get_tai_ns());
        store_release(&raw mut (*header).sequence, reserved.position + 1);
    }
    if reserved.must_wake {
        // A record that finds no room is none too few: the descriptor is readable as long as one is there.
        let _ = TAP_WAKER.output::<u64>(0, BPF_RB_FORCE_WAKEUP.into());
    }
    Ok(())
}
