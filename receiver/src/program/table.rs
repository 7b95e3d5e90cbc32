//! The writing side of an IPv4 table: the array map's memory, mapped, and changed by one store a change.
//!
//! `receiver_common::table` defines what the words mean, and how the XDP program looks for them at the same time.
#![allow(unsafe_code)]

use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use receiver_common::table::{BUCKET, EMPTY, MAX_PROBES, TOMBSTONE, buckets, home};
use rustix::io;

use receiver_xsk::Mapping;

/// The one writer of a table.
pub(super) struct MappedTable {
    memory: Mapping,
    /// Number of buckets, less one.
    mask: u32,
    /// The bits of an entry that are its key.
    key: u64,
    entries: u32,
    limit: u32,
}

/// There is no room for another entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl MappedTable {
    /// Over the memory of an array map of [`buckets`]`(limit)` zeroed buckets. `key`: the bits of an entry that are its
    /// key.
    pub(super) fn of_map(map: BorrowedFd<'_>, limit: u32, key: u64) -> io::Result<Self> {
        let length = buckets(limit) as usize * size_of::<u64>() * BUCKET;
        let memory = Mapping::of_fd(map, length, 0);
        let memory = memory.map_err(|errno| io::Errno::from_raw_os_error(errno.raw_os_error()))?;
        Ok(Self::new(memory, limit, key))
    }

    fn new(memory: Mapping, limit: u32, key: u64) -> Self {
        Self { memory, mask: buckets(limit) - 1, key, entries: 0, limit }
    }

    /// Puts an entry in, in place of the one with its key if there is one: then it is not a new one. `hash` is its
    /// key's.
    pub(super) fn set(&mut self, entry: u64, hash: u64) -> Result<bool, Full> {
        let mut free = None;
        for place in self.places(hash) {
            let found = place.load(Ordering::Relaxed);
            if found & self.key == entry & self.key {
                place.store(entry, Ordering::Release);
                return Ok(false);
            }
            if found == EMPTY || found == TOMBSTONE {
                free = free.or(Some(place));
            }
            if found == EMPTY {
                break;
            }
        }
        let place = free.filter(|_| self.entries < self.limit).ok_or(Full)?;
        place.store(entry, Ordering::Release);
        self.entries += 1;
        Ok(true)
    }

    /// Takes the entry with this key out. Was it there?
    pub(super) fn remove(&mut self, key: u64, hash: u64) -> bool {
        let Some(at) = self
            .places(hash)
            .map(|place| place.load(Ordering::Relaxed))
            .take_while(|&found| found != EMPTY)
            .position(|found| found & self.key == key)
        else {
            return false;
        };
        self.entries -= 1;
        let mut at = self.first(hash).wrapping_add(at);
        if self.word(at + 1).load(Ordering::Relaxed) != EMPTY {
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

    /// The words in which an entry may stand, in the order in which they are looked at.
    fn places(&self, hash: u64) -> impl Iterator<Item = &AtomicU64> {
        let first = self.first(hash);
        (0..MAX_PROBES as usize).map(move |step| self.word(first.wrapping_add(step)))
    }

    fn first(&self, hash: u64) -> usize {
        home(hash, self.mask) as usize * BUCKET
    }

    /// The word of this number, counted round.
    fn word(&self, at: usize) -> &AtomicU64 {
        let words = (self.mask as usize + 1) * BUCKET;
        let word: NonNull<AtomicU64> = self.memory.start().cast();
        // SAFETY: `words` is a power of two and the mapping is that long (`of_map`), so the word lies within; it begins
        // on a page, so words are aligned. This process only touches it as atomics, through `self`; the XDP program
        // only reads.
        unsafe { word.add(at & (words - 1)).as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use receiver_common::table::{Bucket, FlowEntry, GroupEntry, MAX_SLOTS, find, find_displaced};

    use super::*;

    fn table(limit: u32, key: u64) -> MappedTable {
        let length = buckets(limit) as usize * size_of::<Bucket>();
        MappedTable::new(Mapping::anonymous(length).expect("memory"), limit, key)
    }

    /// As the XDP program does.
    fn look_up(table: &MappedTable, key: u64, hash: u64) -> Option<u64> {
        let first: NonNull<[AtomicU64; BUCKET]> = table.memory.start().cast();
        let bucket = |at| {
            // SAFETY: `at` is at most the mask, so the bucket lies within the mapping; nobody writes meanwhile.
            (at <= table.mask).then(|| unsafe { first.add(at as usize).as_ref() })
        };
        let home = home(hash, table.mask);
        find(bucket(home)?, key, table.key, || find_displaced(home, table.mask, key, table.key, bucket))
    }

    /// A source of the group that has the slot.
    fn key(source: u32, slot: u32) -> (u64, u64) {
        let group = GroupEntry::key(0xe800_0000 + slot, 5000);
        (FlowEntry::key(source, slot), FlowEntry::hash(FlowEntry::source(source.to_be()), GroupEntry::hash(group)))
    }

    fn set(table: &mut MappedTable, source: u32, slot: u32, accept: bool) -> Result<bool, Full> {
        table.set(FlowEntry::word(source, slot, accept), key(source, slot).1)
    }

    fn found(table: &MappedTable, source: u32, slot: u32) -> Option<u64> {
        let (key, hash) = key(source, slot);
        look_up(table, key, hash)
    }

    fn remove(table: &mut MappedTable, source: u32, slot: u32) {
        let (key, hash) = key(source, slot);
        table.remove(key, hash);
    }

    #[test]
    fn entries_hold_what_they_were_made_of() {
        let entry = GroupEntry::word(0xe801_0203, 65_535, MAX_SLOTS - 1, true);
        assert_eq!(GroupEntry::slot(entry), MAX_SLOTS - 1);
        assert!(GroupEntry::is_exclude(entry) && entry & GroupEntry::KEY == GroupEntry::key(0xe801_0203, 65_535));
        let entry = FlowEntry::word(u32::MAX, MAX_SLOTS - 1, false);
        assert!(!FlowEntry::is_accept(entry) && entry & FlowEntry::KEY == FlowEntry::key(u32::MAX, MAX_SLOTS - 1));
        for nothing in [EMPTY, TOMBSTONE] {
            assert_ne!(nothing & GroupEntry::KEY, GroupEntry::key(0, 0));
            assert_ne!(nothing & FlowEntry::KEY, FlowEntry::key(0, 0));
        }
    }

    #[test]
    fn a_full_table_says_so_and_keeps_what_it_has() {
        for limit in [1, 3, 1000, 65_536] {
            let mut table = table(limit, FlowEntry::KEY);
            for source in 0..limit {
                set(&mut table, source, 7, true).expect("room");
            }
            assert_eq!(set(&mut table, limit, 7, true), Err(Full));
            set(&mut table, 0, 7, false).expect("a change needs no room");
            assert!((1..limit).all(|source| found(&table, source, 7).is_some_and(FlowEntry::is_accept)));
            assert_eq!(found(&table, limit, 7), None);
            remove(&mut table, 0, 7);
            set(&mut table, limit, 7, true).expect("room again");
        }
    }

    #[test]
    fn regular_addresses_find_room() {
        // As an operator numbers them: a few sources for each of many groups, sources in rows, ports in steps.
        for source_step in [1, 4, 1 << 8, 1 << 16] {
            let mut flows = table(1 << 20, FlowEntry::KEY);
            for slot in 0..1 << 18 {
                for source in 0..4 {
                    set(&mut flows, 0x0a00_0001 + source * source_step, slot, true).expect("room");
                }
            }
            let mut flows = table(1 << 20, FlowEntry::KEY);
            for at in 0..1_u32 << 20 {
                let source = 0x0a00_0001_u32.wrapping_add(at.wrapping_mul(source_step));
                set(&mut flows, source, at >> 16, true).expect("room");
            }
        }
        for group_step in [1, 1 << 8, 1 << 16] {
            for port_step in [1, 10, 1000] {
                for groups_in_row in [1 << 17, 4096, 256, 16] {
                    let mut groups = table(1 << 17, GroupEntry::KEY);
                    for at in 0..1_u32 << 17 {
                        let row = (at % groups_in_row).wrapping_mul(group_step);
                        let group = 0xe000_0000 + row % 0x1000_0000;
                        let port = (at / groups_in_row * port_step) as u16;
                        let hash = GroupEntry::hash(GroupEntry::key(group, port));
                        let entry = GroupEntry::word(group, port, 0, false);
                        assert!(groups.set(entry, hash).is_ok(), "{group_step} {port_step} {groups_in_row}");
                    }
                }
            }
        }
    }

    proptest! {
        /// Whatever is set and removed, in a table that is so small that tombstones and neighbours abound.
        #[test]
        fn behaves_as_a_map(steps in prop::collection::vec((0u32..40, 0u32..3, 0u8..4), 0..400)) {
            let mut table = table(32, FlowEntry::KEY);
            let mut model = HashMap::new();
            for (source, slot, what) in steps {
                if what == 0 {
                    remove(&mut table, source, slot);
                    model.remove(&(source, slot));
                } else {
                    let entry = FlowEntry::word(source, slot, what == 1);
                    let room = model.len() < 32 || model.contains_key(&(source, slot));
                    prop_assert_eq!(set(&mut table, source, slot, what == 1).is_ok(), room);
                    if room {
                        model.insert((source, slot), entry);
                    }
                }
                for source in 0..40 {
                    for slot in 0..3 {
                        let expected = model.get(&(source, slot)).copied();
                        prop_assert_eq!(found(&table, source, slot), expected);
                    }
                }
            }
            for (source, slot) in model.into_keys() {
                remove(&mut table, source, slot);
            }
            // Nothing stays behind that would make look-ups longer, but tombstones before other tombstones.
            prop_assert_eq!(table.entries, 0);
        }
    }
}
