//! Finds a stream's number by its key: open addressing, one 8-byte word per stream. The key itself is compared in the
//! stream's cursor, which the datagram needs anyway.

use std::hash::{BuildHasher, BuildHasherDefault};

use rustc_hash::FxHasher;

use crate::protocol::StreamKey;

/// Slots of the smallest table.
const SMALLEST: usize = 16;

/// Numbers of streams by the hash of their keys. Streams are never removed.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// High half: bits of the hash. Low half: the number plus 1; 0 if the slot is free. A power of two, or none.
    slots: Vec<u64>,
    count: usize,
}

fn hash(key: &StreamKey) -> u64 {
    BuildHasherDefault::<FxHasher>::default().hash_one(key)
}

fn entry(hash: u64, number: u32) -> u64 {
    hash & !u64::from(u32::MAX) | u64::from(number + 1)
}

impl Index {
    /// The number of the stream with this key. `is_key` compares a number's key.
    #[inline]
    pub(super) fn find(&self, key: &StreamKey, is_key: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let hash = hash(key);
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            let number = (slot as u32).checked_sub(1)?;
            if (slot ^ hash) >> 32 == 0 && is_key(number) {
                return Some(number);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a stream whose key is not there yet. `number` is below `u32::MAX`.
    pub(super) fn insert(&mut self, key: &StreamKey, number: u32, key_of: impl Fn(u32) -> StreamKey) {
        // At most half full, so that a look-up ends soon.
        if 2 * (self.count + 1) > self.slots.len() {
            let before = std::mem::take(&mut self.slots);
            self.slots = vec![0; (2 * before.len()).max(SMALLEST)];
            for number in before.into_iter().filter_map(|slot| (slot as u32).checked_sub(1)) {
                self.place(&key_of(number), number);
            }
        }
        self.place(key, number);
        self.count += 1;
    }

    fn place(&mut self, key: &StreamKey, number: u32) {
        let (hash, mask) = (hash(key), self.slots.len() - 1);
        let mut at = hash as usize & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = entry(hash, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_found_and_no_other() {
        let key = |number: u32| StreamKey { channel: u64::from(number % 7), session: u128::from(number) << 40 };
        let mut index = Index::default();
        assert_eq!(index.find(&key(0), |_| true), None);
        for number in 0..5_000 {
            assert_eq!(index.find(&key(number), |found| key(found) == key(number)), None);
            index.insert(&key(number), number, key);
        }
        for number in 0..5_000 {
            assert_eq!(index.find(&key(number), |found| key(found) == key(number)), Some(number));
        }
        assert_eq!(index.find(&key(5_000), |found| key(found) == key(5_000)), None);
    }

    #[test]
    fn keys_of_text_and_of_small_numbers_spread() {
        let keys: [fn(u32) -> StreamKey; 3] = [
            |number| StreamKey { channel: u64::from(number), session: 0 },
            |number| StreamKey { channel: 0, session: u128::from(number) },
            |number| StreamKey { channel: 0, session: u128::from(number) << 48 | 0x4f4e_3030_3120 },
        ];
        for key in keys {
            let mut index = Index::default();
            (0..10_000).for_each(|number| index.insert(&key(number), number, key));
            // The longest run of taken slots bounds the slots that a look-up reads.
            let runs = index.slots.split(|slot| *slot == 0).map(<[u64]>::len);
            assert!(runs.max() < Some(100), "the keys crowd");
        }
    }
}
