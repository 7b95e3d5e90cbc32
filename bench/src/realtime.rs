//! Real-time priority for a thread of the kernel: it then comes before every ordinary thread, as an interrupt would.
#![allow(unsafe_code)]

use std::io;

use rustix::process::Pid;

/// As threads of interrupts have it.
const PRIORITY: libc::c_int = 50;

/// SCHED_FIFO for a thread.
pub fn prefer(thread: Pid) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: the parameters outlive the call.
    let set =
        unsafe { libc::sched_setscheduler(thread.as_raw_nonzero().get(), libc::SCHED_FIFO, &raw const parameters) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
