//! Ctrl-C and SIGTERM while children run. The terminal sends Ctrl-C to the children as well: this process has to outlive them, so
//! that it can tell how it ended.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};

/// From here on the two signals only raise this flag.
pub fn outlive() -> Result<Arc<AtomicBool>> {
    let seen = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&seen)).context("cannot handle signals")?;
    }
    Ok(seen)
}
