//! When packets are due: an absolute schedule, so that no error adds up. Pure.

use std::time::Duration;

const SECOND: u128 = 1_000_000_000;

/// A sender that is further behind than this gives up the rest: a burst without bound would only measure the receiver's
/// queues.
pub(crate) const MAX_BEHIND: Duration = Duration::from_millis(50);

/// The longest sleep, so that a stop is noticed.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// How many packets are due in a time at a rate, in packets per second.
pub(crate) fn due_in(duration: Duration, rate: u64) -> u64 {
    let due = duration.as_nanos().saturating_mul(rate.into()).div_ceil(SECOND);
    u64::try_from(due).unwrap_or(u64::MAX)
}

/// Packet n (from 0) is due `n / rate` after the start.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// Packets per second are `share / parts`.
    share: u128,
    parts: u128,
    /// Packets sent, and those given up.
    done: u64,
    slipped: u64,
}

impl Schedule {
    /// For one thread with `flows` of `of` flows, at `rate` packets per second (not 0) over all.
    pub(crate) fn new(rate: u64, flows: usize, of: usize) -> Self {
        Self { share: u128::from(rate.max(1)) * flows as u128, parts: of as u128, done: 0, slipped: 0 }
    }

    /// The number of packets that are due `elapsed` after the start and not sent. Gives up those that are too late.
    pub(crate) fn due(&mut self, elapsed: Duration) -> u64 {
        let due = self.due_by(elapsed).saturating_sub(self.done);
        let most = self.due_by(MAX_BEHIND);
        if due > most {
            self.slipped += due - most;
            self.done += due - most;
        }
        due.min(most)
    }

    pub(crate) fn sent(&mut self, packets: u64) {
        self.done += packets;
    }

    /// How long after the start the next `burst` packets are all due.
    pub(crate) fn next(&self, burst: usize) -> Duration {
        let last = u128::from(self.done) + burst.max(1) as u128 - 1;
        let ns = (last * self.parts * SECOND).div_ceil(self.share);
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    pub(crate) fn slipped(&self) -> u64 {
        self.slipped
    }

    fn due_by(&self, elapsed: Duration) -> u64 {
        let whole = elapsed.as_nanos() * self.share / (self.parts * SECOND);
        u64::try_from(whole).unwrap_or(u64::MAX).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_at_once_then_evenly() {
        let mut schedule = Schedule::new(10, 1, 1);
        assert_eq!(schedule.due(Duration::ZERO), 1);
        schedule.sent(1);
        assert_eq!(schedule.next(1), Duration::from_millis(100));
        assert_eq!(schedule.due(Duration::from_millis(99)), 0);
        assert_eq!(schedule.due(Duration::from_millis(100)), 1);
        assert_eq!(schedule.next(3), Duration::from_millis(300));
    }

    #[test]
    fn held_up() {
        let mut schedule = Schedule::new(1000, 1, 1);
        assert_eq!(schedule.due(Duration::from_millis(20)), 21, "caught up on");
        schedule.sent(21);
        assert_eq!(schedule.due(Duration::from_millis(1020)), 51, "50 ms are caught up on");
        assert_eq!(schedule.slipped(), 949);
        schedule.sent(51);
        assert_eq!(schedule.due(Duration::from_millis(1021)), 1, "and then it goes on in time");
    }

    proptest! {
        #[test]
        fn no_drift(
            rate in 1u64..20_000_000, flows in 1usize..8, others in 0usize..8,
            naps in prop::collection::vec(0u64..40_000, 1..200),
        ) {
            let mut schedule = Schedule::new(rate, flows, flows + others);
            let (mut elapsed, mut sent) = (Duration::ZERO, 0);
            for nap in naps {
                elapsed += Duration::from_micros(nap);
                let due = schedule.due(elapsed);
                schedule.sent(due);
                sent += due;
                let exact = rate as f64 * flows as f64 / (flows + others) as f64 * elapsed.as_secs_f64() + 1.0;
                prop_assert!((sent as f64 - exact).abs() <= 1.01, "{} against {}", sent, exact);
                prop_assert_eq!(schedule.due(elapsed), 0);
                let next = schedule.next(1);
                prop_assert!(next > elapsed);
                prop_assert_eq!(schedule.clone().due(next), 1);
            }
            prop_assert_eq!(schedule.slipped(), 0);
        }
    }
}
