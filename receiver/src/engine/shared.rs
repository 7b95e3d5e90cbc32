//! What the control side and the workers share: the filter, the counters, the events, and the end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::event::{EventfdFlags, eventfd};

use crate::api::datagram::CopyBudget;
use crate::api::error::Error;
use crate::engine::filter::Filter;
use crate::engine::grace_period::{self, BatchState};
use crate::engine::lock::lock;
use crate::stats::ledger::{QueueCounters, XskLedger};
use receiver_membership::SocketEvent;
use receiver_xsk::{Monitor, XskSocket};

/// One AF_XDP queue's part.
#[derive(Debug)]
pub(crate) struct QueueShared {
    /// The receive queue's number.
    pub queue: u32,
    pub counters: QueueCounters,
    pub batch: BatchState,
    /// Frames leased out, as of the last look at the ring.
    pub leased: AtomicU64,
    /// Descriptors that the ring's owner refused.
    pub refused_descriptors: AtomicU64,
    /// Descriptors beyond the one that each packet has.
    pub continuation_descriptors: AtomicU64,
    /// A look at the socket, as long as the worker has it.
    pub monitor: Mutex<Option<Monitor>>,
    /// The books of sockets that are gone.
    pub before: Mutex<XskLedger>,
    /// Frames that arrived at sockets that are gone, or that the kernel counts as dropped there.
    pub arrived_before: AtomicU64,
    /// How often the worker went on with another socket. Changes with `arrived_before`, under the lock of `replacement`.
    pub changes: AtomicU64,
    /// A socket that takes the place of the worker's, whose interface is gone.
    pub replacement: Mutex<Option<(XskSocket, Monitor)>>,
    replaced: AtomicBool,
    /// Readable while there is a replacement.
    wake_fd: OwnedFd,
}

/// The kernel path's part.
#[derive(Debug)]
pub(crate) struct KernelShared {
    pub counters: QueueCounters,
    pub batch: BatchState,
    pub received: AtomicU64,
    pub other_interface: AtomicU64,
    pub unidentified: AtomicU64,
    pub truncated: AtomicU64,
    pub left_behind: AtomicU64,
    /// Sockets that came and went; the descriptor is readable while there are such.
    events: Mutex<Vec<SocketEvent>>,
    events_waiting: AtomicBool,
    events_fd: OwnedFd,
}

/// Shared by the control side and all workers of one receiver.
#[derive(Debug)]
pub(crate) struct Shared {
    pub filter: Filter,
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
            kernel: KernelShared {
                counters: QueueCounters::default(),
                batch: BatchState::default(),
                received: AtomicU64::new(0),
                other_interface: AtomicU64::new(0),
                unidentified: AtomicU64::new(0),
                truncated: AtomicU64::new(0),
                left_behind: AtomicU64::new(0),
                events: Mutex::default(),
                events_waiting: AtomicBool::new(false),
                events_fd: event()?,
            },
            budget: CopyBudget::new(copy_limit),
            stopped: AtomicBool::new(false),
            stop_fd: event()?,
        })
    }

    /// Counter cells of a subscription: one a queue, and the kernel path's.
    pub fn counter_places(&self) -> usize {
        self.queues.len() + 1
    }

    /// Returns when no worker is about to hand over a datagram that it judged by an older filter.
    pub fn wait_for_workers(&self) {
        grace_period::wait_for_all(self.queues.iter().map(|cell| &cell.batch).chain([&self.kernel.batch]));
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Tells the workers to hand over what they have and end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        raise(&self.stop_fd);
    }

    /// Readable from the stop on.
    pub fn stop_fd(&self) -> BorrowedFd<'_> {
        self.stop_fd.as_fd()
    }
}

impl QueueShared {
    fn new(queue: u32) -> Result<Self, Error> {
        Ok(Self {
            queue,
            counters: QueueCounters::default(),
            batch: BatchState::default(),
            leased: AtomicU64::new(0),
            refused_descriptors: AtomicU64::new(0),
            continuation_descriptors: AtomicU64::new(0),
            monitor: Mutex::default(),
            before: Mutex::default(),
            arrived_before: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            replacement: Mutex::default(),
            replaced: AtomicBool::new(false),
            wake_fd: event()?,
        })
    }

    /// Does a worker have the queue's socket?
    pub fn is_served(&self) -> bool {
        lock(&self.monitor).is_some()
    }

    /// Returns true if the socket that receives next, the replacement if there is one, is bound to its device.
    pub fn is_bound(&self) -> bool {
        match &*lock(&self.replacement) {
            Some((_, monitor)) => monitor.is_bound(),
            None => lock(&self.monitor).as_ref().is_some_and(Monitor::is_bound),
        }
    }

    /// Gives the worker another socket, to go on with when its own is read to the end. Returns what [`QueueShared::changes`] will
    /// be when it has.
    pub fn replace(&self, socket: XskSocket, monitor: Monitor) -> u64 {
        let mut replacement = lock(&self.replacement);
        *replacement = Some((socket, monitor));
        self.replaced.store(true, Ordering::Release);
        raise(&self.wake_fd);
        self.changes.load(Ordering::Relaxed) + 1
    }

    /// Is there another socket?
    #[inline]
    pub fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }

    /// Says that the worker has seen that it is replaced. To be called by the worker, which holds `replacement`.
    pub fn lower_wake_fd(&self) {
        self.replaced.store(false, Ordering::Relaxed);
        let _ = rustix::io::read(&self.wake_fd, &mut [0; 8]);
    }

    /// Readable while there is another socket.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake_fd.as_fd()
    }
}

fn event() -> Result<OwnedFd, Error> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| Error::Wait { doing: "make an eventfd", source: errno.into() })
}

impl KernelShared {
    /// Tells the kernel path's worker of sockets.
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
    // It can only fail when the counter is full: then it is raised.
    let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
}
