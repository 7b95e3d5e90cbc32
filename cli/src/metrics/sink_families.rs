//! The metrics of sinks, and of those that publish or record.

use std::fmt;

use super::family::Family;
use super::kind::Kind;
use super::samples::Samples;
use super::scrape::{Scrape, SinkCounts};
use crate::outlet::DropReason;
use crate::sink::{PublishReport, RecordingReport, SinkReport};

const SINK: &[&str] = &["sink"];

/// All metrics of sinks.
pub static SINK_FAMILIES: &[Family] = &[
    Family {
        name: "receiver_sink_packets",
        kind: Kind::Counter,
        labels: SINK,
        help: "Datagrams that a sink has written or sent",
        read: |scrape, samples| each_sink(scrape, samples, |counts| counts.packets),
    },
    Family {
        name: "receiver_sink_bytes",
        kind: Kind::Counter,
        labels: SINK,
        help: "Bytes of payload that a sink has written or sent",
        read: |scrape, samples| each_sink(scrape, samples, |counts| counts.bytes),
    },
    Family {
        name: "receiver_sink_dropped",
        kind: Kind::Counter,
        labels: SINK,
        help: "Datagrams that a sink dropped, because its reader did not read or writing failed",
        read: |scrape, samples| each_sink(scrape, samples, |counts| counts.dropped),
    },
    Family {
        name: "receiver_sink_late_packets",
        kind: Kind::Counter,
        labels: SINK,
        help: "Datagrams that a relay sent later than its delay asks",
        read: |scrape, samples| each_sink(scrape, samples, |counts| counts.late),
    },
    Family {
        name: "receiver_sink_impaired_packets",
        kind: Kind::Counter,
        labels: &["sink", "impairment"],
        help: "Datagrams that a relay lost, sent twice or held back on purpose, as its target asks",
        read: |scrape, samples| {
            scrape.sinks.iter().try_for_each(|(sink, counts)| {
                let all = [("lost", counts.lost), ("duplicated", counts.duplicated), ("reordered", counts.reordered)];
                all.iter().try_for_each(|(impairment, count)| samples.add(&[sink, impairment], *count))
            })
        },
    },
    Family {
        name: "receiver_sink_failing",
        kind: Kind::Gauge,
        labels: SINK,
        help: "1 if the sink fails at present; the log has the reason",
        read: |scrape, samples| each_sink(scrape, samples, |counts| counts.is_failing.into()),
    },
    Family {
        name: "receiver_sink_published",
        kind: Kind::Counter,
        labels: SINK,
        help: "Messages that a sink has sent to a messaging engine, each counted once",
        read: |scrape, samples| each_publisher(scrape, samples, |report| report.published),
    },
    Family {
        name: "receiver_sink_acknowledged",
        kind: Kind::Counter,
        labels: SINK,
        help: "Messages that the engine has stored",
        read: |scrape, samples| each_publisher(scrape, samples, |report| report.acknowledged),
    },
    Family {
        name: "receiver_sink_retried",
        kind: Kind::Counter,
        labels: SINK,
        help: "Messages that a sink has sent again, each time counted",
        read: |scrape, samples| each_publisher(scrape, samples, |report| report.retried),
    },
    Family {
        name: "receiver_sink_duplicates",
        kind: Kind::Counter,
        labels: SINK,
        help: "Acknowledged messages that the engine had already, from this receiver or another one",
        read: |scrape, samples| each_publisher(scrape, samples, |report| report.duplicates),
    },
    Family {
        name: "receiver_sink_reconnects",
        kind: Kind::Counter,
        labels: SINK,
        help: "Connections that a sink has made to its engine after the first one",
        read: |scrape, samples| each_publisher(scrape, samples, |report| report.reconnects),
    },
    Family {
        name: "receiver_sink_in_flight",
        kind: Kind::Gauge,
        labels: SINK,
        help: "Messages that wait for their acknowledgement",
        read: |scrape, samples| each_publisher(scrape, samples, |report| report.in_flight),
    },
    Family {
        name: "receiver_sink_waiting_bytes",
        kind: Kind::Gauge,
        labels: SINK,
        help: "Bytes of payload that wait to be sent or acknowledged",
        read: |scrape, samples| each_publisher(scrape, samples, |report| report.waiting_bytes),
    },
    Family {
        name: "receiver_recording_packets",
        kind: Kind::Counter,
        labels: SINK,
        help: "Packets that are in the files of a recording",
        read: |scrape, samples| each_recording(scrape, samples, |report, _| report.packets),
    },
    Family {
        name: "receiver_recording_bytes",
        kind: Kind::Counter,
        labels: SINK,
        help: "Bytes of these packets in the files, before compression",
        read: |scrape, samples| each_recording(scrape, samples, |report, _| report.bytes),
    },
    Family {
        name: "receiver_recording_files",
        kind: Kind::Counter,
        labels: SINK,
        help: "Files that a recording has begun",
        read: |scrape, samples| each_recording(scrape, samples, |_, recording| recording.files),
    },
    Family {
        name: "receiver_recording_dropped_packets",
        kind: Kind::Counter,
        labels: &["sink", "reason"],
        help: "Packets that are in no file because the disk was slow or full, or writing failed; by reason",
        read: |scrape, samples| {
            scrape.recordings.iter().try_for_each(|(sink, report)| {
                DropReason::ALL.into_iter().try_for_each(|reason| {
                    samples.add(&[sink, reason.name()], report.dropped_by.get(reason.name()).copied().unwrap_or(0))
                })
            })
        },
    },
    Family {
        name: "receiver_recording_queue_bytes",
        kind: Kind::Gauge,
        labels: SINK,
        help: "Bytes of memory in which packets wait for the disk",
        read: |scrape, samples| each_recording(scrape, samples, |_, recording| recording.queued_bytes),
    },
];

fn each_sink(scrape: &Scrape, samples: &mut Samples<'_>, count: impl Fn(&SinkCounts) -> u64) -> fmt::Result {
    scrape.sinks.iter().try_for_each(|(sink, counts)| samples.add(&[sink], count(counts)))
}

/// As [`each_sink`], for sinks to a messaging engine.
fn each_publisher(scrape: &Scrape, samples: &mut Samples<'_>, count: impl Fn(&PublishReport) -> u64) -> fmt::Result {
    let mut publishers = scrape.sinks.iter().filter_map(|(sink, counts)| Some((sink, counts.publisher.as_ref()?)));
    publishers.try_for_each(|(sink, report)| samples.add(&[sink], count(report)))
}

fn each_recording(
    scrape: &Scrape,
    samples: &mut Samples<'_>,
    count: impl Fn(&SinkReport, &RecordingReport) -> u64,
) -> fmt::Result {
    scrape.recordings.iter().try_for_each(|(sink, report)| match &report.recording {
        Some(recording) => samples.add(&[sink], count(report, recording)),
        None => Ok(()),
    })
}
