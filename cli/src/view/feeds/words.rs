//! Feeds in words: a sentence, a paragraph, a line of an interval.

use std::borrow::Cow;
use std::collections::BTreeMap;

use receiver_feed::attribution::LossCause;

use super::rows::Part;
use super::states::{MOST_STREAMS, is_troubled, state_word, stream_name, stream_state, worst_first};
use crate::feeds::{FeedReport, FeedState, LegReport, StreamReport};
use crate::units::{age, count, percent, short, span, with_unit};
use crate::view::media_lines;

/// The most legs that a sentence names.
const MOST_LEGS: usize = 8;

/// A feed in one sentence: `itch: 1000 messages, complete; a lost 10 (1.0 %), b lost 9 (0.9 %)`.
pub fn sentence(feed: &FeedReport) -> String {
    let total = &feed.total;
    if feed.state == FeedState::Waiting {
        return format!("{}: nothing has come{}", feed.name, listed("; ", legs(feed)));
    }
    let state = if feed.state == FeedState::Live { String::new() } else { format!("{}, ", state_word(feed.state)) };
    let streams = match feed.streams.len() as u64 + feed.more_streams {
        0 | 1 => String::new(),
        many => format!(" in {many} streams"),
    };
    let late = if total.recovered > 0 { format!(", {} recovered late", total.recovered) } else { String::new() };
    format!(
        "{}: {state}{}{streams}, {}{late}{}",
        feed.name,
        count(total.messages, "message"),
        missing(feed),
        listed("; ", legs(feed))
    )
}

/// `complete`, or `12 missing in 3 gaps (longest 7): 9 lost on the network, 3 in the ring`.
fn missing(feed: &FeedReport) -> String {
    let total = &feed.total;
    if total.missing == 0 {
        return "complete".to_owned();
    }
    format!("{}{}", in_gaps(total), listed(": ", causes(&feed.missing_by)))
}

/// `9 lost on the network`, `3 in the ring`: causes with their counts.
fn causes(missing_by: &BTreeMap<Cow<'_, str>, u64>) -> Vec<String> {
    let counts = missing_by.iter().filter(|(_, number)| **number > 0).enumerate();
    let words = |(at, (cause, number)): (usize, (&Cow<'_, str>, &u64))| {
        format!("{number}{} {}", if at == 0 { " lost" } else { "" }, cause_words(cause))
    };
    counts.map(words).collect()
}

/// Words for a cause that follow `lost`.
pub fn cause_words(cause: &str) -> String {
    let known = LossCause::ALL.into_iter().find(|known| known.name() == cause);
    let words = match known {
        Some(LossCause::Network) => "on the network",
        Some(LossCause::Nic) => "in the NIC",
        Some(LossCause::Ring) => "in the ring",
        Some(LossCause::Socket) => "in the socket buffer",
        Some(LossCause::Consumer) => "by the consumer",
        Some(LossCause::Unknown) => "for an unknown reason",
        None => return format!("because of {cause}"),
    };
    words.to_owned()
}

fn in_gaps(stream: &StreamReport) -> String {
    let gaps = count(stream.gaps, "gap");
    let longest = if stream.gaps > 1 { format!(" (longest {})", stream.longest_gap) } else { String::new() };
    format!("{} missing in {gaps}{longest}", stream.missing)
}

/// What each leg lost, and which leg is gone.
fn legs(feed: &FeedReport) -> Vec<String> {
    let is_alone = feed.legs.len() == 1;
    let mut parts: Vec<String> = Vec::new();
    for leg in &feed.legs {
        let name = &leg.name;
        if leg.is_lost {
            parts.push(format!("leg {} is LOST", with_subscription(leg)));
        } else if leg.packets == 0 {
            parts.push(format!("leg {} received nothing", with_subscription(leg)));
        }
        if leg.missing > 0 && !is_alone {
            parts.push(format!("{name} lost {} ({})", leg.missing, percent(lost_share(leg))));
        }
        if leg.malformed > 0 {
            parts.push(format!("{name} had {} that are not {}", count(leg.malformed, "datagram"), feed.feed));
        }
        if leg.untracked > 0 {
            parts.push(format!("{name} had {} of streams beyond the limit", count(leg.untracked, "datagram")));
        }
    }
    let more = parts.len().saturating_sub(MOST_LEGS);
    parts.truncate(MOST_LEGS);
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    parts
}

/// The leg's name, and its subscription if that is another one.
pub fn with_subscription(leg: &LegReport) -> String {
    let LegReport { name, subscription, .. } = leg;
    if name == subscription { name.clone() } else { format!("{name} ({subscription})") }
}

/// The part of a leg's sequence numbers that it lost.
fn lost_share(leg: &LegReport) -> f64 {
    let all = leg.first_arrivals + leg.duplicates + leg.missing;
    if all == 0 { 0.0 } else { leg.missing as f64 / all as f64 }
}

/// The parts with commas, behind `start`. Empty without any.
fn listed(start: &str, parts: Vec<String>) -> String {
    if parts.is_empty() { String::new() } else { format!("{start}{}", parts.join(", ")) }
}

/// A feed in a paragraph: its sentence, a line for each of several legs, and lines for its worst streams.
pub fn paragraph(feed: &FeedReport) -> Vec<String> {
    let mut lines = vec![format!("feed {}", sentence(feed))];
    if feed.legs.len() > 1 {
        lines.extend(feed.legs.iter().map(|leg| format!("  {}", leg_words(leg))));
    }
    lines.extend(repairs(feed).into_iter().map(|line| format!("  {line}")));
    let media = media_lines(None, feed.transport_stream.as_ref(), feed.delivery_index.as_ref());
    lines.extend(media.into_iter().map(|line| format!("  {line}")));
    if feed.streams.len() > 1 {
        let worst = worst_first(&feed.streams).into_iter().map(|at| &feed.streams[at]);
        let troubled: Vec<&StreamReport> = worst.filter(|stream| is_troubled(feed, stream)).collect();
        lines.extend(troubled.iter().take(MOST_STREAMS).map(|stream| format!("  {}", stream_words(feed, stream))));
        if let more @ 1.. = troubled.len().saturating_sub(MOST_STREAMS) {
            lines.push(format!("  and {more} more streams that are not complete or not live"));
        }
    }
    lines
}

/// What filled gaps beside the legs: a line for the requests, and one for the parity.
fn repairs(feed: &FeedReport) -> Vec<String> {
    let with_counts = |start: String, counts: &[(u64, &str)]| {
        let counts = counts.iter().filter(|(number, _)| *number > 0);
        counts.fold(start, |line, (number, what)| format!("{line}, {number} {what}"))
    };
    let requests = feed.rerequest.map(|found| {
        let asked = count(found.requested, "message");
        let start = format!("asked again: {} for {asked}", count(found.requests, "request"));
        let counts = [
            (found.filled, "filled"),
            (found.given_up, "given up"),
            (found.refused, "not asked for"),
            (found.failed, "requests not sent"),
        ];
        with_counts(start, &counts)
    });
    let parity = feed.fec.map(|found| {
        let start = format!("parity: {} and {}", count(found.columns, "column"), count(found.rows, "row"));
        with_counts(start, &[(found.recovered, "packets made again"), (found.malformed, "malformed")])
    });
    requests.into_iter().chain(parity).collect()
}

/// What is known of a part of a feed beyond the feed's sentence.
pub fn details(feed: &FeedReport, part: Part) -> Vec<String> {
    match part {
        Part::Feed => paragraph(feed).into_iter().skip(1).map(|line| line.trim_start().to_owned()).collect(),
        Part::Leg(at) => vec![leg_words(&feed.legs[at])],
        Part::Stream(at) => {
            let stream = &feed.streams[at];
            let sequence = stream.first_sequence.zip(stream.next_sequence);
            let sequence = sequence.map(|(first, next)| format!("sequence {first} on, {next} is expected next"));
            let counts = [
                ("late", stream.recovered),
                ("duplicates", stream.duplicates),
                ("reordered", stream.reordered),
                ("resets", stream.resets),
                ("heartbeats", stream.heartbeats),
                ("held", stream.held),
            ];
            let counts = counts.into_iter().filter(|(_, number)| *number > 0);
            let counts: Vec<String> = counts.map(|(what, number)| format!("{what} {number}")).collect();
            [Some(stream_words(feed, stream)), sequence, (!counts.is_empty()).then(|| counts.join(", "))]
                .into_iter()
                .flatten()
                .collect()
        }
    }
}

/// A leg in words: `leg a: 500 packets, first 51 %, lead 12 µs (99 %: 40 µs), lag 9 µs (99 %: 30 µs)`.
fn leg_words(leg: &LegReport) -> String {
    let mut parts = vec![count(leg.packets, "packet")];
    if leg.packets > 0 {
        parts.push(format!("first {}", percent(leg.first_share)));
    }
    for (what, times) in [("lead", leg.lead_nanoseconds), ("lag", leg.lag_nanoseconds)] {
        if let Some([median, most]) = times {
            parts.push(format!("{what} {} (99 %: {})", span(median), span(most)));
        }
    }
    parts.extend(causes(&leg.missing_by));
    if leg.reordered > 0 {
        parts.push(format!("{} reordered", leg.reordered));
    }
    if leg.outages > 0 {
        parts.push(count(leg.outages, "outage"));
    }
    if let Some([_, peak, _]) = leg.peak_bits_per_second.filter(|peaks| peaks[1] > 0) {
        parts.push(format!("peak {} in 1 ms", with_unit(peak as f64, "bit/s")));
    }
    parts.extend(media_lines(leg.rtp.as_ref(), None, None));
    format!("leg {}: {}", leg.name, parts.join(", "))
}

/// What is known of a leg that fell silent while others go on, and the command that finds out more. `last` is when its
/// subscription got its last packet, in seconds before now.
pub fn lost_leg(leg: &LegReport, last: Option<f64>, interface: &str) -> String {
    let LegReport { subscription, .. } = leg;
    let since = match last {
        // The leg is lost for its streams alone: the subscription gets something else.
        Some(seconds) if seconds < 1.0 => "packets come, but not those of each stream".to_owned(),
        Some(seconds) => format!("no packet for {}", age(seconds)),
        None => "no packet since the start".to_owned(),
    };
    format!("{since}; `receiver doctor -i {interface} '{subscription}'` looks for the reason")
}

/// A stream in words: `stream AAPL: live, 500 messages, 12 missing in 3 gaps (longest 7)`.
fn stream_words(feed: &FeedReport, stream: &StreamReport) -> String {
    let missing = if stream.missing > 0 { in_gaps(stream) } else { "complete".to_owned() };
    let state = stream_state(feed, stream);
    format!("stream {}: {state}, {}, {missing}", stream_name(stream), count(stream.messages, "message"))
}

/// A feed in a line of an interval.
pub fn interval_line(feed: &FeedReport) -> String {
    let total = &feed.total;
    let mut parts = vec![
        format!("{} messages/s", short(feed.messages_per_second)),
        count(total.messages, "message"),
        format!("{} missing", total.missing),
        state_word(feed.state).to_owned(),
    ];
    let filled = feed.rerequest.map_or(0, |found| found.filled);
    let made_again = feed.fec.map_or(0, |found| found.recovered);
    let repaired = [(filled, "asked for again and filled"), (made_again, "made again from parity")];
    parts.extend(repaired.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")));
    parts.extend(feed.last_gap_seconds_ago.map(|seconds| format!("last gap {} ago", age(seconds))));
    parts.extend(feed.legs.iter().filter(|leg| leg.is_lost).map(|leg| format!("leg {} is LOST", leg.name)));
    format!("feed {}: {}", feed.name, parts.join(", "))
}
