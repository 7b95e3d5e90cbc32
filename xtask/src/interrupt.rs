//! Ctrl-C and SIGTERM while children run. The terminal also sends Ctrl-C to the children. This process has to outlive
//! them, so that it can report how they ended.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};

/// From now on the two signals only set this flag.
pub fn outlive() -> Result<Arc<AtomicBool>> {
    let seen = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&seen)).context("cannot handle signals")?;
    }
    Ok(seen)
}
