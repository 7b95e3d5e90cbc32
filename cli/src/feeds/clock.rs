//! The time of feeds: receive times of several workers, which may differ a little, as one clock that does not go back.

/// A step back by more than this is a clock that was set, and no difference between workers.
const STEP_NS: u64 = 10_000_000_000;

/// Turns times on CLOCK_TAI into times that do not go back.
#[derive(Debug, Default)]
pub struct FeedClock {
    /// By how much CLOCK_TAI was set back so far.
    set_back_ns: u64,
    last_ns: u64,
}

impl FeedClock {
    /// The time of feeds at a time on CLOCK_TAI.
    #[inline]
    pub fn at(&mut self, tai_ns: u64) -> u64 {
        let now_ns = tai_ns.saturating_add(self.set_back_ns);
        if now_ns >= self.last_ns {
            self.last_ns = now_ns;
        } else if self.last_ns - now_ns > STEP_NS {
            self.set_back_ns += self.last_ns - now_ns;
        }
        self.last_ns
    }

    /// The latest time.
    pub fn last(&self) -> u64 {
        self.last_ns
    }

    /// The time on CLOCK_TAI at a time of feeds.
    pub fn tai_ns(&self, feed_ns: u64) -> u64 {
        feed_ns.saturating_sub(self.set_back_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_go_back_and_survives_a_clock_that_is_set() {
        let mut clock = FeedClock::default();
        let hour = 3_600_000_000_000;
        assert_eq!([hour, hour - 5, hour + 1].map(|tai| clock.at(tai)), [hour, hour, hour + 1]);
        // An hour back.
        assert_eq!([1, 2, 10].map(|tai| clock.at(tai)), [hour + 1, hour + 2, hour + 10]);
        assert_eq!(clock.tai_ns(hour + 20), 20);
    }
}
