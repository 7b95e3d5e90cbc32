//! The feeds of a run, which the receiving threads share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use receiver::{Datagram, Ledger, Subscription, SubscriptionId};
use receiver_feed::attribution::FeedLosses;

use super::attribution::Attributor;
use super::clock::FeedClock;
use super::feed::{Feed, Times};
use super::repair::Answers;
use super::report::FeedReport;
use super::request::FeedRequest;

pub use super::feed::Leg;

/// All feeds of a run.
#[derive(Default)]
pub struct Feeds {
    feeds: Vec<Feed>,
    /// The leg that a subscription is, by the number of its id.
    places: Vec<Option<Place>>,
    clock: FeedClock,
    attributor: Attributor,
    /// When each feed has to be polled.
    deadlines: Vec<u64>,
    /// The subscription of each feed's first leg.
    first_legs: Vec<SubscriptionId>,
    is_over: bool,
}

/// The subscriptions of a feed.
pub struct Members {
    /// Those that are legs; at least one.
    pub legs: Vec<(SubscriptionId, Leg)>,
    /// Those that carry parity.
    pub parity: Vec<SubscriptionId>,
}

/// A place that is no leg: parity.
const PARITY: u8 = u8::MAX;

/// A leg of one of the feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    feed: u32,
    leg: u8,
}

impl Feeds {
    /// Adds a feed of these subscriptions. None of them is one of another feed.
    ///
    /// # Errors
    /// The re-request server cannot be reached.
    pub fn add(&mut self, request: &FeedRequest, members: Members) -> anyhow::Result<()> {
        let feed = self.feeds.len() as u32;
        let (ids, legs): (Vec<_>, Vec<_>) = members.legs.into_iter().unzip();
        self.first_legs.push(ids[0]);
        for id in members.parity {
            self.set(id, Place { feed, leg: PARITY });
        }
        for (leg, id) in ids.into_iter().enumerate() {
            self.set(id, Place { feed, leg: leg as u8 });
        }
        self.feeds.push(Feed::new(request, legs)?);
        self.attributor.add(request.window_ns());
        self.deadlines.push(u64::MAX);
        Ok(())
    }

    fn set(&mut self, id: SubscriptionId, place: Place) {
        let number = id.number() as usize;
        if self.places.len() <= number {
            self.places.resize(number + 1, None);
        }
        self.places[number] = Some(place);
    }

    /// The leg that a subscription is, if it is one.
    #[inline]
    pub fn place(&self, id: SubscriptionId) -> Option<Place> {
        self.places.get(id.number() as usize).copied().flatten()
    }

    /// A subscription was joined while the run goes on. If it is a leg that was left, it takes its place again.
    pub fn joined(&mut self, id: SubscriptionId, name: Option<&str>, subscription: &Subscription) {
        for (number, feed) in self.feeds.iter_mut().enumerate() {
            if let Some(leg) = feed.leg_of(name, subscription) {
                feed.rejoin(leg, subscription);
                tracing::info!("feed {}: {subscription} is leg {} again", feed.name(), name.unwrap_or("of it"));
                return self.set(id, Place { feed: number as u32, leg: leg as u8 });
            }
        }
    }

    /// Takes a datagram of a leg, and gives the consumer what is in order now.
    #[inline]
    pub fn push(&mut self, place: Place, datagram: Datagram<'_>, mut give: impl FnMut(&Datagram<'_>)) {
        let tai_ns = datagram.time().nanoseconds;
        let (at, now_ns) = (place.feed as usize, self.clock.at(tai_ns));
        let feed = &mut self.feeds[at];
        if place.leg == PARITY {
            feed.parity(datagram.payload());
        } else {
            feed.push(place.leg.into(), now_ns, datagram, &mut give);
        }
        if feed.is_repaired() {
            feed.repair(self.first_legs[at], Times { feed_ns: now_ns, tai_ns }, give);
        }
        self.deadlines[at] = feed.next_deadline().unwrap_or(u64::MAX);
    }

    /// Takes an answer of a feed's re-request server.
    pub fn answer(&mut self, feed: usize, payload: &[u8], tai_ns: u64, give: impl FnMut(&Datagram<'_>)) {
        if self.is_over {
            return;
        }
        let (id, now) = (self.first_legs[feed], Times { feed_ns: self.clock.at(tai_ns), tai_ns });
        self.feeds[feed].answer(id, payload, now, give);
        self.deadlines[feed] = self.feeds[feed].next_deadline().unwrap_or(u64::MAX);
    }

    /// Where the answers to requests arrive, with the feed that they are for.
    pub fn answers(&self) -> Vec<(usize, Answers)> {
        let feeds = self.feeds.iter().enumerate();
        feeds.filter_map(|(at, feed)| Some((at, feed.answers()?))).collect()
    }

    /// Declares the gaps whose time is over at this time on CLOCK_TAI.
    pub fn poll(&mut self, tai_ns: u64, mut give: impl FnMut(&Datagram<'_>)) {
        let now_ns = self.clock.at(tai_ns);
        for (feed, deadline) in self.feeds.iter_mut().zip(&mut self.deadlines) {
            if *deadline <= now_ns {
                feed.poll(now_ns, &mut give);
                *deadline = feed.next_deadline().unwrap_or(u64::MAX);
                feed.log_untracked();
            }
        }
    }

    /// Logs what has happened in a batch, and sends the requests that are due. Returns when [`Feeds::poll`] is due, on
    /// CLOCK_TAI; `u64::MAX` if it is not.
    pub fn end_batch(&mut self) -> u64 {
        let now_ns = self.clock.last();
        for (feed, deadline) in self.feeds.iter_mut().zip(&mut self.deadlines) {
            feed.log();
            if let Some(due_ns) = feed.request(now_ns) {
                *deadline = due_ns.min(*deadline);
            }
        }
        match self.deadlines.iter().min() {
            None | Some(&u64::MAX) => u64::MAX,
            Some(&deadline) => self.clock.tai_ns(deadline),
        }
    }

    /// After the last datagram: gives the consumer what is held, and counts the gaps that are open.
    pub fn finish(&mut self, tai_ns: u64, mut give: impl FnMut(&Datagram<'_>)) {
        let now_ns = self.clock.at(tai_ns);
        self.is_over = true;
        self.feeds.iter_mut().for_each(|feed| feed.finish(now_ns, &mut give));
    }

    /// What each of them reports.
    pub fn reports(&mut self, tai_ns: u64) -> Vec<FeedReport> {
        let now_ns = self.clock.at(tai_ns);
        let reports = self.feeds.iter().enumerate().map(|(number, feed)| {
            let mut report = feed.report(now_ns);
            self.attributor.fill(number, feed.not_kept(), &mut report);
            report
        });
        reports.collect()
    }

    /// What they have lost, if that has changed since it was last attributed, or if `always`.
    pub fn losses(&self, always: bool) -> Option<Vec<FeedLosses>> {
        let losses: Vec<_> = self.feeds.iter().map(Feed::losses).collect();
        (always || self.attributor.is_news(&losses)).then_some(losses)
    }

    /// Gives losses their causes, by a ledger that was read after [`Feeds::losses`].
    pub fn attribute(&mut self, losses: Vec<FeedLosses>, ledger: &Ledger) {
        let datagrams = self.feeds.iter().map(Feed::datagrams).sum();
        self.attributor.observe(losses, ledger, datagrams);
    }
}

/// Takes the lock of shared feeds. A panic in another thread leaves them usable.
pub fn lock(feeds: &Mutex<Feeds>) -> MutexGuard<'_, Feeds> {
    feeds.lock().unwrap_or_else(PoisonError::into_inner)
}
