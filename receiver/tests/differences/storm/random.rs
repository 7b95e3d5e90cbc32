//! Random numbers that are the same for the same seed.

use std::cell::Cell;

use crate::support::numbered::mixed;

/// The numbers of one case of one seed.
pub struct Random(Cell<u64>);

impl Random {
    pub fn new(seed: u64, number: u64) -> Self {
        Self(Cell::new(mixed(mixed(seed) ^ number)))
    }

    pub fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        mixed(self.0.get())
    }

    /// A number below `end`, which is not 0.
    pub fn below(&self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// A number from `first` to `last`.
    pub fn within(&self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    /// Returns true once in `many` times.
    pub fn once_in(&self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub fn pick<T: Copy>(&self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    pub fn byte(&self) -> u8 {
        self.next() as u8
    }

    pub fn bytes(&self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 7);
        while bytes.len() < count {
            bytes.extend(self.next().to_ne_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
