//! A list that is longer than the screen: which of its rows pass the filter, which are visible, and which one is
//! selected. The rows are made once for each answer of the run and each change by a key, and not each time that the
//! dashboard is drawn.

use super::viewport::Viewport;
use crate::top::model::Model;

/// What the rows of a list are.
pub trait Rows {
    /// A row, by its place in the model.
    type Row: Copy;
    /// What a row is found by in a later answer.
    type Key: PartialEq;

    /// The rows that have this text in lower case, in their order.
    fn make(&mut self, wanted: &str, model: &Model) -> Vec<Self::Row>;

    /// The key of a row.
    fn key(row: Self::Row, model: &Model) -> Option<Self::Key>;
}

/// Rows as they are shown.
pub struct List<R: Rows> {
    /// What makes the rows.
    pub source: R,
    filter: String,
    rows: Vec<R::Row>,
    /// The row that a key has selected.
    selected: Option<R::Key>,
    /// The model for which the rows were made.
    generation: u64,
    viewport: Viewport,
}

impl<R: Rows + Default> Default for List<R> {
    fn default() -> Self {
        Self {
            source: R::default(),
            filter: String::new(),
            rows: Vec::new(),
            selected: None,
            generation: 0,
            viewport: Viewport::default(),
        }
    }
}

impl<R: Rows> List<R> {
    /// Only what has this text is shown.
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
    pub fn visible_rows(&self) -> impl Iterator<Item = (R::Row, bool)> {
        let Viewport { place: selected, first, rows } = self.viewport;
        let rows = self.rows.iter().enumerate().skip(first).take(rows);
        rows.map(move |(place, &row)| (row, place == selected))
    }

    /// The selected row.
    pub fn selected_row(&self) -> Option<R::Row> {
        self.rows.get(self.viewport.place).copied()
    }

    /// Makes the rows anew if the run has answered since.
    pub fn refresh(&mut self, model: &Model) {
        if self.generation != model.generation() {
            self.make(model);
        }
    }

    /// Shows only what has this text.
    pub fn set_filter(&mut self, text: &str, model: &Model) {
        if self.filter != text {
            text.clone_into(&mut self.filter);
            self.make(model);
        }
    }

    /// Moves the selection; `isize::MIN` and `isize::MAX` move it to the ends.
    pub fn select(&mut self, by: isize, model: &Model) {
        self.viewport.select(by, self.rows.len());
        self.selected = self.selected_row().and_then(|row| R::key(row, model));
    }

    /// Makes the rows anew.
    pub fn make(&mut self, model: &Model) {
        self.generation = model.generation();
        self.rows = self.source.make(&self.filter.to_lowercase(), model);
        let is = |key: &R::Key, row: R::Row| R::key(row, model).is_some_and(|own| own == *key);
        let place = self.selected.as_ref().and_then(|key| self.rows.iter().position(|&row| is(key, row)));
        // One that is gone leaves the selection at its place.
        self.viewport.put(place.unwrap_or(self.viewport.place), self.rows.len());
        // Without a choice by a key, the selection stays on the first row.
        if self.selected.is_some() && place.is_none() {
            self.selected = self.selected_row().and_then(|row| R::key(row, model));
        }
    }
}
