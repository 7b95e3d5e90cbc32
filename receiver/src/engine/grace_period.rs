//! The grace period of `block` and `leave`: they wait until no worker is about to hand over a datagram that it judged
//! by the old filter.
//!
//! The control side changes the filter, then calls [`wait_for_all`]. The guarantee rests on [`protocol`], which loom
//! checks.

mod memory;
mod protocol;

use std::cell::Cell;
use std::ptr;
use std::time::{Duration, Instant};

pub(crate) use memory::prepare;
use protocol::Progress;

/// The wait for a callback ends after this time.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where one worker is within its batch.
#[repr(align(64))]
#[derive(Debug, Default)]
pub(crate) struct BatchState(Progress);

thread_local! {
    /// The batch that this thread is within. A callback that calls `block` must not wait for itself.
    static OWN: Cell<*const BatchState> = const { Cell::new(ptr::null()) };
}

/// The worker is within a batch until this is dropped.
pub(crate) struct BatchGuard<'a> {
    state: &'a BatchState,
    outer: *const BatchState,
}

impl BatchState {
    /// Begins a batch.
    #[inline]
    pub fn begin(&self) -> BatchGuard<'_> {
        self.0.begin();
        let outer = OWN.with(|own| own.replace(self));
        BatchGuard { state: self, outer }
    }
}

/// Returns when each worker has handed over the datagram that it had in hand at the call, or after [`PATIENCE`] for
/// each. Returns false if a worker took longer. To be called after the filter was changed.
pub(crate) fn wait_for_all<'a>(states: impl Iterator<Item = &'a BatchState>) -> bool {
    protocol::synchronize();
    let mut all = true;
    for state in states.filter(|state| !OWN.with(|own| ptr::eq(own.get(), *state))) {
        let start = Instant::now();
        let mut pauses = 0u32;
        all &= state.0.wait(|| {
            pauses += 1;
            if pauses < 100 {
                std::hint::spin_loop();
            } else {
                std::thread::sleep(Duration::from_micros(50));
            }
            start.elapsed() < PATIENCE
        });
    }
    all
}

impl BatchGuard<'_> {
    /// The worker goes on to its next datagram. To be called before the filter is read for it.
    #[inline]
    pub fn next(&self) {
        self.state.0.next();
    }
}

impl Drop for BatchGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.state.0.end();
        OWN.with(|own| own.set(self.outer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::iter::once;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    #[test]
    fn waits_for_the_datagram_in_hand_and_no_longer() {
        prepare();
        let state = BatchState::default();
        let handed_over = AtomicBool::new(false);
        let (at_work, work_began) = mpsc::channel();
        let (returned, end_batch) = mpsc::channel();
        std::thread::scope(|scope| {
            let (state, handed_over) = (&state, &handed_over);
            scope.spawn(move || {
                let batch = state.begin();
                batch.next();
                at_work.send(()).expect("somebody waits");
                std::thread::sleep(Duration::from_millis(50));
                handed_over.store(true, Ordering::SeqCst);
                batch.next();
                // The batch goes on until the wait is over: a wait for its end would run out of patience.
                end_batch.recv().expect("the wait returns");
            });
            work_began.recv().expect("the worker begins");
            assert!(wait_for_all(once(state)), "the rest of the batch was waited for");
            assert!(handed_over.load(Ordering::SeqCst), "the datagram in hand was not waited for");
            returned.send(()).expect("the worker waits");
        });
    }

    #[test]
    fn a_callback_that_never_returns_is_not_waited_for_forever() {
        prepare();
        let state = BatchState::default();
        let _batch = std::thread::scope(|scope| scope.spawn(|| state.0.begin()).join());
        assert!(!wait_for_all(once(&state)));
    }

    #[test]
    fn neither_an_idle_worker_nor_the_own_callback_is_waited_for() {
        prepare();
        let [idle, own] = [BatchState::default(), BatchState::default()];
        drop(idle.begin());
        let _batch = own.begin();
        assert!(wait_for_all([&idle, &own].into_iter()));
    }
}
