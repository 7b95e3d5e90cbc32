//! stub
use super::figures::{Facts, Figures};
use super::line::Lines;
use super::view::View;
use std::io;
use std::time::Duration;
pub struct Table(Lines<io::Stdout>);
impl Table {
    pub fn new(_: Duration) -> Self {
        Self(Lines(io::stdout()))
    }
}
impl View for Table {
    fn start(&mut self, facts: &Facts) -> io::Result<()> {
        self.0.start(facts)
    }
    fn interval(&mut self, facts: &Facts, figures: &Figures) -> io::Result<()> {
        self.0.interval(facts, figures)
    }
    fn summary(&mut self, facts: &Facts, figures: &Figures) -> io::Result<()> {
        self.0.summary(facts, figures)
    }
}
