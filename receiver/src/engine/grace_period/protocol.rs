//! The protocol of the grace period, and nothing else: `models/` compiles this file a second time, against loom.
//!
//! A worker's [`Progress`] is odd while it is in a batch, and moves on with each datagram before the filter is read for
//! it. The control side changes the filter, calls [`synchronize`], then looks: an even number means that the worker
//! will read the filter anew; an odd one must move first.
//!
//! The store of the progress and the load of the filter are of different variables, so only a full barrier between them
//! keeps their order (Store-Load). The worker's half is [`light`], free with membarrier(2); the control side's is
//! [`heavy`].

use super::memory::{AtomicU64, Ordering, heavy, light};

/// How far one worker is. Written by the worker alone.
#[derive(Debug, Default)]
pub struct Progress(AtomicU64);

/// The barrier between a change of the filter and the reading of each worker's progress.
pub fn synchronize() {
    heavy();
}

impl Progress {
    /// The worker begins a batch.
    #[inline]
    pub fn begin(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// The worker has handed over the datagram before, and is about to read the filter for the next one.
    #[inline]
    pub fn next(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(2), Ordering::Release);
        light();
    }

    /// The worker ends its batch.
    #[inline]
    pub fn end(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }

    /// Returns true when the worker has handed over what it had in hand at the last [`synchronize`], and false if
    /// `pause` returned false before that.
    pub fn wait(&self, mut pause: impl FnMut() -> bool) -> bool {
        let seen = self.0.load(Ordering::Acquire);
        if seen.is_multiple_of(2) {
            return true;
        }
        while self.0.load(Ordering::Acquire) == seen {
            if !pause() {
                return false;
            }
        }
        true
    }
}
