//! The highest and the lowest priority: for a kernel thread that must run before all others, like an interrupt, and for
//! a thread that only uses spare time.
#![allow(unsafe_code)]

use std::io;

use rustix::process::Pid;

/// The priority of interrupt threads.
const PRIORITY: libc::c_int = 50;

/// Sets SCHED_FIFO for a thread.
pub fn prefer(thread: Pid) -> io::Result<()> {
    set(thread.as_raw_nonzero().get(), libc::SCHED_FIFO, PRIORITY)
}

/// Sets SCHED_IDLE for the calling thread.
pub fn yield_to_all() -> io::Result<()> {
    set(0, libc::SCHED_IDLE, 0)
}

fn set(thread: i32, policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameters live during the call.
    let set = unsafe { libc::sched_setscheduler(thread, policy, &raw const parameters) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
