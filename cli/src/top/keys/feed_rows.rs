//! The rows of the page of feeds: each feed, its legs, and its streams, those in trouble first.

use super::list::{List, Rows};
use crate::feeds::FeedReport;
use crate::top::model::Model;
use crate::view::feeds::{Part, cells, worst_first};

/// The rows as they are shown: those with the filter's text in their name, their subscription or their state, and the
/// feeds that they belong to.
pub type FeedRows = List<Parts>;

/// Feeds and parts of them.
#[derive(Default)]
pub struct Parts;

impl Rows for Parts {
    /// A feed by its place, and a part of it.
    type Row = (usize, Part);
    /// The names of the feed and of the part.
    type Key = (String, String);

    fn make(&mut self, wanted: &str, model: &Model) -> Vec<Self::Row> {
        let feeds = model.feeds().iter().enumerate();
        feeds.flat_map(|(at, feed)| parts(feed, wanted).into_iter().map(move |part| (at, part))).collect()
    }

    fn key((feed, part): Self::Row, model: &Model) -> Option<Self::Key> {
        model.feeds().get(feed).map(|feed| name_of(feed, part))
    }
}

impl FeedRows {
    /// The visible rows; true for the selected one.
    pub fn visible<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = (&'a FeedReport, Part, bool)> {
        let rows = self.visible_rows();
        rows.filter_map(|((feed, part), selected)| Some((model.feeds().get(feed)?, part, selected)))
    }

    /// The selected feed, and the part of it.
    pub fn selected<'a>(&self, model: &'a Model) -> Option<(&'a FeedReport, Part)> {
        let (feed, part) = self.selected_row()?;
        Some((model.feeds().get(feed)?, part))
    }
}

fn name_of(feed: &FeedReport, part: Part) -> (String, String) {
    let part = match part {
        Part::Feed => String::new(),
        Part::Leg(at) => format!("leg {}", feed.legs[at].name),
        Part::Stream(at) => format!("stream {}", feed.streams[at].stream),
    };
    (feed.name.clone(), part)
}

/// The parts of a feed that have this text in lower case, and the feed itself if there are any.
fn parts(feed: &FeedReport, wanted: &str) -> Vec<Part> {
    let has = |text: &str| text.to_lowercase().contains(wanted);
    // A feed whose only stream has no name, or repeats the feed, needs no row for it.
    let streams = if feed.streams.len() > 1 { worst_first(&feed.streams) } else { Vec::new() };
    let all = (0..feed.legs.len()).map(Part::Leg).chain(streams.into_iter().map(Part::Stream));
    if wanted.is_empty() || has(&feed.name) || has(&feed.feed) {
        return [Part::Feed].into_iter().chain(all).collect();
    }
    let matches = |part: Part| {
        let [name, state, ..] = cells(feed, part);
        let subscription = match part {
            Part::Leg(at) => feed.legs[at].subscription.as_str(),
            Part::Feed | Part::Stream(_) => "",
        };
        has(&name) || has(&state) || has(subscription)
    };
    let matching: Vec<Part> = all.filter(|&part| matches(part)).collect();
    if matching.is_empty() && !matches(Part::Feed) {
        return Vec::new();
    }
    [Part::Feed].into_iter().chain(matching).collect()
}
