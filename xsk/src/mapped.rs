//! The consumer of a mapped ring: packets that an XDP program has copied into memory-mapped BPF maps
//! ([`receiver_common::mapped`]), in frames and leases as those of an AF_XDP socket.
//!
//! "The kernel has" a frame while an entry of the ring names it. A slot whose packet was taken is owed an entry: the
//! queue gives a free frame, as a rule the same one, and then publishes its position. A kept packet thus swaps the
//! frame.
#![allow(unsafe_code)]

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use receiver_common::mapped::{
    ASLEEP, Control, FRAME_SIZE, FrameHeader, LARGE_FRAME_SIZE, PACKET_OFFSET, Sleeper, fall_asleep,
};

use receiver_common::STAMP_SIZE;

use super::errno::Errno;
use super::mapping::Mapping;
use super::queue::Received;
use super::umem::Umem;

/// Bytes of a frame before its time stamp: the consumer of a packet cannot change them.
const RESERVED: u32 = (PACKET_OFFSET - STAMP_SIZE) as u32;

/// The descriptors of the three array maps, and the sizes of each ring in them.
#[derive(Clone, Copy, Debug)]
pub struct MappedMaps<'a> {
    /// Array of `Control`, by receive queue.
    pub control: BorrowedFd<'a>,
    /// Array of entries: `slots` for each ring.
    pub entries: BorrowedFd<'a>,
    /// Array of frames: `frames` for each ring.
    pub frames: BorrowedFd<'a>,
    /// Slots of each ring, a power of two.
    pub slots: u32,
    /// Frames of each ring, a power of two, at least `slots`, and a whole number of pages.
    pub frames_per_ring: u32,
    /// Bytes of a frame: one of the two sizes that the program knows.
    pub frame_size: usize,
}

/// The memory that all rings share, and where one of them has its state.
#[derive(Clone)]
struct Place {
    control: Arc<Mapping>,
    entries: Arc<Mapping>,
    /// Index of the ring's control element.
    queue: u32,
    first_entry: u32,
}

/// Receives from the mapped ring of one receive queue.
#[derive(Debug)]
pub struct MappedQueue {
    umem: Umem,
    place: Place,
    /// By slot, the frame that the entry names, counted within the ring's own.
    named: Box<[u32]>,
    /// Number of the ring's first frame.
    first_frame: u32,
    /// The next packet's position.
    position: u64,
    /// The published position: the slots of all packets before it have entries again.
    consumed: u64,
    refused: u64,
    not_copied: u64,
    is_asleep: bool,
}

/// Reads a ring's positions, on any thread.
#[derive(Clone, Debug)]
pub struct MappedMonitor {
    place: Place,
}

impl MappedQueue {
    /// Maps the rings of these receive queues. They are closed: no packet goes into them before [`MappedQueue::open`].
    ///
    /// The maps must be as the XDP program left them when it was loaded, and nobody else may use them.
    ///
    /// # Errors
    ///
    /// `EINVAL` for sizes that [`MappedMaps`] does not allow; `ENOMEM` and others from mmap(2).
    pub fn map(maps: &MappedMaps<'_>, queues: &[u32]) -> Result<Vec<Self>, Errno> {
        let &MappedMaps { slots, frames_per_ring, frame_size, .. } = maps;
        let is_sound = slots.is_power_of_two()
            && frames_per_ring.is_power_of_two()
            && frames_per_ring >= slots
            && [FRAME_SIZE, LARGE_FRAME_SIZE].contains(&frame_size);
        let Some(last) = queues.iter().max().filter(|_| is_sound) else { return Err(Errno::INVAL) };
        let control_length = (*last as usize + 1) * size_of::<Control>();
        let control = Arc::new(Mapping::of_fd(maps.control, control_length, 0)?);
        let entries = Arc::new(Mapping::of_fd(maps.entries, queues.len() * slots as usize * size_of::<u64>(), 0)?);
        let length = frames_per_ring as usize * frame_size;
        (0..)
            .zip(queues)
            .map(|(ring, &queue): (u32, _)| {
                let memory = Arc::new(Mapping::of_fd(maps.frames, length, u64::from(ring) * length as u64)?);
                let place = Place {
                    control: Arc::clone(&control),
                    entries: Arc::clone(&entries),
                    queue,
                    first_entry: ring * slots,
                };
                Ok(Self::new(Umem::over(memory, frames_per_ring, frame_size as u32, RESERVED), place, slots, ring))
            })
            .collect()
    }

    fn new(umem: Umem, place: Place, slots: u32, ring: u32) -> Self {
        let first_frame = ring * umem.frame_count();
        let named = vec![u32::MAX; slots as usize].into_boxed_slice();
        let mut queue = Self {
            umem,
            place,
            named,
            first_frame,
            position: 0,
            consumed: 0,
            refused: 0,
            not_copied: 0,
            is_asleep: false,
        };
        queue.name(0, slots);
        queue.place.first_entry_word().store(queue.place.first_entry, Ordering::Release);
        queue
    }

    /// The receive queue.
    pub fn queue(&self) -> u32 {
        self.place.queue
    }

    /// Lets packets into the ring.
    pub fn open(&self) {
        self.place.is_open().store(1, Ordering::Release);
    }

    /// Returns true if a packet is there.
    #[inline]
    pub fn is_ready(&self) -> bool {
        self.next_frame().is_some()
    }

    /// The frame of the next packet, if that is there.
    #[inline]
    fn next_frame(&self) -> Option<u32> {
        // Beyond that a slot has no entry: consumers keep so much that no frame was left for it.
        if self.position - self.consumed >= self.named.len() as u64 {
            return None;
        }
        let frame = self.named[self.slot(self.position)];
        let header = self.header(frame).cast::<AtomicU64>();
        // SAFETY: the sequence number begins each frame, on 8 bytes; both sides access it as a whole.
        let sequence = unsafe { (*header).load(Ordering::Acquire) };
        (sequence == self.position + 1).then_some(frame)
    }

    /// Calls `each` with up to `limit` packets, until it returns `ControlFlow::Break`; the rest stays in the ring.
    /// Gives the slots back. Returns the number of packets taken.
    ///
    /// If `each` panics, the current packet counts as taken, and the next call gives its slot back.
    #[inline]
    pub fn receive(&mut self, limit: u32, mut each: impl FnMut(Received<'_>) -> ControlFlow<()>) -> u32 {
        let mut taken = 0;
        while taken < limit {
            let Some(index) = self.next_frame() else { break };
            taken += 1;
            self.position += 1;
            let Some(frame) = self.umem.reclaim_number(index) else {
                self.refused += 1;
                continue;
            };
            // SAFETY: within the frame. The packet is published, and its slot is not given back: nobody writes to it.
            let length = unsafe { (&raw const (*self.header(index)).length).read_volatile() };
            let Some(extent) = self.umem.extent_from(PACKET_OFFSET as u32, length).filter(|_| length > 0) else {
                self.count_without_packet(length);
                self.umem.release(frame);
                continue;
            };
            let received = Received::in_frame(&mut self.umem, frame, extent);
            if each(received).is_break() {
                break;
            }
        }
        self.give_back();
        taken
    }

    /// Puts free frames into the entries of the slots that were taken, and publishes the position.
    #[inline]
    pub fn give_back(&mut self) {
        let owed = (self.position - self.consumed) as u32;
        if owed == 0 {
            return;
        }
        self.umem.collect_returns();
        self.consumed = self.name(self.consumed, owed);
        self.place.consumed().store(self.consumed, Ordering::Release);
    }

    /// Names up to `count` free frames in the entries from the slot of position `at` on. Returns the position behind.
    #[inline]
    fn name(&mut self, mut at: u64, count: u32) -> u64 {
        let Self { umem, place, named, first_frame, .. } = self;
        let mask = named.len() as u64 - 1;
        for frame in umem.lend_numbers(count) {
            let slot = (at & mask) as usize;
            if named[slot] != frame {
                named[slot] = frame;
                place.entry(slot as u32).store(u64::from(*first_frame + frame), Ordering::Relaxed);
            }
            at += 1;
        }
        at
    }

    /// Announces that the consumer sleeps. Returns true if it may: the next packet writes a record to the queue's
    /// waker. Returns false if a packet is there or on its way. The next look ends the sleep: [`MappedQueue::wake`].
    pub fn sleep(&mut self) -> bool {
        self.give_back();
        self.is_asleep = !self.is_ready() && fall_asleep(&self.place, self.position);
        self.is_asleep
    }

    /// Ends a sleep. Returns true if the consumer was asleep: then there may be a record in its waker.
    #[inline]
    pub fn wake(&mut self) -> bool {
        let was_asleep = std::mem::take(&mut self.is_asleep);
        if was_asleep {
            self.place.clear_asleep();
        }
        was_asleep
    }

    /// Returns the packet memory, for its counts.
    #[inline]
    pub fn umem(&self) -> &Umem {
        &self.umem
    }

    /// Packets whose header was not as the program writes it. None are seen of a sound program.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Packets that the program had reserved a slot for, and could not copy.
    pub fn not_copied(&self) -> u64 {
        self.not_copied
    }

    #[cold]
    fn count_without_packet(&mut self, length: u32) {
        match length {
            0 => self.not_copied += 1,
            _ => self.refused += 1,
        }
    }

    /// Returns what reads the ring's positions.
    pub fn monitor(&self) -> MappedMonitor {
        MappedMonitor { place: self.place.clone() }
    }

    #[inline]
    fn slot(&self, position: u64) -> usize {
        (position & (self.named.len() as u64 - 1)) as usize
    }

    #[inline]
    fn header(&self, frame: u32) -> *const FrameHeader {
        // Within the memory: `named` holds numbers that `Umem::lend_numbers` gave.
        let start = frame as usize * self.umem.frame_size() as usize;
        self.umem.address().as_ptr().cast_const().wrapping_add(start).cast()
    }
}

impl Drop for MappedQueue {
    fn drop(&mut self) {
        self.place.close();
    }
}

impl MappedMonitor {
    /// Packets that the program has reserved a slot for since it was loaded.
    pub fn reserved(&self) -> u64 {
        self.place.next().load(Ordering::Acquire) & !ASLEEP
    }

    /// Packets whose slots the consumer has given back.
    pub fn consumed(&self) -> u64 {
        self.place.consumed().load(Ordering::Acquire)
    }

    /// Lets no more packets into the ring: they pass to the kernel.
    pub fn close(&self) {
        self.place.close();
    }
}

impl Place {
    /// A field of the ring's control element, by its offset.
    #[inline]
    fn control<T>(&self, offset: usize) -> &T {
        let at = self.queue as usize * size_of::<Control>() + offset;
        // SAFETY: `MappedQueue::map` maps the element of this queue, and `offset` is a field's of the atomic type's
        // size and alignment. All sides access it as atomics.
        unsafe { self.control.start().add(at).cast::<T>().as_ref() }
    }

    #[inline]
    fn next(&self) -> &AtomicU64 {
        self.control(std::mem::offset_of!(Control, next))
    }

    #[inline]
    fn consumed(&self) -> &AtomicU64 {
        self.control(std::mem::offset_of!(Control, consumed))
    }

    fn is_open(&self) -> &AtomicU32 {
        self.control(std::mem::offset_of!(Control, is_open))
    }

    fn first_entry_word(&self) -> &AtomicU32 {
        self.control(std::mem::offset_of!(Control, first_entry))
    }

    #[inline]
    fn entry(&self, slot: u32) -> &AtomicU64 {
        let at = (self.first_entry + slot) as usize * size_of::<u64>();
        // SAFETY: `MappedQueue::map` maps the entries of all rings, and `slot` is below the ring's slots. Entries are
        // whole words, which the program only reads.
        unsafe { self.entries.start().add(at).cast::<AtomicU64>().as_ref() }
    }

    fn close(&self) {
        self.is_open().store(0, Ordering::Release);
    }
}

impl Sleeper for Place {
    fn set_asleep(&self) -> u64 {
        self.next().fetch_or(ASLEEP, Ordering::SeqCst)
    }

    fn clear_asleep(&self) {
        self.next().fetch_and(!ASLEEP, Ordering::Relaxed);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("queue", &self.queue).field("first_entry", &self.first_entry).finish()
    }
}
