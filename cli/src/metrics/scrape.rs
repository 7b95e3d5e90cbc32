//! What one scrape reads, and what is kept from one to the next.
//!
//! Reading takes no lock that a receiving thread takes for each batch, with one exception: if there are sinks or feeds,
//! their counts are copied under the lock that a thread holds while it passes a batch to them. The counters are
//! atomics, which their one writer never waits for. The filter is read 64 subscriptions at a time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use receiver::{Ledger, LinkHistory, MembershipReport, QueueReport, ReceiveMode};
use receiver_send::probe::now_ns;

use super::feed_streams::{LabelledStreams, StreamCounts};
use super::series::{Labelled, Series};
use crate::feeds::FeedReport;
use crate::instance::Instance;
use crate::log;
use crate::sink::{PublishReport, SinkReport};

/// The counts of one moment.
pub struct Scrape {
    /// The name of the run; empty without one.
    pub name: String,
    /// The interface's name as it is now.
    pub interface: String,
    /// The receive mode.
    pub mode: ReceiveMode,
    /// True if the kernel gets each packet too.
    pub share: bool,
    /// The faster modes that are not available.
    pub refused: Vec<ReceiveMode>,
    /// Warnings since the start.
    pub warnings: u64,
    /// When everything was joined.
    pub start: SystemTime,
    /// Subscriptions that are joined.
    pub subscriptions: u64,
    /// Those with labels of their own, and the sum of the others.
    pub series: Vec<Series>,
    /// Every frame under its cause.
    pub ledger: Ledger,
    /// Frames without a cause; `None` while traffic flows.
    pub unaccounted: Option<u64>,
    /// The receive queues.
    pub queues: Vec<QueueReport>,
    /// What has happened to the link.
    pub link: LinkHistory,
    /// The memberships.
    pub memberships: MembershipReport,
    /// The sinks by name.
    pub sinks: BTreeMap<String, SinkCounts>,
    /// Those that record, by name.
    pub recordings: BTreeMap<String, SinkReport>,
    /// The feeds.
    pub feeds: Vec<FeedReport>,
    /// The counts of their streams, by feed and stream.
    pub feed_streams: BTreeMap<(String, String), StreamCounts>,
    /// Lines of the log that were dropped.
    pub log_dropped: u64,
    /// How long reading took.
    pub reading: Duration,
    /// CLOCK_TAI and the system's time at the same moment.
    clocks: (u64, SystemTime),
}

/// The counts of a sink.
#[derive(Clone, Copy, Debug, Default)]
pub struct SinkCounts {
    /// Datagrams that were written or sent, and bytes of payload in them.
    pub packets: u64,
    pub bytes: u64,
    /// Datagrams that were dropped.
    pub dropped: u64,
    /// Datagrams that a relay sent later than its delay asks.
    pub late: u64,
    /// Datagrams that a relay lost, sent twice and held back on purpose.
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    /// True if the sink fails at present.
    pub is_failing: bool,
    /// What a messaging engine has answered.
    pub publisher: Option<PublishReport>,
}

impl Scrape {
    /// A time on CLOCK_TAI in seconds since 1970.
    pub fn unix_of_tai(&self, tai: u64) -> f64 {
        let (now, system) = self.clocks;
        let ago = Duration::from_nanos(now.saturating_sub(tai));
        (system - ago).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }

    /// A moment this number of seconds ago, in seconds since 1970.
    pub fn unix_of_ago(&self, seconds: f64) -> f64 {
        let ago = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        self.clocks.1.duration_since(SystemTime::UNIX_EPOCH + ago).unwrap_or_default().as_secs_f64()
    }
}

/// Reads the counters of a run.
pub struct Reader {
    instance: Instance,
    labelled: Labelled,
    streams: LabelledStreams,
    /// The ledger of the scrape before.
    before: Option<Ledger>,
}

impl Reader {
    /// Gives labels of their own to as many subscriptions as `limit`, and to as many streams of feeds.
    pub fn new(instance: Instance, limit: usize) -> Self {
        let (labelled, streams) = (Labelled::new(limit), LabelledStreams::new(limit));
        Self { instance, labelled, streams, before: None }
    }

    /// Reads all counters.
    ///
    /// # Errors
    /// A counter cannot be read.
    pub fn read(&mut self) -> Result<Scrape, receiver::Error> {
        let begin = Instant::now();
        let (handle, facts) = (self.instance.handle(), self.instance.facts());
        // The ledger first: if it does not move until the next scrape, neither does anything else.
        let ledger = handle.ledger()?;
        let reports = handle.subscriptions()?;
        let queues = handle.queues()?;
        let series = self.labelled.series(&reports, |id| self.instance.name_of(id));
        let (mut sinks, mut recordings) = (BTreeMap::new(), BTreeMap::new());
        for report in self.instance.sinks().map(|sinks| sinks.reports()).unwrap_or_default() {
            if report.recording.is_some() {
                recordings.insert(report.name.clone(), report.clone());
            }
            // Two sinks can have one name: their samples would be the same one.
            let counts: &mut SinkCounts = sinks.entry(report.name).or_default();
            counts.packets += report.packets;
            counts.bytes += report.bytes;
            counts.dropped += report.dropped;
            counts.late += report.late;
            counts.lost += report.impaired;
            counts.duplicated += report.duplicated;
            counts.reordered += report.reordered;
            counts.publisher = report.publisher.or(counts.publisher);
            counts.is_failing |= report.state.starts_with("failing");
        }
        let feeds = self.instance.feeds();
        let feed_streams = self.streams.counts(&feeds);
        // Between two scrapes at rest nothing is on its way from one counter to another.
        let at_rest = self.before.as_ref().is_some_and(|before| ledger.is_at_rest_since(before));
        let unaccounted = at_rest.then(|| ledger.unaccounted());
        self.before = Some(ledger.clone());
        Ok(Scrape {
            name: self.instance.name().unwrap_or_default().to_owned(),
            interface: handle.interface().name,
            mode: facts.mode,
            share: facts.share,
            refused: facts.refused.iter().map(|refused| refused.mode).collect(),
            warnings: handle.warnings().len() as u64,
            start: SystemTime::now() - self.instance.start().elapsed(),
            subscriptions: reports.len() as u64,
            series,
            ledger,
            unaccounted,
            queues,
            link: handle.link_events(),
            memberships: handle.memberships(),
            sinks,
            recordings,
            feeds,
            feed_streams,
            log_dropped: log::dropped(),
            reading: begin.elapsed(),
            clocks: (now_ns(), SystemTime::now()),
        })
    }
}

#[cfg(test)]
impl Scrape {
    /// Of feeds, where all else is 0.
    pub fn of_feeds(feeds: Vec<FeedReport>, limit: usize) -> Self {
        let now = SystemTime::now();
        Self {
            name: String::new(),
            interface: "eth1".to_owned(),
            mode: ReceiveMode::Copy,
            share: false,
            refused: Vec::new(),
            warnings: 0,
            start: now,
            subscriptions: 0,
            series: Vec::new(),
            ledger: Ledger::default(),
            unaccounted: None,
            queues: Vec::new(),
            link: LinkHistory::default(),
            memberships: MembershipReport::default(),
            sinks: BTreeMap::new(),
            recordings: BTreeMap::new(),
            feed_streams: LabelledStreams::new(limit).counts(&feeds),
            feeds,
            log_dropped: 0,
            reading: Duration::ZERO,
            clocks: (0, now),
        }
    }
}
