//! Which subscriptions are shown, in which order, and which one is selected. The order is made once for each answer of
//! the run and each change by a key, and not each time that the dashboard is drawn.

use super::column::Column;
use super::viewport::Viewport;
use crate::top::model::Model;
use crate::top::stats::Subscription;

/// The subscriptions as they are shown.
#[derive(Default)]
pub struct Arrangement {
    column: Column,
    reversed: bool,
    filter: String,
    /// The key of the selected subscription.
    selected: Option<String>,
    /// Indices into the model's subscriptions.
    order: Vec<usize>,
    /// The model for which the order was made.
    generation: u64,
    /// The visible part of the order.
    viewport: Viewport,
    /// How often the order was made.
    made: u64,
}

impl Arrangement {
    /// The column of the order, and whether it is reversed.
    pub fn column(&self) -> (Column, bool) {
        (self.column, self.reversed)
    }

    /// Only subscriptions with this text are shown.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// The subscriptions that pass the filter.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// The place of the first visible one, counted from 0.
    pub fn first(&self) -> usize {
        self.viewport.first
    }

    /// How often the order was made.
    #[cfg(test)]
    pub fn made(&self) -> u64 {
        self.made
    }

    /// The visible subscriptions; true for the selected one.
    pub fn visible<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = (&'a Subscription, bool)> {
        let Viewport { place: selected, first, rows } = self.viewport;
        let rows = self.order.iter().enumerate().skip(first).take(rows);
        rows.filter_map(move |(place, &at)| Some((model.subscriptions().get(at)?, place == selected)))
    }

    /// The selected subscription.
    pub fn selected<'a>(&self, model: &'a Model) -> Option<&'a Subscription> {
        model.subscriptions().get(*self.order.get(self.viewport.place)?)
    }

    /// Rows by which a page moves.
    pub fn page(&self) -> isize {
        self.viewport.page()
    }

    /// The window has room for this number of rows.
    pub fn fit(&mut self, rows: usize) {
        self.viewport.fit(rows, self.order.len());
    }

    /// Makes the order anew if the run has answered since.
    pub fn refresh(&mut self, model: &Model) {
        if self.generation != model.generation() {
            self.make(model);
        }
    }

    /// The next column.
    pub fn sort_by_next(&mut self, model: &Model) {
        self.sort_by(self.column.moved(1), model);
    }

    /// The column before.
    pub fn sort_by_previous(&mut self, model: &Model) {
        self.sort_by(self.column.moved(Column::ALL.len() - 1), model);
    }

    fn sort_by(&mut self, column: Column, model: &Model) {
        (self.column, self.reversed) = (column, false);
        self.make(model);
    }

    /// The other direction.
    pub fn reverse(&mut self, model: &Model) {
        self.reversed = !self.reversed;
        self.make(model);
    }

    /// Shows only subscriptions with this text in their name, their writing or their state.
    pub fn set_filter(&mut self, text: &str, model: &Model) {
        if self.filter != text {
            text.clone_into(&mut self.filter);
            self.make(model);
        }
    }

    /// Moves the selection; `isize::MIN` and `isize::MAX` move it to the ends.
    pub fn select(&mut self, by: isize, model: &Model) {
        self.viewport.select(by, self.order.len());
        self.selected = self.selected(model).map(Subscription::key);
    }

    fn make(&mut self, model: &Model) {
        self.generation = model.generation();
        self.made += 1;
        let wanted = self.filter.to_lowercase();
        let all = model.subscriptions();
        self.order = (0..all.len()).filter(|&at| wanted.is_empty() || matches(&all[at], &wanted, model)).collect();
        let column = self.column;
        if column != Column::Joined {
            // Stable: equal ones stay as they were joined, so that rows do not jump.
            self.order.sort_by(|&a, &b| column.compare(&all[a], &all[b], model));
        }
        if self.reversed {
            self.order.reverse();
        }
        let place = self.selected.as_ref().and_then(|key| self.order.iter().position(|&at| all[at].key() == *key));
        // One that is gone leaves the selection at its place.
        self.viewport.put(place.unwrap_or(self.viewport.place), self.order.len());
        // Without a choice by a key, the selection stays on the first row.
        if self.selected.is_some() && place.is_none() {
            self.selected = self.selected(model).map(Subscription::key);
        }
    }
}

fn matches(one: &Subscription, wanted: &str, model: &Model) -> bool {
    let has = |text: &str| text.to_lowercase().contains(wanted);
    has(&one.label()) || has(model.status(one).word())
}
