//! Ctrl-C and SIGTERM while children run. The terminal also sends Ctrl-C to the children. This process has to outlive
//! them, so that it can report how they ended.

use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::process::shown;

/// From now on the two signals only set this flag.
pub fn outlive() -> Result<Arc<AtomicBool>> {
    let seen = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&seen)).context("cannot handle signals")?;
    }
    Ok(seen)
}

/// Runs a command to its end, and returns success or failure as it did. Ctrl-C also reaches the child, which ends by
/// itself and reports the result.
pub fn run(command: &mut Command) -> Result<ExitCode> {
    outlive()?;
    let status = command.status().with_context(|| format!("cannot run `{}`", shown(command)))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
