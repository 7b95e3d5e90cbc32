//! What the control side and the workers share: the filter, the counters, the sockets that come and go, and the stop.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::event::{EventfdFlags, eventfd};

use crate::api::error::Error;
use crate::engine::copy_budget::CopyBudget;
use crate::engine::filter::Filter;
use crate::engine::grace_period::{self, BatchState};
use crate::engine::lock::lock;
use crate::engine::queue_monitor::QueueMonitor;
use crate::stats::counter::{Counter, Gauge};
use crate::stats::ledger::{KernelLedger, XskLedger};
use crate::stats::queue_counters::QueueCounters;
use receiver_membership::SocketEvent;
use receiver_xsk::{Monitor, XskSocket};

/// What each path shares.
#[derive(Debug, Default)]
pub(crate) struct PathShared {
    pub counters: QueueCounters,
    pub batch: BatchState,
}

/// What the path of one receive queue shares: AF_XDP or a mapped ring.
#[derive(Debug)]
pub(crate) struct QueueShared {
    /// The receive queue's number.
    pub queue: u32,
    pub path: PathShared,
    /// Frames leased out, as of the worker's last look at the ring.
    pub leased: Gauge,
    /// Descriptors that the worker's side of the ring refused.
    pub refused_descriptors: Counter,
    /// Packets that the program had reserved a slot of the mapped ring for, and could not copy.
    pub not_copied: Counter,
    /// Descriptors beyond the one that each packet has.
    pub continuation_descriptors: Counter,
    /// Reads the socket's counters, as long as the worker has it.
    pub monitor: Mutex<Option<QueueMonitor>>,
    /// The ledger of the sockets that are gone.
    pub before: Mutex<XskLedger>,
    /// Frames that arrived at sockets that are gone, or that the kernel counts as dropped there.
    pub arrived_before: Counter,
    /// How often the worker went on with another socket. Changes with `arrived_before`, under the lock of
    /// `replacement`.
    pub changes: Counter,
    /// A socket that takes the place of the worker's, whose interface is gone.
    pub replacement: Mutex<Option<(XskSocket, Monitor)>>,
    replaced: AtomicBool,
    /// Readable while there is a replacement.
    wake_fd: OwnedFd,
}

/// What the kernel path shares.
#[derive(Debug)]
pub(crate) struct KernelShared {
    pub path: PathShared,
    pub received: Counter,
    pub other_interface: Counter,
    pub unidentified: Counter,
    pub truncated: Counter,
    pub left_behind: Counter,
    pub receive_errors: Counter,
    /// Datagrams that the kernel returned, and that wait for the worker.
    pub held: Gauge,
    /// Sockets that were opened and closed; the descriptor is readable while the list is not empty.
    events: Mutex<Vec<SocketEvent>>,
    events_waiting: AtomicBool,
    events_fd: OwnedFd,
}

/// Shared by the control side and all workers of one receiver.
#[derive(Debug)]
pub(crate) struct Shared {
    pub filter: Filter,
    /// In the order of the workers.
    pub queues: Box<[QueueShared]>,
    pub kernel: KernelShared,
    pub budget: Arc<CopyBudget>,
    stopped: AtomicBool,
    stop_fd: OwnedFd,
}

impl Shared {
    pub fn new(queues: &[u32], copy_limit: u64) -> Result<Self, Error> {
        grace_period::prepare();
        Ok(Self {
            filter: Filter::default(),
            queues: queues.iter().map(|&queue| QueueShared::new(queue)).collect::<Result<_, Error>>()?,
            kernel: KernelShared::new()?,
            budget: CopyBudget::new(copy_limit),
            stopped: AtomicBool::new(false),
            stop_fd: event()?,
        })
    }

    /// The number of paths: one for each queue, and the kernel path. Each subscription counts for each.
    pub fn path_count(&self) -> usize {
        self.queues.len() + 1
    }

    /// A path by its number: those of the queues in their order, then the kernel path.
    #[inline]
    pub fn path(&self, number: usize) -> &PathShared {
        self.queues.get(number).map_or(&self.kernel.path, |queue| &queue.path)
    }

    /// Returns when no worker is about to hand over a datagram that it judged by an older filter.
    pub fn wait_for_workers(&self) {
        grace_period::wait_for_all((0..self.path_count()).map(|number| &self.path(number).batch));
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Has the workers hand over what they have and end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        raise(&self.stop_fd);
    }

    /// Readable once the receiver was stopped.
    pub fn stop_fd(&self) -> BorrowedFd<'_> {
        self.stop_fd.as_fd()
    }
}

impl QueueShared {
    fn new(queue: u32) -> Result<Self, Error> {
        Ok(Self {
            queue,
            path: PathShared::default(),
            leased: Gauge::default(),
            refused_descriptors: Counter::default(),
            not_copied: Counter::default(),
            continuation_descriptors: Counter::default(),
            monitor: Mutex::default(),
            before: Mutex::default(),
            arrived_before: Counter::default(),
            changes: Counter::default(),
            replacement: Mutex::default(),
            replaced: AtomicBool::new(false),
            wake_fd: event()?,
        })
    }

    /// Returns true if a worker has the queue's socket.
    pub fn is_served(&self) -> bool {
        lock(&self.monitor).is_some()
    }

    /// Returns true if the socket that receives next, the replacement if there is one, is bound to its device.
    pub fn is_bound(&self) -> bool {
        match &*lock(&self.replacement) {
            Some((_, monitor)) => monitor.is_bound(),
            None => lock(&self.monitor).as_ref().is_some_and(QueueMonitor::is_bound),
        }
    }

    /// Gives the worker another socket. It goes on with that once its own socket is read to the end;
    /// [`QueueShared::changes`] then has the value that this returns.
    pub fn replace(&self, socket: XskSocket, monitor: Monitor) -> u64 {
        let mut replacement = lock(&self.replacement);
        *replacement = Some((socket, monitor));
        self.replaced.store(true, Ordering::Release);
        raise(&self.wake_fd);
        self.changes.get() + 1
    }

    /// Returns true if there is another socket.
    #[inline]
    pub fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }

    /// Notes that the worker has seen the replacement. To be called by the worker, which holds `replacement`.
    pub fn lower_wake_fd(&self) {
        self.replaced.store(false, Ordering::Relaxed);
        let _ = rustix::io::read(&self.wake_fd, &mut [0; 8]);
    }

    /// Readable while there is another socket.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake_fd.as_fd()
    }

    /// The counts of the queue's sockets: those that are gone, and the one that the worker has.
    pub fn ledger(&self) -> Result<XskLedger, Error> {
        let monitor = lock(&self.monitor);
        let before = *lock(&self.before);
        let Some(monitor) = &*monitor else { return Ok(before) };
        let now = XskLedger {
            queue: self.queue,
            leased: self.leased.get(),
            refused: self.refused_descriptors.get(),
            not_copied: self.not_copied.get(),
            continuation_descriptors: self.continuation_descriptors.get(),
            ..monitor.ledger()?
        };
        Ok(now.after(&before))
    }

    /// Lets no more packets into the queue's mapped ring, if it has one.
    pub fn close_ring(&self) {
        if let Some(monitor) = &*lock(&self.monitor) {
            monitor.close_ring();
        }
    }

    /// Keeps the counts of a socket that is about to close, and counts those of `next` from now on. The monitor is
    /// dropped, as it would keep the queue taken.
    pub fn close_ledger(&self, next: Option<QueueMonitor>) {
        let last = self.ledger();
        let mut monitor = lock(&self.monitor);
        if let Ok(last) = last {
            *lock(&self.before) = last;
        }
        *monitor = next;
    }
}

fn event() -> Result<OwnedFd, Error> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| Error::Wait { doing: "make an eventfd", source: errno.into() })
}

impl KernelShared {
    fn new() -> Result<Self, Error> {
        Ok(Self {
            path: PathShared::default(),
            received: Counter::default(),
            other_interface: Counter::default(),
            unidentified: Counter::default(),
            truncated: Counter::default(),
            left_behind: Counter::default(),
            receive_errors: Counter::default(),
            held: Gauge::default(),
            events: Mutex::default(),
            events_waiting: AtomicBool::new(false),
            events_fd: event()?,
        })
    }

    /// The counts of the kernel path's sockets. `dropped` is the number of datagrams that the kernel dropped there.
    pub fn ledger(&self, dropped: u64) -> KernelLedger {
        KernelLedger {
            received: self.received.get(),
            other_interface: self.other_interface.get(),
            unidentified: self.unidentified.get(),
            truncated: self.truncated.get(),
            left_behind: self.left_behind.get(),
            held: self.held.get(),
            dropped,
            receive_errors: self.receive_errors.get(),
        }
    }

    /// Reports sockets to the worker of the kernel path.
    pub fn report(&self, events: Vec<SocketEvent>) {
        if events.is_empty() {
            return;
        }
        lock(&self.events).extend(events);
        self.events_waiting.store(true, Ordering::Release);
        raise(&self.events_fd);
    }

    /// The events since the last call.
    pub fn take_events(&self) -> Vec<SocketEvent> {
        if !self.events_waiting.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        // Lowered before the list is taken: an event that comes in between raises it again.
        let _ = rustix::io::read(&self.events_fd, &mut [0; 8]);
        std::mem::take(&mut lock(&self.events))
    }

    /// Readable while there are events.
    pub fn events_fd(&self) -> BorrowedFd<'_> {
        self.events_fd.as_fd()
    }
}

fn raise(fd: &OwnedFd) {
    // It fails only when the counter is full, and then the descriptor is readable already.
    let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
}
