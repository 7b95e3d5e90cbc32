//! What a view is.

use crate::figures::{Facts, Figures};

/// One way to show a run, or to pass its figures on.
///
/// The main thread calls it. A view that writes to a reader does so through an outlet, so that a reader that does not
/// read costs counted updates and no time.
pub trait View {
    /// At the start, once.
    ///
    /// # Errors
    /// Writing failed; so for each method.
    fn start(&mut self, facts: &Facts) -> anyhow::Result<()>;

    /// After each interval.
    fn interval(&mut self, facts: &Facts, figures: &Figures) -> anyhow::Result<()>;

    /// When the window has another size; the figures are those of the last interval.
    fn resized(&mut self, _: &Facts, _: Option<&Figures>) -> anyhow::Result<()> {
        Ok(())
    }

    /// The run begins to end, which may take seconds: what is open on a terminal is closed.
    fn closing(&mut self) {}

    /// At the end, once.
    fn summary(&mut self, facts: &Facts, figures: &Figures) -> anyhow::Result<()>;
}
