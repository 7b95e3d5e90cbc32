//! What each receiving thread does: poll its worker, hand each datagram to the sinks, and stop at exactly the count that
//! was asked for.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use receiver::{Wait, Worker};

use crate::outlet::OutletError;
use crate::panics;
use crate::sink::{Sinks, lock};

/// How long an idle worker waits at most for packets. The end of the receiver wakes it at once.
const WAIT: Duration = Duration::from_millis(100);
/// How long a worker rests when it may not wait in the kernel: see [`Plan::next`].
const NAP: Duration = Duration::from_micros(500);

/// Shared by all receiving threads.
pub struct Plan {
    /// What is done with datagrams beyond counting them.
    pub sinks: Option<Mutex<Sinks>>,
    busy: bool,
    budget: Option<Budget>,
    alone: bool,
    stop: AtomicBool,
}

/// Why a thread ended.
#[derive(Debug)]
pub enum Ended {
    /// The receiver was shut down, and everything that had come was handed over.
    Stopped,
    /// As many datagrams as were asked for are handed over.
    Enough,
    /// Writing has failed.
    Sink(OutletError),
    /// The receiver failed.
    Failed(receiver::Error),
}

/// How many datagrams are still to be handed over.
struct Budget {
    /// Not yet promised to a thread.
    free: AtomicU64,
    /// Not yet handed over.
    left: AtomicU64,
}

impl Plan {
    /// For so many workers, and so many datagrams, if there is a limit.
    pub fn new(workers: usize, sinks: Option<Sinks>, busy: bool, count: Option<u64>) -> Self {
        let budget = count.map(|count| Budget { free: AtomicU64::new(count), left: AtomicU64::new(count) });
        Self { sinks: sinks.map(Mutex::new), busy, budget, alone: workers == 1, stop: AtomicBool::new(false) }
    }

    /// Ends the threads where they stand, without handing over what the rings still hold.
    pub fn abandon(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Receives until there is a reason to end.
    pub fn run(&self, worker: &mut Worker) -> Ended {
        loop {
            panics::point();
            if self.stop.load(Ordering::Relaxed) {
                return Ended::Stopped;
            }
            let (allowed, wait) = match self.next() {
                ControlFlow::Continue(next) => next,
                ControlFlow::Break(ended) => return ended,
            };
            if allowed == 0 {
                std::thread::sleep(NAP);
                continue;
            }
            let (handed, result) = self.batch(worker, allowed, wait);
            if let Some(budget) = &self.budget {
                budget.left.fetch_sub(handed, Ordering::AcqRel);
                budget.free.fetch_add(allowed - handed, Ordering::AcqRel);
            }
            if let Err(ended) = result {
                return ended;
            }
            if handed == 0 && wait == Wait::Never && !self.busy {
                std::thread::sleep(NAP);
            }
        }
    }

    /// How many datagrams the next batch may have, and how long it may be waited for. A thread that shares the count with
    /// others must not sit on its part of it, so it naps instead of waiting.
    fn next(&self) -> ControlFlow<Ended, (u64, Wait)> {
        let patient = if self.busy { Wait::Never } else { Wait::For(WAIT) };
        let Some(budget) = &self.budget else { return ControlFlow::Continue((u64::MAX, patient)) };
        if budget.left.load(Ordering::Acquire) == 0 {
            return ControlFlow::Break(Ended::Enough);
        }
        let promised = budget.free.swap(0, Ordering::AcqRel);
        ControlFlow::Continue((promised, if self.alone { patient } else { Wait::Never }))
    }

    /// One poll. The sinks are locked from the first datagram to the last.
    fn batch(&self, worker: &mut Worker, allowed: u64, wait: Wait) -> (u64, Result<(), Ended>) {
        let mut handed = 0;
        let mut sinks = None;
        let polled = worker.poll_while(wait, |datagram| {
            handed += 1;
            if let Some(shared) = &self.sinks {
                sinks.get_or_insert_with(|| lock(shared)).take(&datagram);
            }
            if handed == allowed { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let failed = sinks.and_then(|mut sinks| sinks.end_batch().err());
        let result = match (failed, polled) {
            (Some(error), _) => Err(Ended::Sink(error)),
            (None, Ok(_)) => Ok(()),
            (None, Err(receiver::Error::Stopped)) => Err(Ended::Stopped),
            (None, Err(error)) => Err(Ended::Failed(error)),
        };
        (handed, result)
    }
}
