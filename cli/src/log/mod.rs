//! `tracing` to standard error. While a table or the dashboard is on the screen, the lines are held back. The table
//! prints them above itself; the dashboard has a panel for them, and prints them at its end.

mod level;
mod limit;

use std::io::{self, IsTerminal, Write};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use clap::ValueEnum;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, fmt, reload};

use super::outlet::{Counts, DISPLAY_LIMIT, Outlet, Units};
use super::{color, panics};

pub use level::{Level, names as level_names};
pub use limit::report as report_suppressed;

/// Lines that wait for the table or the dashboard, while there is one.
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);

static DROPPED: OnceLock<Arc<Counts>> = OnceLock::new();

/// The filter, which can change while the log is in use.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

static CURRENT: Mutex<Current> = Mutex::new(Current { level: Level::WARN, verdicts: false });

/// What the filter lets through.
struct Current {
    level: Level,
    /// True if the XDP program's verdicts are logged, too.
    verdicts: bool,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for people: time, level, place, message
    #[default]
    Text,
    /// A JSON object per line
    Json,
}

/// Sets up the log. Without a level, that of `RUST_LOG` is taken, otherwise warnings.
pub fn init(level: Option<Level>, format: Format) {
    let of_environment = || std::env::var("RUST_LOG").ok().and_then(|text| Level::from_str(&text).ok());
    let level = level.or_else(of_environment).unwrap_or(Level::WARN);
    let (filter, handle) = reload::Layer::new(level.targets(false));
    let lines = match format {
        Format::Text => fmt::layer().with_ansi(color::on_stderr()).with_writer(|| Line).boxed(),
        Format::Json => fmt::layer().json().flatten_event(true).with_writer(|| Line).boxed(),
    };
    // This fails if a log was set up before, which nothing does.
    if tracing_subscriber::registry().with(filter).with(limit::Limit).with(lines).try_init().is_ok() {
        current().level = level;
        let _ = FILTER.set(handle);
    }
}

/// Logs from this level on, at once.
pub fn set_level(level: Level) {
    change(|current| current.level = level);
}

/// The level in use.
pub fn level() -> Level {
    current().level.clone()
}

/// Logs the XDP program's verdicts as well, whatever the level is.
pub fn add_verdicts() {
    change(|current| current.verdicts = true);
}

fn change(change: impl FnOnce(&mut Current)) {
    let mut current = current();
    change(&mut current);
    if let Some(filter) = FILTER.get() {
        // This fails if the log is gone, which it never is.
        let _ = filter.reload(current.level.targets(current.verdicts));
    }
}

fn current() -> MutexGuard<'static, Current> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes what is left to be logged, at the end of the process.
pub fn finish() {
    limit::report_all();
}

/// Holds lines back from now on if they go to a terminal.
pub fn hold() {
    if io::stderr().is_terminal() {
        held().get_or_insert_default();
    }
}

/// Takes the lines that were held back since the last call.
pub fn take() -> Vec<u8> {
    held().as_mut().map(std::mem::take).unwrap_or_default()
}

/// Writes the lines that were held back, and holds back no more.
pub fn release() {
    if let Some(lines) = held().take() {
        // A failure here has no place left to be reported.
        let _ = to_stderr(&lines);
    }
}

fn held() -> MutexGuard<'static, Option<Vec<u8>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of lines that were dropped because their reader did not read.
pub fn dropped() -> u64 {
    DROPPED.get().map_or(0, |dropped| dropped.dropped())
}

/// Writes to standard error without waiting for a terminal that is stuck.
fn to_stderr(bytes: &[u8]) -> io::Result<()> {
    let mut out = Units::new(Outlet::stderr(), DISPLAY_LIMIT, DROPPED.get_or_init(Arc::default));
    out.write_all(bytes)?;
    out.flush()
}

struct Line;

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        panics::point();
        match &mut *held() {
            Some(lines) => lines.extend_from_slice(bytes),
            None => to_stderr(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
