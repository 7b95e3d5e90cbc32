//! Times on CLOCK_TAI.

use rustix::time::{ClockId, DynamicClockId, Timespec, clock_gettime, clock_gettime_dynamic};

use crate::api::datagram::{ReceiveTime, TimeOrigin};

/// Reads CLOCK_TAI, and brings CLOCK_REALTIME onto it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// TAI less UTC in nanoseconds (37 s in 2017 to now, or 0 where nobody told the kernel), and when it was asked.
    offset: Option<(i64, u64)>,
}

/// The offset changes with leap seconds alone, and when a time daemon starts.
const ASK_EVERY: u64 = 1_000_000_000;

impl Clock {
    /// Now.
    #[inline]
    pub fn now(&self) -> ReceiveTime {
        ReceiveTime { nanoseconds: tai(), origin: TimeOrigin::UserSpace }
    }

    /// A CLOCK_REALTIME time that is not long past.
    pub fn of_real_time(&mut self, real: u64) -> u64 {
        let offset = match self.offset {
            Some((offset, asked)) if real.abs_diff(asked) < ASK_EVERY => offset,
            _ => {
                let difference = tai() as i64 - now_real() as i64;
                // Whole seconds by definition; the rest is the time between the two calls.
                let offset = (difference + 500_000_000).div_euclid(1_000_000_000) * 1_000_000_000;
                self.offset = Some((offset, real));
                offset
            }
        };
        real.wrapping_add_signed(offset)
    }
}

/// CLOCK_TAI in nanoseconds since 1970.
pub(crate) fn tai() -> u64 {
    // Linux has had CLOCK_TAI since 3.10; the error can not come.
    clock_gettime_dynamic(DynamicClockId::Tai).map_or_else(|_| now_real(), nanoseconds)
}

fn now_real() -> u64 {
    nanoseconds(clock_gettime(ClockId::Realtime))
}

fn nanoseconds(now: Timespec) -> u64 {
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_is_brought_onto_tai() {
        let mut clock = Clock::default();
        let tai = clock.of_real_time(now_real());
        assert!(clock.now().nanoseconds.abs_diff(tai) < 1_000_000_000);
    }
}
