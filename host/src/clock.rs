//! The clocks of the project: CLOCK_TAI, which XDP programs read too, and CLOCK_REALTIME, which the kernel stamps
//! datagrams with. Both are read through the vDSO, without a system call.

use rustix::time::{ClockId, DynamicClockId, Timespec, clock_gettime, clock_gettime_dynamic};

/// CLOCK_TAI now, in nanoseconds since 1970-01-01 TAI. It never steps back for a leap second. It equals
/// [`real_time`] until a time daemon (NTP, PTP) has set the kernel's offset.
#[inline]
pub fn tai() -> u64 {
    // Linux has CLOCK_TAI since 3.10, so that this does not fail.
    clock_gettime_dynamic(DynamicClockId::Tai).map_or_else(|_| real_time(), nanoseconds)
}

/// CLOCK_REALTIME now, in nanoseconds since 1970-01-01 UTC.
#[inline]
pub fn real_time() -> u64 {
    nanoseconds(clock_gettime(ClockId::Realtime))
}

/// CLOCK_TAI less UTC now, in nanoseconds, rounded to whole seconds: 37 s once a time daemon has set it, otherwise 0.
pub fn tai_offset() -> u64 {
    const SECOND: i64 = 1_000_000_000;
    let off = tai().wrapping_sub(real_time()) as i64;
    ((off + SECOND / 2).div_euclid(SECOND) * SECOND) as u64
}

#[inline]
fn nanoseconds(time: Timespec) -> u64 {
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_run_and_differ_by_whole_seconds() {
        let (real, tai) = (real_time(), tai());
        let off = (tai.wrapping_sub(real) + 500_000_000) % 1_000_000_000;
        assert!(off.abs_diff(500_000_000) < 400_000_000, "TAI is {tai}, UTC is {real}");
    }
}
