//! Random numbers by position: the same seed gives the same number for the same packet, on every machine and in any
//! order. The generator is SplitMix64, whose n-th number needs none of those before.

/// The step of SplitMix64's state: 2^64 divided by the golden ratio, odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// What numbers are drawn for. Numbers for two purposes are independent.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Purpose {
    Fate = 1,
    Jitter = 2,
    Packing = 3,
    Size = 4,
}

/// A row of random numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The row of a seed, a purpose and a lane, such as a leg.
    pub(crate) fn new(seed: u64, purpose: Purpose, lane: u64) -> Self {
        Self(mix(mix(seed ^ mix(purpose as u64)).wrapping_add(lane.wrapping_mul(STEP))))
    }

    /// The number at a position.
    #[inline]
    pub(crate) fn at(self, position: u64) -> u64 {
        mix(self.0.wrapping_add(position.wrapping_add(1).wrapping_mul(STEP)))
    }

    /// The number at a position, from 0 to `below` - 1.
    #[inline]
    pub(crate) fn below(self, position: u64, below: u64) -> u64 {
        ((u128::from(self.at(position)) * u128::from(below)) >> 64) as u64
    }
}

#[inline]
fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_splitmix64() {
        // The first numbers of the reference implementation for the state 1234567.
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([0, 1, 2].map(|position| Random(1_234_567).at(position)), expected);
    }

    #[test]
    fn rows_differ_and_are_even() {
        let rows = [(1, Purpose::Fate, 0), (2, Purpose::Fate, 0), (1, Purpose::Jitter, 0), (1, Purpose::Fate, 1)];
        let rows = rows.map(|(seed, purpose, lane)| Random::new(seed, purpose, lane));
        for (at, row) in rows.iter().enumerate() {
            assert!(rows[..at].iter().all(|other| other.at(7) != row.at(7)));
            let below = (0..100_000).filter(|position| row.below(*position, 100) == 0).count();
            assert!((850..1150).contains(&below), "{below} of 100,000 at one in a hundred");
        }
    }
}
