//! Datagrams that this host dropped.

use super::cause::LossCause;

const LOCAL: usize = LossCause::LOCAL.len();

/// Datagrams that were dropped between two readings of the counters, by the place where it happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    sure: [u64; LOCAL],
    possible: u64,
}

impl Drops {
    /// Adds drops at a local cause: `sure` are datagrams of the feeds, `possible` may be others. The network drops
    /// nothing that this host could count, so drops there and at an unknown place are possible ones at most.
    #[must_use]
    pub fn with(mut self, cause: LossCause, sure: u64, possible: u64) -> Self {
        match LossCause::LOCAL.iter().position(|local| *local == cause) {
            Some(at) => self.sure[at] += sure,
            None => self.possible += sure,
        }
        self.possible += possible;
        self
    }

    /// Drops of the feeds' datagrams there.
    #[must_use]
    pub fn sure(&self, cause: LossCause) -> u64 {
        LossCause::LOCAL.iter().zip(self.sure).find(|(local, _)| **local == cause).map_or(0, |(_, sure)| sure)
    }

    /// Drops that may have been others'.
    #[must_use]
    pub fn possible(&self) -> u64 {
        self.possible
    }

    /// Drops of the feeds' datagrams, everywhere.
    pub(super) fn all_sure(&self) -> u64 {
        self.sure.iter().sum()
    }

    /// All drops.
    pub(super) fn all(&self) -> u64 {
        self.all_sure() + self.possible
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all() == 0
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (sum, more) in self.sure.iter_mut().zip(other.sure) {
            *sum += more;
        }
        self.possible += other.possible;
    }

    /// The part of it that `claimed` lost datagrams use up. The sure ones go first, each place in its proportion.
    pub(super) fn used(&self, claimed: u64) -> Self {
        let sure = self.all_sure();
        if claimed >= sure {
            return Self { sure: self.sure, possible: self.possible.min(claimed - sure) };
        }
        // Rounded so that the parts add up: each is the difference of two shares of the running sum.
        let share = |of: u64| (u128::from(of) * u128::from(claimed) / u128::from(sure)) as u64;
        let mut running = 0;
        let sure = self.sure.map(|count| {
            let before = share(running);
            running += count;
            share(running) - before
        });
        Self { sure, possible: 0 }
    }

    /// Removes up to what `used` has left, from both.
    pub(super) fn settle(&mut self, used: &mut Self) {
        for (own, used) in self.sure.iter_mut().zip(&mut used.sure) {
            let part = (*own).min(*used);
            *own -= part;
            *used -= part;
        }
        let part = self.possible.min(used.possible);
        self.possible -= part;
        used.possible -= part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_use_up_the_sure_ones_first() {
        let drops = Drops::default().with(LossCause::Nic, 3, 0).with(LossCause::Ring, 7, 5);
        for claimed in 0..20 {
            let used = drops.used(claimed);
            assert_eq!((used.all_sure(), used.possible()), (claimed.min(10), claimed.saturating_sub(10).min(5)));
            let (mut left, mut rest) = (drops, used);
            left.settle(&mut rest);
            assert!(rest.is_empty());
            assert_eq!(left.all(), 15 - claimed.min(15));
        }
        assert_eq!(drops.used(5).sure(LossCause::Ring), 4);
    }

    #[test]
    fn the_network_is_no_place_of_this_host() {
        let drops = Drops::default().with(LossCause::Network, 3, 1).with(LossCause::Unknown, 2, 0);
        assert_eq!((drops.all_sure(), drops.possible(), drops.sure(LossCause::Network)), (0, 6, 0));
    }
}
