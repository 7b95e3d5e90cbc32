//! What every distribution of the drops agrees on.

use super::cause::{LossCause, Losses};
use super::drops::Drops;

/// The losses of one leg between two readings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Claim {
    /// Sequence numbers.
    pub(super) missing: u64,
    /// Datagrams that the leg sent so far, and the sequence numbers in them.
    pub(super) datagrams: u64,
    pub(super) messages: u64,
    /// The most sequence numbers that a datagram holds.
    pub(super) largest: u64,
}

impl Claim {
    /// About how many datagrams held what is missing.
    pub(super) fn lost_datagrams(&self) -> u64 {
        if self.missing == 0 {
            return 0;
        }
        scaled(self.missing, self.datagrams, self.messages).clamp(1, self.missing)
    }

    /// About how many sequence numbers these datagrams held.
    fn messages_in(&self, datagrams: u64) -> u64 {
        if datagrams >= self.lost_datagrams() {
            return self.missing;
        }
        scaled(datagrams, self.messages, self.datagrams).max(datagrams).min(self.missing)
    }

    /// The cause of each loss. `all` are the lost datagrams of all claims on the same drops.
    pub(super) fn judge(&self, drops: &Drops, all: u64) -> Losses {
        let mut losses = Losses::default();
        let others = all - self.lost_datagrams();
        // Drops that were none of the losses.
        let excess = drops.all_sure().saturating_sub(all);
        let local = drops.all().saturating_mul(self.largest.max(1)).min(self.missing);
        let mut left = local;
        for cause in LossCause::LOCAL {
            let datagrams = drops.sure(cause).saturating_sub(excess).saturating_sub(others);
            let part = self.messages_in(datagrams).min(left);
            losses.add(cause, part);
            left -= part;
        }
        losses.add(LossCause::Unknown, left);
        losses.add(LossCause::Network, self.missing - local);
        losses
    }
}

/// The causes of `missing` sequence numbers that no leg had. `legs` are the recent losses of each leg. `open` is how
/// many more the drops hold that no leg has claimed.
pub(super) fn combine(missing: u64, legs: &[Losses], open: u64) -> Losses {
    let mut losses = Losses::default();
    let mut left = missing;
    for cause in LossCause::LOCAL.into_iter().rev() {
        // On each leg, all its other losses may have been filled by another leg. Which sequence numbers of one leg are
        // those of another is not known, so the legs do not add up.
        let sure = legs.iter().map(|leg| leg.count(cause).saturating_sub(leg.total().saturating_sub(missing)));
        let part = sure.max().unwrap_or(0).min(left);
        losses.add(cause, part);
        left -= part;
    }
    // A leg that lost fewer did not reach this host with the rest, unless a drop was not noticed yet.
    let not_network = |leg: &Losses| {
        let lost = leg.total();
        lost - leg.count(LossCause::Network) + missing.saturating_sub(lost).min(open)
    };
    let local = legs.iter().map(not_network).fold(0, u64::saturating_add).min(missing);
    let network = (missing - local).min(left);
    losses.add(LossCause::Network, network);
    losses.add(LossCause::Unknown, left - network);
    losses
}

/// What is left of a leg's recent losses after `missing` of them were found on no other leg either.
pub(super) fn rest(recent: &Losses, missing: u64) -> Losses {
    let mut rest = Losses::default();
    let mut left = recent.total().saturating_sub(missing);
    for (cause, count) in recent.iter() {
        let part = count.saturating_sub(missing).min(left);
        rest.add(cause, part);
        left -= part;
    }
    rest.add(LossCause::Unknown, left);
    rest
}

/// `value * by / of`, rounded; `value` if there is nothing to scale by.
fn scaled(value: u64, by: u64, of: u64) -> u64 {
    if by == 0 || of == 0 {
        return value;
    }
    let (value, by, of) = (u128::from(value), u128::from(by), u128::from(of));
    u64::try_from((value * by + of / 2) / of).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(missing: u64) -> Claim {
        Claim { missing, datagrams: 1, messages: 1, largest: 1 }
    }

    fn counts(losses: &Losses) -> [u64; LossCause::COUNT] {
        LossCause::ALL.map(|cause| losses.count(cause))
    }

    fn ring(count: u64) -> Drops {
        Drops::default().with(LossCause::Ring, count, 0)
    }

    #[test]
    fn a_counter_explains_at_most_what_it_counted() {
        let judge = |drops: Drops| counts(&single(10).judge(&drops, 10));
        assert_eq!(judge(Drops::default()), [10, 0, 0, 0, 0, 0]);
        assert_eq!(judge(ring(4)), [6, 0, 4, 0, 0, 0]);
        assert_eq!(judge(ring(10)), [0, 0, 10, 0, 0, 0]);
        assert_eq!(judge(ring(13)), [0, 0, 10, 0, 0, 0], "three were none of the losses");
        assert_eq!(judge(ring(4).with(LossCause::Socket, 6, 0)), [0, 0, 4, 6, 0, 0]);
        let both = ring(8).with(LossCause::Socket, 8, 0);
        assert_eq!(judge(both), [0, 0, 2, 2, 0, 6], "at least two each, and six of one or the other");
    }

    #[test]
    fn drops_of_others_prove_nothing() {
        let judge = |drops: Drops| counts(&single(10).judge(&drops, 10));
        assert_eq!(judge(Drops::default().with(LossCause::Nic, 0, 4)), [6, 0, 0, 0, 0, 4]);
        assert_eq!(judge(ring(5).with(LossCause::Nic, 0, 50)), [0, 0, 5, 0, 0, 5]);
    }

    #[test]
    fn legs_share_the_counters() {
        let judge = |missing, drops: Drops, all| counts(&single(missing).judge(&drops, all));
        assert_eq!(judge(10, ring(20), 20), [0, 0, 10, 0, 0, 0], "enough for both");
        assert_eq!(judge(10, ring(10), 20), [0, 0, 0, 0, 0, 10], "of one leg, or of the other");
        assert_eq!(judge(10, ring(12), 15), [0, 0, 7, 0, 0, 3], "at most five are the other's");
    }

    #[test]
    fn datagrams_hold_several_sequence_numbers() {
        let judge = |missing, drops: u64, largest| {
            let claim = Claim { missing, datagrams: 100, messages: 500, largest };
            counts(&claim.judge(&ring(drops), claim.lost_datagrams()))
        };
        assert_eq!(judge(50, 10, 5), [0, 0, 50, 0, 0, 0]);
        assert_eq!(judge(50, 4, 5), [30, 0, 20, 0, 0, 0]);
        assert_eq!(judge(73, 10, 10), [0, 0, 50, 0, 0, 23], "ten datagrams hold 50 on average, and 73 is possible");
        assert_eq!(judge(120, 10, 10), [20, 0, 50, 0, 0, 50]);
        assert_eq!(judge(2, 1, 5), [0, 0, 2, 0, 0, 0], "a small datagram");
    }

    #[test]
    fn a_feed_misses_what_every_leg_lost() {
        let leg = |of: &[(LossCause, u64)]| {
            let mut losses = Losses::default();
            of.iter().for_each(|&(cause, count)| losses.add(cause, count));
            losses
        };
        use LossCause::{Network, Ring, Socket, Unknown};
        let of = |missing, legs: &[Losses], open| counts(&combine(missing, legs, open));
        let (ring, network) = (leg(&[(Ring, 10)]), leg(&[(Network, 10)]));
        assert_eq!(of(10, &[network, network], 0), [10, 0, 0, 0, 0, 0]);
        assert_eq!(of(10, &[ring, network], 0), [0, 0, 10, 0, 0, 0], "one copy reached this host");
        assert_eq!(of(10, &[ring, leg(&[(Socket, 10)])], 0), [0, 0, 0, 10, 0, 0], "the one nearest to the end");
        assert_eq!(of(4, &[leg(&[(Ring, 3), (Network, 2)]), network], 0), [1, 0, 2, 0, 0, 1]);
        assert_eq!(of(10, &[leg(&[(Unknown, 4), (Network, 6)]), network], 0), [6, 0, 0, 0, 0, 4]);
        assert_eq!(of(10, &[ring, Losses::default()], 0), [0, 0, 10, 0, 0, 0], "a dead leg");
        assert_eq!(of(10, &[network, Losses::default()], 3), [7, 0, 0, 0, 0, 3], "a leg that has not noticed yet");
        assert_eq!(of(10, &[], 0), [10, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_remains_of_a_leg_is_what_must_remain() {
        let mut recent = Losses::default();
        recent.add(LossCause::Ring, 10);
        recent.add(LossCause::Network, 3);
        assert_eq!(counts(&rest(&recent, 4)), [0, 0, 6, 0, 0, 3]);
        assert_eq!(counts(&rest(&recent, 20)), [0; 6]);
        assert_eq!(counts(&rest(&recent, 0)), [3, 0, 10, 0, 0, 0]);
    }
}
