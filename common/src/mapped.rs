//! The mapped ring: the XDP program copies each wanted packet into memory that user space has mapped.
//!
//! A ring belongs to one receive queue. It consists of elements of three memory-mapped arrays:
//!
//! ```text
//!   Control       next position, consumed position, the ring's first entry
//!   entries       one word per slot: the number of a frame            written by user space alone
//!   frames        FrameHeader, then the packet                        written by the program alone
//! ```
//!
//! There are two arrays of frames. One has frames of [`FRAME_SIZE`], the other of [`LARGE_FRAME_SIZE`], for jumbo
//! frames. All rings of a program use the same array, chosen when it is loaded.
//!
//! Positions count packets from 0 in 64 bits (63 are used), so they do not wrap. The packet at position `p` has the
//! slot `p % slots`; the slot's entry names the frame. The program writes the packet, then the frame's sequence
//! number, `p + 1`. The consumer polls the sequence number of the next frame. So on the hot path neither side reads
//! the other's position, and a small packet with its header lies in one or two cache lines.
//!
//! The consumer keeps a packet by writing another frame's number into the slot's entry, before it publishes a consumed
//! position beyond `p`. A frame that no entry names is never written.
//!
//! Several CPUs may run the program for one queue (generic XDP, live frames, a tap device with several writers): a slot
//! is reserved by an atomic exchange, and belongs to its producer until the sequence number is there.
//!
//! User space can write to all of it. The program stays safe whatever it reads there: each number goes through a
//! bounded look-up. Wrong numbers only harm the ring of the process that wrote them.
//!
//! [`reserve`] and [`fall_asleep`] are the protocol, over traits that state the memory ordering of each access. The XDP
//! program, user space and the model in `models/` run this same code.

use crate::{STAMP_SIZE, Stamp};

/// The bit of [`Control::next`] that a sleeping consumer sets.
pub const ASLEEP: u64 = 1 << 63;

/// Bytes of a frame, its header included: one element of the frame array.
pub const FRAME_SIZE: usize = 2048;

/// Bytes of a large frame: one element of the array of large frames. It holds the packets of an MTU of up to 10,186
/// with two VLAN tags.
pub const LARGE_FRAME_SIZE: usize = 10_240;

/// Where the packet begins in a frame.
pub const PACKET_OFFSET: usize = size_of::<FrameHeader>();

/// The longest packet that fits a frame, in bytes.
pub const MAX_PACKET: usize = max_packet(FRAME_SIZE);

/// The longest packet that fits a large frame, in bytes.
pub const LARGE_MAX_PACKET: usize = max_packet(LARGE_FRAME_SIZE);

/// The longest packet that fits a frame of this size, in bytes.
pub const fn max_packet(frame_size: usize) -> usize {
    frame_size - PACKET_OFFSET
}

/// One element of the frame array, in words of 64 bits.
pub type Frame = [u64; FRAME_SIZE / 8];

/// One element of the array of large frames, in words of 64 bits.
pub type LargeFrame = [u64; LARGE_FRAME_SIZE / 8];

/// Bytes of the BPF ring buffer that wakes the consumer of one queue; the kernel wants a power of two and whole pages.
pub const WAKER_SIZE: usize = 65_536;

/// How often the program tries to reserve a slot while other CPUs reserve slots of the same ring.
pub const ATTEMPTS: u32 = 8;

/// What both sides know of one ring: an element of the control array, which is indexed by receive queue.
///
/// Each side writes a cache line of its own. User space writes to the program's line only to open the ring and to
/// sleep.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// The next position, and [`ASLEEP`].
    pub next: u64,
    /// The consumed position as the program last read it.
    pub consumed_seen: u64,
    /// 1 while the queue's packets go into the ring; 0: they pass to the kernel.
    pub is_open: u32,
    /// Index of the ring's first entry.
    pub first_entry: u32,
    _program: [u64; 5],
    /// The position up to which the consumer has given the slots back.
    pub consumed: u64,
    _consumer: [u64; 7],
}

/// The start of each frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Position of the packet plus 1, written last. So zeroed memory holds no packet, and an old one is never taken for
    /// a new one.
    pub sequence: u64,
    /// Bytes of the packet, from its Ethernet header on, over all of its buffers; 0 if the program could not copy it.
    pub length: u32,
    _reserved: u32,
    /// The time, if time stamps were asked for: right before the packet, where AF_XDP has it.
    pub stamp: Stamp,
}

/// A slot that is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The packet's position.
    pub position: u64,
    /// The consumer sleeps, and this producer has to wake it once the packet is published.
    pub must_wake: bool,
}

/// Why no slot was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Every slot holds a packet that was not consumed yet.
    Full,
    /// Other CPUs reserved a slot each time.
    Busy,
}

/// A producer's access to the ring's [`Control`].
pub trait Producer {
    /// Loads `next`. Ordering: relaxed.
    fn next(&self) -> u64;
    /// Stores `to` in `next` if it holds `from`, and returns true if it did. Ordering: a full barrier before and after.
    fn replace_next(&self, from: u64, to: u64) -> bool;
    /// Loads `consumed_seen`. Ordering: relaxed.
    fn consumed_seen(&self) -> u64;
    /// Stores `consumed_seen`. Ordering: release.
    fn set_consumed_seen(&self, position: u64);
    /// Loads `consumed`. Ordering: acquire.
    fn consumed(&self) -> u64;
}

/// The consumer's access to [`Control::next`].
pub trait Sleeper {
    /// Sets [`ASLEEP`] in `next`, and returns what it held before. Ordering: sequentially consistent.
    fn set_asleep(&self) -> u64;
    /// Clears [`ASLEEP`] in `next`. Ordering: relaxed.
    fn clear_asleep(&self);
}

/// Reserves the next slot of a ring of `slots` slots.
///
/// The slot is free: the consumer has published a consumed position beyond the slot's last packet, and the exchange is
/// a barrier between the look at that position and what follows. So the producer sees the entry as the consumer left
/// it.
///
/// The exchange also tells who wakes the consumer: of all producers the first one after the consumer set [`ASLEEP`],
/// which clears the bit by the same exchange.
#[inline(always)]
pub fn reserve(producer: &impl Producer, slots: u64) -> Result<Reserved, Refused> {
    let mut attempts = 0;
    while attempts < ATTEMPTS {
        let next = producer.next();
        let position = next & !ASLEEP;
        if is_full(position, producer.consumed_seen(), slots) {
            let consumed = producer.consumed();
            producer.set_consumed_seen(consumed);
            if is_full(position, consumed, slots) {
                return Err(Refused::Full);
            }
        }
        if producer.replace_next(next, (position + 1) & !ASLEEP) {
            return Ok(Reserved { position, must_wake: next & ASLEEP != 0 });
        }
        attempts += 1;
    }
    Err(Refused::Busy)
}

/// Returns true if no slot is free. A consumed position beyond `position` means that `position` is out of date: then
/// the exchange fails.
#[inline(always)]
const fn is_full(position: u64, consumed: u64, slots: u64) -> bool {
    position.wrapping_sub(consumed) as i64 >= slots as i64
}

/// Announces that the consumer sleeps, whose next position is `position`. Returns true if it may: then the producer of
/// that position will wake it. Returns false if a producer has reserved that position: the packet is there, or is being
/// copied right now.
///
/// Consumer and producers change one word by atomic exchanges, so one comes before the other: either the producer finds
/// [`ASLEEP`], or the consumer finds the producer's position. No fence is needed after the packet is published.
#[inline]
pub fn fall_asleep(sleeper: &impl Sleeper, position: u64) -> bool {
    if sleeper.set_asleep() & !ASLEEP == position {
        return true;
    }
    sleeper.clear_asleep();
    false
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Control>() == 128, "the program's cache line, then the consumer's");
    assert!(offset_of!(Control, consumed) == 64);
    assert!(offset_of!(FrameHeader, sequence) == 0 && offset_of!(FrameHeader, length) == 8);
    assert!(offset_of!(FrameHeader, stamp) == PACKET_OFFSET - STAMP_SIZE);
    assert!(size_of::<FrameHeader>() == 32);
    assert!(PACKET_OFFSET.is_multiple_of(8), "the program copies words");
    assert!(size_of::<Frame>() == FRAME_SIZE && FRAME_SIZE.is_power_of_two());
    assert!(size_of::<LargeFrame>() == LARGE_FRAME_SIZE);
    assert!((64 * LARGE_FRAME_SIZE).is_multiple_of(65_536), "a ring's frames fill whole pages");
    assert!(LARGE_MAX_PACKET <= 0xffff, "the bound that the program shows the verifier");
    assert!(WAKER_SIZE.is_power_of_two());
};
