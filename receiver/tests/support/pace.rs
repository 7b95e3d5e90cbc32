//! Senders that wait for the consumer. Then the packets under way fit the rings, however slow the consumer is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// What was sent of a stream, and what the consumer has read of it.
#[derive(Default)]
pub struct Progress {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Progress {
    /// Counts a packet that the consumer has read.
    pub fn count(&self) {
        self.received.fetch_add(1, Ordering::Release);
    }

    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Acquire)
    }

    /// Records the number of packets sent. Returns true if fewer than `window` of them are unread.
    pub fn may_send(&self, sent: u64, window: u64) -> bool {
        self.sent.store(sent, Ordering::Release);
        sent.saturating_sub(self.received()) < window
    }

    /// Waits until the consumer has read this number of packets. Gives up after [`PATIENCE`]: the caller's count then
    /// shows what is missing.
    pub fn wait_for(&self, count: u64) {
        let start = Instant::now();
        while self.received() < count && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The pace of a stream that the consumer does not count, beside one that it counts and that takes the same way.
///
/// After each window the stream waits for the packets of the other one that were sent before. The consumer reads in
/// order, so what was sent of this stream before is no longer under way.
pub struct Follower {
    other: Arc<Progress>,
    window: u64,
    /// Where the window began: what was sent of this stream, and of the other.
    began: Mutex<(u64, u64)>,
}

impl Follower {
    pub fn new(other: &Arc<Progress>, window: u64) -> Self {
        Self { other: Arc::clone(other), window, began: Mutex::default() }
    }

    /// Returns true if this stream may send more after `sent` packets.
    pub fn may_send(&self, sent: u64) -> bool {
        let mut began = self.began.lock().expect("no panic under the lock");
        let (own, other) = *began;
        if sent < own + self.window {
            return true;
        }
        if self.other.received() < other {
            return false;
        }
        *began = (sent, self.other.sent.load(Ordering::Acquire));
        true
    }
}
