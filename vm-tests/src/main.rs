//! The program that `cargo xtask vm` runs inside a virtual machine: it tests the receiver on a real driver, row by row.
//!
//! It moves two interfaces of the guest, which are joined outside, into two namespaces. Each row is one test in one
//! mode, and writes one line, `vm-row ` and a JSON object, for the matrix. A row that takes far too long ends the
//! program, so that the output shows where a guest hangs.
//!
//! Do not run it outside a guest: it takes interfaces away from the system.

mod arguments;
mod bench;
mod counters;
mod rows;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use receiver::ReceiveMode;
use serde_json::json;

use crate::arguments::Arguments;
use crate::bench::Bench;
use crate::rows::{Outcome, Row};

/// Upper bound of the time of a row, under emulation on a busy machine.
const ROW_LIMIT: Duration = Duration::from_secs(150);

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all rows, and returns the number of failed ones.
fn run(arguments: &Arguments) -> Result<usize> {
    let bench = Bench::new(arguments)?;
    let mut failed = 0;
    let best = rows::modes::best(&bench)?;
    for row in rows::all(best) {
        if !format!("{} {}", row.mode.name(), row.name).contains(&arguments.only) {
            continue;
        }
        for _ in 0..arguments.repeat {
            failed += usize::from(!carry_out(&bench, &row)?);
        }
    }
    Ok(failed)
}

fn carry_out(bench: &Bench, row: &Row) -> Result<bool> {
    let (done, watched) = mpsc::channel::<()>();
    let (name, mode) = (row.name, row.mode);
    thread::spawn(move || {
        if watched.recv_timeout(ROW_LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            let late = Err(anyhow::anyhow!("not done after {} s; the rows after it were not run", ROW_LIMIT.as_secs()));
            report(name, mode, ROW_LIMIT, &late);
            std::process::exit(1);
        }
    });
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (row.run)(bench, row.mode)))
        .unwrap_or_else(|panic| Err(anyhow::anyhow!("a panic: {}", words(panic.as_ref()))));
    drop(done);
    report(row.name, row.mode, start.elapsed(), &outcome);
    Ok(outcome.is_ok())
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn report(name: &str, mode: ReceiveMode, took: Duration, outcome: &Result<Outcome>) {
    let row = match outcome {
        Ok(Outcome { sent, received, blocked, note }) => {
            json!({"test": name, "mode": mode.name(), "passed": true, "sent": sent, "received": received,
                   "blocked": blocked, "seconds": took.as_secs(), "note": note})
        }
        Err(error) => {
            json!({"test": name, "mode": mode.name(), "passed": false, "seconds": took.as_secs(),
                   "note": format!("{error:#}")})
        }
    };
    let mut out = std::io::stdout().lock();
    // If this fails, nobody is left to report it to.
    let _ = writeln!(out, "vm-row {row}").and_then(|()| out.flush());
}
