//! Several units in one piece of memory, which an outlet writes and counts together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A chunk of this size is passed on at once.
pub const CHUNK: usize = 256 << 10;
/// Chunks up to this size are added to the last one that waits: a copy costs less than an entry of the queue.
const SMALL: usize = 4 << 10;

/// Units, one after the other.
#[derive(Default)]
pub struct Chunk {
    pub bytes: Vec<u8>,
    /// Where each unit ends.
    pub ends: Vec<usize>,
    /// Counts the units that are never written.
    pub dropped: Arc<AtomicU64>,
}

impl Chunk {
    /// Counts its units as dropped.
    pub fn drop_units(&self) {
        self.dropped.fetch_add(self.ends.len() as u64, Ordering::Relaxed);
    }

    /// Removes its units, and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Returns true if it has room for a small chunk whose units count in the same place.
    pub fn takes(&self, more: &Self) -> bool {
        more.bytes.len() <= SMALL
            && self.bytes.capacity() - self.bytes.len() >= more.bytes.len()
            && Arc::ptr_eq(&self.dropped, &more.dropped)
    }
}
