//! A signal to threads of this process. It only ends the system call that they are in.
#![allow(unsafe_code)]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use signal_hook::consts::SIGUSR1;

/// Makes the signal harmless. Call it before the first signal.
pub fn prepare() -> Result<()> {
    signal_hook::flag::register(SIGUSR1, Arc::new(AtomicBool::new(false))).context("cannot handle signals")?;
    Ok(())
}

/// Sends the signal to the threads that are pinned to this CPU alone.
pub fn pinned_threads(cpu: usize) {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return };
    for thread in threads.flatten() {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let name = thread.file_name();
        if let (true, Some(id)) = (is_pinned(&status, cpu), name.to_str().and_then(|name| name.parse::<i32>().ok())) {
            // SAFETY: the thread belongs to this process, which is named too; if it has ended, the call reaches no
            // other process.
            unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), id, SIGUSR1) };
        }
    }
}

fn is_pinned(status: &str, cpu: usize) -> bool {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.is_some_and(|list| list.trim() == cpu.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cpu_and_no_other() {
        assert!(is_pinned("Name:\tx\nCpus_allowed_list:\t0\n", 0));
        assert!(
            !is_pinned("Cpus_allowed_list:\t0-1\n", 0)
                && !is_pinned("Cpus_allowed_list:\t10\n", 1)
                && !is_pinned("", 0)
        );
    }
}
