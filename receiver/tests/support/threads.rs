//! Threads of a test: their CPU, how often they sleep, and their end.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Sets the flag that ends the threads of a scope once it is dropped, also if the thread that holds it panics.
pub struct Ending<'a>(pub &'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Pins a thread, or the calling one.
pub fn pin(thread: Option<Pid>, cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(thread, &set).expect("two CPUs");
}

/// How often a thread gave up its CPU to wait. `task` is its directory in `/proc`; a thread that has ended has no
/// count.
pub fn sleeps(task: &Path) -> Option<u64> {
    let status = fs::read_to_string(task.join("status")).ok()?;
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).expect("a count");
    Some(count.trim().parse().expect("a number"))
}
