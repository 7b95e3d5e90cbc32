//! A run as those see it who watch and steer it: the display, the control socket, the metrics, and a reload.

mod names;
mod reload;

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use receiver::{Handle, Subscription, SubscriptionId};
use receiver_host::clock::tai;

use crate::event::Event;
use crate::feeds::{self, FeedReport, Feeds};
use crate::figures::{Base, Dropped, Facts, Figures, Snapshot};
use crate::log;
use crate::sink::{self, Sinks};

pub use names::Names;
pub use reload::{Read, ReloadError};

use reload::Configuration;

/// A run. Clones are the same run.
#[derive(Clone)]
pub struct Instance(Arc<Shared>);

struct Shared {
    name: Option<String>,
    start: Instant,
    facts: Facts,
    handle: Handle,
    feeds: Option<Arc<Mutex<Feeds>>>,
    sinks: Option<Arc<Mutex<Sinks>>>,
    names: Mutex<Names>,
    turn: Mutex<()>,
    configuration: OnceLock<Configuration>,
    events: Sender<Event>,
}

impl Instance {
    /// A run that began at `start`. `events` is where its main thread waits.
    pub fn new(
        name: Option<String>,
        start: Instant,
        facts: Facts,
        handle: Handle,
        feeds: Option<Arc<Mutex<Feeds>>>,
        sinks: Option<Arc<Mutex<Sinks>>>,
        events: Sender<Event>,
    ) -> Self {
        let (names, turn, configuration) = (Mutex::default(), Mutex::default(), OnceLock::new());
        Self(Arc::new(Shared { name, start, facts, handle, feeds, sinks, names, turn, configuration, events }))
    }

    /// Its name among the runs on this host, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// When everything was joined.
    pub fn start(&self) -> Instant {
        self.0.start
    }

    /// What is known from the start.
    pub fn facts(&self) -> &Facts {
        &self.0.facts
    }

    /// The receiver, to steer and to read.
    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// The sinks, if there are any.
    pub fn sinks(&self) -> Option<MutexGuard<'_, Sinks>> {
        self.0.sinks.as_deref().map(sink::lock)
    }

    /// A subscription was joined, and has its name: the sinks that name it take it, and a leg that was left takes its
    /// place again.
    pub fn joined(&self, id: SubscriptionId, subscription: &Subscription) {
        if let Some(mut sinks) = self.sinks() {
            sinks.joined(id, subscription);
        }
        if let Some(feeds) = &self.0.feeds {
            feeds::lock(feeds).joined(id, self.name_of(id).as_deref(), subscription);
        }
    }

    /// The names of subscriptions.
    pub fn names(&self) -> MutexGuard<'_, Names> {
        self.0.names.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The right to change subscriptions and their names, until it is dropped. Each request of the control socket that
    /// changes something, and each reload, takes it, so that each finds the names as the one before has left them.
    /// Those who only read do without.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.0.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The name of a subscription, if it has one.
    pub fn name_of(&self, id: SubscriptionId) -> Option<String> {
        self.names().of(id).map(str::to_owned)
    }

    /// What the feeds report now, without rates.
    pub fn feeds(&self) -> Vec<FeedReport> {
        self.0.feeds.as_deref().map(|feeds| feeds::lock(feeds).reports(tai())).unwrap_or_default()
    }

    /// Gives what the feeds have lost its causes, if they have lost something since the last call, or if `always`.
    /// Returns true if it has read the ledger.
    pub fn attribute(&self, always: bool) -> bool {
        let Some(feeds) = &self.0.feeds else { return false };
        let Some(losses) = feeds::lock(feeds).losses(always) else { return false };
        // After the losses, so that each drop that led to one has been counted. Without the ledger the next look
        // decides.
        let ledger = self.0.handle.ledger();
        if let Ok(ledger) = &ledger {
            feeds::lock(feeds).attribute(losses, ledger);
        }
        ledger.is_ok()
    }

    /// Returns true if the run has feeds.
    pub fn has_feeds(&self) -> bool {
        self.0.feeds.is_some()
    }

    /// Reads all counters.
    ///
    /// # Errors
    /// [`receiver::Error::Program`] or [`receiver::Error::Xsk`] if a counter cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot, receiver::Error> {
        Snapshot::take(&self.0.handle, self.feeds())
    }

    /// The figures from one snapshot to another, or since the start.
    pub fn figures(&self, before: Option<&Base>, now: &Snapshot) -> Figures {
        let (reports, probe) = self.sinks().map(|sinks| (sinks.reports(), sinks.probe())).unwrap_or_default();
        let dropped = Dropped { sinks: reports, display: 0, log: log::dropped() };
        let mut figures = Figures { dropped, ..Figures::between(self.0.start, before, now, probe) };
        let names = self.names();
        for (stream, id) in figures.streams.iter_mut().zip(now.ids()) {
            stream.name = names.of(id).map(str::to_owned);
        }
        figures
    }

    /// Has the main thread act on an event. A run that is ending ignores it.
    pub fn send(&self, event: Event) {
        let _ = self.0.events.send(event);
    }
}
