//! Times on CLOCK_TAI.

use receiver_host::clock::{real_time, tai};

use crate::api::origin::{ReceiveTime, TimeOrigin};

/// Reads CLOCK_TAI, and converts times on CLOCK_REALTIME to it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// TAI less UTC in nanoseconds (37 s since 2017, or 0 if no time daemon has set it), and when it was asked.
    offset: Option<(i64, u64)>,
}

/// How long an offset is used, in nanoseconds. It changes with leap seconds, and when a time daemon starts.
const ASK_EVERY: u64 = 1_000_000_000;

impl Clock {
    /// Now.
    #[inline]
    pub fn now(&self) -> ReceiveTime {
        ReceiveTime { nanoseconds: tai(), origin: TimeOrigin::UserSpace }
    }

    /// Converts a recent time on CLOCK_REALTIME.
    pub fn of_real_time(&mut self, real: u64) -> u64 {
        let offset = match self.offset {
            Some((offset, asked)) if real.abs_diff(asked) < ASK_EVERY => offset,
            _ => {
                let difference = tai() as i64 - real_time() as i64;
                // Whole seconds by definition; the rest is the time between the two calls.
                let offset = (difference + 500_000_000).div_euclid(1_000_000_000) * 1_000_000_000;
                self.offset = Some((offset, real));
                offset
            }
        };
        real.wrapping_add_signed(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_is_brought_onto_tai() {
        let mut clock = Clock::default();
        let tai = clock.of_real_time(real_time());
        assert!(clock.now().nanoseconds.abs_diff(tai) < 1_000_000_000);
    }
}
