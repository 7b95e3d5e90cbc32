//! `--json`: one object per line, which `--summary` writes too. The names are part of the interface and do not change.

use std::collections::HashMap;
use std::io::Write;

use receiver::{Finding, Ledger, ReceiveMode};
use receiver_send::probe::ProbeReport;
use serde::{Serialize, Serializer};

use super::traits::View;
use crate::feeds::FeedReport;
use crate::figures::{Facts, Figures, Flow};
use crate::sink::SinkReport;

/// Writes one object per line.
pub struct JsonView<W>(pub W);

impl<W: Write> View for JsonView<W> {
    fn start(&mut self, facts: &Facts) -> anyhow::Result<()> {
        write_line(
            &mut self.0,
            &Start {
                r#type: "start",
                interface: &facts.interface,
                mode: facts.mode,
                share: facts.share,
                refused_modes: refused_modes(facts),
                queues: &facts.queues,
                subscriptions: &facts.subscriptions,
            },
        )
    }

    fn interval(&mut self, _: &Facts, figures: &Figures) -> anyhow::Result<()> {
        write_line(
            &mut self.0,
            &Interval { r#type: "interval", interval_seconds: figures.span, figures: JsonFigures::new(figures) },
        )
    }

    fn summary(&mut self, facts: &Facts, figures: &Figures) -> anyhow::Result<()> {
        write_line(
            &mut self.0,
            &Summary {
                r#type: "summary",
                interface: &facts.interface,
                mode: facts.mode,
                share: facts.share,
                refused_modes: refused_modes(facts),
                queues: &facts.queues,
                figures: JsonFigures::new(figures),
            },
        )
    }
}

fn write_line(out: &mut impl Write, object: &impl Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(object)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()?;
    Ok(())
}

#[derive(Serialize)]
struct Start<'a> {
    r#type: &'static str,
    interface: &'a str,
    mode: ReceiveMode,
    share: bool,
    refused_modes: Vec<RefusedMode<'a>>,
    queues: &'a [u32],
    subscriptions: &'a [String],
}

#[derive(Serialize)]
struct Interval<'a> {
    r#type: &'static str,
    interval_seconds: f64,
    #[serde(flatten)]
    figures: JsonFigures<'a>,
}

#[derive(Serialize)]
struct Summary<'a> {
    r#type: &'static str,
    interface: &'a str,
    mode: ReceiveMode,
    share: bool,
    refused_modes: Vec<RefusedMode<'a>>,
    queues: &'a [u32],
    #[serde(flatten)]
    figures: JsonFigures<'a>,
}

/// A faster mode, and why it was refused.
#[derive(Serialize)]
pub struct RefusedMode<'a> {
    mode: ReceiveMode,
    reason: &'a str,
}

/// The faster modes that were refused.
pub fn refused_modes(facts: &Facts) -> Vec<RefusedMode<'_>> {
    facts.refused.iter().map(|refused| RefusedMode { mode: refused.mode, reason: &refused.reason }).collect()
}

/// The figures of an interval or of the whole run.
#[derive(Serialize)]
pub struct JsonFigures<'a> {
    elapsed_seconds: f64,
    #[serde(flatten)]
    total: Counts,
    lost: u64,
    subscriptions: Vec<JsonStream<'a>>,
    #[serde(serialize_with = "causes")]
    ledger: &'a Ledger,
    in_flight: u64,
    /// `null` in an interval with traffic, when it is unknown.
    unaccounted: Option<u64>,
    /// Datagrams that sinks dropped.
    output_dropped: u64,
    /// Each sink, in the order of the options.
    sinks: &'a [SinkReport],
    /// Objects that were dropped because the reader did not read.
    display_dropped: u64,
    /// Lines of the log that were dropped because their reader did not read.
    log_dropped: u64,
    /// Verdicts that `--trace-verdicts` did not log because the program's log had no room.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdicts_not_logged: Option<u64>,
    /// Left out without any.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    feeds: &'a [FeedReport],
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<&'a ProbeReport>,
    warnings: &'a [String],
    /// Why subscriptions received nothing. In the summary only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<JsonFinding>,
}

#[derive(Serialize)]
struct JsonStream<'a> {
    id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    subscription: &'a str,
    #[serde(flatten)]
    counts: Counts,
    /// Frames of unwanted sources that passed to the kernel for other programs; `null` in mode `socket`.
    passed_shared: Option<u64>,
    /// Sockets of other programs that have joined the group; `null` in mode `socket`.
    other_members: Option<u64>,
    last_packet_seconds_ago: Option<f64>,
    /// As that of the whole run, for this subscription.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<JsonFinding>,
}

/// A reason why a subscription received nothing.
#[derive(Serialize)]
pub struct JsonFinding {
    name: &'static str,
    text: String,
}

/// The findings by name and as text.
pub fn json_findings(findings: &[Finding]) -> Vec<JsonFinding> {
    findings.iter().map(|finding| JsonFinding { name: finding.name(), text: finding.to_string() }).collect()
}

/// Counts since the start. Rates are over the interval, or over the whole run in a summary.
#[derive(Serialize)]
struct Counts {
    packets: u64,
    bytes: u64,
    /// `null` in mode `socket`, where it is unknown, as is `blocked_per_second`.
    blocked: Option<u64>,
    packets_per_second: f64,
    bits_per_second: f64,
    blocked_per_second: Option<f64>,
}

impl<'a> JsonFigures<'a> {
    /// Of these figures.
    pub fn new(figures: &'a Figures) -> Self {
        let silent: HashMap<String, &[Finding]> = figures
            .evidence
            .silent
            .iter()
            .map(|silence| (silence.subscription.to_string(), silence.findings.as_slice()))
            .collect();
        Self {
            elapsed_seconds: figures.elapsed,
            total: figures.total.into(),
            lost: figures.ledger.lost(),
            subscriptions: figures
                .streams
                .iter()
                .map(|stream| JsonStream {
                    id: stream.id,
                    name: stream.name.as_deref(),
                    subscription: &stream.subscription,
                    counts: stream.flow.into(),
                    passed_shared: stream.passed_shared,
                    other_members: stream.other_members,
                    last_packet_seconds_ago: stream.last_seconds_ago,
                    evidence: json_findings(silent.get(&stream.subscription).copied().unwrap_or_default()),
                })
                .collect(),
            ledger: &figures.ledger,
            in_flight: figures.in_flight,
            unaccounted: figures.unaccounted,
            output_dropped: figures.dropped.output(),
            sinks: &figures.dropped.sinks,
            display_dropped: figures.dropped.display,
            log_dropped: figures.dropped.log,
            verdicts_not_logged: figures.ledger.unlogged(),
            feeds: &figures.feeds,
            probe: figures.probe.as_ref(),
            warnings: &figures.warnings,
            evidence: json_findings(&figures.evidence.findings),
        }
    }
}

impl From<Flow> for Counts {
    fn from(flow: Flow) -> Self {
        Self {
            packets: flow.packets,
            bytes: flow.bytes,
            blocked: flow.blocked,
            packets_per_second: flow.packet_rate,
            bits_per_second: flow.bit_rate,
            blocked_per_second: flow.block_rate,
        }
    }
}

fn causes<S: Serializer>(ledger: &&Ledger, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(ledger.causes())
}
