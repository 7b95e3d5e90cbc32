//! Where a run is shown, and by which view.

use std::sync::Arc;

use super::lines::LinesView;
use super::traits::View;
use crate::outlet::{Counts, DISPLAY_LIMIT, Outlet, OutletError, Units};

/// The view that people or programs read on standard output or standard error.
pub struct Display {
    outlet: Outlet,
    view: Box<dyn View>,
    dropped: Arc<Counts>,
}

impl Display {
    /// Opens a view on this outlet.
    pub fn new(outlet: Outlet, open: impl FnOnce(Units) -> Box<dyn View>) -> Self {
        let dropped = Arc::default();
        let view = open(Units::new(&outlet, DISPLAY_LIMIT, &dropped));
        Self { outlet, view, dropped }
    }

    /// The view.
    pub fn view(&mut self) -> &mut dyn View {
        self.view.as_mut()
    }

    /// Updates that were dropped because the reader did not read.
    pub fn dropped(&self) -> u64 {
        self.dropped.dropped()
    }

    /// Shows the rest as words on standard error: nobody there knows what was shown before.
    pub fn turn_to_stderr(&mut self) {
        self.outlet = Outlet::stderr().clone();
        self.view = Box::new(LinesView(Units::new(&self.outlet, DISPLAY_LIMIT, &self.dropped)));
    }

    /// Ends the view, and waits for its reader.
    ///
    /// # Errors
    /// Writing failed.
    pub fn finish(self) -> Result<(), OutletError> {
        drop(self.view);
        self.outlet.finish()
    }
}
