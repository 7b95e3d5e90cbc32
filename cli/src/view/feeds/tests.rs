//! Feeds in words and as rows; the feeds that these tests take serve those of other modules too.

use std::collections::BTreeMap;

use serde_json::json;

use super::rows::rows;
use super::states::MOST_STREAMS;
use super::words::cause_words;
use super::*;
use crate::feeds::{FecReport, FeedReport, FeedState, LegReport, RerequestReport, StreamReport};

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
    feed.streams.push(StreamReport { stream: "MORNING002".into(), state: FeedState::Recovering, ..missing.clone() });
    feed.total = missing;
    feed.missing_by = BTreeMap::from([("network".into(), 9), ("ring".into(), 3), ("consumer".into(), 0)]);
    (feed.state, feed.last_gap_seconds_ago, feed.legs[1].is_lost) = (FeedState::Recovering, Some(4.0), true);
    feed
}

#[test]
fn what_filled_gaps_has_a_line() {
    let mut feed = complete();
    assert!(!paragraph(&feed).iter().any(|line| line.contains("asked again") || line.contains("parity")));
    feed.rerequest =
        Some(RerequestReport { requests: 3, requested: 40, filled: 38, given_up: 2, ..RerequestReport::default() });
    feed.fec = Some(FecReport { columns: 20, rows: 1, recovered: 7, ..FecReport::default() });
    let lines = paragraph(&feed);
    assert!(
        lines.contains(&"  asked again: 3 requests for 40 messages, 38 filled, 2 given up".to_owned()),
        "{lines:?}"
    );
    assert!(lines.contains(&"  parity: 20 columns and 1 row, 7 packets made again".to_owned()), "{lines:?}");
    let line = interval_line(&feed);
    assert!(line.contains(", 38 asked for again and filled, 7 made again from parity"), "{line}");
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
    assert_eq!(lines[1], "  leg a: 990 packets, first 51 %, lead 12.0 µs (99 %: 40.0 µs), lag 9.00 µs (99 %: 30.0 µs)");
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
    later.streams.push(StreamReport { stream: "SUNDAY".into(), state: FeedState::Stale, ..StreamReport::default() });
    assert_eq!(rows(&later), [Part::Feed, Part::Leg(0), Part::Leg(1)], "a session that has ended is no trouble");
    assert_eq!((cells(&later, Part::Stream(1))[1].as_str(), tone(&later, Part::Stream(1))), ("ended", Tone::Plain));
}
