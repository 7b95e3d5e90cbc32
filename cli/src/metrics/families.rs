//! Every metric: its name, type, labels and documentation, beside how it is read. docs/operations.md has the same
//! table, and a test compares them. Those of sinks are in `sink_families.rs`, those of feeds in `feed_families.rs`.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use receiver::{QueueReport, ReceiveMode};

use super::family::Family;
use super::feed_families::FEED_FAMILIES;
use super::kind::Kind;
use super::samples::Samples;
use super::scrape::Scrape;
use super::series::Series;
use super::sink_families::SINK_FAMILIES;

const SUBSCRIPTION: &[&str] = &["subscription", "name", "interface"];

/// All metrics.
pub fn families() -> impl Iterator<Item = &'static Family> {
    FAMILIES.iter().chain(SINK_FAMILIES).chain(FEED_FAMILIES)
}

static FAMILIES: &[Family] = &[
    Family {
        name: "receiver_build",
        kind: Kind::Info,
        labels: &["version"],
        help: "The version of the receiver",
        read: |_, samples| samples.add(&[env!("CARGO_PKG_VERSION")], 1),
    },
    Family {
        name: "receiver_start_time_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "When everything was joined, in seconds since 1970",
        read: |scrape, samples| samples.add_float(&[], unix(scrape.start)),
    },
    Family {
        name: "receiver_scrape_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "How long it took to read the counters of this answer",
        read: |scrape, samples| samples.add_float(&[], scrape.reading.as_secs_f64()),
    },
    Family {
        name: "receiver_mode",
        kind: Kind::Info,
        labels: &["mode", "interface", "share", "instance_name"],
        help: "The receive mode, the interface, whether the kernel gets each packet too, and the name of the run",
        read: |scrape, samples| {
            let share = if scrape.share { "true" } else { "false" };
            samples.add(&[scrape.mode.name(), &scrape.interface, share, &scrape.name], 1)
        },
    },
    Family {
        name: "receiver_mode_fallback",
        kind: Kind::Gauge,
        labels: &[],
        help: "1 if no mode with XDP was available, so that mode auto fell back to mode socket",
        read: |scrape, samples| {
            samples.add(&[], (scrape.mode == ReceiveMode::Socket && !scrape.refused.is_empty()).into())
        },
    },
    Family {
        name: "receiver_mode_refused",
        kind: Kind::Gauge,
        labels: &["mode"],
        help: "1 for each faster mode that is not available; the log has the reasons",
        read: |scrape, samples| scrape.refused.iter().try_for_each(|mode| samples.add(&[mode.name()], 1)),
    },
    Family {
        name: "receiver_warnings",
        kind: Kind::Counter,
        labels: &[],
        help: "Warnings since the start; the log has their texts",
        read: |scrape, samples| samples.add(&[], scrape.warnings),
    },
    Family {
        name: "receiver_subscriptions",
        kind: Kind::Gauge,
        labels: &[],
        help: "Subscriptions that are joined",
        read: |scrape, samples| samples.add(&[], scrape.subscriptions),
    },
    Family {
        name: "receiver_subscription_packets",
        kind: Kind::Counter,
        labels: SUBSCRIPTION,
        help: "Datagrams handed over",
        read: |scrape, samples| each_series(scrape, samples, |series| Some(series.packets)),
    },
    Family {
        name: "receiver_subscription_bytes",
        kind: Kind::Counter,
        labels: SUBSCRIPTION,
        help: "Bytes of UDP payload in the datagrams handed over",
        read: |scrape, samples| each_series(scrape, samples, |series| Some(series.bytes)),
    },
    Family {
        name: "receiver_subscription_blocked_frames",
        kind: Kind::Counter,
        labels: SUBSCRIPTION,
        help: "Frames that XDP dropped because of their source; subscriptions of one group and port share the count; \
               absent in mode socket",
        read: |scrape, samples| each_series(scrape, samples, |series| series.blocked),
    },
    Family {
        name: "receiver_subscription_passed_frames",
        kind: Kind::Counter,
        labels: SUBSCRIPTION,
        help: "Frames of unwanted sources that passed to the kernel for other programs; shared as the blocked ones \
               are; absent in mode socket",
        read: |scrape, samples| each_series(scrape, samples, |series| series.passed_shared),
    },
    Family {
        name: "receiver_subscription_other_members",
        kind: Kind::Gauge,
        labels: SUBSCRIPTION,
        help: "Sockets of other programs that are members of the group; absent where it is unknown",
        read: |scrape, samples| each_series(scrape, samples, |series| series.other_members),
    },
    Family {
        name: "receiver_subscription_last_packet_timestamp_seconds",
        kind: Kind::Gauge,
        labels: SUBSCRIPTION,
        help: "When the latest datagram was received, in seconds since 1970; absent before the first",
        read: |scrape, samples| {
            scrape.series.iter().try_for_each(|series| {
                samples.add_known(&labels(scrape, series), series.last.map(|last| scrape.unix_of_tai(last)))
            })
        },
    },
    Family {
        name: "receiver_last_packet_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &[],
        help: "When the latest datagram of any subscription was received, in seconds since 1970; absent before the \
               first",
        read: |scrape, samples| {
            let last = scrape.series.iter().filter_map(|series| series.last).max();
            samples.add_known(&[], last.map(|last| scrape.unix_of_tai(last)))
        },
    },
    Family {
        name: "receiver_ledger_frames",
        kind: Kind::Counter,
        labels: &["cause"],
        help: "The ledger: frames, datagrams, or what the cause's name says, by cause",
        read: |scrape, samples| {
            let mut counters = scrape.ledger.causes().filter(|(cause, _)| is_counter(cause));
            counters.try_for_each(|(cause, count)| samples.add(&[cause], count))
        },
    },
    Family {
        name: "receiver_ledger_current_frames",
        kind: Kind::Gauge,
        labels: &["cause"],
        help: "The gauges of the ledger: frames in the rings, kept by the consumer, or held for its next call",
        read: |scrape, samples| {
            let mut gauges = scrape.ledger.causes().filter(|(cause, _)| GAUGES.contains(cause));
            gauges.try_for_each(|(cause, count)| samples.add(&[cause], count))
        },
    },
    Family {
        name: "receiver_lost_frames",
        kind: Kind::Counter,
        labels: &[],
        help: "Frames lost after XDP or the kernel had accepted them: full rings, full socket buffers, sockets whose \
               device had gone",
        read: |scrape, samples| samples.add(&[], scrape.ledger.lost()),
    },
    Family {
        name: "receiver_tap_frames",
        kind: Kind::Counter,
        labels: &[],
        help: "Frames that were not delivered, and that the tap has passed on to recordings",
        read: |scrape, samples| samples.add(&[], scrape.ledger.tap().taken),
    },
    Family {
        name: "receiver_tap_lost",
        kind: Kind::Counter,
        labels: &[],
        help: "Frames that the tap lost: its ring was full, CPUs collided, or nobody read it",
        read: |scrape, samples| samples.add(&[], scrape.ledger.tap().lost()),
    },
    Family {
        name: "receiver_in_flight_frames",
        kind: Kind::Gauge,
        labels: &[],
        help: "Frames on their way to the consumer: in the rings, or held for its next call",
        read: |scrape, samples| samples.add(&[], scrape.ledger.in_flight()),
    },
    Family {
        name: "receiver_unaccounted_frames",
        kind: Kind::Gauge,
        labels: &[],
        help: "The total difference between counters kept independently; absent while traffic flows, when it is \
               unknown",
        read: |scrape, samples| scrape.unaccounted.map_or(Ok(()), |frames| samples.add(&[], frames)),
    },
    Family {
        name: "receiver_queue_taken_packets",
        kind: Kind::Counter,
        labels: &["queue"],
        help: "Packets that the queue's worker took from the ring",
        read: |scrape, samples| each_queue(scrape, samples, |queue| queue.taken),
    },
    Family {
        name: "receiver_queue_delivered_packets",
        kind: Kind::Counter,
        labels: &["queue"],
        help: "Datagrams of the queue that were handed over",
        read: |scrape, samples| each_queue(scrape, samples, |queue| queue.delivered),
    },
    Family {
        name: "receiver_queue_copied_packets",
        kind: Kind::Counter,
        labels: &["queue"],
        help: "Payloads that were copied to be kept, because frames ran low or the packet came over several",
        read: |scrape, samples| each_queue(scrape, samples, |queue| queue.copied),
    },
    Family {
        name: "receiver_queue_dropped_packets",
        kind: Kind::Counter,
        labels: &["queue", "reason"],
        help: "Datagrams that the queue's worker dropped, by reason",
        read: |scrape, samples| {
            scrape.queues.iter().try_for_each(|queue| {
                let number = queue.queue.to_string();
                queue.drops().try_for_each(|(reason, count)| samples.add(&[&number, reason], count))
            })
        },
    },
    Family {
        name: "receiver_queue_refused_descriptors",
        kind: Kind::Counter,
        labels: &["queue"],
        help: "Descriptors that the worker's side of the ring refused: outside the memory, or incomplete",
        read: |scrape, samples| each_queue(scrape, samples, |queue| queue.ring.refused),
    },
    Family {
        name: "receiver_queue_not_copied_packets",
        kind: Kind::Counter,
        labels: &["queue"],
        help: "Packets that the XDP program had reserved a slot of the mapped ring for, and could not copy: lost",
        read: |scrape, samples| each_queue(scrape, samples, |queue| queue.ring.not_copied),
    },
    Family {
        name: "receiver_queue_in_ring_packets",
        kind: Kind::Gauge,
        labels: &["queue"],
        help: "Descriptors in the RX ring that the worker has not taken yet",
        read: |scrape, samples| each_queue(scrape, samples, |queue| queue.ring.in_ring),
    },
    Family {
        name: "receiver_queue_held_packets",
        kind: Kind::Gauge,
        labels: &["queue"],
        help: "Datagrams taken, and kept for the consumer's next call",
        read: |scrape, samples| each_queue(scrape, samples, |queue| queue.held),
    },
    Family {
        name: "receiver_queue_leased_frames",
        kind: Kind::Gauge,
        labels: &["queue"],
        help: "Frames of datagrams that the consumer keeps",
        read: |scrape, samples| each_queue(scrape, samples, |queue| queue.ring.leased),
    },
    Family {
        name: "receiver_queue_xsk_rx_dropped",
        kind: Kind::Counter,
        labels: &["queue"],
        help: "XDP_STATISTICS rx_dropped: no free frame, or larger than a frame; the six of them are absent without \
               AF_XDP",
        read: |scrape, samples| each_socket(scrape, samples, |queue| queue.ring.rx_dropped),
    },
    Family {
        name: "receiver_queue_xsk_rx_invalid_descs",
        kind: Kind::Counter,
        labels: &["queue"],
        help: "XDP_STATISTICS rx_invalid_descs: a descriptor in the fill ring was invalid",
        read: |scrape, samples| each_socket(scrape, samples, |queue| queue.ring.rx_invalid_descs),
    },
    Family {
        name: "receiver_queue_xsk_rx_ring_full",
        kind: Kind::Counter,
        labels: &["queue"],
        help: "XDP_STATISTICS rx_ring_full: the RX ring was full",
        read: |scrape, samples| each_socket(scrape, samples, |queue| queue.ring.rx_ring_full),
    },
    Family {
        name: "receiver_queue_xsk_rx_fill_ring_empty_descs",
        kind: Kind::Counter,
        labels: &["queue"],
        help: "XDP_STATISTICS rx_fill_ring_empty_descs: how often the kernel found the fill ring empty",
        read: |scrape, samples| each_socket(scrape, samples, |queue| queue.ring.rx_fill_ring_empty_descs),
    },
    Family {
        name: "receiver_queue_xsk_tx_invalid_descs",
        kind: Kind::Counter,
        labels: &["queue"],
        help: "XDP_STATISTICS tx_invalid_descs; 0, as a receiver sends nothing",
        read: |scrape, samples| each_socket(scrape, samples, |queue| queue.ring.tx_invalid_descs),
    },
    Family {
        name: "receiver_queue_xsk_tx_ring_empty_descs",
        kind: Kind::Counter,
        labels: &["queue"],
        help: "XDP_STATISTICS tx_ring_empty_descs; 0, as a receiver sends nothing",
        read: |scrape, samples| each_socket(scrape, samples, |queue| queue.ring.tx_ring_empty_descs),
    },
    Family {
        name: "receiver_link_up",
        kind: Kind::Gauge,
        labels: &[],
        help: "1 if the link can receive; 0 if it is down or the interface is gone",
        read: |scrape, samples| samples.add(&[], scrape.link.is_up().into()),
    },
    Family {
        name: "receiver_link_events",
        kind: Kind::Counter,
        labels: &["event"],
        help: "What has happened to the interface, by event",
        read: |scrape, samples| scrape.link.counts().try_for_each(|one| samples.add(&[one.change.name()], one.count)),
    },
    Family {
        name: "receiver_link_event_timestamp_seconds",
        kind: Kind::Gauge,
        labels: &["event"],
        help: "When each event was last noticed, in seconds since 1970; absent before the first",
        read: |scrape, samples| {
            let mut counts = scrape.link.counts();
            counts.try_for_each(|one| samples.add_known(&[one.change.name()], one.last.map(unix)))
        },
    },
    Family {
        name: "receiver_link_outages",
        kind: Kind::Counter,
        labels: &["part"],
        help: "Outages that are over: of the link or the receiver on it, of IPv4 alone, of IPv6 alone",
        read: |scrape, samples| {
            let link = scrape.ledger.link();
            samples.add(&["link"], link.outages)?;
            samples.add(&["ipv4"], link.ipv4_outages)?;
            samples.add(&["ipv6"], link.ipv6_outages)
        },
    },
    Family {
        name: "receiver_link_outage_seconds",
        kind: Kind::Counter,
        labels: &["part"],
        help: "How long the outages were, until packets could be received again",
        read: |scrape, samples| {
            let link = scrape.ledger.link();
            samples.add_float(&["link"], seconds(link.outage_milliseconds))?;
            samples.add_float(&["ipv4"], seconds(link.ipv4_outage_milliseconds))?;
            samples.add_float(&["ipv6"], seconds(link.ipv6_outage_milliseconds))
        },
    },
    Family {
        name: "receiver_link_recovery_seconds",
        kind: Kind::Counter,
        labels: &[],
        help: "The part of the link's outages from its return until everything was restored",
        read: |scrape, samples| samples.add_float(&[], seconds(scrape.ledger.link().recovery_milliseconds)),
    },
    Family {
        name: "receiver_link_missed_packets",
        kind: Kind::Counter,
        labels: &[],
        help: "Packets that may have been missed in outages: the rate before each, times its length; an estimate",
        read: |scrape, samples| samples.add(&[], scrape.ledger.link().missed_estimate),
    },
    Family {
        name: "receiver_membership_joined",
        kind: Kind::Gauge,
        labels: &[],
        help: "Pairs of group and port that are joined",
        read: |scrape, samples| samples.add(&[], scrape.memberships.joined),
    },
    Family {
        name: "receiver_membership_groups",
        kind: Kind::Gauge,
        labels: &[],
        help: "Groups that are joined",
        read: |scrape, samples| samples.add(&[], scrape.memberships.groups),
    },
    Family {
        name: "receiver_membership_groups_missing",
        kind: Kind::Gauge,
        labels: &[],
        help: "Groups of which the kernel has fewer memberships or sources than were joined; absent before its tables \
               were read",
        read: |scrape, samples| scrape.memberships.missing.map_or(Ok(()), |missing| samples.add(&[], missing)),
    },
    Family {
        name: "receiver_membership_sockets",
        kind: Kind::Gauge,
        labels: &[],
        help: "Sockets that hold the memberships",
        read: |scrape, samples| samples.add(&[], scrape.memberships.sockets),
    },
    Family {
        name: "receiver_membership_older_querier",
        kind: Kind::Gauge,
        labels: &["protocol"],
        help: "1 if the kernel reports by an older version (IGMPv1, IGMPv2, MLDv1), so that joins of sources are not \
               signalled",
        read: |scrape, samples| {
            samples.add(&["igmp"], scrape.memberships.older_igmp.into())?;
            samples.add(&["mld"], scrape.memberships.older_mld.into())
        },
    },
    Family {
        name: "receiver_log_dropped_lines",
        kind: Kind::Counter,
        labels: &[],
        help: "Lines of the log that were dropped because their reader did not read",
        read: |scrape, samples| samples.add(&[], scrape.log_dropped),
    },
];

/// The causes of the ledger that are levels.
const GAUGES: [&str; 4] = ["xsk_in_ring", "xsk_leased", "tap_in_ring", "held"];

/// Returns true if a cause of the ledger is a counter without a metric of its own: `link_*` are durations and events.
fn is_counter(cause: &str) -> bool {
    !GAUGES.contains(&cause) && !cause.starts_with("link_")
}

fn labels<'a>(scrape: &'a Scrape, series: &'a Series) -> [&'a str; 3] {
    [&series.subscription, &series.name, &scrape.interface]
}

fn each_series(scrape: &Scrape, samples: &mut Samples<'_>, count: impl Fn(&Series) -> Option<u64>) -> fmt::Result {
    scrape.series.iter().try_for_each(|series| match count(series) {
        Some(count) => samples.add(&labels(scrape, series), count),
        None => Ok(()),
    })
}

fn each_queue(scrape: &Scrape, samples: &mut Samples<'_>, count: impl Fn(&QueueReport) -> u64) -> fmt::Result {
    scrape.queues.iter().try_for_each(|queue| samples.add(&[&queue.queue.to_string()], count(queue)))
}

/// As [`each_queue`], for queues with an AF_XDP socket.
fn each_socket(scrape: &Scrape, samples: &mut Samples<'_>, count: impl Fn(&QueueReport) -> u64) -> fmt::Result {
    let mut sockets = scrape.queues.iter().filter(|queue| !queue.is_mapped);
    sockets.try_for_each(|queue| samples.add(&[&queue.queue.to_string()], count(queue)))
}

fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1e3
}

fn unix(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
