//! Real-time scheduling of threads.
#![allow(unsafe_code)] // sched_setscheduler(2); rustix has no safe call for it.

use std::io;

/// Priorities of SCHED_FIFO: from the lowest to the highest.
pub const PRIORITIES: std::ops::RangeInclusive<u8> = 1..=99;

/// Gives the calling thread the policy SCHED_FIFO with this priority: it runs before every thread without one, until
/// it sleeps.
///
/// # Errors
/// EPERM without CAP_SYS_NICE and with a lower RLIMIT_RTPRIO, in a service with `RestrictRealtime=`, and in a cgroup
/// without real-time bandwidth; EINVAL for a priority that is not one of [`PRIORITIES`].
pub fn set_fifo(priority: u8) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority.into() };
    // SAFETY: the parameters live during the call. 0 is the calling thread.
    let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
