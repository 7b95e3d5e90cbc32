//! Views: how a run is shown, and where its figures go. A new view, or an exporter, is one file here and one row of
//! [`DISPLAYS`] or [`EXPORTERS`].

mod display;
mod explanation;
mod exporters;
mod json;
mod lines;
mod screen;
mod summary_file;
mod table;
mod traits;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use crate::outlet::{Outlet, Units};

pub use display::Display;
pub use explanation::at_the_end;
pub use exporters::Exporters;
pub use json::{JsonFigures, RefusedMode, refused_modes};
pub use screen::has_cursor;
use traits::View;

/// What the options ask for.
pub struct Request {
    /// JSON objects instead of words.
    pub json: bool,
    /// Seconds between two updates.
    pub interval: Duration,
    /// A file for the JSON summary.
    pub summary: Option<PathBuf>,
    /// Standard output is taken by a sink, so that the run is shown on standard error.
    pub stdout_is_taken: bool,
}

impl Request {
    /// Returns true if a block of lines can be drawn again in place.
    fn can_redraw(&self) -> bool {
        !self.stdout_is_taken && io::stdout().is_terminal() && has_cursor()
    }
}

/// A view that can show a run.
struct Kind {
    suits: fn(&Request) -> bool,
    open: fn(&Request, Units) -> Box<dyn View>,
}

/// The first one that suits the request shows the run.
const DISPLAYS: [Kind; 3] = [
    Kind { suits: |request| request.json, open: |_, units| Box::new(json::JsonView(units)) },
    Kind {
        suits: Request::can_redraw,
        open: |request, units| Box::new(table::TableView::new(units, request.interval)),
    },
    Kind { suits: |_| true, open: |_, units| Box::new(lines::LinesView(units)) },
];

/// Makes a view beside the display, if the request asks for it.
type Export = fn(&Request) -> Option<Box<dyn View>>;

const EXPORTERS: [Export; 1] =
    [|request| request.summary.clone().map(|path| Box::new(summary_file::SummaryFile(path)) as Box<dyn View>)];

/// The display, on standard output unless that is taken. `on_failure` is called once writing there has failed.
pub fn display(request: &Request, on_failure: impl Fn() + Send + Sync + 'static) -> Display {
    let outlet = if request.stdout_is_taken { Outlet::stderr().clone() } else { Outlet::stdout(on_failure) };
    let kind = DISPLAYS.iter().find(|kind| (kind.suits)(request)).expect("the last one suits each request");
    Display::new(outlet, |units| (kind.open)(request, units))
}

/// All other views that the request asks for.
pub fn exporters(request: &Request) -> Exporters {
    Exporters::new(EXPORTERS.iter().filter_map(|export| export(request)).collect())
}
