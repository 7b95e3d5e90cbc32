//! The ways to show a run.

use std::io;

use super::figures::{Facts, Figures};

/// One way to show a run. An error is one of writing.
pub trait View {
    /// At the start, once.
    fn start(&mut self, facts: &Facts) -> io::Result<()>;

    /// After each interval.
    fn interval(&mut self, facts: &Facts, figures: &Figures) -> io::Result<()>;

    /// The window has another size; the figures are those of the last interval.
    fn resized(&mut self, _: &Facts, _: Option<&Figures>) -> io::Result<()> {
        Ok(())
    }

    /// At the end, once.
    fn summary(&mut self, facts: &Facts, figures: &Figures) -> io::Result<()>;
}
