//! Compares losses and drops, reading by reading.

use super::bounds::{Claim, combine, rest};
use super::cause::Losses;
use super::drops::Drops;
use super::recent::Recent;

/// For how long drops and losses wait for their counterpart. All times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For how long a drop waits until a leg's loss is noticed: the time that datagrams spend in rings and buffers.
    pub drop_ns: u64,
    /// For how long a leg's loss waits until the feed declares a gap: the arbiter's window.
    pub gap_ns: u64,
}

impl Default for Patience {
    /// One second, and 100 ms.
    fn default() -> Self {
        Self { drop_ns: 1_000_000_000, gap_ns: 100_000_000 }
    }
}

/// The counts of one leg of a feed, over all streams, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LegLosses {
    /// Sequence numbers that the leg lost, without those that came late.
    pub missing: u64,
    /// Sequence numbers that arrived.
    pub messages: u64,
    /// The datagrams that they arrived in.
    pub datagrams: u64,
}

/// The counts of a feed, over all streams, since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedLosses {
    /// Sequence numbers that no leg had, without those that came late.
    pub missing: u64,
    /// The most sequence numbers that one datagram held so far.
    pub largest_datagram: u64,
    /// The legs, always in the same order.
    pub legs: Vec<LegLosses>,
}

/// Attributes the losses of all feeds that share this host's counters. The module has the rules.
#[derive(Clone, Debug, Default)]
pub struct Attribution {
    patience: Patience,
    feeds: Vec<Feed>,
    /// Drops that nothing has claimed.
    open: Recent<Drops>,
}

#[derive(Clone, Debug, Default)]
struct Feed {
    losses: Losses,
    legs: Vec<Leg>,
}

#[derive(Clone, Debug, Default)]
struct Leg {
    losses: Losses,
    /// Losses that may yet turn out to be the feed's.
    recent: Recent<Losses>,
}

impl Attribution {
    /// Nothing is lost yet.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self { patience, ..Self::default() }
    }

    /// Takes a reading: the drops since the reading before, and the counts of all feeds since the start. The feeds are
    /// those of the reading before, and perhaps more.
    pub fn observe(&mut self, now_ns: u64, drops: &Drops, feeds: &[FeedLosses]) {
        self.open.age(now_ns, self.patience.drop_ns);
        if !drops.is_empty() {
            self.open.push(now_ns, *drops);
        }
        self.feeds.resize_with(feeds.len().max(self.feeds.len()), Feed::default);
        let claims: Vec<Vec<Claim>> = self.feeds.iter_mut().zip(feeds).map(|(feed, now)| feed.claims(now)).collect();
        let all = claims.iter().flatten().map(Claim::lost_datagrams).sum();
        let open = self.open_drops();
        for (feed, claims) in self.feeds.iter_mut().zip(&claims) {
            for (leg, claim) in feed.legs.iter_mut().zip(claims) {
                leg.recent.age(now_ns, self.patience.gap_ns);
                if claim.missing > 0 {
                    let losses = claim.judge(&open, all);
                    leg.losses.add_all(&losses);
                    leg.recent.push(now_ns, losses);
                }
            }
        }
        let mut used = open.used(all);
        self.open.retain(|drops| {
            drops.settle(&mut used);
            !drops.is_empty()
        });
        let open = self.open_drops().all();
        for (feed, now) in self.feeds.iter_mut().zip(feeds) {
            feed.combine(now, open.saturating_mul(now.largest_datagram.max(1)));
        }
    }

    /// The losses of a feed by cause. Their sum is the `missing` of the latest reading.
    #[must_use]
    pub fn feed(&self, feed: usize) -> Losses {
        self.feeds.get(feed).map(|feed| feed.losses).unwrap_or_default()
    }

    /// The losses of a leg by cause. Their sum is the `missing` of the latest reading.
    #[must_use]
    pub fn leg(&self, feed: usize, leg: usize) -> Losses {
        self.feeds.get(feed).and_then(|feed| feed.legs.get(leg)).map(|leg| leg.losses).unwrap_or_default()
    }

    fn open_drops(&self) -> Drops {
        self.open.values().fold(Drops::default(), |mut sum, drops| {
            sum.add(drops);
            sum
        })
    }
}

impl Feed {
    /// What each leg lost since the reading before. What came late is taken back.
    fn claims(&mut self, now: &FeedLosses) -> Vec<Claim> {
        self.legs.resize_with(now.legs.len().max(self.legs.len()), Leg::default);
        let legs = self.legs.iter_mut().zip(&now.legs);
        let claims = legs.map(|(leg, now_leg)| {
            let before = leg.losses.total();
            if let Some(late) = before.checked_sub(now_leg.missing) {
                leg.take_back(late);
            }
            Claim {
                missing: now_leg.missing.saturating_sub(before),
                datagrams: now_leg.datagrams,
                messages: now_leg.messages,
                largest: now.largest_datagram,
            }
        });
        claims.collect()
    }

    /// What the feed lost since the reading before.
    fn combine(&mut self, now: &FeedLosses, open: u64) {
        let before = self.losses.total();
        if before >= now.missing {
            return self.losses.take_back(before - now.missing);
        }
        let missing = now.missing - before;
        let recent: Vec<Losses> = self.legs.iter().map(Leg::recent_losses).collect();
        self.losses.add_all(&combine(missing, &recent, open));
        for (leg, recent) in self.legs.iter_mut().zip(&recent) {
            match rest(recent, missing) {
                rest if rest.total() == 0 => leg.recent.clear(),
                rest => leg.recent.replace(rest),
            }
        }
    }
}

impl Leg {
    fn recent_losses(&self) -> Losses {
        self.recent.values().fold(Losses::default(), |mut sum, losses| {
            sum.add_all(losses);
            sum
        })
    }

    fn take_back(&mut self, late: u64) {
        if late == 0 {
            return;
        }
        self.losses.take_back(late);
        let mut recent = self.recent_losses();
        recent.take_back(late);
        self.recent.replace(recent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::LossCause;

    const MS: u64 = 1_000_000;

    fn leg(missing: u64) -> LegLosses {
        LegLosses { missing, messages: 1000, datagrams: 1000 }
    }

    fn feed(missing: u64, legs: &[u64]) -> FeedLosses {
        FeedLosses { missing, largest_datagram: 1, legs: legs.iter().map(|&missing| leg(missing)).collect() }
    }

    fn ring(count: u64) -> Drops {
        Drops::default().with(LossCause::Ring, count, 0)
    }

    fn counts(losses: Losses) -> [u64; LossCause::COUNT] {
        LossCause::ALL.map(|cause| losses.count(cause))
    }

    #[test]
    fn a_drop_waits_for_its_loss_but_not_for_ever() {
        let mut attribution = Attribution::new(Patience::default());
        attribution.observe(0, &ring(5), &[feed(0, &[0])]);
        attribution.observe(300 * MS, &Drops::default(), &[feed(3, &[3])]);
        assert_eq!(counts(attribution.feed(0)), [0, 0, 3, 0, 0, 0]);
        for at in 4..20 {
            attribution.observe(at * 100 * MS, &Drops::default(), &[feed(3, &[3])]);
        }
        attribution.observe(2000 * MS, &Drops::default(), &[feed(5, &[5])]);
        assert_eq!(counts(attribution.feed(0)), [2, 0, 3, 0, 0, 0], "the other two were nobody's");
    }

    #[test]
    fn a_gap_is_declared_after_its_legs_noticed() {
        let mut attribution = Attribution::new(Patience::default());
        attribution.observe(0, &ring(10), &[feed(0, &[10, 0])]);
        attribution.observe(20 * MS, &Drops::default(), &[feed(0, &[10, 10])]);
        attribution.observe(40 * MS, &Drops::default(), &[feed(10, &[10, 10])]);
        assert_eq!(counts(attribution.feed(0)), [0, 0, 10, 0, 0, 0]);
        assert_eq!(counts(attribution.leg(0, 0)), [0, 0, 10, 0, 0, 0]);
        assert_eq!(counts(attribution.leg(0, 1)), [10, 0, 0, 0, 0, 0]);
        // The next gap has causes of its own.
        attribution.observe(60 * MS, &Drops::default(), &[feed(14, &[14, 14])]);
        assert_eq!(counts(attribution.feed(0)), [4, 0, 10, 0, 0, 0]);
    }

    #[test]
    fn a_late_fill_is_taken_back_from_the_network() {
        let mut attribution = Attribution::new(Patience::default());
        attribution.observe(0, &ring(4), &[feed(10, &[10])]);
        attribution.observe(MS, &Drops::default(), &[feed(7, &[7])]);
        assert_eq!(counts(attribution.feed(0)), [3, 0, 4, 0, 0, 0]);
        assert_eq!(counts(attribution.leg(0, 0)), [3, 0, 4, 0, 0, 0]);
    }

    #[test]
    fn feeds_share_the_drops() {
        let mut attribution = Attribution::new(Patience::default());
        attribution.observe(0, &ring(5), &[feed(5, &[5]), feed(5, &[5])]);
        assert_eq!(counts(attribution.feed(0)), [0, 0, 0, 0, 0, 5]);
        assert_eq!(counts(attribution.feed(1)), [0, 0, 0, 0, 0, 5]);
        assert_eq!(attribution.feed(9).total() + attribution.leg(0, 9).total(), 0);
    }
}
