//! The rows of the page of feeds: each feed, its legs, and its streams, those in trouble first. Which of them are
//! shown, and which one is selected.

use super::viewport::Viewport;
use crate::feeds::FeedReport;
use crate::top::model::Model;
use crate::view::feeds::{Part, cells, worst_first};

/// The rows as they are shown.
#[derive(Default)]
pub struct FeedRows {
    filter: String,
    /// Feeds by their places, and parts of them.
    rows: Vec<(usize, Part)>,
    /// The feed and the part that a key has selected, by name.
    selected: Option<(String, String)>,
    /// The model for which the rows were made.
    generation: u64,
    viewport: Viewport,
}

impl FeedRows {
    /// Only rows with this text, and the feeds that they belong to, are shown.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// The rows that pass the filter.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The place of the first visible row, counted from 0.
    pub fn first(&self) -> usize {
        self.viewport.first
    }

    /// Rows by which a page moves.
    pub fn page(&self) -> isize {
        self.viewport.page()
    }

    /// The window has room for this number of rows.
    pub fn fit(&mut self, rows: usize) {
        self.viewport.fit(rows, self.rows.len());
    }

    /// The visible rows; true for the selected one.
    pub fn visible<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = (&'a FeedReport, Part, bool)> {
        let Viewport { place: selected, first, rows } = self.viewport;
        let rows = self.rows.iter().enumerate().skip(first).take(rows);
        rows.filter_map(move |(place, &(feed, part))| Some((model.feeds().get(feed)?, part, place == selected)))
    }

    /// The selected feed, and the part of it.
    pub fn selected<'a>(&self, model: &'a Model) -> Option<(&'a FeedReport, Part)> {
        let &(feed, part) = self.rows.get(self.viewport.place)?;
        Some((model.feeds().get(feed)?, part))
    }

    /// Makes the rows anew if the run has answered since.
    pub fn refresh(&mut self, model: &Model) {
        if self.generation != model.generation() {
            self.make(model);
        }
    }

    /// Shows only rows with this text in their name, their subscription or their state.
    pub fn set_filter(&mut self, text: &str, model: &Model) {
        if self.filter != text {
            text.clone_into(&mut self.filter);
            self.make(model);
        }
    }

    /// Moves the selection; `isize::MIN` and `isize::MAX` move it to the ends.
    pub fn select(&mut self, by: isize, model: &Model) {
        self.viewport.select(by, self.rows.len());
        self.selected = self.selected(model).map(name_of);
    }

    fn make(&mut self, model: &Model) {
        self.generation = model.generation();
        let wanted = self.filter.to_lowercase();
        let feeds = model.feeds().iter().enumerate();
        self.rows = feeds.flat_map(|(at, feed)| parts(feed, &wanted).into_iter().map(move |part| (at, part))).collect();
        let is_selected = |&(feed, part): &(usize, Part)| {
            let names = model.feeds().get(feed).map(|feed| name_of((feed, part)));
            names.is_some() && names == self.selected
        };
        let place = self.selected.as_ref().and_then(|_| self.rows.iter().position(is_selected));
        self.viewport.put(place.unwrap_or(self.viewport.place), self.rows.len());
        if self.selected.is_some() && place.is_none() {
            self.selected = self.selected(model).map(name_of);
        }
    }
}

fn name_of((feed, part): (&FeedReport, Part)) -> (String, String) {
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
