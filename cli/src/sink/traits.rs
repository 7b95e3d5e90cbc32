//! What a sink is, and what it reports.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use receiver::{Datagram, Handle, Subscription, SubscriptionId, TappedFrame};
use receiver_feed::protocol::AnyProtocol;
use serde::Serialize;

use super::publish::queue::PublishReport;
use super::publish::room::Room;
use crate::capture::Capture;
use crate::event::Event;
use crate::outlet::{Condition, Counts, DropReason, OutletError};

/// Where received data goes beyond being counted.
///
/// The receiving threads share the sinks, and each thread locks them for a batch. So no method but
/// [`finish`](Sink::finish) waits: a sink that cannot take a datagram at once drops it, and counts it under its own
/// name.
pub trait Sink: Send {
    /// Takes one datagram, whole, or drops and counts it.
    fn take(&mut self, datagram: &Datagram<'_>);

    /// Ends a batch: passes on what was taken, so that a reader sees it now.
    ///
    /// # Errors
    /// The sink has ended, and the run ends for it.
    fn end_batch(&mut self) -> Result<(), OutletError>;

    /// After the last datagram: waits for as long as the reader still reads, and drops and counts what is left.
    ///
    /// # Errors
    /// The sink has ended.
    fn finish(&mut self) -> Result<(), OutletError>;

    /// Ends the present file and begins the next one, between two datagrams.
    fn reopen(&self) {}

    /// A subscription was joined, or is there from the start. Its datagrams may go to other sinks.
    fn joined(&mut self, _id: SubscriptionId, _subscription: &Subscription) {}

    /// Where receiving threads wait between two batches while the sink is full. `None` if they never wait.
    fn room(&self) -> Option<Arc<Room>> {
        None
    }

    /// What takes frames that were not delivered, once; `None` if the sink takes none.
    fn undelivered(&mut self) -> Option<Box<dyn FrameSink>> {
        None
    }

    /// The counts so far.
    fn report(&self) -> SinkReport;
}

/// Where frames go that were not delivered. One thread gives them, and waits for nobody.
pub trait FrameSink: Send {
    /// Takes one frame, whole, or drops and counts it.
    fn take(&mut self, frame: &TappedFrame<'_>);

    /// Ends a batch: passes on what was taken. The sink that this belongs to reports a failure.
    fn end_batch(&mut self);
}

/// The counts of one sink. The names in JSON do not change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SinkReport {
    /// Its name: that of the configuration, or the target.
    pub name: String,
    /// Datagrams that were written or sent.
    pub packets: u64,
    /// Bytes of payload in them.
    pub bytes: u64,
    /// Datagrams that the sink dropped.
    pub dropped: u64,
    /// Those by reason: [`DropReason::name`]. Reasons without any are left out.
    pub dropped_by: BTreeMap<&'static str, u64>,
    /// Datagrams that a relay sent later than its delay asks.
    pub late: u64,
    /// Datagrams that a relay lost on purpose, as `loss` in its target asks. They are neither in `packets` nor in
    /// `dropped`.
    pub impaired: u64,
    /// Datagrams that a relay sent twice, as `duplicate` in its target asks. Each is once in `packets`.
    pub duplicated: u64,
    /// Datagrams that a relay held back until later ones had left, as `reorder` in its target asks.
    pub reordered: u64,
    /// How it fares: `ok`, `waiting for a reader`, or `failing: ` and the reason.
    pub state: String,
    /// What a messaging engine has answered. Other sinks have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher: Option<PublishReport>,
    /// The files of a recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingReport>,
    /// Datagrams that were dropped because something failed, other than that a reader did not read.
    #[serde(skip)]
    pub failures: u64,
    /// The last error.
    #[serde(skip)]
    pub last_error: Option<String>,
}

/// What only a recording counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RecordingReport {
    /// Files that were begun.
    pub files: u64,
    /// Bytes of memory that wait to be written.
    pub queued_bytes: u64,
}

impl SinkReport {
    /// From the counts of a sink.
    pub fn new(counts: &Counts, condition: &Condition, last_error: Option<String>) -> Self {
        let impairments = counts.impairments();
        let report = Self {
            late: counts.late(),
            impaired: impairments.lost,
            duplicated: impairments.duplicated,
            reordered: impairments.reordered,
            state: condition.to_string(),
            last_error,
            ..Self::default()
        };
        report.and(counts)
    }

    /// With the counts of further units of the same sink.
    pub fn and(mut self, counts: &Counts) -> Self {
        self.packets += counts.written();
        self.bytes += counts.bytes();
        self.dropped += counts.dropped();
        for reason in DropReason::ALL {
            let dropped = counts.dropped_for(reason);
            if dropped > 0 {
                *self.dropped_by.entry(reason.name()).or_default() += dropped;
                self.failures += if reason.is_failure() { dropped } else { 0 };
            }
        }
        self
    }
}

/// What a sink may need to be opened.
pub struct Context<'a> {
    /// Where the main thread waits.
    pub events: &'a Sender<Event>,
    /// The interface that datagrams come from.
    pub interface: u32,
    /// The receiver, to read its counters.
    pub handle: Option<&'a Handle>,
    /// What is subscribed.
    pub subscriptions: &'a [(SubscriptionId, Subscription)],
    /// The names and feeds of subscriptions.
    pub origins: &'a [Origin],
    /// What recordings hold.
    pub capture: Capture,
}

/// A subscription as the user knows it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What is subscribed.
    pub subscription: Subscription,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The feed that it is part of.
    pub feed: Option<FeedOrigin>,
}

/// A feed as its legs share it.
#[derive(Clone, Debug)]
pub struct FeedOrigin {
    /// Its name.
    pub name: String,
    /// Its protocol.
    pub protocol: AnyProtocol,
    /// Group and port of its first leg.
    pub group: IpAddr,
    pub port: u16,
}

impl Context<'_> {
    /// For an outlet: ends the run once the outlet has ended.
    pub fn on_failure(&self) -> impl Fn() + Send + Sync + 'static {
        let events = self.events.clone();
        // A main thread that no longer listens is ending the run already.
        move || drop(events.send(Event::Done))
    }
}
