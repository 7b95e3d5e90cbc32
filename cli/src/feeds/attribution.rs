//! Gives each sequence number that the feeds miss a cause, by readings of the ledger around the loss.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use receiver::Ledger;
use receiver_feed::attribution::{Attribution, Drops, FeedLosses, LossCause, Losses, Patience};

use super::causes::{Meaning, meaning};
use super::report::FeedReport;

/// A reading follows the one before after this time or later.
const SHORTEST: Duration = Duration::from_millis(50);
/// The longest time without a reading. The last one before a loss is the one that it is compared with.
const LONGEST: Duration = Duration::from_millis(500);
/// A reading takes at most this part of the time.
const COST: u32 = 50;

/// Compares what the feeds of a run lost with what the ledger counts.
pub struct Attributor {
    attribution: Attribution,
    start: Instant,
    window_ns: u64,
    /// The latest reading.
    before: Counts,
    losses: Vec<FeedLosses>,
}

impl Default for Attributor {
    fn default() -> Self {
        let attribution = Attribution::new(Patience::default());
        Self { attribution, start: Instant::now(), window_ns: 0, before: Counts::default(), losses: Vec::new() }
    }
}

impl Attributor {
    /// Adds a feed that declares a gap up to `window_ns` after a leg has noticed its loss. To be called before the
    /// first reading.
    pub fn add(&mut self, window_ns: u64) {
        self.window_ns = self.window_ns.max(window_ns);
        let default = Patience::default();
        let gap_ns = default.gap_ns.saturating_add(self.window_ns);
        self.attribution = Attribution::new(Patience { gap_ns, ..default });
    }

    /// Returns true if the feeds lost something, or something came late, since the latest reading.
    pub fn is_news(&self, losses: &[FeedLosses]) -> bool {
        let missing = |feed: &FeedLosses| (feed.missing, feed.legs.iter().map(|leg| leg.missing).sum::<u64>());
        !losses.iter().map(missing).eq(self.losses.iter().map(missing))
    }

    /// Takes a reading. The losses were read before the ledger, so that the ledger has each drop that led to them. The
    /// number of the legs' `datagrams` was read after it, so that it has each one that the ledger has as delivered.
    pub fn observe(&mut self, losses: Vec<FeedLosses>, ledger: &Ledger, datagrams: u64) {
        let mut now = Counts::of(ledger, datagrams);
        let drops = now.drops_since(&self.before);
        self.attribution.observe(self.start.elapsed().as_nanos() as u64, &drops, &losses);
        (self.before, self.losses) = (now, losses);
    }

    /// Fills in the causes of a feed's report. `not_kept` sequence numbers were seen by the feed, and lost because the
    /// run holds as many copies as it may. What was lost since the latest reading has no cause yet.
    pub fn fill(&self, feed: usize, not_kept: u64, report: &mut FeedReport) {
        let losses = self.attribution.feed(feed).fitted(report.total.missing - not_kept);
        report.missing_by = by_name(losses, not_kept);
        for (number, leg) in report.legs.iter_mut().enumerate() {
            leg.missing_by = by_name(self.attribution.leg(feed, number).fitted(leg.missing), 0);
        }
    }
}

/// Each cause that there is, and the number of losses.
fn by_name(losses: Losses, not_kept: u64) -> BTreeMap<Cow<'static, str>, u64> {
    let more = |cause| if cause == LossCause::Consumer { not_kept } else { 0 };
    let all = losses.iter().map(|(cause, count)| (cause.name().into(), count + more(cause)));
    all.filter(|(_, count)| *count > 0).collect()
}

/// When the next reading is due.
#[derive(Clone, Copy)]
pub struct Pace {
    read: Instant,
    pause: Duration,
}

impl Pace {
    /// Of a run that begins now.
    pub fn new() -> Self {
        Self { read: Instant::now(), pause: SHORTEST }
    }

    /// How long to wait until the feeds are looked at.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Returns true if the ledger is to be read although nothing was lost.
    pub fn is_due(&self) -> bool {
        self.read.elapsed() >= LONGEST
    }

    /// A look began at `began`, and is over. `read` if it has read the ledger.
    pub fn looked(&mut self, began: Instant, read: bool) {
        let now = Instant::now();
        self.pause = ((now - began) * COST).clamp(SHORTEST, LONGEST);
        if read {
            self.read = now;
        }
    }
}

/// Counts of a ledger, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    ring: u64,
    socket: u64,
    consumer: u64,
    possible: u64,
    /// Datagrams that `socket` may have counted although the buffer was not full.
    damaged: u64,
    /// All that the interface has dropped.
    interface: u64,
    /// What XDP has dropped without a loss. Some drivers count it in `interface`, as they count what the ring refused.
    filtered: u64,
    /// The most that the interface has dropped beyond that.
    interface_alone: u64,
    /// The driver does not count in `interface` what XDP dropped and the ring refused, and not what the ring refused.
    apart: [bool; 2],
    frames: u64,
    delivered: u64,
    /// Datagrams of the feeds' legs.
    legs: u64,
    /// Delivered datagrams of other subscriptions.
    others: u64,
}

impl Counts {
    fn of(ledger: &Ledger, legs: u64) -> Self {
        let mut counts = Self { legs, ..Self::default() };
        for (cause, count) in ledger.causes() {
            let sum = match meaning(cause) {
                Meaning::Dropped(LossCause::Ring) => &mut counts.ring,
                Meaning::Dropped(LossCause::Socket) | Meaning::SocketOrDamaged => &mut counts.socket,
                Meaning::Dropped(LossCause::Consumer) => &mut counts.consumer,
                Meaning::Dropped(_) | Meaning::Possible => &mut counts.possible,
                Meaning::Damaged => &mut counts.damaged,
                Meaning::Interface => &mut counts.interface,
                Meaning::Frames => &mut counts.frames,
                Meaning::Delivered => &mut counts.delivered,
                Meaning::Filtered => &mut counts.filtered,
                Meaning::Nothing => continue,
            };
            *sum += count;
        }
        counts
    }

    /// The drops since an earlier reading. Sets what is known of the interface.
    fn drops_since(&mut self, before: &Self) -> Drops {
        let since = |now: u64, before: u64| now.saturating_sub(before);
        self.others = self.delivered.saturating_sub(self.legs).max(before.others);
        let (legs, others) = (since(self.legs, before.legs), since(self.others, before.others));
        let socket = since(self.socket, before.socket);
        let damaged = since(self.damaged, before.damaged).min(socket);
        let possible = since(self.possible, before.possible) + damaged;
        let local = [
            (LossCause::Ring, since(self.ring, before.ring), others),
            (LossCause::Socket, socket - damaged, others),
            (LossCause::Consumer, since(self.consumer, before.consumer), others),
        ];
        let drops = Drops::default().with(LossCause::Unknown, 0, possible);
        let drops = local.into_iter().fold(drops, |drops, (cause, count, others)| {
            let own = share(count, legs, others);
            drops.with(cause, own, count - own)
        });
        let (nic, possible) = self.interface_since(before);
        // All that came since the start, as datagrams in rings and buffers have been counted in one of the two only.
        let foreign = self.frames.saturating_sub(self.legs + self.ring + self.socket);
        let own = share(nic, self.legs, foreign);
        drops.with(LossCause::Nic, own, nic - own + possible)
    }

    /// What the interface dropped since an earlier reading, for sure and possibly.
    ///
    /// Some drivers count in it what XDP dropped, others what the ring refused, others neither. A driver that does has
    /// always counted at least that, since the interface's counters are read last. Once it has counted less, it does
    /// not.
    fn interface_since(&mut self, before: &Self) -> (u64, u64) {
        self.apart = before.apart;
        let Some(dropped) = self.interface.checked_sub(before.interface) else {
            // The interface was made again, and counts anew.
            self.interface_alone = 0;
            return (0, self.interface);
        };
        let all = [(self.ring + self.filtered, before.ring + before.filtered), (self.ring, before.ring)];
        for ((now, _), apart) in all.iter().zip(&mut self.apart) {
            *apart |= self.interface < *now;
        }
        let twice = all.iter().zip(self.apart).find(|((now, _), apart)| *now > 0 && !apart);
        let (now, then) = twice.map(|(counts, _)| *counts).unwrap_or_default();
        let alone = self.interface.saturating_sub(now);
        self.interface_alone = alone.max(before.interface_alone);
        let more = alone.saturating_sub(before.interface_alone).min(dropped);
        match now.saturating_sub(then) {
            0 => (more, 0),
            // The same frames, unless by chance.
            twice if twice == dropped => (0, 0),
            // The counters were read one after another, while XDP dropped most of what came.
            twice if now > self.ring && more < twice => (0, more),
            _ => (0, dropped),
        }
    }
}

/// The part of `count` that falls on the legs, if they and the others had the same part of all datagrams dropped.
fn share(count: u64, legs: u64, others: u64) -> u64 {
    match legs.saturating_add(others) {
        0 => count,
        _ if others == 0 => count,
        all => ((u128::from(count) * u128::from(legs) + u128::from(all) / 2) / u128::from(all)) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feeds::report::LegReport;

    /// Sure drops at the interface, ring, socket and consumer, and possible ones.
    fn drops(before: Counts, mut now: Counts) -> ([u64; 4], u64) {
        let drops = now.drops_since(&before);
        (LossCause::LOCAL.map(|cause| drops.sure(cause)), drops.possible())
    }

    #[test]
    fn each_counter_is_evidence_of_its_place() {
        let before = Counts { legs: 100, delivered: 100, frames: 100, ..Counts::default() };
        let busy = Counts { legs: 200, delivered: 200, frames: 200, ..Counts::default() };
        assert_eq!(drops(before, Counts { ring: 5, ..busy }), ([0, 5, 0, 0], 0));
        assert_eq!(drops(before, Counts { socket: 5, ..busy }), ([0, 0, 5, 0], 0));
        assert_eq!(drops(before, Counts { consumer: 5, ..busy }), ([0, 0, 0, 5], 0));
        assert_eq!(drops(before, Counts { interface: 5, ..busy }), ([5, 0, 0, 0], 0));
        assert_eq!(drops(before, Counts { possible: 5, ..busy }), ([0, 0, 0, 0], 5));
        assert_eq!(drops(before, Counts { socket: 5, damaged: 2, ..busy }), ([0, 0, 3, 0], 2));
        assert_eq!(drops(before, Counts { damaged: 2, ..busy }), ([0, 0, 0, 0], 0), "sockets of others");
    }

    #[test]
    fn others_have_their_share() {
        let before = Counts::default();
        let busy = Counts { legs: 100, delivered: 400, frames: 1020, ..Counts::default() };
        assert_eq!(drops(before, Counts { ring: 20, ..busy }), ([0, 5, 0, 0], 15));
        assert_eq!(drops(before, Counts { interface: 20, frames: 1000, ..busy }), ([2, 0, 0, 0], 18));
        assert_eq!(drops(before, Counts { interface: 20, frames: 90, ..busy }), ([20, 0, 0, 0], 0), "not all counted");
        assert_eq!(drops(before, Counts { ring: 20, ..Counts::default() }), ([0, 20, 0, 0], 0), "nothing came");
    }

    #[test]
    fn what_xdp_drops_is_no_loss_of_the_interface() {
        let before = Counts { filtered: 1000, ring: 10, interface: 1010, ..Counts::default() };
        let now = |filtered, ring, interface| Counts { filtered, ring, interface, ..before };
        assert_eq!(drops(before, now(1500, 10, 1510)), ([0; 4], 0), "a driver that counts all of it");
        assert_eq!(drops(before, now(1500, 10, 1517)), ([0; 4], 7));
        assert_eq!(drops(before, now(1500, 30, 1530)), ([0, 20, 0, 0], 0));
        assert_eq!(drops(before, now(1500, 10, 5000)), ([0; 4], 3990), "hardly all of it");
        let before = Counts { filtered: 1000, ring: 10, interface: 10, ..Counts::default() };
        let now = |ring, interface| Counts { filtered: 2000, ring, interface, ..before };
        assert_eq!(drops(before, now(30, 30)), ([0, 20, 0, 0], 0), "a driver that counts what the ring refused");
        assert_eq!(drops(before, now(10, 15)), ([5, 0, 0, 0], 0));
        assert_eq!(drops(before, now(30, 35)), ([0, 20, 0, 0], 25));
        let before = Counts { filtered: 1000, ring: 10, ..Counts::default() };
        let now = |ring, interface| Counts { filtered: 2000, ring, interface, ..before };
        assert_eq!(drops(before, now(30, 7)), ([7, 20, 0, 0], 0), "a driver that counts neither");
        let before = Counts { apart: [true; 2], ..before };
        assert_eq!(drops(before, now(30, 5000)), ([5000, 20, 0, 0], 0), "as is known from then on");
    }

    #[test]
    fn an_interface_that_was_made_again_counts_anew() {
        let before = Counts { interface: 50, interface_alone: 50, ..Counts::default() };
        assert_eq!(drops(before, Counts { interface: 3, ..Counts::default() }), ([0; 4], 3));
    }

    #[test]
    fn losses_are_compared_with_the_ledger() {
        let losses = |missing| {
            let leg = receiver_feed::attribution::LegLosses { missing, messages: 90, datagrams: 90 };
            vec![FeedLosses { missing, largest_datagram: 1, legs: vec![leg] }]
        };
        let mut attributor = Attributor::default();
        attributor.add(0);
        assert!(attributor.is_news(&losses(0)), "a feed is");
        attributor.observe(losses(0), &Ledger::default(), 90);
        assert!(!attributor.is_news(&losses(0)) && attributor.is_news(&losses(1)));
        attributor.observe(losses(5), &Ledger::default(), 90);
        let mut report = FeedReport::default();
        report.legs.push(LegReport { missing: 7, ..LegReport::default() });
        report.total.missing = 8;
        attributor.fill(0, 3, &mut report);
        let by = |causes: &[(&'static str, u64)]| causes.iter().map(|&(name, count)| (name.into(), count)).collect();
        let expected: [BTreeMap<Cow<'static, str>, u64>; 2] =
            [by(&[("consumer", 3), ("network", 5)]), by(&[("network", 5), ("unknown", 2)])];
        assert_eq!([report.missing_by, report.legs.remove(0).missing_by], expected);
    }
}
