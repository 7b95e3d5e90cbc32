//! Counters. They only grow; a datagram's outcome is counted once, when it is known.

/// A histogram of durations in powers of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; Self::BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; Self::BUCKETS] }
    }
}

impl Histogram {
    /// Number of buckets. The last one also counts all that is longer.
    pub const BUCKETS: usize = 40;

    #[inline]
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        let bucket = (u64::BITS - nanoseconds.leading_zeros()) as usize;
        self.buckets[bucket.min(Self::BUCKETS - 1)] += 1;
    }

    /// Bucket `i` counts durations below 2^`i` ns that are in no bucket before it.
    #[must_use]
    pub fn buckets(&self) -> &[u64; Self::BUCKETS] {
        &self.buckets
    }

    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The upper bound, in nanoseconds, of the bucket that holds quantile `q`, which is from 0 to 1. `None` if nothing
    /// was recorded.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((count as f64 * q).ceil() as u64).clamp(1, count.max(1));
        let mut below = 0;
        let bucket = self.buckets.iter().position(|bucket| {
            below += bucket;
            below >= rank
        });
        bucket.map(|bucket| 1 << bucket)
    }
}

/// One leg, over all streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LegStatistics {
    /// Datagrams.
    pub datagrams: u64,
    /// Datagrams that the protocol's parser refused.
    pub malformed: u64,
    /// Datagrams of streams beyond the bound.
    pub untracked: u64,
    /// How much earlier than the next leg it had a datagram, over a sample of the datagrams that it had first.
    pub lead: Histogram,
    /// How much later than the first leg it had a datagram, over a sample of those that another leg had first.
    pub lag: Histogram,
}

/// One leg of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamLegStatistics {
    /// Sequenced datagrams, heartbeats left out.
    pub datagrams: u64,
    /// Sequence numbers that this leg had first.
    pub first_arrivals: u64,
    /// Sequence numbers that had arrived before, on this leg or another.
    pub duplicates: u64,
    /// Sequence numbers that the leg had sent before.
    pub repeated: u64,
    /// Sequence numbers that the leg skipped. Less `reordered`, they are what the leg lost.
    pub missing: u64,
    /// Sequence numbers that arrived after later ones of the same leg.
    pub reordered: u64,
    /// Datagrams of an old numbering, or out of place: dropped.
    pub dropped: u64,
    /// How often the leg was lost.
    pub outages: u64,
}

/// One stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStatistics {
    /// Datagrams of all legs, heartbeats included.
    pub datagrams: u64,
    /// Heartbeats.
    pub heartbeats: u64,
    /// Sequence numbers delivered, in order or recovered.
    pub delivered: u64,
    /// Messages without a place in the sequence.
    pub unsequenced: u64,
    /// The first sequence number since the last reset.
    pub first_sequence: u64,
    /// The sequence number that is expected next.
    pub next_sequence: u64,
    /// Gaps declared.
    pub gaps: u64,
    /// Sequence numbers of declared gaps. Less `recovered`, they are what was lost.
    pub missing: u64,
    /// The largest gap, in sequence numbers.
    pub longest_gap: u64,
    /// Sequence numbers that arrived after their gap was declared.
    pub recovered: u64,
    /// Sequence numbers of gaps that are no longer open to a late fill.
    pub lost: u64,
    /// Datagrams that held nothing new.
    pub duplicates: u64,
    /// Datagrams that held something new, but came after a later one of their leg.
    pub reordered: u64,
    /// How often the sequence started anew.
    pub resets: u64,
    /// Gaps that were declared because too many datagrams were held.
    pub overflows: u64,
    /// Datagrams held now.
    pub held: u64,
    /// The most datagrams held at once.
    pub held_peak: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_buckets_and_quantiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for nanoseconds in [0, 1, 2, 3, 1000, u64::MAX] {
            histogram.record(nanoseconds);
        }
        assert_eq!(histogram.buckets()[..3], [1, 1, 2]);
        assert_eq!((histogram.buckets()[10], histogram.buckets()[39]), (1, 1));
        assert_eq!((histogram.count(), histogram.quantile(0.5), histogram.quantile(1.0)), (6, Some(4), Some(1 << 39)));
    }
}
