//! Packets per second, from a counter that is read at intervals, for the estimate of what an outage cost.

use std::time::{Duration, Instant};

/// The shortest time between two samples.
const SAMPLE: Duration = Duration::from_millis(500);

/// The rate of one counter.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    sample: Option<(u64, Instant)>,
    per_second: f64,
}

impl Rate {
    /// The rate between the last two samples; 0 before the second one.
    pub fn per_second(&self) -> f64 {
        self.per_second
    }

    /// Records the counter's value.
    pub fn sample(&mut self, total: u64, now: Instant) {
        if let Some((before, then)) = self.sample {
            let passed = now.duration_since(then);
            if passed < SAMPLE {
                return;
            }
            self.per_second = total.saturating_sub(before) as f64 / passed.as_secs_f64();
        }
        self.sample = Some((total, now));
    }

    /// Starts a new measurement after an outage. The rate stays until it has two samples.
    pub fn restart(&mut self) {
        self.sample = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_between_two_samples() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        rate.sample(1_000, after(0));
        assert_eq!(rate.per_second(), 0.0);
        rate.sample(1_100, after(100));
        assert_eq!(rate.per_second(), 0.0, "too soon");
        rate.sample(3_000, after(1_000));
        assert_eq!(rate.per_second(), 2_000.0);
        rate.restart();
        rate.sample(3_000, after(5_000));
        assert_eq!(rate.per_second(), 2_000.0, "nothing came during the outage, which says nothing of the rate");
    }
}
