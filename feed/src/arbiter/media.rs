//! Extends 16-bit sequence numbers by the RTP timestamp. Two legs that are more than 32,768 packets apart, as ST 2022-7
//! class C allows at high rates, cannot be aligned by sequence number alone.

use std::collections::VecDeque;

use crate::protocol::SequenceWidth;

/// One in this many packets is remembered.
const EVERY: u64 = 256;
/// How many are remembered: 262,144 packets back.
const SAMPLES: usize = 1024;

/// Sequence numbers with their timestamps.
#[derive(Clone, Debug, Default)]
pub(super) struct MediaClock {
    samples: VecDeque<(u64, u32)>,
    /// The samples were of another numbering, and the next packet is the first of a new one.
    cleared: bool,
}

impl MediaClock {
    /// Returns true if [`MediaClock::observe`] remembers packets with this number.
    #[inline]
    pub(super) fn wants(sequence: u64) -> bool {
        sequence.is_multiple_of(EVERY)
    }

    /// Returns true if it needs the next packet, whichever that is.
    pub(super) fn awaits_first(&self) -> bool {
        self.cleared
    }

    pub(super) fn observe(&mut self, sequence: u64, timestamp: u32) {
        if Self::wants(sequence) || self.samples.is_empty() {
            if self.samples.back().is_some_and(|sample| sample.0 >= sequence) {
                return;
            }
            self.remember(sequence, timestamp);
        }
    }

    fn remember(&mut self, sequence: u64, timestamp: u32) {
        self.cleared = false;
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((sequence, timestamp));
    }

    pub(super) fn clear(&mut self) {
        self.cleared |= !self.samples.is_empty();
        self.samples.clear();
    }

    /// The sequence number nearest in time that has the wire value `wire`. `None` if there is nothing to compare with.
    pub(super) fn resolve(&self, wire: u64, timestamp: u32) -> Option<u64> {
        let distance = |sample: &(u64, u32)| i64::from(timestamp.wrapping_sub(sample.1) as i32);
        let (&(newest, newest_time), &(oldest, oldest_time)) = (self.samples.back()?, self.samples.front()?);
        // The samples ascend, so their distances descend.
        let after = self.samples.partition_point(|sample| distance(sample) >= 0);
        let estimate = match (after, after == self.samples.len()) {
            (_, true) => {
                let span = i64::from(newest_time.wrapping_sub(oldest_time) as i32);
                let ahead = distance(&(newest, newest_time));
                let per_unit = |span: i64| i128::from(newest - oldest) * i128::from(ahead) / i128::from(span);
                if span > 0 { newest.checked_add_signed(i64::try_from(per_unit(span)).ok()?)? } else { newest }
            }
            (0, false) => oldest,
            (after, false) => self.samples[after - 1].0,
        };
        SequenceWidth::Bits16.extend(wire, estimate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legs_far_apart_are_aligned_by_time() {
        let mut clock = MediaClock::default();
        let time = |sequence: u64| 0xffff_0000u32.wrapping_add(sequence as u32 * 7);
        assert_eq!(clock.resolve(5, 5), None);
        for sequence in 60_000..260_000 {
            clock.observe(sequence, time(sequence));
        }
        for sequence in [60_000, 60_001, 100_000, 131_072, 200_000, 259_999, 300_000, 400_000] {
            assert_eq!(clock.resolve(sequence & 0xffff, time(sequence)), Some(sequence));
        }
    }
}
