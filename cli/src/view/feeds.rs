//! Feeds in words and as rows: the same for the summary, the table, `receiver ctl` and the dashboard.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use receiver_feed::attribution::LossCause;

use super::media::media_lines;
use crate::feeds::{FeedReport, FeedState, LegReport, StreamReport};
use crate::units::{age, count, percent, short, span, with_unit};

/// The most legs that a sentence names.
const MOST_LEGS: usize = 8;
/// The most streams that a summary names one by one. JSON names more.
const MOST_STREAMS: usize = 5;
/// For this number of seconds a gap is recent.
const RECENT: f64 = 60.0;

/// How grave a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    Plain,
    /// It needs a look.
    Warning,
    /// It needs a hand.
    Bad,
}

/// What a row shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The feed.
    Feed,
    /// One of its legs, by its place.
    Leg(usize),
    /// One of its streams, by its place.
    Stream(usize),
}

/// The titles of the cells of a row.
pub const TITLES: [&str; 8] = ["feed", "state", "messages/s", "messages", "missing", "first", "lag", "99 %"];

/// The least width of each cell. The first two are text, and stand at the left.
const WIDTHS: [usize; TITLES.len()] = [12, 10, 10, 12, 7, 6, 7, 7];
/// A feed's name that is longer is cut before the number of missing messages is left out.
const NAME: usize = 24;

/// Rows of cells as lines of a width. Columns at the right that have no room are left out; then the names are cut.
pub fn grid(rows: &[[String; TITLES.len()]], width: usize) -> Vec<String> {
    let longest = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let mut widths = [0; TITLES.len()];
    for (at, width) in widths.iter_mut().enumerate() {
        *width = longest(at).max(WIDTHS[at]);
    }
    let sum = |widths: &[usize]| widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
    let needed = |shown: usize, name: usize| sum(&widths[..shown]) - widths[0] + name;
    let shown = (1..=TITLES.len()).rev().find(|&shown| needed(shown, widths[0].min(NAME)) <= width).unwrap_or(1);
    let name = widths[0].min(width.saturating_sub(needed(shown, 0)));
    let line = |row: &[String; TITLES.len()]| {
        let cells = row[..shown].iter().enumerate().map(|(at, cell)| match at {
            0 => format!("{:<name$}", cut(cell, name)),
            1 => format!("{cell:<0$}", widths[1]),
            _ => format!("{cell:>0$}", widths[at]),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A text cut to a width, with a mark where something is left out.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    if width == 0 { kept } else { kept + "…" }
}

/// The titles and the rows of feeds in up to `most` lines, each with its tone. Where there is no room for all, the
/// worst feeds come first, without what is in order, and the last line has the number of feeds that are left out.
pub fn table(feeds: &[FeedReport], width: usize, most: usize) -> Vec<(String, Tone)> {
    if feeds.is_empty() || most < 2 {
        return Vec::new();
    }
    let mut all: Vec<(&FeedReport, Part)> = parts(feeds.iter());
    let mut left_out = Vec::new();
    if all.len() >= most {
        let mut worst: Vec<&FeedReport> = feeds.iter().collect();
        worst.sort_by_key(|feed| Reverse(tone(feed, Part::Feed)));
        all = parts(worst.into_iter());
        all.retain(|&(feed, part)| part == Part::Feed || tone(feed, part) > Tone::Plain);
        let rest = all.split_off(all.len().min(most - 2));
        left_out = rest.into_iter().filter(|&(_, part)| part == Part::Feed).map(|(feed, _)| feed).collect();
    }
    let titles = TITLES.map(str::to_owned);
    let cells: Vec<_> = [titles].into_iter().chain(all.iter().map(|&(feed, part)| cells(feed, part))).collect();
    let tones = [Tone::Plain].into_iter().chain(all.iter().map(|&(feed, part)| tone(feed, part)));
    let mut lines: Vec<(String, Tone)> = grid(&cells, width).into_iter().zip(tones).collect();
    if let Some(worst) = left_out.iter().map(|feed| tone(feed, Part::Feed)).max() {
        lines.push((cut(&format!("and {}", count(left_out.len() as u64, "more feed")), width), worst));
    }
    lines
}

fn parts<'a>(feeds: impl Iterator<Item = &'a FeedReport>) -> Vec<(&'a FeedReport, Part)> {
    feeds.flat_map(|feed| rows(feed).into_iter().map(move |part| (feed, part))).collect()
}

/// The cells of a row. What the part does not have is empty.
pub fn cells(feed: &FeedReport, part: Part) -> [String; TITLES.len()] {
    let none = String::new;
    match part {
        Part::Feed => [
            feed.name.clone(),
            state_word(feed.state).to_owned(),
            short(feed.messages_per_second),
            feed.total.messages.to_string(),
            feed.total.missing.to_string(),
            none(),
            none(),
            none(),
        ],
        Part::Leg(at) => {
            let leg = &feed.legs[at];
            let lag = leg.lag_nanoseconds.map(|lag| lag.map(span)).unwrap_or_default();
            let [median, most] = lag;
            [
                format!("  {}", leg.name),
                leg_word(leg).to_owned(),
                none(),
                (leg.first_arrivals + leg.duplicates).to_string(),
                leg.missing.to_string(),
                percent(leg.first_share),
                median,
                most,
            ]
        }
        Part::Stream(at) => {
            let stream = &feed.streams[at];
            [
                format!("  stream {}", stream_name(stream)),
                stream_state(feed, stream).to_owned(),
                none(),
                stream.messages.to_string(),
                stream.missing.to_string(),
                none(),
                none(),
                none(),
            ]
        }
    }
}

/// How grave a row is.
pub fn tone(feed: &FeedReport, part: Part) -> Tone {
    match part {
        Part::Feed => {
            let has_gap = feed.last_gap_seconds_ago.is_some_and(|seconds| seconds < RECENT);
            let is_short = feed.state != FeedState::Live || feed.legs.iter().any(|leg| leg.is_lost);
            match () {
                () if feed.state == FeedState::Stale || has_gap => Tone::Bad,
                () if is_short => Tone::Warning,
                () => Tone::Plain,
            }
        }
        Part::Leg(at) if feed.legs[at].is_lost => Tone::Bad,
        Part::Leg(at) if feed.legs[at].packets == 0 => Tone::Warning,
        Part::Leg(_) => Tone::Plain,
        Part::Stream(at) => match &feed.streams[at] {
            stream if has_ended(feed, stream) => Tone::Plain,
            stream if stream.state == FeedState::Stale => Tone::Bad,
            stream if is_troubled(feed, stream) => Tone::Warning,
            _ => Tone::Plain,
        },
    }
}

/// The streams by their places: those in trouble first, the worst at the top, then the others as they appeared.
pub fn worst_first(streams: &[StreamReport]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..streams.len()).collect();
    let rank = |at: usize| (streams[at].missing, streams[at].state);
    order.sort_by_key(|&at| Reverse(rank(at)));
    order
}

/// Returns true if messages of the stream are missing, or it goes on and is not live.
fn is_troubled(feed: &FeedReport, stream: &StreamReport) -> bool {
    stream.missing > 0 || (stream.state > FeedState::Live && !has_ended(feed, stream))
}

/// Returns true if the session of a stream has ended: the state of the feed is the worst of those that go on.
fn has_ended(feed: &FeedReport, stream: &StreamReport) -> bool {
    stream.state > feed.state
}

/// The word for the state of a stream.
fn stream_state(feed: &FeedReport, stream: &StreamReport) -> &'static str {
    if has_ended(feed, stream) { "ended" } else { state_word(stream.state) }
}

/// The rows of a feed where there is little room: the feed, its legs if there are several, and its worst streams if
/// there are several.
pub fn rows(feed: &FeedReport) -> Vec<Part> {
    let legs = if feed.legs.len() > 1 { feed.legs.len() } else { 0 };
    let worst = worst_first(&feed.streams).into_iter().filter(|&at| is_troubled(feed, &feed.streams[at]));
    let streams = if feed.streams.len() > 1 { MOST_STREAMS } else { 0 };
    let parts = (0..legs).map(Part::Leg).chain(worst.take(streams).map(Part::Stream));
    [Part::Feed].into_iter().chain(parts).collect()
}

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
pub fn missing(feed: &FeedReport) -> String {
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
fn cause_words(cause: &str) -> String {
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
pub fn leg_words(leg: &LegReport) -> String {
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
    parts.extend(feed.last_gap_seconds_ago.map(|seconds| format!("last gap {} ago", age(seconds))));
    parts.extend(feed.legs.iter().filter(|leg| leg.is_lost).map(|leg| format!("leg {} is LOST", leg.name)));
    format!("feed {}: {}", feed.name, parts.join(", "))
}

/// The word for a state. What needs a hand is in capitals.
pub const fn state_word(state: FeedState) -> &'static str {
    match state {
        FeedState::Stale => "STALE",
        state => state.name(),
    }
}

/// The word for the state of a leg.
pub const fn leg_word(leg: &LegReport) -> &'static str {
    match leg {
        LegReport { is_lost: true, .. } => "LOST",
        LegReport { packets: 0, .. } => "never",
        _ => "receives",
    }
}

/// A protocol without streams has one without a name.
fn stream_name(stream: &StreamReport) -> &str {
    if stream.stream.is_empty() { "-" } else { &stream.stream }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;

    /// Two legs that lost something each, and nothing together.
    pub fn complete() -> FeedReport {
        let leg = |name: &str, first: u64, missing| LegReport {
            name: name.into(),
            subscription: format!("10.0.0.1@232.1.1.{}:5000", missing),
            packets: 1000 - missing,
            first_arrivals: first,
            first_share: first as f64 / 1000.0,
            duplicates: 1000 - missing - first,
            missing,
            lead_nanoseconds: Some([12_000, 40_000]),
            lag_nanoseconds: Some([9_000, 30_000]),
            ..LegReport::default()
        };
        let total = StreamReport { messages: 1000, state: FeedState::Live, ..StreamReport::default() };
        FeedReport {
            name: "itch".into(),
            feed: "moldudp64".into(),
            state: FeedState::Live,
            messages_per_second: 250.0,
            legs: vec![leg("a", 510, 10), leg("b", 490, 9)],
            streams: vec![StreamReport { stream: "MORNING001".into(), ..total.clone() }],
            total,
            ..FeedReport::default()
        }
    }

    /// The same after three gaps, with one leg lost.
    pub fn with_gaps() -> FeedReport {
        let mut feed = complete();
        let missing = StreamReport { gaps: 3, missing: 12, longest_gap: 7, recovered: 2, ..feed.total.clone() };
        feed.streams.push(StreamReport {
            stream: "MORNING002".into(),
            state: FeedState::Recovering,
            ..missing.clone()
        });
        feed.total = missing;
        feed.missing_by = BTreeMap::from([("network".into(), 9), ("ring".into(), 3), ("consumer".into(), 0)]);
        (feed.state, feed.last_gap_seconds_ago, feed.legs[1].is_lost) = (FeedState::Recovering, Some(4.0), true);
        feed
    }

    #[test]
    fn a_feed_is_a_sentence() {
        assert_eq!(sentence(&complete()), "itch: 1000 messages, complete; a lost 10 (1.0 %), b lost 9 (0.90 %)");
        assert_eq!(
            sentence(&with_gaps()),
            "itch: recovering, 1000 messages in 2 streams, 12 missing in 3 gaps (longest 7): 9 lost on the network, \
             3 in the ring, 2 recovered late; a lost 10 (1.0 %), leg b (10.0.0.1@232.1.1.9:5000) is LOST, \
             b lost 9 (0.90 %)"
        );
        let mut alone = complete();
        alone.legs.truncate(1);
        (alone.total.missing, alone.total.gaps) = (10, 1);
        assert_eq!(sentence(&alone), "itch: 1000 messages, 10 missing in 1 gap", "the one leg lost them");
        let leg = LegReport { name: "a".into(), subscription: "239.1.1.1:1".into(), ..LegReport::default() };
        let waiting = FeedReport { name: "itch".into(), legs: vec![leg], ..FeedReport::default() };
        assert_eq!(sentence(&waiting), "itch: nothing has come; leg a (239.1.1.1:1) received nothing");
        let text = lost_leg(&waiting.legs[0], Some(12.0), "eth1");
        assert_eq!(text, "no packet for 12 s; `receiver doctor -i eth1 '239.1.1.1:1'` looks for the reason");
        assert_eq!(cause_words("martians"), "because of martians");
    }

    #[test]
    fn a_feed_is_a_paragraph() {
        let lines = paragraph(&with_gaps());
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert!(lines[0].starts_with("feed itch: recovering, "));
        assert_eq!(
            lines[1],
            "  leg a: 990 packets, first 51 %, lead 12.0 µs (99 %: 40.0 µs), lag 9.00 µs (99 %: 30.0 µs)"
        );
        assert_eq!(lines[3], "  stream MORNING002: recovering, 1000 messages, 12 missing in 3 gaps (longest 7)");
        assert_eq!(
            interval_line(&with_gaps()),
            "feed itch: 250 messages/s, 1000 messages, 12 missing, recovering, last gap 4.0 s ago, leg b is LOST"
        );
    }

    #[test]
    fn media_have_their_health() {
        let mut feed = complete();
        feed.legs[0].rtp = Some(json!({"jitter_nanoseconds": 120_000, "highest_jitter_nanoseconds": 1_000_000}));
        feed.legs[0].peak_bits_per_second = Some([3_000_000, 2_000_000, 1_000_000]);
        feed.legs[1].missing_by = BTreeMap::from([("network".into(), 7), ("ring".into(), 2)]);
        assert!(paragraph(&feed)[2].contains(", 7 lost on the network, 2 in the ring"), "{:#?}", paragraph(&feed));
        feed.transport_stream = Some(json!({"bits_per_second": 4e6, "priority_1": {"pat": 2}}));
        let lines = paragraph(&feed);
        assert!(lines[1].ends_with(", peak 2.00 Mbit/s in 1 ms, RTP: jitter 0.120 ms, at most 1.000 ms"), "{lines:#?}");
        assert_eq!(lines[3], "  MPEG-TS: 4.00 Mbit/s; TR 101 290: 2 errors of priority 1, 0 of priority 2");
    }

    #[test]
    fn many_streams_leave_the_worst_and_a_number() {
        let mut feed = complete();
        feed.streams = (0..1000)
            .map(|n| StreamReport { stream: n.to_string(), missing: n % 10, gaps: 1, ..feed.total.clone() })
            .collect();
        let lines = paragraph(&feed);
        assert_eq!(lines.len(), 1 + 2 + MOST_STREAMS + 1);
        assert!(lines[3].starts_with("  stream 9: live, 1000 messages, 9 missing"), "{lines:#?}");
        assert_eq!(lines.last().map(String::as_str), Some("  and 895 more streams that are not complete or not live"));
        assert_eq!(rows(&feed).len(), 1 + 2 + MOST_STREAMS);
    }

    #[test]
    fn rows_fit_any_width_and_number_of_lines() {
        let feeds = [with_gaps(), complete()];
        let lines = table(&feeds, 80, 20);
        assert_eq!(
            lines.iter().map(|(line, _)| line.as_str()).collect::<Vec<_>>(),
            [
                "feed                 state       messages/s      messages  missing   first",
                "itch                 recovering         250          1000       12",
                "  a                  receives                         990       10    51 %",
                "  b                  LOST                             991        9    49 %",
                "  stream MORNING002  recovering                      1000       12",
                "itch                 live               250          1000        0",
                "  a                  receives                         990       10    51 %",
                "  b                  receives                         991        9    49 %",
            ]
        );
        assert!(table(&feeds, 120, 20)[0].0.ends_with("lag     99 %"));
        for (width, most) in (0..100).flat_map(|width| (0..10).map(move |most| (width, most))) {
            let lines = table(&feeds, width, most);
            assert!(lines.len() <= most && lines.iter().all(|(line, _)| line.chars().count() <= width.max(1)));
        }
        let mut many = vec![complete(); 10];
        many[7] = with_gaps();
        let lines = table(&many, 80, 6);
        let starts: Vec<&str> = lines.iter().map(|(line, _)| line.split("  rec").next().unwrap_or(line)).collect();
        assert_eq!(
            starts[1..4],
            [
                "itch               ",
                "  b                  LOST                             991        9    49 %",
                "  stream MORNING002"
            ]
        );
        assert_eq!(lines[5], ("and 8 more feeds".to_owned(), Tone::Plain));
        assert_eq!(table(&[], 80, 20), []);
    }

    #[test]
    fn each_row_has_its_cells_and_its_tone() {
        let feed = with_gaps();
        let parts = rows(&feed);
        assert_eq!(parts, [Part::Feed, Part::Leg(0), Part::Leg(1), Part::Stream(1)]);
        assert_eq!(cells(&feed, Part::Feed)[..5], ["itch", "recovering", "250", "1000", "12"]);
        assert_eq!(cells(&feed, Part::Leg(1)), ["  b", "LOST", "", "991", "9", "49 %", "9.00 µs", "30.0 µs"]);
        assert_eq!(cells(&feed, Part::Stream(1))[..2], ["  stream MORNING002", "recovering"]);
        let tones = parts.iter().map(|&part| tone(&feed, part)).collect::<Vec<_>>();
        assert_eq!(tones, [Tone::Bad, Tone::Plain, Tone::Bad, Tone::Warning]);
        assert_eq!(tone(&complete(), Part::Feed), Tone::Plain);
        let mut later = complete();
        later.streams.push(StreamReport {
            stream: "SUNDAY".into(),
            state: FeedState::Stale,
            ..StreamReport::default()
        });
        assert_eq!(rows(&later), [Part::Feed, Part::Leg(0), Part::Leg(1)], "a session that has ended is no trouble");
        assert_eq!((cells(&later, Part::Stream(1))[1].as_str(), tone(&later, Part::Stream(1))), ("ended", Tone::Plain));
    }
}
