//! The writing side of a table: the array map's memory, mapped, and changed by one store a change.
//!
//! `receiver_common::table` defines what the words mean, and how the XDP program looks for them at the same time.
#![allow(unsafe_code)]

use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use receiver_common::AnyAddress;
use receiver_common::table::{BUCKET, EMPTY, MAX_PROBES, Record, TOMBSTONE, bucket_words, buckets, home};
use rustix::io;

use receiver_xsk::Mapping;

/// The one writer of a table.
pub(super) struct MappedTable {
    memory: Mapping,
    /// Number of buckets, less one.
    mask: u32,
    layout: Layout,
    entries: u32,
    limit: u32,
    /// The generation of the next record, from bit 0 on.
    generation: u64,
}

/// How a table holds its entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// The bits of an entry that are its key.
    key: u64,
    /// The bits of an entry that hold its record's generation.
    generation: u64,
    /// Words of a bucket.
    bucket_words: usize,
    /// Words of a record.
    record_words: usize,
}

impl Layout {
    /// Of entries with these bits for key and generation, and records of type `R`.
    pub(super) const fn new<R: Record>(key: u64, generation: u64) -> Self {
        assert!(R::WORDS <= 2, "`Entry` holds no longer record");
        Self { key, generation, bucket_words: bucket_words::<R>(), record_words: R::WORDS }
    }
}

/// An entry as it is set or removed.
pub(super) struct Entry {
    /// Key and action. To remove an entry, its key suffices.
    pub word: u64,
    /// The key's hash.
    pub hash: u64,
    /// The record; tables without records ignore it.
    pub record: AnyAddress,
}

/// There is no room for another entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl MappedTable {
    /// Over the memory of an array map of [`buckets`]`(limit)` zeroed buckets.
    pub(super) fn of_map(map: BorrowedFd<'_>, limit: u32, layout: Layout) -> io::Result<Self> {
        let memory = Mapping::of_fd(map, Self::length(limit, layout), 0);
        let memory = memory.map_err(|errno| io::Errno::from_raw_os_error(errno.raw_os_error()))?;
        Ok(Self::new(memory, limit, layout))
    }

    /// `memory` is zeroed and has [`MappedTable::length`] bytes.
    fn new(memory: Mapping, limit: u32, layout: Layout) -> Self {
        Self { memory, mask: buckets(limit) - 1, layout, entries: 0, limit, generation: 0 }
    }

    /// Bytes of a table.
    fn length(limit: u32, layout: Layout) -> usize {
        buckets(limit) as usize * layout.bucket_words * size_of::<u64>()
    }

    /// Puts an entry in, in place of the one with its key if there is one. Returns true if there was none.
    pub(super) fn set(&mut self, entry: &Entry) -> Result<bool, Full> {
        let mut free = None;
        for at in self.places(entry.hash) {
            let found = self.word(at).load(Ordering::Relaxed);
            if self.is_of(at, found, entry) {
                self.word(at).store(entry.word | found & self.layout.generation, Ordering::Release);
                return Ok(false);
            }
            if found == EMPTY || found == TOMBSTONE {
                free = free.or(Some(at));
            }
            if found == EMPTY {
                break;
            }
        }
        let at = free.filter(|_| self.entries < self.limit).ok_or(Full)?;
        // A reader that sees the new record must not see the entry that had this place before.
        fence(Ordering::Release);
        for (word, value) in self.record(at).zip(entry.record) {
            word.store(value, Ordering::Relaxed);
        }
        let lowest = self.layout.generation & self.layout.generation.wrapping_neg();
        let generation = self.generation.wrapping_mul(lowest) & self.layout.generation;
        self.generation += 1;
        self.word(at).store(entry.word | generation, Ordering::Release);
        self.entries += 1;
        Ok(true)
    }

    /// Removes the entry with the key of `entry`. Returns true if it was there.
    pub(super) fn remove(&mut self, entry: &Entry) -> bool {
        let found = self.places(entry.hash).find_map(|at| match self.word(at).load(Ordering::Relaxed) {
            EMPTY => Some(None),
            found => self.is_of(at, found, entry).then_some(Some(at)),
        });
        let Some(mut at) = found.flatten() else { return false };
        self.entries -= 1;
        if self.word(at.wrapping_add(1)).load(Ordering::Relaxed) != EMPTY {
            self.word(at).store(TOMBSTONE, Ordering::Release);
            return true;
        }
        // No key was displaced past the empty word behind: neither this word nor tombstones before it are needed.
        self.word(at).store(EMPTY, Ordering::Release);
        while self.word(at.wrapping_sub(1)).load(Ordering::Relaxed) == TOMBSTONE {
            at = at.wrapping_sub(1);
            self.word(at).store(EMPTY, Ordering::Release);
        }
        true
    }

    /// Returns true if `found`, the word at `at`, is an entry with the key of `entry`.
    fn is_of(&self, at: usize, found: u64, entry: &Entry) -> bool {
        found & self.layout.key == entry.word & self.layout.key
            && self.record(at).zip(entry.record).all(|(word, value)| word.load(Ordering::Relaxed) == value)
    }

    /// The numbers of the entries in which a key may stand, in the order in which a search visits them.
    fn places(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let first = home(hash, self.mask) as usize * BUCKET;
        (0..MAX_PROBES as usize).map(move |step| first.wrapping_add(step))
    }

    /// The word of the entry with this number; the first follows the last.
    fn word(&self, at: usize) -> &AtomicU64 {
        self.bucket_word(at, at % BUCKET)
    }

    /// The record of the entry with this number.
    fn record(&self, at: usize) -> impl Iterator<Item = &AtomicU64> {
        let first = BUCKET + at % BUCKET * self.layout.record_words;
        (first..first + self.layout.record_words).map(move |word| self.bucket_word(at, word))
    }

    /// A word of the bucket that holds the entry with this number.
    fn bucket_word(&self, at: usize, word: usize) -> &AtomicU64 {
        let bucket = (at / BUCKET) & self.mask as usize;
        let first: NonNull<AtomicU64> = self.memory.start().cast();
        debug_assert!(word < self.layout.bucket_words);
        // SAFETY: the bucket's number is at most the mask and the word's below `bucket_words`, so the word lies within
        // the mapping (`length`), which begins on a page: words are aligned. This process only touches it as atomics,
        // through `self`; the XDP program only reads.
        unsafe { first.add(bucket * self.layout.bucket_words + word).as_ref() }
    }
}

#[cfg(test)]
mod tests;
