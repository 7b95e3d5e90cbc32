//! What counted lately, and is forgotten after a while.

use std::collections::VecDeque;

/// Readings that an entry outlives in any case: the first may come right after it.
const READINGS: u32 = 2;

/// Entries in the order of their time.
#[derive(Clone, Debug)]
pub(super) struct Recent<T>(VecDeque<Entry<T>>);

#[derive(Clone, Debug)]
struct Entry<T> {
    at_ns: u64,
    readings: u32,
    value: T,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Recent<T> {
    pub(super) fn push(&mut self, at_ns: u64, value: T) {
        self.0.push_back(Entry { at_ns, readings: 0, value });
    }

    /// A reading at `now_ns`: forgets what is older than `patience_ns`.
    pub(super) fn age(&mut self, now_ns: u64, patience_ns: u64) {
        for entry in &mut self.0 {
            entry.readings += 1;
        }
        self.0.retain(|entry| entry.readings <= READINGS || now_ns.saturating_sub(entry.at_ns) <= patience_ns);
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|entry| &entry.value)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        self.0.retain_mut(|entry| keep(&mut entry.value));
    }

    /// All become one, with the age of the newest.
    pub(super) fn replace(&mut self, value: T) {
        self.0.drain(..self.0.len().saturating_sub(1));
        if let Some(newest) = self.0.back_mut() {
            newest.value = value;
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_outlive_two_readings_and_their_time() {
        let mut recent = Recent::default();
        recent.push(0, 'a');
        for (now_ns, left) in [(1_000, 1), (2_000, 1), (3_000, 0)] {
            recent.age(now_ns, 100);
            assert_eq!(recent.values().count(), left, "{now_ns}");
        }
        recent.push(0, 'b');
        for now_ns in 1..100 {
            recent.age(now_ns, 100);
        }
        recent.age(101, 100);
        assert_eq!(recent.values().count(), 0);
    }
}
