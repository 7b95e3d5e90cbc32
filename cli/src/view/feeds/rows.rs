//! Feeds as rows of cells: the feed, its legs, and its streams, each with its tone.

use std::cmp::Reverse;

use super::states::{
    MOST_STREAMS, has_ended, is_troubled, leg_word, state_word, stream_name, stream_state, worst_first,
};
use crate::feeds::{FeedReport, FeedState};
use crate::units::{count, percent, short, span};

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

/// The rows of a feed where there is little room: the feed, its legs if there are several, and its worst streams if
/// there are several.
pub fn rows(feed: &FeedReport) -> Vec<Part> {
    let legs = if feed.legs.len() > 1 { feed.legs.len() } else { 0 };
    let worst = worst_first(&feed.streams).into_iter().filter(|&at| is_troubled(feed, &feed.streams[at]));
    let streams = if feed.streams.len() > 1 { MOST_STREAMS } else { 0 };
    let parts = (0..legs).map(Part::Leg).chain(worst.take(streams).map(Part::Stream));
    [Part::Feed].into_iter().chain(parts).collect()
}
