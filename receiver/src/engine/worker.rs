//! The worker of one receive queue: takes packets from the queue's path and from the kernel path, judges each, and
//! hands it to the consumer.
//!
//! Whoever calls [`Worker::poll`] drives it; it has no thread of its own. Per datagram it allocates nothing, takes no
//! lock and makes no system call. The loop is written once, for any [`ReceivePath`].

use std::cell::Cell;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::api::datagram::{Datagram, DeferredDatagram, OwnedDatagram};
use crate::api::error::Error;
use crate::engine::filter::{FlowCache, FlowKey};
use crate::engine::guard::Guard;
use crate::engine::outcome::{Batch, HandOver, Outcome};
use crate::engine::shared::Shared;
use crate::paths::kernel::KernelSockets;
use crate::paths::queue::QueuePath;
use crate::paths::{Found, Packet, ReceivePath, Visitor};
use crate::stats::queue_counters::DropReason;

/// A worker that polls an empty queue busily checks the kernel path once in this many polls, as each check costs a
/// system call.
const IDLE_POLLS: u32 = 64;
/// The same in mode `socket`. A socket that is polled without pause fills slowly: each check takes a cache line away
/// from the CPU that receives.
const IDLE_POLLS_OF_SOCKET: u32 = 32;
/// A worker whose queue is never empty checks the kernel path once in this many batches.
const FULL_BATCHES: u32 = 16;

/// How long [`Worker::poll`] may wait for the first datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: for a loop that polls busily.
    Never,
    /// Up to this time.
    For(Duration),
    /// Until a datagram comes, or the receiver is shut down.
    Forever,
}

/// Receives from one queue, or from the kernel path alone in mode `socket`. To be driven by one thread.
///
/// ```no_run
/// # fn main() -> Result<(), receiver::Error> {
/// use receiver::{Error, Receiver, Wait};
///
/// let receiver = Receiver::builder("eth1").subscribe("10.0.0.1@232.1.1.1:5000".parse()?).build()?;
/// for mut worker in receiver.into_workers() {
///     std::thread::spawn(move || {
///         let mut bytes = 0;
///         loop {
///             match worker.poll(Wait::Forever, |datagram| bytes += datagram.payload().len()) {
///                 Ok(_) => {}
///                 Err(Error::Stopped) => return Ok(bytes),
///                 Err(error) => return Err(error),
///             }
///         }
///     });
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "the receiver stops when its last worker is dropped"]
pub struct Worker {
    // First, so that the program is off the interface before the socket is closed, when this is the last worker.
    _guard: Arc<Guard>,
    shared: Arc<Shared>,
    /// `None` in mode `socket`.
    queue: Option<QueuePath>,
    /// One worker of each receiver has it.
    kernel: Option<KernelSockets>,
    cache: FlowCache,
    /// Polls of an empty queue since the kernel path was last checked.
    idle: u32,
    /// Batches of the queue since the kernel path was last checked.
    busy: u32,
}

impl Worker {
    pub(crate) fn new(guard: Arc<Guard>, queue: Option<QueuePath>, kernel: Option<KernelSockets>) -> Self {
        let shared = Arc::clone(guard.shared());
        Self { _guard: guard, shared, queue, kernel, cache: FlowCache::default(), idle: 0, busy: 0 }
    }

    /// The receive queue, or `None` for the worker of mode `socket`.
    pub fn queue(&self) -> Option<u32> {
        self.queue.as_ref().map(QueuePath::queue)
    }

    /// Gives the consumer the datagrams that are there, up to some thousands, and waits for the first one if it may.
    /// Returns the number of datagrams; 0 when the wait was over or a signal came.
    ///
    /// # Errors
    /// [`Error::Stopped`] once the receiver is shut down and everything that came before was handed over;
    /// [`Error::Wait`] when the kernel refuses to wait.
    pub fn poll(&mut self, wait: Wait, mut consumer: impl FnMut(Datagram<'_>)) -> Result<usize, Error> {
        self.poll_while(wait, |datagram| {
            consumer(datagram);
            ControlFlow::Continue(())
        })
    }

    /// As [`Worker::poll`], but the consumer can stop the batch by [`ControlFlow::Break`]. The rest of the batch is
    /// kept for the next call.
    ///
    /// # Errors
    /// As [`Worker::poll`].
    pub fn poll_while(
        &mut self,
        wait: Wait,
        mut consumer: impl FnMut(Datagram<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Error> {
        poll_all(std::slice::from_mut(self), &mut 0, wait, &mut consumer)
    }

    /// Takes what is there now, without waiting. `thorough`: checks the kernel path in any case.
    fn take(
        &mut self,
        consumer: &mut impl FnMut(Datagram<'_>) -> ControlFlow<()>,
        thorough: bool,
    ) -> Result<usize, Error> {
        let Self { shared, queue, kernel, cache, .. } = self;
        let mut flow = ControlFlow::Continue(());
        let mut count = 0;
        let holds = kernel.as_ref().is_some_and(KernelSockets::holds);
        if let (true, Some(kernel)) = (holds, kernel) {
            count = HandOverBatch { shared, cache, consumer, flow: &mut flow }.visit(kernel)?;
            if flow.is_break() {
                return Ok(count);
            }
        }
        let mut from_queue = 0;
        if let Some(queue) = queue {
            from_queue = queue.visit(HandOverBatch { shared, cache, consumer, flow: &mut flow })?;
            count += from_queue;
        }
        if flow.is_continue() && !holds && self.kernel_is_due(from_queue, thorough) {
            let Self { shared, kernel: Some(kernel), cache, .. } = self else { return Ok(count) };
            let from_kernel = HandOverBatch { shared, cache, consumer, flow: &mut flow }.visit(kernel)?;
            if self.queue.is_none() {
                self.idle = if from_kernel > 0 { IDLE_POLLS_OF_SOCKET } else { 0 };
            }
            count += from_kernel;
        }
        Ok(count)
    }

    fn kernel_is_due(&mut self, from_queue: usize, thorough: bool) -> bool {
        if self.kernel.is_none() {
            return false;
        }
        if self.queue.is_none() {
            self.idle += 1;
            return thorough || self.idle >= IDLE_POLLS_OF_SOCKET;
        }
        if from_queue == 0 {
            self.busy = 0;
            self.idle += 1;
            (thorough || self.idle >= IDLE_POLLS).then(|| self.idle = 0).is_some()
        } else {
            self.busy += 1;
            (self.busy >= FULL_BATCHES).then(|| self.busy = 0).is_some()
        }
    }

    /// The descriptors that are readable when [`Worker::poll`] has something to give.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let mut fds = vec![self.shared.stop_fd()];
        if let Some(queue) = &self.queue {
            queue.fds(&mut fds);
        }
        if let Some(kernel) = &self.kernel {
            kernel.fds(&mut fds);
        }
        fds
    }

    /// To be called before a thread or a runtime sleeps at [`Worker::fds`].
    pub(crate) fn prepare_to_wait(&mut self) -> Result<(), Error> {
        self.queue.as_mut().map_or(Ok(()), QueuePath::prepare_to_wait)?;
        self.kernel.as_mut().map_or(Ok(()), KernelSockets::prepare_to_wait)
    }
}

#[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "only the async face defers datagrams"))]
impl Worker {
    /// How often descriptors of [`Worker::fds`] were replaced.
    pub(crate) fn replacements(&self) -> u64 {
        self.queue.as_ref().map_or(0, QueuePath::replacements)
    }

    /// As [`Worker::poll_while`] with [`Wait::Never`]. `thorough`: checks the kernel path in any case.
    pub(crate) fn poll_now(
        &mut self,
        thorough: bool,
        mut consumer: impl FnMut(Datagram<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Error> {
        // Asked first: everything that came before the stop is taken.
        let stopped = self.shared.is_stopped();
        match self.take(&mut consumer, thorough || stopped)? {
            0 if stopped => Err(Error::Stopped),
            count => Ok(count),
        }
    }

    /// Hands over a datagram that was deferred, if it is still wanted, and counts its outcome.
    pub(crate) fn settle(&mut self, deferred: DeferredDatagram) -> Option<OwnedDatagram> {
        let DeferredDatagram { datagram, entry, path } = deferred;
        let counters = &self.shared.path(path).counters;
        counters.held.set(counters.held.get() - 1);
        let key = FlowKey::new(datagram.source.ip(), datagram.group, datagram.port);
        if self.cache.resolve(&self.shared.filter, key).is_none() {
            counters.drop_for(DropReason::Revoked);
            return None;
        }
        entry.counters[path].record(datagram.payload.len() as u64, datagram.time.nanoseconds);
        counters.delivered.add(1);
        Some(datagram)
    }

    /// Counts a datagram that was deferred, and that the user did not ask for before the end.
    pub(crate) fn abandon(&mut self, deferred: DeferredDatagram) {
        let counters = &self.shared.path(deferred.path).counters;
        counters.held.set(counters.held.get() - 1);
        counters.drop_for(DropReason::Undelivered);
    }
}

/// Hands a batch of one path over to the consumer.
struct HandOverBatch<'a, C> {
    shared: &'a Shared,
    cache: &'a mut FlowCache,
    consumer: &'a mut C,
    /// Whether the consumer wants more.
    flow: &'a mut ControlFlow<()>,
}

impl<C: FnMut(Datagram<'_>) -> ControlFlow<()>> Visitor for HandOverBatch<'_, C> {
    type Output = Result<usize, Error>;

    /// Returns how many datagrams the consumer saw.
    #[inline]
    fn visit<P: ReceivePath>(self, path: &mut P) -> Result<usize, Error> {
        if !path.look()? {
            return Ok(0);
        }
        let Self { shared, cache, consumer, flow } = self;
        let number = path.number();
        let path_shared = shared.path(number);
        let counters = &path_shared.counters;
        let batch = Batch {
            leases: Cell::new(path.leases()),
            budget: &shared.budget,
            counters,
            path: number,
            vlan: path.vlan(),
            outcome: Cell::new(Outcome::Delivered),
        };
        let mut count = 0;
        let guard = path_shared.batch.begin();
        let result = path.receive(|mut packet| {
            counters.taken.add(1);
            guard.next();
            let Found { key, source_port, payload, time } = match packet.inspect() {
                Ok(found) => found,
                Err(reason) => {
                    counters.drop_for(reason);
                    return ControlFlow::Continue(());
                }
            };
            let Some(entry) = cache.resolve(&shared.filter, key) else {
                counters.drop_for(DropReason::Revoked);
                return ControlFlow::Continue(());
            };
            count += 1;
            batch.outcome.set(Outcome::Delivered);
            let _counts_the_outcome =
                HandOver { batch: &batch, subscription: &entry.counters[number], bytes: payload.len(), time };
            *flow = consumer(Datagram::new(packet.into_payload(payload), key, source_port, entry, time, &batch));
            *flow
        });
        drop(guard);
        result.map(|()| count)
    }
}

/// Polls workers in turn, beginning with number `next`, and waits at all of them at once.
pub(crate) fn poll_all(
    workers: &mut [Worker],
    next: &mut usize,
    wait: Wait,
    mut consumer: impl FnMut(Datagram<'_>) -> ControlFlow<()>,
) -> Result<usize, Error> {
    let Some(shared) = workers.first().map(|worker| Arc::clone(&worker.shared)) else { return Err(Error::Stopped) };
    let stopped = shared.is_stopped();
    let mut pass = |workers: &mut [Worker], thorough| {
        for _ in 0..workers.len() {
            let index = *next % workers.len();
            *next = index + 1;
            let count = workers[index].take(&mut consumer, thorough)?;
            if count > 0 {
                return Ok(count);
            }
        }
        Ok(0)
    };
    let count = pass(workers, stopped || wait != Wait::Never)?;
    if count > 0 {
        return Ok(count);
    }
    if stopped {
        return Err(Error::Stopped);
    }
    match wait {
        Wait::Never => {
            // Whoever polls busily often shares a core with the CPU that receives.
            std::hint::spin_loop();
            return Ok(0);
        }
        Wait::For(timeout) => sleep(workers, Some(timeout))?,
        Wait::Forever => sleep(workers, None)?,
    }
    pass(workers, true)
}

/// Sleeps until a ring, the kernel path or the end of the receiver asks for attention.
fn sleep(workers: &mut [Worker], timeout: Option<Duration>) -> Result<(), Error> {
    for worker in workers.iter_mut() {
        worker.prepare_to_wait()?;
    }
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let mut fds: Vec<PollFd<'_>> =
        workers.iter().flat_map(Worker::fds).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(Error::Wait { doing: "wait for packets", source: errno.into() }),
    }
}
