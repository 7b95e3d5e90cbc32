//! The rows of the page of subscriptions, and their order.

use super::column::Column;
use super::list::{List, Rows};
use crate::top::model::Model;
use crate::top::stats::Subscription;

/// The subscriptions as they are shown: those with the filter's text in their name, their writing or their state.
pub type Arrangement = List<Order>;

/// The order of the subscriptions.
#[derive(Default)]
pub struct Order {
    column: Column,
    reversed: bool,
    /// How often it was made.
    made: u64,
}

impl Rows for Order {
    /// An index into the model's subscriptions.
    type Row = usize;
    type Key = String;

    fn make(&mut self, wanted: &str, model: &Model) -> Vec<usize> {
        self.made += 1;
        let all = model.subscriptions();
        let passes = |one: &Subscription| wanted.is_empty() || matches(one, wanted, model);
        let mut order: Vec<usize> = (0..all.len()).filter(|&at| passes(&all[at])).collect();
        let column = self.column;
        if column != Column::Joined {
            // Stable: equal ones stay as they were joined, so that rows do not jump.
            order.sort_by(|&a, &b| column.compare(&all[a], &all[b], model));
        }
        if self.reversed {
            order.reverse();
        }
        order
    }

    fn key(at: usize, model: &Model) -> Option<String> {
        model.subscriptions().get(at).map(Subscription::key)
    }
}

impl Arrangement {
    /// The column of the order, and whether it is reversed.
    pub fn column(&self) -> (Column, bool) {
        (self.source.column, self.source.reversed)
    }

    /// How often the order was made.
    #[cfg(test)]
    pub fn made(&self) -> u64 {
        self.source.made
    }

    /// The visible subscriptions; true for the selected one.
    pub fn visible<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = (&'a Subscription, bool)> {
        self.visible_rows().filter_map(|(at, selected)| Some((model.subscriptions().get(at)?, selected)))
    }

    /// The selected subscription.
    pub fn selected<'a>(&self, model: &'a Model) -> Option<&'a Subscription> {
        model.subscriptions().get(self.selected_row()?)
    }

    /// The next column.
    pub fn sort_by_next(&mut self, model: &Model) {
        self.sort_by(self.source.column.moved(1), model);
    }

    /// The column before.
    pub fn sort_by_previous(&mut self, model: &Model) {
        self.sort_by(self.source.column.moved(Column::ALL.len() - 1), model);
    }

    fn sort_by(&mut self, column: Column, model: &Model) {
        (self.source.column, self.source.reversed) = (column, false);
        self.make(model);
    }

    /// The other direction.
    pub fn reverse(&mut self, model: &Model) {
        self.source.reversed = !self.source.reversed;
        self.make(model);
    }
}

fn matches(one: &Subscription, wanted: &str, model: &Model) -> bool {
    let has = |text: &str| text.to_lowercase().contains(wanted);
    has(&one.label()) || has(model.status(one).word())
}
