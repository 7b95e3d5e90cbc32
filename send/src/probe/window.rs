//! The sequence numbers of one flow that have come: a sliding bitmap that distinguishes loss, reordering and
//! duplicates.

/// The number of sequence numbers behind the highest that are remembered one by one: 16,384, in 2 KiB per flow. At a
/// million packets per second in one flow that covers 16 ms of reordering.
pub const WINDOW: u64 = 16_384;

const WORDS: usize = (WINDOW / 64) as usize;

/// The place of a sequence number among those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Above all before: in order, perhaps after a gap.
    Ahead,
    /// Below the highest, and not seen before: reordered (RFC 4737, section 3.3).
    Behind,
    /// Seen before.
    Duplicate,
    /// Further behind the highest than the window reaches: late or duplicate, which cannot be distinguished any more.
    BeyondWindow,
}

/// The sequence numbers of one run of a flow, from its first datagram on.
#[derive(Clone, Debug)]
pub(super) struct SequenceWindow {
    lowest: u64,
    highest: u64,
    distinct: u64,
    /// Bit `s % WINDOW` is set if `s` came, for `s` from `highest - WINDOW + 1` to `highest`.
    seen: Box<[u64; WORDS]>,
}

impl SequenceWindow {
    /// Begins with the first sequence number that came.
    pub(super) fn new(first: u64) -> Self {
        let mut window = Self { lowest: first, highest: first, distinct: 1, seen: Box::new([0; WORDS]) };
        window.set(first);
        window
    }

    /// Starts again at `first`, in the same memory.
    pub(super) fn restart(&mut self, first: u64) {
        self.seen.fill(0);
        (self.lowest, self.highest, self.distinct) = (first, first, 1);
        self.set(first);
    }

    #[inline]
    pub(super) fn insert(&mut self, sequence: u64) -> Place {
        if sequence > self.highest {
            if sequence - self.highest > 1 {
                self.skip_to(sequence);
            }
            self.highest = sequence;
            self.set(sequence);
            self.distinct += 1;
            return Place::Ahead;
        }
        if self.highest - sequence >= WINDOW {
            return Place::BeyondWindow;
        }
        if self.has(sequence) {
            return Place::Duplicate;
        }
        self.set(sequence);
        self.distinct += 1;
        self.lowest = self.lowest.min(sequence);
        Place::Behind
    }

    pub(super) fn lowest(&self) -> u64 {
        self.lowest
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Sequence numbers between the lowest and the highest that have not come (yet).
    pub(super) fn missing(&self) -> u64 {
        (self.highest - self.lowest).saturating_add(1).saturating_sub(self.distinct)
    }

    #[inline]
    fn set(&mut self, sequence: u64) {
        self.seen[word(sequence)] |= 1 << (sequence % 64);
    }

    #[inline]
    fn has(&self, sequence: u64) -> bool {
        self.seen[word(sequence)] >> (sequence % 64) & 1 != 0
    }

    /// Clears the bits between the highest and `sequence`, which are still those of one window ago.
    #[cold]
    fn skip_to(&mut self, sequence: u64) {
        if sequence - self.highest >= WINDOW {
            self.seen.fill(0);
            return;
        }
        let (mut from, last) = (self.highest + 1, sequence - 1);
        while from <= last {
            let until = (from | 63).min(last);
            let bits = (u64::MAX << (from % 64)) & (u64::MAX >> (63 - until % 64));
            self.seen[word(from)] &= !bits;
            from = until + 1;
        }
    }
}

#[inline]
fn word(sequence: u64) -> usize {
    (sequence / 64) as usize % WORDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn edges() {
        let mut window = SequenceWindow::new(u64::MAX - 1);
        assert_eq!(window.insert(u64::MAX), Place::Ahead);
        assert_eq!(window.insert(u64::MAX), Place::Duplicate);
        assert_eq!(window.insert(u64::MAX - WINDOW + 1), Place::Behind);
        assert_eq!(window.insert(u64::MAX - WINDOW), Place::BeyondWindow);
        assert_eq!(window.missing(), WINDOW - 3);
        let mut whole = SequenceWindow::new(0);
        assert_eq!(whole.insert(u64::MAX), Place::Ahead);
        assert_eq!(whole.missing(), u64::MAX - 2, "2^64 does not fit: one less is reported");
    }

    proptest! {
        /// Against a set that remembers everything: steps small, about the window, and far beyond it.
        #[test]
        fn as_a_set_would(
            first in prop_oneof![0u64..100, 60_000u64..70_000, Just(u64::MAX / 2)],
            steps in prop::collection::vec(
                prop_oneof![8 => -6i64..8, 1 => -20_000i64..20_000, 1 => -70i64..200, 1 => 16_380i64..16_390], 0..400)
        ) {
            let mut window = SequenceWindow::new(first);
            let (mut seen, mut highest, mut lowest) = (HashSet::from([first]), first, first);
            for step in steps {
                let sequence = highest.saturating_add_signed(step);
                let expected = if sequence > highest {
                    Place::Ahead
                } else if highest - sequence >= WINDOW {
                    Place::BeyondWindow
                } else if seen.contains(&sequence) {
                    Place::Duplicate
                } else {
                    Place::Behind
                };
                prop_assert_eq!(window.insert(sequence), expected, "{} after {}", sequence, highest);
                if expected != Place::BeyondWindow {
                    seen.insert(sequence);
                    highest = highest.max(sequence);
                    lowest = lowest.min(sequence);
                }
                prop_assert_eq!((window.lowest(), window.highest()), (lowest, highest));
                prop_assert_eq!(window.missing(), highest - lowest + 1 - seen.len() as u64);
            }
        }
    }
}
