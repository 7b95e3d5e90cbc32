//! What the receiving threads do with datagrams beyond counting them: legs of feeds go through their arbiter, and the
//! sinks get the rest as it comes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use receiver::Datagram;
use receiver_host::clock::tai;

use crate::feeds::{self, Answers, Feeds};
use crate::sink::{self, Room, SinkFailure, Sinks};

/// No feed waits for anything.
const NEVER: u64 = u64::MAX;
/// Bytes of the longest UDP payload.
const LONGEST_DATAGRAM: usize = 65_535;

/// The feeds and the sinks of a run.
pub struct Output {
    feeds: Option<Arc<Mutex<Feeds>>>,
    sinks: Option<Arc<Mutex<Sinks>>>,
    /// Where receiving threads wait for sinks that are full.
    rooms: Vec<Arc<Room>>,
    /// When the feeds have to be polled, on CLOCK_TAI.
    deadline_ns: AtomicU64,
    /// No answer to a request is waited for any more.
    is_over: AtomicBool,
}

/// Both, locked for a batch. The feeds are locked first, as they give to the sinks.
pub struct Locked<'a> {
    output: &'a Output,
    feeds: Option<MutexGuard<'a, Feeds>>,
    sinks: Option<MutexGuard<'a, Sinks>>,
}

impl Output {
    /// `None` if datagrams are only counted.
    pub fn new(feeds: Option<Arc<Mutex<Feeds>>>, sinks: Option<Arc<Mutex<Sinks>>>) -> Option<Self> {
        let rooms = sinks.as_deref().map(|sinks| sink::lock(sinks).rooms()).unwrap_or_default();
        (feeds.is_some() || sinks.is_some()).then_some(Self {
            feeds,
            sinks,
            rooms,
            deadline_ns: AtomicU64::new(NEVER),
            is_over: AtomicBool::new(false),
        })
    }

    /// Locks both.
    pub fn lock(&self) -> Locked<'_> {
        let feeds = self.feeds.as_deref().map(feeds::lock);
        Locked { output: self, feeds, sinks: self.sinks.as_deref().map(sink::lock) }
    }

    /// Waits while a sink is full that asks for it. No lock is held meanwhile.
    #[inline]
    pub fn wait_for_room(&self) {
        self.rooms.iter().for_each(|room| room.wait());
    }

    /// No thread waits for room from now on.
    pub fn end_waits(&self) {
        self.rooms.iter().for_each(|room| room.release());
    }

    /// How long a worker may wait for a datagram until the feeds have to be polled. `None` if there is no limit.
    pub fn patience(&self) -> Option<Duration> {
        match self.deadline_ns.load(Ordering::Relaxed) {
            NEVER => None,
            deadline_ns => Some(Duration::from_nanos(deadline_ns.saturating_sub(tai()))),
        }
    }

    /// Polls the feeds if that is due.
    ///
    /// # Errors
    /// As [`Locked::end_batch`].
    pub fn poll(&self) -> Result<(), SinkFailure> {
        if self.patience() != Some(Duration::ZERO) {
            return Ok(());
        }
        let mut locked = self.lock();
        if let Locked { feeds: Some(feeds), sinks, .. } = &mut locked {
            feeds.poll(tai(), |datagram| give(sinks, datagram));
        }
        locked.end_batch()
    }

    /// Where the answers to requests for what is missing arrive.
    pub fn answers(&self) -> Vec<(usize, Answers)> {
        self.feeds.as_deref().map(|shared| feeds::lock(shared).answers()).unwrap_or_default()
    }

    /// Takes the answers for a feed, until [`Output::end_answers`].
    pub fn take_answers(&self, feed: usize, answers: &Answers) {
        let mut buffer = vec![0; LONGEST_DATAGRAM];
        while !self.is_over.load(Ordering::Relaxed) {
            let length = answers.wait(&mut buffer);
            if length == 0 {
                continue;
            }
            let mut locked = self.lock();
            if let Locked { feeds: Some(feeds), sinks, .. } = &mut locked {
                feeds.answer(feed, &buffer[..length], tai(), |datagram| give(sinks, datagram));
            }
            // A sink that has ended is noticed by the receiving threads too.
            let _ = locked.end_batch();
        }
    }

    /// Ends the threads that wait for answers.
    pub fn end_answers(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.answers().iter().for_each(|(_, answers)| answers.wake());
    }

    /// After the last datagram: gives the sinks what the feeds hold.
    ///
    /// # Errors
    /// As [`Locked::end_batch`].
    pub fn finish(&self) -> Result<(), SinkFailure> {
        let mut locked = self.lock();
        if let Locked { feeds: Some(feeds), sinks, .. } = &mut locked {
            feeds.finish(tai(), |datagram| give(sinks, datagram));
        }
        locked.end_batch()
    }
}

#[inline]
fn give(sinks: &mut Option<MutexGuard<'_, Sinks>>, datagram: &Datagram<'_>) {
    if let Some(sinks) = sinks {
        sinks.pass(datagram);
    }
}

impl Locked<'_> {
    /// Takes a datagram as it was received.
    #[inline]
    pub fn take(&mut self, datagram: Datagram<'_>) {
        let Self { feeds, sinks, .. } = self;
        if let Some(sinks) = sinks {
            sinks.observe(&datagram);
        }
        if let Some(feeds) = feeds
            && let Some(place) = feeds.place(datagram.subscription())
        {
            feeds.push(place, datagram, |datagram| give(sinks, datagram));
        } else {
            give(sinks, &datagram);
        }
    }

    /// Ends a batch.
    ///
    /// # Errors
    /// That of the first sink that has ended.
    pub fn end_batch(mut self) -> Result<(), SinkFailure> {
        if let Some(feeds) = &mut self.feeds {
            self.output.deadline_ns.store(feeds.end_batch(), Ordering::Relaxed);
        }
        self.sinks.as_mut().map_or(Ok(()), |sinks| sinks.end_batch())
    }
}
