//! Keeps a CPU busy while nothing else uses it, like `idle=poll`, since a sleeping virtual CPU wakes slowly.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};

use super::pin;
use crate::realtime;

/// Options of the child.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    #[arg(long)]
    cpu: usize,
}

/// Spins until the standard input ends.
pub fn run(arguments: &Arguments) -> Result<()> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let spinning = scope.spawn(|| -> Result<()> {
            pin(arguments.cpu)?;
            realtime::yield_to_all().context("giving a thread the least priority")?;
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            Ok(())
        });
        super::write_json(&"spinning")?;
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
        spinning.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
