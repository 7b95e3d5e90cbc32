//! The highest and the least of priorities: for a thread of the kernel that is to come before every other, as an interrupt would,
//! and for one that only fills what time is left.
#![allow(unsafe_code)]

use std::io;

use rustix::process::Pid;

/// As threads of interrupts have it.
const PRIORITY: libc::c_int = 50;

/// SCHED_FIFO for a thread.
pub fn prefer(thread: Pid) -> io::Result<()> {
    set(thread.as_raw_nonzero().get(), libc::SCHED_FIFO, PRIORITY)
}

/// SCHED_IDLE for the calling thread.
pub fn yield_to_all() -> io::Result<()> {
    set(0, libc::SCHED_IDLE, 0)
}

fn set(thread: i32, policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameters outlive the call.
    let set = unsafe { libc::sched_setscheduler(thread, policy, &raw const parameters) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
