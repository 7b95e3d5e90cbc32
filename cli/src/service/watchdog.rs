//! The heartbeat for the service manager's watchdog. It ends when the main thread no longer comes here, or when a
//! receiving thread does not come out of a batch.
//!
//! A receiving thread marks when it goes into a batch and when it comes out. One that waits in the kernel for packets
//! is outside, so it need not wake up to prove that it lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The marks of one receiving thread. Only that thread writes them.
#[derive(Debug, Default)]
#[repr(align(64))] // Other threads' marks are in other cache lines.
pub struct Activity {
    /// Odd while the thread is in a batch.
    marks: AtomicU64,
}

impl Activity {
    /// Marks that a batch has begun.
    pub fn begin(&self) {
        self.mark();
        #[cfg(debug_assertions)]
        super::hang::point();
    }

    /// Marks that the batch that has begun is over.
    pub fn end(&self) {
        self.mark();
    }

    fn mark(&self) {
        self.marks.store(self.marks.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    fn marks(&self) -> u64 {
        self.marks.load(Ordering::Relaxed)
    }
}

/// Decides when the next heartbeat is due, and whether there is one.
pub struct Watchdog {
    /// The time between two heartbeats: half of what the manager allows.
    period: Duration,
    next: Instant,
    threads: Arc<[Activity]>,
    /// The marks at the last look.
    seen: Vec<u64>,
}

impl Watchdog {
    /// With the time that the manager allows between two heartbeats.
    pub fn new(limit: Duration, threads: Arc<[Activity]>, now: Instant) -> Self {
        let seen = vec![0; threads.len()];
        Self { period: limit / 2, next: now, threads, seen }
    }

    /// When to look again.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// The time between two looks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Looks if it is time to. Returns the indices of the threads that have been in one batch since the last look:
    /// there is a heartbeat if there are none.
    pub fn look(&mut self, now: Instant) -> Option<Vec<usize>> {
        if now < self.next {
            return None;
        }
        // A look soon after a late one would take a short batch for a long one.
        self.next = now + self.period;
        let mut stuck = Vec::new();
        for (index, (thread, seen)) in self.threads.iter().zip(&mut self.seen).enumerate() {
            let marks = thread.marks();
            if marks % 2 == 1 && marks == *seen {
                stuck.push(index);
            }
            *seen = marks;
        }
        Some(stuck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_stuck_that_stays_in_one_batch() {
        let threads: Arc<[Activity]> = [Activity::default(), Activity::default()].into();
        let start = Instant::now();
        let mut watchdog = Watchdog::new(Duration::from_secs(10), Arc::clone(&threads), start);
        let second = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(watchdog.look(second(0)), Some(vec![]), "both are outside");
        threads[1].begin();
        assert_eq!(watchdog.look(second(4)), None, "it is not time yet");
        assert_eq!(watchdog.look(second(5)), Some(vec![]), "the batch may have begun a moment ago");
        threads[1].end();
        threads[1].begin();
        assert_eq!(watchdog.look(second(10)), Some(vec![]), "another batch");
        assert_eq!(watchdog.look(second(15)), Some(vec![1]));
        assert_eq!(watchdog.look(second(27)), Some(vec![1]));
        assert_eq!(watchdog.next(), second(32), "a full period after a late look");
        threads[1].end();
        assert_eq!(watchdog.look(second(32)), Some(vec![]), "it came out");
    }
}
