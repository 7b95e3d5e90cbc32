//! The metrics of feeds. Those of a leg have its name, and `receiver_feed_leg_info` has its subscription.

use std::fmt;

use serde_json::Value;

use super::family::Family;
use super::feed_streams::StreamCounts;
use super::kind::Kind;
use super::samples::Samples;
use super::scrape::Scrape;
use crate::feeds::{FeedReport, FeedState, LegReport, RerequestReport};

const FEED: &[&str] = &["feed"];
const LEG: &[&str] = &["feed", "leg"];
const STREAM: &[&str] = &["feed", "stream"];
const QUANTILE: &[&str] = &["feed", "leg", "quantile"];

/// The windows of the highest rates, in seconds.
const WINDOWS: [&str; 3] = ["0.0001", "0.001", "0.01"];
/// The quantiles of lead and lag.
const QUANTILES: [&str; 2] = ["0.5", "0.99"];

/// All metrics of feeds.
pub static FEED_FAMILIES: &[Family] = &[
    Family {
        name: "receiver_feed",
        kind: Kind::Info,
        labels: &["feed", "protocol"],
        help: "The feeds and their protocols",
        read: |scrape, samples| scrape.feeds.iter().try_for_each(|feed| samples.add(&[&feed.name, &feed.feed], 1)),
    },
    Family {
        name: "receiver_feed_state",
        kind: Kind::Gauge,
        labels: &["feed", "state"],
        help: "1 for the worst state of the streams of a feed, 0 for the other states",
        read: |scrape, samples| {
            scrape.feeds.iter().try_for_each(|feed| {
                let mut states = FeedState::ALL.into_iter();
                states.try_for_each(|state| samples.add(&[&feed.name, state.name()], (state == feed.state).into()))
            })
        },
    },
    Family {
        name: "receiver_feed_streams",
        kind: Kind::Gauge,
        labels: FEED,
        help: "Streams of a feed: sessions, units, channels or SSRCs",
        read: |scrape, samples| each_feed(scrape, samples, |feed| feed.streams.len() as u64 + feed.more_streams),
    },
    Family {
        name: "receiver_feed_messages",
        kind: Kind::Counter,
        labels: FEED,
        help: "Sequence numbers that were delivered, in order or late",
        read: |scrape, samples| each_feed(scrape, samples, |feed| feed.total.messages),
    },
    Family {
        name: "receiver_feed_gaps",
        kind: Kind::Counter,
        labels: FEED,
        help: "Gaps that were declared, because no leg had what was missing in time",
        read: |scrape, samples| each_feed(scrape, samples, |feed| feed.total.gaps),
    },
    Family {
        name: "receiver_feed_missing",
        kind: Kind::Counter,
        labels: FEED,
        help: "Sequence numbers in the gaps; receiver_feed_recovered_total of them came late",
        read: |scrape, samples| each_feed(scrape, samples, |feed| feed.total.missing + feed.total.recovered),
    },
    Family {
        name: "receiver_feed_recovered",
        kind: Kind::Counter,
        labels: FEED,
        help: "Sequence numbers that came after their gap was declared",
        read: |scrape, samples| each_feed(scrape, samples, |feed| feed.total.recovered),
    },
    Family {
        name: "receiver_feed_lost_messages",
        kind: Kind::Gauge,
        labels: &["feed", "cause"],
        help: "Sequence numbers that have not come so far, by the cause of their loss; one that comes late is taken \
               off",
        read: |scrape, samples| {
            scrape.feeds.iter().try_for_each(|feed| {
                feed.missing_by.iter().try_for_each(|(cause, count)| samples.add(&[&feed.name, cause], *count))
            })
        },
    },
    Family {
        name: "receiver_feed_longest_gap_messages",
        kind: Kind::Gauge,
        labels: FEED,
        help: "The largest gap so far, in sequence numbers",
        read: |scrape, samples| each_feed(scrape, samples, |feed| feed.total.longest_gap),
    },
    Family {
        name: "receiver_feed_last_gap_timestamp_seconds",
        kind: Kind::Gauge,
        labels: FEED,
        help: "When the latest gap was declared, in seconds since 1970; absent before the first",
        read: |scrape, samples| {
            scrape.feeds.iter().try_for_each(|feed| {
                let time = feed.last_gap_seconds_ago.map(|seconds| scrape.unix_of_ago(seconds));
                samples.add_known(&[&feed.name], time)
            })
        },
    },
    Family {
        name: "receiver_feed_duplicate_packets",
        kind: Kind::Counter,
        labels: FEED,
        help: "Datagrams with nothing new, such as those of the slower leg",
        read: |scrape, samples| each_feed(scrape, samples, |feed| feed.total.duplicates),
    },
    Family {
        name: "receiver_feed_reordered_packets",
        kind: Kind::Counter,
        labels: FEED,
        help: "Datagrams that came after a later one of their leg",
        read: |scrape, samples| each_feed(scrape, samples, |feed| feed.total.reordered),
    },
    Family {
        name: "receiver_feed_heartbeats",
        kind: Kind::Counter,
        labels: FEED,
        help: "Heartbeats of all legs",
        read: |scrape, samples| each_feed(scrape, samples, |feed| feed.total.heartbeats),
    },
    Family {
        name: "receiver_feed_resets",
        kind: Kind::Counter,
        labels: FEED,
        help: "How often a sequence started anew",
        read: |scrape, samples| each_feed(scrape, samples, |feed| feed.total.resets),
    },
    Family {
        name: "receiver_feed_held_packets",
        kind: Kind::Gauge,
        labels: FEED,
        help: "Datagrams that wait for a missing one before them",
        read: |scrape, samples| each_feed(scrape, samples, |feed| feed.total.held),
    },
    Family {
        name: "receiver_feed_rerequests",
        kind: Kind::Counter,
        labels: FEED,
        help: "Requests for what is missing; absent without a server",
        read: |scrape, samples| each_rerequest(scrape, samples, |found| found.requests),
    },
    Family {
        name: "receiver_feed_rerequest_messages",
        kind: Kind::Counter,
        labels: &["feed", "outcome"],
        help: "Sequence numbers that were asked for, repetitions included (requested), that answers brought (filled), \
               that were given up (given_up), or that were never asked for, as too many ranges waited (refused)",
        read: |scrape, samples| {
            with_report(scrape, |feed| feed.rerequest).try_for_each(|(feed, found)| {
                let counts = [
                    ("requested", found.requested),
                    ("filled", found.filled),
                    ("given_up", found.given_up),
                    ("refused", found.refused),
                ];
                counts.iter().try_for_each(|(outcome, count)| samples.add(&[feed, outcome], *count))
            })
        },
    },
    Family {
        name: "receiver_feed_rerequest_failed",
        kind: Kind::Counter,
        labels: FEED,
        help: "Requests that could not be sent",
        read: |scrape, samples| each_rerequest(scrape, samples, |found| found.failed),
    },
    Family {
        name: "receiver_feed_rerequest_answers",
        kind: Kind::Counter,
        labels: FEED,
        help: "Datagrams of the server that is asked for what is missing",
        read: |scrape, samples| each_rerequest(scrape, samples, |found| found.answers),
    },
    Family {
        name: "receiver_feed_fec_packets",
        kind: Kind::Counter,
        labels: &["feed", "parity"],
        help: "Parity packets (ST 2022-1) of columns and of rows, and those that are malformed; absent without parity",
        read: |scrape, samples| {
            with_report(scrape, |feed| feed.fec).try_for_each(|(feed, found)| {
                let counts = [("column", found.columns), ("row", found.rows), ("malformed", found.malformed)];
                counts.iter().try_for_each(|(parity, count)| samples.add(&[feed, parity], *count))
            })
        },
    },
    Family {
        name: "receiver_feed_fec_recovered_packets",
        kind: Kind::Counter,
        labels: FEED,
        help: "Packets that were made again from parity",
        read: |scrape, samples| {
            with_report(scrape, |feed| feed.fec).try_for_each(|(feed, found)| samples.add(&[feed], found.recovered))
        },
    },
    Family {
        name: "receiver_feed_stream_messages",
        kind: Kind::Counter,
        labels: STREAM,
        help: "Sequence numbers of a stream that were delivered; the streams beyond --metrics-subscriptions are other",
        read: |scrape, samples| each_stream(scrape, samples, |counts| counts.messages),
    },
    Family {
        name: "receiver_feed_stream_gaps",
        kind: Kind::Counter,
        labels: STREAM,
        help: "Gaps of a stream that were declared",
        read: |scrape, samples| each_stream(scrape, samples, |counts| counts.gaps),
    },
    Family {
        name: "receiver_feed_stream_missing",
        kind: Kind::Counter,
        labels: STREAM,
        help: "Sequence numbers in the gaps of a stream; some may have come late",
        read: |scrape, samples| each_stream(scrape, samples, |counts| counts.missing),
    },
    Family {
        name: "receiver_feed_leg",
        kind: Kind::Info,
        labels: &["feed", "leg", "subscription"],
        help: "The legs of a feed, and the subscription of each",
        read: |scrape, samples| each(scrape, |feed, leg| samples.add(&[&feed.name, &leg.name, &leg.subscription], 1)),
    },
    Family {
        name: "receiver_feed_leg_lost",
        kind: Kind::Gauge,
        labels: LEG,
        help: "1 if the leg fell silent for a stream while other legs go on",
        read: |scrape, samples| each_leg(scrape, samples, |leg| leg.is_lost.into()),
    },
    Family {
        name: "receiver_feed_leg_packets",
        kind: Kind::Counter,
        labels: LEG,
        help: "Datagrams of a leg",
        read: |scrape, samples| each_leg(scrape, samples, |leg| leg.packets),
    },
    Family {
        name: "receiver_feed_leg_malformed_packets",
        kind: Kind::Counter,
        labels: LEG,
        help: "Datagrams of a leg that are not of the protocol",
        read: |scrape, samples| each_leg(scrape, samples, |leg| leg.malformed),
    },
    Family {
        name: "receiver_feed_leg_untracked_packets",
        kind: Kind::Counter,
        labels: LEG,
        help: "Datagrams of a leg whose stream is beyond the limit of streams",
        read: |scrape, samples| each_leg(scrape, samples, |leg| leg.untracked),
    },
    Family {
        name: "receiver_feed_leg_first_arrivals",
        kind: Kind::Counter,
        labels: LEG,
        help: "Sequence numbers that a leg had first",
        read: |scrape, samples| each_leg(scrape, samples, |leg| leg.first_arrivals),
    },
    Family {
        name: "receiver_feed_leg_duplicates",
        kind: Kind::Counter,
        labels: LEG,
        help: "Sequence numbers of a leg that had arrived before",
        read: |scrape, samples| each_leg(scrape, samples, |leg| leg.duplicates),
    },
    Family {
        name: "receiver_feed_leg_missing",
        kind: Kind::Counter,
        labels: LEG,
        help: "Sequence numbers that a leg lost, whether or not another leg had them",
        read: |scrape, samples| each_leg(scrape, samples, |leg| leg.missing),
    },
    Family {
        name: "receiver_feed_leg_lost_messages",
        kind: Kind::Gauge,
        labels: &["feed", "leg", "cause"],
        help: "Sequence numbers that a leg has lost so far, by the cause; what is known of a cause may change",
        read: |scrape, samples| {
            each(scrape, |feed, leg| {
                let mut causes = leg.missing_by.iter();
                causes.try_for_each(|(cause, count)| samples.add(&[&feed.name, &leg.name, cause], *count))
            })
        },
    },
    Family {
        name: "receiver_feed_leg_reordered",
        kind: Kind::Counter,
        labels: LEG,
        help: "Sequence numbers of a leg that came after later ones",
        read: |scrape, samples| each_leg(scrape, samples, |leg| leg.reordered),
    },
    Family {
        name: "receiver_feed_leg_outages",
        kind: Kind::Counter,
        labels: LEG,
        help: "How often a stream lost the leg",
        read: |scrape, samples| each_leg(scrape, samples, |leg| leg.outages),
    },
    Family {
        name: "receiver_feed_leg_lead_seconds",
        kind: Kind::Gauge,
        labels: QUANTILE,
        help: "How much earlier than the next leg a leg was where it was first, since the start; absent if it never \
               was",
        read: |scrape, samples| each_quantile(scrape, samples, |leg| leg.lead_nanoseconds),
    },
    Family {
        name: "receiver_feed_leg_lag_seconds",
        kind: Kind::Gauge,
        labels: QUANTILE,
        help: "How much later than the first leg a leg was where it was not first, since the start",
        read: |scrape, samples| each_quantile(scrape, samples, |leg| leg.lag_nanoseconds),
    },
    Family {
        name: "receiver_feed_leg_peak_bits_per_second",
        kind: Kind::Gauge,
        labels: &["feed", "leg", "window"],
        help: "The highest rate of a leg over a window of 0.1, 1 or 10 ms since the start: microbursts",
        read: |scrape, samples| {
            each(scrape, |feed, leg| {
                let peaks = leg.peak_bits_per_second.into_iter().flat_map(|peaks| WINDOWS.into_iter().zip(peaks));
                peaks.into_iter().try_for_each(|(window, peak)| samples.add(&[&feed.name, &leg.name, window], peak))
            })
        },
    },
    Family {
        name: "receiver_feed_rtp_jitter_seconds",
        kind: Kind::Gauge,
        labels: LEG,
        help: "Interarrival jitter of RTP (RFC 3550); absent for other protocols",
        read: |scrape, samples| {
            each(scrape, |feed, leg| {
                let jitter = leg.rtp.as_ref().and_then(|rtp| seconds(rtp, "jitter_nanoseconds"));
                samples.add_known(&[&feed.name, &leg.name], jitter)
            })
        },
    },
    Family {
        name: "receiver_feed_ts_bits_per_second",
        kind: Kind::Gauge,
        labels: LEG,
        help: "Bit rate of the MPEG transport stream by its PCR: of each leg, and of what is delivered, without a leg",
        read: |scrape, samples| {
            each_flow(scrape, |feed, leg, flow| {
                samples.add_known(&[feed, leg], flow.0.and_then(|stream| stream["bits_per_second"].as_f64()))
            })
        },
    },
    Family {
        name: "receiver_feed_ts_errors",
        kind: Kind::Counter,
        labels: &["feed", "leg", "priority", "error"],
        help: "Errors of the MPEG transport stream by TR 101 290, priorities 1 and 2; absent where they cannot be \
               measured",
        read: |scrape, samples| {
            each_flow(scrape, |feed, leg, flow| {
                let Some(stream) = flow.0 else { return Ok(()) };
                [("1", "priority_1"), ("2", "priority_2")].into_iter().try_for_each(|(priority, name)| {
                    let errors = stream[name].as_object().into_iter().flatten();
                    let mut known = errors.filter_map(|(error, count)| Some((error, count.as_u64()?)));
                    known.try_for_each(|(error, count)| samples.add(&[feed, leg, priority, error], count))
                })
            })
        },
    },
    Family {
        name: "receiver_feed_mdi_delay_factor_seconds",
        kind: Kind::Gauge,
        labels: LEG,
        help: "Delay factor of the Media Delivery Index (RFC 4445)",
        read: |scrape, samples| {
            each_flow(scrape, |feed, leg, flow| {
                samples.add_known(&[feed, leg], flow.1.and_then(|index| seconds(index, "delay_factor_nanoseconds")))
            })
        },
    },
    Family {
        name: "receiver_feed_mdi_media_loss_rate",
        kind: Kind::Gauge,
        labels: LEG,
        help: "Media loss rate of the Media Delivery Index (RFC 4445), in packets per second",
        read: |scrape, samples| {
            each_flow(scrape, |feed, leg, flow| {
                samples.add_known(&[feed, leg], flow.1.and_then(|index| index["media_loss_rate"].as_f64()))
            })
        },
    },
];

fn seconds(value: &Value, nanoseconds: &str) -> Option<f64> {
    Some(value[nanoseconds].as_f64()? / 1e9)
}

/// The feeds that have a part of the report, with it.
fn with_report<'a, T: 'a>(
    scrape: &'a Scrape,
    part: impl Fn(&'a FeedReport) -> Option<T> + 'a,
) -> impl Iterator<Item = (&'a str, T)> + 'a {
    scrape.feeds.iter().filter_map(move |feed| Some((feed.name.as_str(), part(feed)?)))
}

fn each_rerequest(scrape: &Scrape, samples: &mut Samples<'_>, count: impl Fn(&RerequestReport) -> u64) -> fmt::Result {
    with_report(scrape, |feed| feed.rerequest).try_for_each(|(feed, found)| samples.add(&[feed], count(&found)))
}

fn each_feed(scrape: &Scrape, samples: &mut Samples<'_>, count: impl Fn(&FeedReport) -> u64) -> fmt::Result {
    scrape.feeds.iter().try_for_each(|feed| samples.add(&[&feed.name], count(feed)))
}

fn each_stream(scrape: &Scrape, samples: &mut Samples<'_>, count: impl Fn(&StreamCounts) -> u64) -> fmt::Result {
    scrape.feed_streams.iter().try_for_each(|((feed, stream), counts)| samples.add(&[feed, stream], count(counts)))
}

/// Each leg, with its feed.
fn each(scrape: &Scrape, mut add: impl FnMut(&FeedReport, &LegReport) -> fmt::Result) -> fmt::Result {
    scrape.feeds.iter().try_for_each(|feed| feed.legs.iter().try_for_each(|leg| add(feed, leg)))
}

/// The transport stream and the delivery index of a flow, if it has them.
type Flow<'a> = (Option<&'a Value>, Option<&'a Value>);

/// What each leg has of a transport stream, and what is delivered, which has no leg. Takes the names of feed and leg.
fn each_flow(scrape: &Scrape, mut add: impl FnMut(&str, &str, Flow<'_>) -> fmt::Result) -> fmt::Result {
    scrape.feeds.iter().try_for_each(|feed| {
        add(&feed.name, "", (feed.transport_stream.as_ref(), feed.delivery_index.as_ref()))?;
        let mut legs = feed.legs.iter();
        legs.try_for_each(|leg| {
            add(&feed.name, &leg.name, (leg.transport_stream.as_ref(), leg.delivery_index.as_ref()))
        })
    })
}

fn each_leg(scrape: &Scrape, samples: &mut Samples<'_>, count: impl Fn(&LegReport) -> u64) -> fmt::Result {
    each(scrape, |feed, leg| samples.add(&[&feed.name, &leg.name], count(leg)))
}

fn each_quantile(
    scrape: &Scrape,
    samples: &mut Samples<'_>,
    times: impl Fn(&LegReport) -> Option<[u64; 2]>,
) -> fmt::Result {
    each(scrape, |feed, leg| {
        let mut all = times(leg).into_iter().flat_map(|times| QUANTILES.into_iter().zip(times));
        all.try_for_each(|(quantile, time)| samples.add_float(&[&feed.name, &leg.name, quantile], time as f64 / 1e9))
    })
}
