//! What each receiving thread does: it polls its worker, gives each datagram to the feeds and sinks, and stops at
//! exactly the requested count.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use receiver::{Wait, Worker};

use super::output::Output;
use crate::cpus::Placement;
use crate::panics;
use crate::service::Activity;
use crate::sink::SinkFailure;

/// The sleep of a worker that may not wait in the kernel: see [`Plan::next`].
const NAP: Duration = Duration::from_micros(500);

/// Shared by all receiving threads.
pub struct Plan {
    /// Where datagrams go beyond being counted.
    output: Option<Arc<Output>>,
    busy: bool,
    budget: Option<Budget>,
    alone: bool,
    stop: AtomicBool,
    placement: Placement,
    /// One for each worker.
    activities: Arc<[Activity]>,
}

/// Why a thread ended.
#[derive(Debug)]
pub enum EndReason {
    /// The receiver was shut down, and all datagrams were delivered.
    Stopped,
    /// The requested number of datagrams was delivered.
    Enough,
    /// A sink failed.
    Sink(SinkFailure),
    /// The receiver failed.
    Failed(receiver::Error),
    /// The thread could not be placed.
    Misplaced(anyhow::Error),
}

/// The number of datagrams that are still to be delivered.
struct Budget {
    /// Not yet promised to a thread.
    free: AtomicU64,
    /// Not yet delivered.
    left: AtomicU64,
}

impl Plan {
    /// For this number of workers, and at most `count` datagrams if there is a limit.
    pub fn new(
        workers: usize,
        output: Option<Arc<Output>>,
        busy: bool,
        count: Option<u64>,
        placement: Placement,
    ) -> Self {
        let budget = count.map(|count| Budget { free: AtomicU64::new(count), left: AtomicU64::new(count) });
        let activities = (0..workers).map(|_| Activity::default()).collect();
        Self { output, busy, budget, alone: workers == 1, stop: AtomicBool::new(false), placement, activities }
    }

    /// What the threads mark, by the index of their workers.
    pub fn activities(&self) -> Arc<[Activity]> {
        Arc::clone(&self.activities)
    }

    /// Ends the threads without delivering what the rings still hold. Those that wait end with the receiver's shutdown,
    /// which must follow.
    pub fn abandon(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Receives by the worker with this index, until there is a reason to end.
    pub fn run(&self, index: usize, worker: &mut Worker) -> EndReason {
        if let Err(error) = self.placement.enter(index) {
            return EndReason::Misplaced(error);
        }
        let activity = &self.activities[index];
        loop {
            panics::point();
            if self.stop.load(Ordering::Relaxed) {
                return EndReason::Stopped;
            }
            let (allowed, wait) = match self.next() {
                ControlFlow::Continue(next) => next,
                ControlFlow::Break(reason) => return reason,
            };
            if allowed == 0 {
                std::thread::sleep(NAP);
                continue;
            }
            let (delivered, result) = self.batch(worker, activity, allowed, wait);
            if let Some(budget) = &self.budget {
                budget.left.fetch_sub(delivered, Ordering::AcqRel);
                budget.free.fetch_add(allowed - delivered, Ordering::AcqRel);
            }
            if let Err(reason) = result {
                return reason;
            }
            if let Some(output) = self.output.as_deref() {
                if let Err(error) = output.poll() {
                    return EndReason::Sink(error);
                }
                output.wait_for_room();
            }
            if delivered == 0 && wait == Wait::Never && !self.busy {
                std::thread::sleep(NAP);
            }
        }
    }

    /// The most datagrams of the next batch, and how long to wait for it. A thread that shares the count with others
    /// must not keep its part while it waits, so it sleeps instead.
    fn next(&self) -> ControlFlow<EndReason, (u64, Wait)> {
        let patience = || self.output.as_deref().and_then(Output::patience);
        let patient = if self.busy { Wait::Never } else { patience().map_or(Wait::Forever, Wait::For) };
        let Some(budget) = &self.budget else { return ControlFlow::Continue((u64::MAX, patient)) };
        if budget.left.load(Ordering::Acquire) == 0 {
            return ControlFlow::Break(EndReason::Enough);
        }
        let promised = budget.free.swap(0, Ordering::AcqRel);
        ControlFlow::Continue((promised, if self.alone { patient } else { Wait::Never }))
    }

    /// One poll. The output is locked from the first datagram to the last.
    fn batch(
        &self,
        worker: &mut Worker,
        activity: &Activity,
        allowed: u64,
        wait: Wait,
    ) -> (u64, Result<(), EndReason>) {
        let mut delivered = 0;
        let mut output = None;
        let polled = worker.poll_while(wait, |datagram| {
            if delivered == 0 {
                activity.begin();
            }
            delivered += 1;
            if let Some(shared) = &self.output {
                output.get_or_insert_with(|| shared.lock()).take(datagram);
            }
            if delivered == allowed { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let failed = output.and_then(|output| output.end_batch().err());
        if delivered > 0 {
            activity.end();
        }
        let result = match (failed, polled) {
            (Some(error), _) => Err(EndReason::Sink(error)),
            (None, Ok(_)) => Ok(()),
            (None, Err(receiver::Error::Stopped)) => Err(EndReason::Stopped),
            (None, Err(error)) => Err(EndReason::Failed(error)),
        };
        (delivered, result)
    }
}
