//! `tracing` to standard error. While a table is on the screen, the lines are held back, and the table prints them
//! above itself.

use std::io::{self, IsTerminal, Write};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

use super::outlet::{DISPLAY_LIMIT, Outlet, Units};
use super::panics;
use super::view::has_cursor;

/// The target of the XDP program's own log.
const XDP: &str = "receiver::xdp";

/// Lines that wait for the table, while there is one.
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);

static DROPPED: OnceLock<Arc<AtomicU64>> = OnceLock::new();

/// Sets up the log: the level that `verbose` asks for, otherwise that of `RUST_LOG`, otherwise warnings. `verdicts`
/// adds the XDP program's verdicts.
pub fn init(verdicts: bool, verbose: u8) {
    let asked = std::env::var("RUST_LOG").ok().and_then(|text| Targets::from_str(&text).ok());
    let mut targets = match verbose {
        0 => asked.unwrap_or_else(|| Targets::new().with_default(Level::WARN)),
        1 => Targets::new().with_default(Level::INFO),
        _ => Targets::new().with_default(Level::DEBUG).with_target(XDP, Level::INFO),
    };
    if verdicts {
        targets = targets.with_target(XDP, Level::DEBUG);
    }
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(io::stderr().is_terminal() && has_cursor()).with_writer(|| Line);
    // This fails if a log was set up before, which nothing does.
    let _ = tracing_subscriber::registry().with(lines).with(targets).try_init();
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
    DROPPED.get().map_or(0, |dropped| dropped.load(Ordering::Relaxed))
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
