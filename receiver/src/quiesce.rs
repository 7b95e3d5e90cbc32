//! Lets `block` and `leave` wait until no queue is in the middle of handing over a datagram that it judged before.
//!
//! A queue's [`Activity`] is odd while it works on a batch, and moves on with each datagram. The control side changes
//! the filter, then looks: an even number means that the queue will judge anew; an odd one must move first. One fence a
//! batch on the queue's side orders "I am at work" before "which filter is it".

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

/// A callback that runs longer than this is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where one queue is.
#[repr(align(64))]
#[derive(Debug, Default)]
pub(crate) struct Activity(AtomicU64);

thread_local! {
    /// The activity that this thread is in the middle of: a callback that calls `block` must not wait for itself.
    static OWN: Cell<*const Activity> = const { Cell::new(ptr::null()) };
}

/// The queue works on a batch as long as this lives.
pub(crate) struct Working<'a> {
    activity: &'a Activity,
    outer: *const Activity,
}

impl Activity {
    /// Begins a batch.
    #[inline]
    pub fn begin(&self) -> Working<'_> {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let outer = OWN.with(|own| own.replace(self));
        Working { activity: self, outer }
    }

    /// Returns when the queue has judged and handed over what it had in its hands at the call, at the latest after a
    /// second. To be called after the filter was changed.
    pub fn wait(&self) {
        fence(Ordering::SeqCst);
        let seen = self.0.load(Ordering::Acquire);
        if seen.is_multiple_of(2) || OWN.with(|own| ptr::eq(own.get(), self)) {
            return;
        }
        let start = Instant::now();
        let mut spins = 0u32;
        while self.0.load(Ordering::Acquire) == seen && start.elapsed() < PATIENCE {
            spins += 1;
            if spins < 100 { std::hint::spin_loop() } else { std::thread::sleep(Duration::from_micros(50)) }
        }
    }
}

impl Working<'_> {
    /// The queue goes on to its next datagram.
    #[inline]
    pub fn next(&self) {
        self.activity.0.store(self.activity.0.load(Ordering::Relaxed).wrapping_add(2), Ordering::Release);
    }
}

impl Drop for Working<'_> {
    #[inline]
    fn drop(&mut self) {
        self.activity.0.store(self.activity.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        OWN.with(|own| own.set(self.outer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn waits_for_the_datagram_in_hand_and_no_longer() {
        let activity = Activity::default();
        let handed_over = AtomicBool::new(false);
        let at_work = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let working = activity.begin();
                at_work.store(true, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(50));
                handed_over.store(true, Ordering::SeqCst);
                working.next();
                // The rest of the batch is not waited for.
                std::thread::sleep(Duration::from_millis(300));
            });
            while !at_work.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
            activity.wait();
            assert!(handed_over.load(Ordering::SeqCst));
        });
    }

    #[test]
    fn a_callback_does_not_wait_for_itself() {
        let activity = Activity::default();
        let _working = activity.begin();
        let start = Instant::now();
        activity.wait();
        assert!(start.elapsed() < PATIENCE / 2);
    }

    #[test]
    fn an_idle_queue_is_not_waited_for() {
        let activity = Activity::default();
        drop(activity.begin());
        let start = Instant::now();
        activity.wait();
        assert!(start.elapsed() < PATIENCE / 2);
    }
}
