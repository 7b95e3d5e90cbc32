//! The results of requests that only read. The names are part of the protocol.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use receiver::{Error, Ledger, LinkChange, LinkHistory, QueueReport, ReceiveMode, SubscriptionReport};
use serde::{Serialize, Serializer};

use super::protocol::{Refusal, done};
use super::session::Session;
use crate::feeds::FeedReport;
use crate::figures::in_flight;
use crate::instance::Instance;
use crate::view::feeds::lost_leg;
use crate::view::{JsonFigures, JsonFinding, RefusedMode, json_findings, refused_modes};

/// The time between two readings of the ledger, which show if it is at rest.
const REST: Duration = Duration::from_millis(20);

/// One subscription of `list`.
#[derive(Debug, Serialize)]
pub struct Entry {
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    subscription: String,
    filter_mode: &'static str,
    sources: BTreeSet<IpAddr>,
    packets: u64,
}

impl Entry {
    /// With the name that the subscription has.
    pub fn new(instance: &Instance, report: &SubscriptionReport) -> Self {
        let filter = report.subscription.filter();
        Self {
            id: report.id.number(),
            name: instance.name_of(report.id),
            subscription: report.subscription.to_string(),
            filter_mode: if filter.is_exclude() { "exclude" } else { "include" },
            sources: filter.sources().iter().copied().collect(),
            packets: report.packets,
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} ({name}) {}", self.id, self.subscription),
            None => write!(f, "{} {}", self.id, self.subscription),
        }
    }
}

/// The result of `list`.
#[derive(Serialize)]
pub struct List {
    subscriptions: Vec<Entry>,
}

/// Reads the subscriptions.
pub fn list(instance: &Instance) -> Result<List, Error> {
    let reports = instance.handle().subscriptions()?;
    Ok(List { subscriptions: reports.iter().map(|report| Entry::new(instance, report)).collect() })
}

/// The result of `mode`.
#[derive(Serialize)]
pub struct Mode<'a> {
    interface: &'a str,
    mode: ReceiveMode,
    share: bool,
    refused_modes: Vec<RefusedMode<'a>>,
    queues: &'a [u32],
}

/// Reads the mode.
pub fn mode(instance: &Instance) -> Mode<'_> {
    let facts = instance.facts();
    Mode {
        interface: &facts.interface,
        mode: instance.handle().mode(),
        share: facts.share,
        refused_modes: refused_modes(facts),
        queues: &facts.queues,
    }
}

/// The result of `ledger`.
#[derive(Serialize)]
pub struct LedgerReport {
    #[serde(serialize_with = "causes")]
    ledger: Ledger,
    lost: u64,
    in_flight: u64,
    /// `null` while traffic flows.
    unaccounted: Option<u64>,
}

fn causes<S: Serializer>(ledger: &Ledger, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(ledger.causes())
}

/// Reads the ledger.
pub fn ledger(instance: &Instance) -> Result<LedgerReport, Error> {
    let before = earlier(instance)?;
    let ledger = instance.handle().ledger()?;
    let (in_flight, unaccounted) = in_flight(Some(&before), &ledger);
    Ok(LedgerReport { lost: ledger.lost(), in_flight, unaccounted, ledger })
}

/// The ledger as it was a short time ago.
fn earlier(instance: &Instance) -> Result<Ledger, Error> {
    let ledger = instance.handle().ledger()?;
    std::thread::sleep(REST);
    Ok(ledger)
}

/// The result of `evidence`.
#[derive(Serialize)]
pub struct EvidenceReport {
    /// Of the whole run.
    findings: Vec<JsonFinding>,
    /// The subscriptions that have received nothing.
    silent: Vec<Silent>,
    /// The legs of feeds that fell silent while other legs go on. Left out without any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost_legs: Vec<LostLeg>,
}

#[derive(Serialize)]
struct LostLeg {
    feed: String,
    leg: String,
    subscription: String,
    text: String,
}

#[derive(Serialize)]
struct Silent {
    id: u32,
    subscription: String,
    findings: Vec<JsonFinding>,
}

/// Collects the reasons why subscriptions have received nothing so far.
pub fn evidence(instance: &Instance) -> Result<EvidenceReport, Error> {
    let evidence = instance.handle().evidence()?;
    let silent = evidence.silent.iter().map(|silence| Silent {
        id: silence.id.number(),
        subscription: silence.subscription.to_string(),
        findings: json_findings(&silence.findings),
    });
    let (silent, findings) = (silent.collect(), json_findings(&evidence.findings));
    Ok(EvidenceReport { silent, findings, lost_legs: lost_legs(instance)? })
}

fn lost_legs(instance: &Instance) -> Result<Vec<LostLeg>, Error> {
    let feeds = instance.feeds();
    if feeds.iter().all(|feed| feed.legs.iter().all(|leg| !leg.is_lost)) {
        return Ok(Vec::new());
    }
    let now = instance.snapshot()?;
    let figures = instance.figures(None, &now);
    let ages: HashMap<&str, f64> = figures
        .streams
        .iter()
        .filter_map(|stream| Some((stream.subscription.as_str(), stream.last_seconds_ago?)))
        .collect();
    let interface = &instance.facts().interface;
    let lost = figures.feeds.iter().flat_map(|feed| {
        let lost = feed.legs.iter().filter(|leg| leg.is_lost);
        lost.map(|leg| LostLeg {
            feed: feed.name.clone(),
            leg: leg.name.clone(),
            subscription: leg.subscription.clone(),
            text: lost_leg(leg, ages.get(leg.subscription.as_str()).copied(), interface),
        })
    });
    Ok(lost.collect())
}

/// One receive queue of `stats`.
#[derive(Serialize)]
struct Queue {
    queue: u32,
    taken: u64,
    delivered: u64,
    held: u64,
    copied: u64,
    #[serde(serialize_with = "drops")]
    drops: QueueReport,
    ring: Ring,
}

/// The counts of a queue's AF_XDP sockets or mapped ring.
#[derive(Serialize)]
struct Ring {
    rx_dropped: u64,
    rx_ring_full: u64,
    rx_invalid_descs: u64,
    rx_fill_ring_empty_descs: u64,
    in_ring: u64,
    leased: u64,
    refused: u64,
    not_copied: u64,
}

fn drops<S: Serializer>(report: &QueueReport, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(report.drops())
}

impl From<QueueReport> for Queue {
    fn from(report: QueueReport) -> Self {
        let ring = report.ring;
        Self {
            queue: report.queue,
            taken: report.taken,
            delivered: report.delivered,
            held: report.held,
            copied: report.copied,
            drops: report,
            ring: Ring {
                rx_dropped: ring.rx_dropped,
                rx_ring_full: ring.rx_ring_full,
                rx_invalid_descs: ring.rx_invalid_descs,
                rx_fill_ring_empty_descs: ring.rx_fill_ring_empty_descs,
                in_ring: ring.in_ring,
                leased: ring.leased,
                refused: ring.refused,
                not_copied: ring.not_copied,
            },
        }
    }
}

/// Something that happened to the link.
#[derive(Serialize)]
struct LinkEvent {
    event: LinkChange,
    seconds_ago: f64,
}

fn link_events(history: &LinkHistory) -> Vec<LinkEvent> {
    let now = SystemTime::now();
    let seconds_ago = |at: SystemTime| now.duration_since(at).unwrap_or_default().as_secs_f64();
    history.recent().map(|(at, event)| LinkEvent { event, seconds_ago: seconds_ago(at) }).collect()
}

/// The result of `stats`.
#[derive(Serialize)]
struct Stats<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    interface: &'a str,
    mode: ReceiveMode,
    share: bool,
    refused_modes: Vec<RefusedMode<'a>>,
    queues: Vec<Queue>,
    link_up: bool,
    link_events: Vec<LinkEvent>,
    interval_seconds: f64,
    #[serde(flatten)]
    figures: JsonFigures<'a>,
}

/// Reads the figures: the line of the reply to `stats`.
pub fn stats(instance: &Instance, session: &mut Session) -> Result<Vec<u8>, Refusal> {
    // Without an earlier reading, traffic cannot be distinguished from a fault.
    let short = if session.before.is_none() { Some(earlier(instance)?) } else { None };
    let now = instance.snapshot()?;
    let mut figures = instance.figures(session.before.as_ref(), &now);
    if let Some(before) = short {
        (figures.in_flight, figures.unaccounted) = in_flight(Some(&before), &figures.ledger);
    }
    let (facts, link) = (instance.facts(), instance.handle().link_events());
    let reply = done(&Stats {
        name: instance.name(),
        interface: &facts.interface,
        mode: instance.handle().mode(),
        share: facts.share,
        refused_modes: refused_modes(facts),
        queues: instance.handle().queues()?.into_iter().map(Queue::from).collect(),
        link_up: link.is_up(),
        link_events: link_events(&link),
        interval_seconds: figures.span,
        figures: JsonFigures::new(&figures),
    });
    session.before = Some(now.into_base());
    Ok(reply)
}

/// The result of `feeds`.
#[derive(Serialize)]
struct Feeds<'a> {
    interval_seconds: f64,
    feeds: &'a [FeedReport],
}

/// Reads the feeds: the line of the reply to `feeds`.
pub fn feeds(instance: &Instance, session: &mut Session) -> Result<Vec<u8>, Refusal> {
    let now = instance.snapshot()?;
    let figures = instance.figures(session.before.as_ref(), &now);
    let reply = done(&Feeds { interval_seconds: figures.span, feeds: &figures.feeds });
    session.before = Some(now.into_base());
    Ok(reply)
}
