//! The results of requests that only read. The names are part of the protocol.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use receiver::{Error, Ledger, ReceiveMode, SubscriptionReport};
use serde::{Serialize, Serializer};

use super::execute::Session;
use super::protocol::{Refusal, done};
use crate::figures::in_flight;
use crate::instance::Instance;
use crate::view::{JsonFigures, RefusedMode, refused_modes};

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

/// The result of `mode`, and a part of `stats`.
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

/// Reads the figures: the line of the reply to `stats`.
pub fn stats(instance: &Instance, session: &mut Session) -> Result<Vec<u8>, Refusal> {
    #[derive(Serialize)]
    struct Stats<'a> {
        #[serde(flatten)]
        mode: Mode<'a>,
        interval_seconds: f64,
        #[serde(flatten)]
        figures: JsonFigures<'a>,
        sinks: Vec<SinkEntry<'a>>,
    }
    #[derive(Serialize)]
    struct SinkEntry<'a> {
        name: &'a str,
        dropped: u64,
    }
    // Without an earlier reading, traffic cannot be distinguished from a fault.
    let short = if session.before.is_none() { Some(earlier(instance)?) } else { None };
    let now = instance.snapshot()?;
    let mut figures = instance.figures_since(session.before.as_ref(), &now);
    if let Some(before) = short {
        (figures.in_flight, figures.unaccounted) = in_flight(Some(&before), &figures.ledger);
    }
    let sinks = figures.dropped.sinks.iter().map(|sink| SinkEntry { name: &sink.name, dropped: sink.dropped });
    let reply = done(&Stats {
        mode: mode(instance),
        interval_seconds: figures.span,
        sinks: sinks.collect(),
        figures: JsonFigures::new(&figures),
    });
    session.before = Some(now.into_base());
    Ok(reply)
}
