//! Views: how a run is shown, and where its figures go. A new view, or an exporter, is one file here and one row of
//! [`DISPLAYS`] or [`EXPORTERS`].

mod display;
mod explanation;
mod exporters;
pub mod feeds;
mod json;
mod lines;
mod media;
mod screen;
mod shorten;
mod summary_file;
mod table;
mod traits;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::errors::UsageError;
use crate::instance::Instance;
use crate::outlet::{Outlet, Units};
use crate::top::{DashboardView, has_keys};

pub use display::Display;
pub use explanation::at_the_end;
pub use exporters::Exporters;
pub use json::{JsonFigures, JsonFinding, RefusedMode, json_findings, refused_modes};
pub use lines::{reasons, write_summary};
pub use media::media_lines;
pub use screen::{has_cursor, terminal_size};
pub use shorten::{group_of, shortened};
pub use table::STOPPED_AFTER;
pub use traits::View;

/// How a run is shown to people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// A table on a terminal, otherwise lines
    #[default]
    Auto,
    /// The whole terminal, with keys
    Dashboard,
    /// A block of lines that is updated in place
    Table,
    /// A line for each interval
    Lines,
}

/// What the options ask for.
pub struct Request {
    /// JSON objects instead of words.
    pub json: bool,
    /// Which view for people.
    pub view: Choice,
    /// Seconds between two updates.
    pub interval: Duration,
    /// A file for the JSON summary.
    pub summary: Option<PathBuf>,
    /// Standard output is taken by a sink, so that the run is shown on standard error.
    pub stdout_is_taken: bool,
}

impl Request {
    /// # Errors
    /// A view is asked for that cannot be shown here.
    pub fn check(&self) -> Result<(), UsageError> {
        let refused = |view: &str, reason: &str| {
            let text = format!("the view `{view}` is not available: {reason}; leave it out, or write --view lines");
            Err(UsageError(text))
        };
        let name = match self.view {
            Choice::Auto | Choice::Lines => return Ok(()),
            Choice::Dashboard => "dashboard",
            Choice::Table => "table",
        };
        if self.stdout_is_taken {
            return refused(name, "standard output is taken by the payloads");
        }
        if !self.can_redraw() {
            return refused(name, "standard output is no terminal that moves its cursor");
        }
        if self.view == Choice::Dashboard && !has_keys() {
            return refused(name, "no terminal is there for its keys");
        }
        Ok(())
    }

    /// Returns true if a block of lines can be drawn again in place.
    fn can_redraw(&self) -> bool {
        !self.stdout_is_taken && io::stdout().is_terminal() && has_cursor()
    }

    /// Returns true if the table is to be drawn.
    fn is_table(&self) -> bool {
        match self.view {
            Choice::Auto => self.can_redraw(),
            view => view == Choice::Table,
        }
    }
}

/// What a view is opened with.
struct Context<'a> {
    request: &'a Request,
    instance: &'a Instance,
    outlet: Outlet,
}

/// Returns true if a terminal is there for pictures and keys.
pub fn has_terminal() -> bool {
    io::stdout().is_terminal() && has_keys()
}

/// A view that can show a run.
struct Kind {
    suits: fn(&Request) -> bool,
    open: fn(&Context<'_>, Units) -> Box<dyn View>,
}

/// The first one that suits the request shows the run.
const DISPLAYS: [Kind; 4] = [
    Kind { suits: |request| request.json, open: |_, units| Box::new(json::JsonView(units)) },
    Kind {
        suits: |request| request.view == Choice::Dashboard,
        open: |context, units| {
            let Context { request, instance, outlet } = context;
            Box::new(DashboardView::new(instance, request.interval, outlet, units))
        },
    },
    Kind {
        suits: Request::is_table,
        open: |context, units| Box::new(table::TableView::new(units, context.request.interval)),
    },
    Kind { suits: |_| true, open: |_, units| Box::new(lines::LinesView(units)) },
];

/// Makes a view beside the display, if the request asks for it.
type Export = fn(&Request) -> Option<Box<dyn View>>;

const EXPORTERS: [Export; 1] =
    [|request| request.summary.clone().map(|path| Box::new(summary_file::SummaryFile(path)) as Box<dyn View>)];

/// The display, on standard output unless that is taken. `on_failure` is called once writing there has failed.
pub fn display(request: &Request, instance: &Instance, on_failure: impl Fn() + Send + Sync + 'static) -> Display {
    let outlet = if request.stdout_is_taken { Outlet::stderr().clone() } else { Outlet::stdout(on_failure) };
    let kind = DISPLAYS.iter().find(|kind| (kind.suits)(request)).expect("the last one suits each request");
    let context = Context { request, instance, outlet: outlet.clone() };
    Display::new(outlet, |units| (kind.open)(&context, units))
}

/// All other views that the request asks for.
pub fn exporters(request: &Request) -> Exporters {
    Exporters::new(EXPORTERS.iter().filter_map(|export| export(request)).collect())
}
