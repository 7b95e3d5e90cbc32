//! When the worker looks at a mapped ring again that it has emptied.
//!
//! The program publishes each packet by itself, in the cache line that the worker looks at. A worker that waits at that
//! line takes it away from the CPU that writes it, once for each packet, and so slows the receiving CPU. While packets
//! come fast, the worker therefore lets some gather before it looks, as AF_XDP's copy does by NAPI's batches. At lower
//! rates, where a packet's delay counts and the CPUs have time, it looks at once.

use std::time::{Duration, Instant};

/// The longest interval between packets at which they gather: 2.5 million packets/s.
const DENSE: Duration = Duration::from_nanos(400);
/// After how many packets at such intervals they gather: a few that come together, after a pause of the sender or of
/// the receiving CPU, are no dense traffic.
const STREAK: u32 = 64;
/// How many packets gather.
const PACKETS: u32 = 128;
/// The longest time that a packet waits.
const LONGEST: Duration = Duration::from_micros(16);

/// Measures how fast packets come, and says when to look again.
#[derive(Debug)]
pub(super) struct Gathering {
    /// When the ring was last emptied.
    emptied: Instant,
    /// Packets since then.
    packets: u32,
    /// Packets that came at short intervals before.
    streak: u32,
    /// Not to look before this time.
    until: Option<Instant>,
}

impl Gathering {
    pub fn new(now: Instant) -> Self {
        Self { emptied: now, packets: 0, streak: 0, until: None }
    }

    /// Notes that packets were taken, and that more are there.
    #[inline]
    pub fn took(&mut self, packets: u32) {
        self.packets = self.packets.saturating_add(packets);
    }

    /// Notes that the last packets were taken.
    #[inline]
    pub fn emptied(&mut self, now: Instant) {
        let interval = now.saturating_duration_since(self.emptied).checked_div(self.packets);
        let interval = interval.filter(|&interval| interval <= DENSE);
        self.streak = interval.map_or(0, |_| self.streak.saturating_add(self.packets));
        self.until = interval.filter(|_| self.streak >= STREAK).map(|interval| now + (interval * PACKETS).min(LONGEST));
        (self.emptied, self.packets) = (now, 0);
    }

    /// Waits until it is time to look.
    #[inline]
    pub fn wait(&mut self) {
        if let Some(until) = self.until.take() {
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long the worker lets packets gather after it took `packets` in `time`.
    fn pause(packets: u32, time: Duration) -> Duration {
        let start = Instant::now();
        let mut gathering = Gathering::new(start);
        gathering.took(packets);
        gathering.emptied(start + time);
        gathering.until.map_or(Duration::ZERO, |until| until - (start + time))
    }

    #[test]
    fn packets_gather_only_while_they_come_fast() {
        assert_eq!(pause(1, Duration::from_micros(1)), Duration::ZERO, "1 M/s");
        assert_eq!(pause(10, DENSE * 10 + Duration::from_nanos(10)), Duration::ZERO, "just below 2.5 M/s");
        assert_eq!(pause(64, Duration::from_nanos(6_400)), Duration::from_nanos(12_800), "10 M/s: 128 packets");
        assert_eq!(pause(63, Duration::from_nanos(6_300)), Duration::ZERO, "a few that come together");
        assert_eq!(pause(100, Duration::from_micros(20)), LONGEST, "5 M/s");
        assert_eq!(pause(0, Duration::from_micros(1)), Duration::ZERO, "nothing came");
    }

    #[test]
    fn one_pause_follows_one_emptied_ring() {
        let start = Instant::now();
        let mut gathering = Gathering::new(start);
        gathering.took(64);
        gathering.took(36);
        gathering.emptied(start + Duration::from_micros(10));
        assert_eq!(gathering.until, Some(start + Duration::from_nanos(22_800)), "both batches count");
        let until = Instant::now() + Duration::from_millis(2);
        gathering.until = Some(until);
        gathering.wait();
        assert!(Instant::now() >= until, "the worker did not wait");
        assert_eq!(gathering.until, None);
        gathering.took(10);
        gathering.emptied(start + Duration::from_micros(11));
        assert!(gathering.until.is_some(), "the streak goes on");
        gathering.took(1);
        gathering.emptied(start + Duration::from_micros(12));
        assert_eq!(gathering.until, None, "the interval is since the ring was last empty");
        gathering.took(10);
        gathering.emptied(start + Duration::from_micros(13));
        assert_eq!(gathering.until, None, "a new streak");
    }
}
