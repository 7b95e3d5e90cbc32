//! Several units in one piece of memory, which an outlet writes and counts together.

use std::sync::Arc;

use super::counts::{Counts, DropReason};

/// A chunk of this size is passed on at once.
pub const CHUNK: usize = 1 << 20;
/// A chunk of this number of units is passed on at once: units may have no bytes.
pub const MOST_UNITS: usize = 32 << 10;
/// Chunks up to this size are added to the last one that waits: a copy costs less than an entry of the queue.
const SMALL: usize = 4 << 10;

/// Units, one after the other.
#[derive(Default)]
pub struct Chunk {
    pub bytes: Vec<u8>,
    /// Where each unit ends.
    pub ends: Vec<usize>,
    /// When each unit came, in nanoseconds. Empty if the outlet does not need to know.
    pub times: Vec<u64>,
    /// Counts the units.
    pub counts: Arc<Counts>,
}

impl Chunk {
    /// Counts its units as dropped.
    pub fn drop_units(&self, reason: DropReason) {
        self.counts.add_dropped(reason, self.ends.len() as u64);
    }

    /// Removes its units, and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.times.clear();
    }

    /// Where its last unit ends.
    pub fn end(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + size_of::<usize>() * self.ends.capacity() + size_of::<u64>() * self.times.capacity()
    }

    /// Returns true if it has room for a small chunk whose units count in the same place.
    pub fn takes(&self, more: &Self) -> bool {
        fn has_room<T>(this: &Vec<T>, more: &[T]) -> bool {
            this.capacity() - this.len() >= more.len()
        }
        more.bytes.len() <= SMALL
            && has_room(&self.bytes, &more.bytes)
            && has_room(&self.ends, &more.ends)
            && has_room(&self.times, &more.times)
            && Arc::ptr_eq(&self.counts, &more.counts)
    }

    /// Returns true if further units that count in this place may be added to it.
    pub fn may_grow(&self, counts: &Arc<Counts>) -> bool {
        self.bytes.len() < CHUNK && self.ends.len() < MOST_UNITS && Arc::ptr_eq(&self.counts, counts)
    }

    /// Adds the units of another chunk, which is empty afterwards.
    pub fn append(&mut self, more: &mut Self) {
        let before = self.bytes.len();
        self.bytes.append(&mut more.bytes);
        self.ends.extend(more.ends.drain(..).map(|end| before + end));
        self.times.append(&mut more.times);
    }

    /// Its units from this one on.
    pub fn rest(&self, unit: usize) -> Batch<'_> {
        Batch { chunk: self, first: unit }
    }
}

/// Units that wait to be written.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    chunk: &'a Chunk,
    first: usize,
}

impl<'a> Batch<'a> {
    /// The number of units. At least one where a device gets them.
    pub fn len(self) -> usize {
        self.chunk.ends.len() - self.first
    }

    fn start(self) -> usize {
        self.first.checked_sub(1).map_or(0, |last| self.chunk.ends[last])
    }

    /// The bytes of the first units.
    pub fn bytes_of(self, units: usize) -> &'a [u8] {
        let end = (self.first + units).checked_sub(1).map_or(0, |last| self.chunk.ends[last]);
        &self.chunk.bytes[self.start()..end]
    }

    /// One unit.
    pub fn unit(self, at: usize) -> &'a [u8] {
        self.chunk.rest(self.first + at).bytes_of(1)
    }

    /// When a unit came, in nanoseconds.
    pub fn time(self, at: usize) -> u64 {
        self.chunk.times.get(self.first + at).copied().unwrap_or(0)
    }

    /// The number of units that have no more than this number of bytes together.
    pub fn fitting(self, bytes: usize) -> usize {
        let start = self.start();
        self.chunk.ends[self.first..].partition_point(|&end| end - start <= bytes)
    }

    /// Counts the units.
    pub fn counts(self) -> &'a Counts {
        &self.chunk.counts
    }
}
