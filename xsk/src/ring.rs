//! The single-producer single-consumer rings shared with the kernel (af_xdp.rst, "Rings"): u32 indices that wrap, a
//! power-of-two number of slots, and one word of flags.
//!
//! Both ends use the same cursor, which owns one index, reads the peer's, and accesses the slots. A batch costs one
//! acquire load of the peer's index and one release store of the own one.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::xdp::{XdpRingFlags, XdpRingOffset};

use super::descriptor::Descriptor;
use super::errno::Errno;
use super::mapping::Mapping;

mod sealed {
    /// Types without padding for which every bit pattern is a value.
    pub trait Plain {}
    impl Plain for u64 {}
    impl Plain for crate::descriptor::Descriptor {}
}

/// What a ring can carry: frame addresses (`u64`, fill ring) and descriptors (RX ring).
pub trait Slot: sealed::Plain + Copy + Send + 'static {}
impl Slot for u64 {}
impl Slot for Descriptor {}

/// The writing end of a ring.
#[derive(Debug)]
pub struct Producer<T> {
    cursor: Cursor<T>,
    /// The peer's index at the last load. It only advances, so there is at least this much room.
    peer_seen: u32,
}

/// The reading end of a ring.
#[derive(Debug)]
pub struct Consumer<T> {
    cursor: Cursor<T>,
}

/// A batch of slots. Dropping it returns the slots that were read, by one store; the others stay in the ring.
#[derive(Debug)]
pub struct Taken<'a, T: Slot> {
    cursor: &'a mut Cursor<T>,
    first: u32,
    end: u32,
}

/// Read access to the two indices of a ring.
#[derive(Debug)]
pub(super) struct View {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    /// Keeps the memory mapped that the pointers point to.
    _memory: Arc<Mapping>,
}

// SAFETY: the pointers point into `_memory`, which moves along, to words that are only accessed as atomics.
unsafe impl Send for View {}
// SAFETY: as above; there are only loads.
unsafe impl Sync for View {}

impl View {
    /// Returns the writing end's index. An acquire load.
    pub fn producer_position(&self) -> u32 {
        // SAFETY: it points into `_memory`, is aligned (checked in `Cursor::new`), and is only accessed as an atomic.
        unsafe { self.producer.as_ref() }.load(Ordering::Acquire)
    }

    /// Returns the reading end's index. An acquire load.
    pub fn consumer_position(&self) -> u32 {
        // SAFETY: as for `producer_position`.
        unsafe { self.consumer.as_ref() }.load(Ordering::Acquire)
    }
}

/// Makes both ends of a ring over ordinary memory, with the first index `start`: for tests and benchmarks, where user
/// space also acts as the kernel.
///
/// # Errors
///
/// `EINVAL` if `size` is not a power of two; `ENOMEM` from mmap(2).
pub fn pair<T: Slot>(size: u32, start: u32) -> Result<(Producer<T>, Consumer<T>), Errno> {
    // Each word on its own cache line, as in the kernel's layout.
    let layout = XdpRingOffset { producer: 0, consumer: 128, flags: Some(192), desc: 256 };
    let memory = Arc::new(Mapping::anonymous(mapping_length::<T>(&layout, size)?)?);
    let mut producer = Producer::new(Cursor::new(&memory, &layout, size, End::Producer)?);
    let mut consumer = Consumer { cursor: Cursor::new(&memory, &layout, size, End::Consumer)? };
    producer.cursor.publish(start);
    consumer.cursor.publish(start);
    producer.peer_seen = start;
    Ok((producer, consumer))
}

/// The length to map for a ring with this layout.
pub(super) fn mapping_length<T: Slot>(layout: &XdpRingOffset, size: u32) -> Result<usize, Errno> {
    if !size.is_power_of_two() {
        return Err(Errno::INVAL);
    }
    let slots = size_of::<T>().checked_mul(size as usize).ok_or(Errno::INVAL)?;
    usize::try_from(layout.desc).ok().and_then(|offset| offset.checked_add(slots)).ok_or(Errno::INVAL)
}

impl<T: Slot> Producer<T> {
    /// Makes the user's end of a ring that the kernel reads. `memory` must hold one ring and be used for one end only.
    pub(super) fn of_kernel_ring(memory: Mapping, layout: &XdpRingOffset, size: u32) -> Result<Self, Errno> {
        Ok(Self::new(Cursor::new(&Arc::new(memory), layout, size, End::Producer)?))
    }

    fn new(cursor: Cursor<T>) -> Self {
        let peer_seen = cursor.peer_position();
        Self { cursor, peer_seen }
    }

    /// Number of slots.
    pub fn capacity(&self) -> u32 {
        self.cursor.capacity()
    }

    /// Returns the index of the next slot to write. It wraps.
    pub fn position(&self) -> u32 {
        self.cursor.position
    }

    /// Returns the number of slots that can be written now. Loads the peer's index only if fewer than `wanted` slots
    /// are known to be free.
    #[inline]
    pub fn room(&mut self, wanted: u32) -> u32 {
        let known = self.known_room();
        if known >= wanted {
            return known;
        }
        self.peer_seen = self.cursor.peer_position();
        self.known_room()
    }

    /// Writes the values of `next` until it returns `None`, `limit` is reached or the ring is full, and publishes all
    /// of them at once. Returns the number of slots written.
    #[inline]
    pub fn produce(&mut self, limit: u32, mut next: impl FnMut() -> Option<T>) -> u32 {
        let room = self.room(limit).min(limit);
        let first = self.cursor.position;
        let mut written = 0;
        while written < room {
            let Some(item) = next() else { break };
            // SAFETY: the slot is in the free part of the ring, which belongs to the producer until it publishes.
            unsafe { self.cursor.slot(first.wrapping_add(written)).write(item) };
            written += 1;
        }
        if written > 0 {
            self.cursor.publish(first.wrapping_add(written));
        }
        written
    }

    /// Returns true if the kernel needs a system call to look at this ring again (`XDP_RING_NEED_WAKEUP`).
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        // Relaxed, since the flag orders nothing. Atomic, so that each call reads it anew.
        self.cursor
            .flags()
            .is_some_and(|flags| flags.load(Ordering::Relaxed) & XdpRingFlags::XDP_RING_NEED_WAKEUP.bits() != 0)
    }

    #[inline]
    fn known_room(&self) -> u32 {
        // A broken peer could be ahead of the producer: then there is no room, rather than too much.
        self.capacity().saturating_sub(self.cursor.position.wrapping_sub(self.peer_seen))
    }
}

impl<T: Slot> Consumer<T> {
    /// Makes the user's end of a ring that the kernel writes. `memory` must hold one ring and be used for one end only.
    pub(super) fn of_kernel_ring(memory: Mapping, layout: &XdpRingOffset, size: u32) -> Result<Self, Errno> {
        Ok(Self { cursor: Cursor::new(&Arc::new(memory), layout, size, End::Consumer)? })
    }

    /// Number of slots.
    pub fn capacity(&self) -> u32 {
        self.cursor.capacity()
    }

    /// Returns the index of the next slot to read. It wraps.
    pub fn position(&self) -> u32 {
        self.cursor.position
    }

    /// Returns the peer's index: the slot that it writes next. It wraps. An acquire load.
    pub fn peer_position(&self) -> u32 {
        self.cursor.peer_position()
    }

    /// Returns the number of slots that were written and not read yet. An acquire load.
    #[inline]
    pub fn pending(&self) -> u32 {
        self.cursor.peer_position().wrapping_sub(self.cursor.position).min(self.capacity())
    }

    /// Starts a batch of up to `limit` slots.
    #[inline]
    pub fn take(&mut self, limit: u32) -> Taken<'_, T> {
        let first = self.cursor.position;
        let end = first.wrapping_add(self.pending().min(limit));
        Taken { cursor: &mut self.cursor, first, end }
    }

    /// Makes a view of the indices for another thread.
    pub(super) fn view(&self) -> View {
        let Cursor { own, peer, _memory, .. } = &self.cursor;
        View { producer: *peer, consumer: *own, _memory: Arc::clone(_memory) }
    }

    /// The contents of the ring, which stay there.
    #[cfg(test)]
    pub(super) fn snapshot(&self) -> Vec<T> {
        let first = self.cursor.position;
        // SAFETY: as for `Taken::peek`.
        (0..self.pending()).map(|n| unsafe { self.cursor.slot(first.wrapping_add(n)).read() }).collect()
    }

    /// Sets or clears `XDP_RING_NEED_WAKEUP`, as the kernel does for the fill ring.
    #[cfg(test)]
    pub(super) fn ask_for_wakeup(&self, asked: bool) {
        let bits = if asked { XdpRingFlags::XDP_RING_NEED_WAKEUP.bits() } else { 0 };
        self.cursor.flags().expect("a ring of `pair` has flags").store(bits, Ordering::Relaxed);
    }
}

impl<T: Slot> Taken<'_, T> {
    /// Returns the number of slots read so far.
    #[inline]
    pub fn taken(&self) -> u32 {
        self.cursor.position.wrapping_sub(self.first)
    }

    /// Returns the slot that [`Iterator::next`] returns next.
    #[inline]
    pub fn peek(&self) -> Option<T> {
        if self.cursor.position == self.end {
            return None;
        }
        // SAFETY: the slots between this index and the peer's, loaded with acquire at the start, are written. The
        // producer does not touch them until this end publishes. Every bit pattern is a `T` (`Plain`).
        Some(unsafe { self.cursor.slot(self.cursor.position).read() })
    }

    /// The slots that [`Iterator::next`] returns next, in order. They stay in the batch.
    #[inline]
    pub(super) fn rest(&self) -> impl Iterator<Item = T> {
        let first = self.cursor.position;
        // SAFETY: as for `peek`.
        (0..self.end.wrapping_sub(first)).map(move |n| unsafe { self.cursor.slot(first.wrapping_add(n)).read() })
    }

    /// Extends the batch up to and including the first slot for which `is_last` is true, and returns the number of
    /// slots to it. Returns `None`, and leaves the batch as it was, if no such slot is written yet.
    pub(super) fn reach(&mut self, is_last: impl Fn(&T) -> bool) -> Option<u32> {
        let position = self.cursor.position;
        let published = self.cursor.peer_position().wrapping_sub(self.first).min(self.cursor.capacity());
        let ahead = published.saturating_sub(self.taken());
        // SAFETY: as for `peek`: the slots lie before the peer's index, which was just loaded with acquire.
        let found = (0..ahead).find(|&n| is_last(unsafe { &*self.cursor.slot(position.wrapping_add(n)) }))?;
        if self.end.wrapping_sub(position) <= found {
            self.end = position.wrapping_add(found + 1);
        }
        Some(found + 1)
    }

    /// Undoes the last [`Iterator::next`]. The batch ends here.
    pub(super) fn put_back(&mut self) {
        if self.taken() > 0 {
            self.cursor.position = self.cursor.position.wrapping_sub(1);
        }
        self.end = self.cursor.position;
    }

    /// Returns true if the last slot taken is the first of the batch, and the peer can write no slot until the batch is
    /// returned.
    pub(super) fn is_stuck(&self) -> bool {
        self.taken() == 1 && self.cursor.peer_position().wrapping_sub(self.first) >= self.cursor.capacity()
    }
}

impl<T: Slot> Iterator for Taken<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        let item = self.peek()?;
        self.cursor.position = self.cursor.position.wrapping_add(1);
        Some(item)
    }
}

impl<T: Slot> Drop for Taken<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // On drop, so that a panic between two slots returns exactly those that were read.
        if self.cursor.position != self.first {
            self.cursor.publish(self.cursor.position);
        }
    }
}

#[derive(Clone, Copy)]
enum End {
    Producer,
    Consumer,
}

/// One end of a ring.
#[derive(Debug)]
struct Cursor<T> {
    own: NonNull<AtomicU32>,
    peer: NonNull<AtomicU32>,
    flags: Option<NonNull<AtomicU32>>,
    slots: NonNull<T>,
    mask: u32,
    position: u32,
    /// Keeps the memory mapped that the pointers point to.
    _memory: Arc<Mapping>,
}

// SAFETY: the pointers point into `_memory`, which moves along. The words are atomics. Acquire and release on the two
// indices give each slot to one end at a time.
unsafe impl<T: Slot> Send for Cursor<T> {}

impl<T> Cursor<T> {
    #[inline]
    fn capacity(&self) -> u32 {
        self.mask + 1
    }

    #[inline]
    fn peer_position(&self) -> u32 {
        // SAFETY: it points into `_memory`, is aligned (checked in `new`), and is only accessed as an atomic.
        unsafe { self.peer.as_ref() }.load(Ordering::Acquire)
    }

    /// Moves the own index. From now on all slots before it belong to the peer.
    #[inline]
    fn publish(&mut self, position: u32) {
        self.position = position;
        // SAFETY: as for `peer_position`.
        unsafe { self.own.as_ref() }.store(position, Ordering::Release);
    }

    #[inline]
    fn flags(&self) -> Option<&AtomicU32> {
        // SAFETY: as for `peer_position`.
        self.flags.map(|flags| unsafe { flags.as_ref() })
    }

    #[inline]
    fn slot(&self, index: u32) -> *mut T {
        // SAFETY: the masked index is below the number of slots, all of which lie in `_memory` (checked in `new`).
        unsafe { self.slots.as_ptr().add((index & self.mask) as usize) }
    }
}

impl<T: Slot> Cursor<T> {
    fn new(memory: &Arc<Mapping>, layout: &XdpRingOffset, size: u32, end: End) -> Result<Self, Errno> {
        if mapping_length::<T>(layout, size)? > memory.length() {
            return Err(Errno::INVAL);
        }
        let word = |offset: u64| part::<AtomicU32>(memory, offset);
        let (own, peer) = match end {
            End::Producer => (word(layout.producer)?, word(layout.consumer)?),
            End::Consumer => (word(layout.consumer)?, word(layout.producer)?),
        };
        // SAFETY: `part` checked that the word lies in the mapping and is aligned; it is only accessed as an atomic.
        let position = unsafe { own.as_ref() }.load(Ordering::Relaxed);
        Ok(Self {
            own,
            peer,
            flags: layout.flags.map(word).transpose()?,
            slots: part::<T>(memory, layout.desc)?,
            mask: size - 1,
            position,
            _memory: Arc::clone(memory),
        })
    }
}

/// The address of a `T` at `offset` of `memory`, if it fits there and is aligned.
fn part<T>(memory: &Mapping, offset: u64) -> Result<NonNull<T>, Errno> {
    let offset = usize::try_from(offset).map_err(|_| Errno::INVAL)?;
    let fits = offset.checked_add(size_of::<T>()).is_some_and(|end| end <= memory.length());
    if !fits || offset % align_of::<T>() != 0 {
        return Err(Errno::INVAL);
    }
    // SAFETY: the offset is within the mapping.
    Ok(unsafe { memory.start().add(offset) }.cast())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Miri is slow.
    const STEPS: usize = if cfg!(miri) { 20 } else { 200 };

    #[derive(Clone, Debug)]
    enum Step {
        Produce { limit: u32, on_offer: u32 },
        Take { limit: u32, stop_after: u32 },
        Reach { limit: u32, stop_after: u32, wanted: u64, put_back: bool },
        Room(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0_u32..40, 0_u32..40).prop_map(|(limit, on_offer)| Step::Produce { limit, on_offer }),
            (0_u32..40, 0_u32..40).prop_map(|(limit, stop_after)| Step::Take { limit, stop_after }),
            (0_u32..40, 0_u32..4, 0_u64..9, any::<bool>())
                .prop_map(|(limit, stop_after, wanted, put_back)| Step::Reach { limit, stop_after, wanted, put_back }),
            (0_u32..40).prop_map(Step::Room),
        ]
    }

    /// Any index, and often one shortly before the wrap.
    fn start() -> impl Strategy<Value = u32> {
        prop_oneof![any::<u32>(), (0_u32..64).prop_map(|n| u32::MAX - n)]
    }

    proptest! {
        #[test]
        fn is_a_fifo_from_any_start(
            start in start(), size in (0_u32..6).prop_map(|log| 1 << log), steps in vec(step(), 1..STEPS),
        ) {
            let (mut producer, mut consumer) = pair::<u64>(size, start).unwrap();
            let mut model = VecDeque::new();
            let (mut written, mut read) = (0_u64, 0_u64);
            for step in steps {
                match step {
                    Step::Produce { limit, on_offer } => {
                        let expected = limit.min(on_offer).min(size - model.len() as u32);
                        let mut left = on_offer;
                        let produced = producer.produce(limit, || {
                            left = left.checked_sub(1)?;
                            written += 1;
                            model.push_back(written);
                            Some(written)
                        });
                        prop_assert_eq!(produced, expected);
                    }
                    Step::Take { limit, stop_after } => {
                        let available = limit.min(model.len() as u32);
                        let mut batch = consumer.take(limit);
                        for _ in 0..stop_after.min(available) {
                            prop_assert_eq!(batch.peek(), model.front().copied());
                            prop_assert_eq!(batch.next(), model.pop_front());
                            read += 1;
                        }
                        prop_assert_eq!(batch.taken(), stop_after.min(available));
                        if stop_after >= available {
                            prop_assert_eq!(batch.next(), None);
                        }
                    }
                    Step::Reach { limit, stop_after, wanted, put_back } => {
                        let mut batch = consumer.take(limit);
                        let available = limit.min(model.len() as u32);
                        let taken = stop_after.min(available);
                        let gone: Vec<u64> = model.drain(..taken as usize).collect();
                        prop_assert!(batch.by_ref().take(taken as usize).eq(gone.iter().copied()));
                        prop_assert!(batch.rest().eq(model.iter().copied().take((available - taken) as usize)));
                        prop_assert_eq!(batch.is_stuck(), taken == 1 && model.len() as u32 + taken == size);
                        // As far as the peer has written, whatever the limit.
                        let is_wanted = |item: &u64| item % 9 == wanted;
                        let found = model.iter().position(is_wanted).map(|at| at as u32 + 1);
                        prop_assert_eq!(batch.reach(is_wanted), found);
                        let left = (available - taken).max(found.unwrap_or(0)) as usize;
                        prop_assert!(batch.rest().eq(model.iter().copied().take(left)));
                        read += u64::from(taken);
                        if put_back {
                            batch.put_back();
                            prop_assert_eq!(batch.next(), None);
                            model.extend(gone.last());
                            model.rotate_right(gone.len().min(1));
                            read -= gone.len().min(1) as u64;
                        }
                    }
                    Step::Room(wanted) => {
                        let room = producer.room(wanted);
                        let free = size - model.len() as u32;
                        prop_assert!(room <= free && room >= wanted.min(free));
                    }
                }
                prop_assert_eq!(consumer.pending() as usize, model.len());
                prop_assert_eq!(consumer.snapshot(), Vec::from_iter(model.iter().copied()));
                prop_assert_eq!(producer.position(), start.wrapping_add(written as u32));
                prop_assert_eq!(consumer.position(), start.wrapping_add(read as u32));
                prop_assert_eq!(consumer.peer_position(), producer.position());
            }
        }
    }

    #[test]
    fn passes_all_in_order_between_threads() {
        const COUNT: u64 = if cfg!(miri) { 500 } else { 200_000 };
        let (mut producer, mut consumer) = pair::<u64>(64, u32::MAX - 1000).unwrap();
        let writer = thread::spawn(move || {
            let mut items = 0..COUNT;
            while !items.is_empty() {
                if producer.produce(17, || items.next()) == 0 {
                    thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < COUNT {
            let before = expected;
            for item in consumer.take(23) {
                assert_eq!(item, expected);
                expected += 1;
            }
            if before == expected {
                thread::yield_now();
            }
        }
        writer.join().unwrap();
    }

    #[test]
    fn a_panic_within_a_batch_gives_back_what_was_read() {
        let (mut producer, mut consumer) = pair::<u64>(8, u32::MAX).unwrap();
        let mut items = 0..8;
        assert_eq!(producer.produce(8, || items.next()), 8);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            for item in consumer.take(8) {
                assert!(item < 3);
            }
        }));
        assert!(caught.is_err());
        assert_eq!(consumer.take(8).collect::<Vec<_>>(), [4, 5, 6, 7]);
        assert_eq!(producer.room(8), 8);
    }

    #[test]
    fn a_peer_that_is_out_of_bounds_does_no_harm() {
        let (mut producer, mut consumer) = pair::<u64>(8, 0).unwrap();
        consumer.cursor.publish(5);
        // More than it knows of, so that it looks.
        assert_eq!(producer.room(9), 0);
        producer.cursor.publish(1000);
        assert_eq!(consumer.pending(), 8);
        assert_eq!(consumer.take(u32::MAX).count(), 8);
    }

    #[test]
    fn sizes_and_layouts_are_checked() {
        assert_eq!(pair::<u64>(0, 0).unwrap_err(), Errno::INVAL);
        assert_eq!(pair::<Descriptor>(3, 0).unwrap_err(), Errno::INVAL);
        let layout = |producer, desc| XdpRingOffset { producer, consumer: 64, flags: None, desc };
        let make = |layout, size| {
            Producer::<u64>::of_kernel_ring(Mapping::anonymous(4096).unwrap(), &layout, size).map(|_| ())
        };
        assert_eq!(make(layout(0, 128), 256), Ok(()));
        assert_eq!(make(layout(0, 128), 512), Err(Errno::INVAL));
        assert_eq!(make(layout(2, 128), 256), Err(Errno::INVAL));
        assert_eq!(make(layout(4096, 128), 256), Err(Errno::INVAL));
        assert_eq!(make(layout(0, 132), 256), Err(Errno::INVAL));
        assert_eq!(make(layout(0, u64::MAX - 7), 256), Err(Errno::INVAL));
    }

    #[test]
    fn the_wakeup_flag_is_read_each_time() {
        let (producer, consumer) = pair::<u64>(8, 0).unwrap();
        for asked in [false, true, false, true] {
            consumer.ask_for_wakeup(asked);
            assert_eq!(producer.needs_wakeup(), asked);
        }
    }
}
