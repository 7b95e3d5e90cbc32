//! Back-pressure: receiving threads that wait until a sink has room. They wait between two batches and hold no lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Whether a sink has room.
#[derive(Debug, Default)]
pub struct Room {
    is_full: AtomicBool,
    /// Nobody waits any more: the run ends.
    is_released: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Room {
    /// The sink is full, or has room again.
    pub fn set_full(&self, is_full: bool) {
        if self.is_full.swap(is_full, Ordering::AcqRel) && !is_full {
            self.wake();
        }
    }

    /// Nobody waits from now on.
    pub fn release(&self) {
        self.is_released.store(true, Ordering::Release);
        self.wake();
    }

    /// Returns true if nobody waits any more.
    pub fn is_released(&self) -> bool {
        self.is_released.load(Ordering::Acquire)
    }

    fn wake(&self) {
        // With the lock, a thread that is about to wait does not miss it.
        let _locked = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed.notify_all();
    }

    /// Waits while the sink is full.
    #[inline]
    pub fn wait(&self) {
        if self.is_full.load(Ordering::Acquire) {
            self.wait_longer();
        }
    }

    #[cold]
    fn wait_longer(&self) {
        let mut locked = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while self.is_full.load(Ordering::Acquire) && !self.is_released() {
            let waited = self.changed.wait_timeout(locked, Duration::from_secs(1));
            locked = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::scope;

    #[test]
    fn a_thread_waits_for_room_or_for_the_end() {
        for ends in [false, true] {
            let room = Room::default();
            room.wait();
            room.set_full(true);
            scope(|scope| {
                let waiting = scope.spawn(|| room.wait());
                if ends {
                    room.release()
                } else {
                    room.set_full(false)
                }
                waiting.join().expect("it returns");
            });
        }
    }
}
