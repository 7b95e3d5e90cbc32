//! AF_XDP as a worker sees it: packets in frames that the kernel wrote, and a socket that can be replaced under way.

use std::cell::Cell;
use std::ops::{ControlFlow, Range};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use receiver_common::{STAMP_SIZE, Stamp};

use crate::api::error::Error;
use crate::api::origin::{ReceiveTime, TimeOrigin};
use crate::api::vlan::Vlan;
use crate::engine::clock::Clock;
use crate::engine::lock::lock;
use crate::engine::queue_monitor::QueueMonitor;
use crate::engine::shared::{QueueShared, Shared};
use crate::paths::parse::parse;
use crate::paths::payload::Payload;
use crate::paths::{Found, Packet, ReceivePath};
use crate::stats::queue_counters::{DropReason, QueueCounters};
use receiver_xsk::{Counters, Received, XskSocket};

/// Packets that are taken from the ring at a time.
pub(super) const BATCH: usize = 64;

/// How the frames of a queue are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AfXdpOptions {
    pub verify_checksums: bool,
    /// The XDP program writes the time before each frame.
    pub stamp: bool,
    pub vlan: Option<Vlan>,
    /// Frames that are never leased out, so that the kernel always has some.
    pub reserve: u32,
}

/// Receives from the AF_XDP socket of one queue.
pub(crate) struct AfXdp {
    shared: Arc<Shared>,
    /// The queue's number among [`Shared::queues`].
    number: usize,
    socket: XskSocket,
    options: AfXdpOptions,
    clock: Clock,
    /// What the sockets before this one counted.
    before: RingCounts,
    replacements: u64,
}

/// What this side of a ring counts, for the ledger.
#[derive(Clone, Copy, Default)]
struct RingCounts {
    /// Packets that it refused.
    refused: u64,
    /// Descriptors beyond the one that each packet has.
    continuation: u64,
}

impl RingCounts {
    fn and(self, more: Counters) -> Self {
        Self {
            refused: self.refused + more.invalid_descriptors + more.unsupported_packets,
            continuation: self.continuation + more.continuation_descriptors,
        }
    }
}

/// A frame in the worker's hands.
pub(crate) struct FramePacket<'a> {
    frame: Received<'a>,
    batch: &'a FrameBatch<'a>,
}

/// What the frames of a batch share.
pub(crate) struct FrameBatch<'a> {
    options: AfXdpOptions,
    counters: &'a QueueCounters,
    clock: &'a Clock,
    /// Read once a batch, after the ring's index. So no packet of the batch came later.
    time: Cell<Option<ReceiveTime>>,
}

impl<'a> FrameBatch<'a> {
    #[inline]
    pub(super) fn new(options: AfXdpOptions, counters: &'a QueueCounters, clock: &'a Clock) -> Self {
        Self { options, counters, clock, time: Cell::new(None) }
    }
}

impl<'a> FramePacket<'a> {
    #[inline]
    pub(super) fn new(frame: Received<'a>, batch: &'a FrameBatch<'a>) -> Self {
        Self { frame, batch }
    }
}

impl AfXdp {
    /// For queue `number` of [`Shared::queues`].
    pub fn new(shared: Arc<Shared>, number: usize, socket: XskSocket, options: AfXdpOptions) -> Self {
        Self {
            shared,
            number,
            socket,
            options,
            clock: Clock::default(),
            before: RingCounts::default(),
            replacements: 0,
        }
    }

    /// The receive queue's number.
    pub fn queue(&self) -> u32 {
        self.queue_shared().queue
    }

    fn queue_shared(&self) -> &QueueShared {
        &self.shared.queues[self.number]
    }

    /// What an empty ring asks for.
    fn rest(&mut self) {
        if self.queue_shared().is_replaced() {
            self.replace_socket();
        } else {
            self.socket.wake_if_needed();
        }
        self.queue_shared().leased.set(self.socket.leased_frames().into());
    }

    /// Goes on with the socket that takes the place of one whose interface is gone.
    #[cold]
    fn replace_socket(&mut self) {
        let queue = &self.shared.queues[self.number];
        // Held to the end: the control side reads what arrived before together with the number of changes.
        let mut replacement = lock(&queue.replacement);
        queue.lower_wake_fd();
        self.replacements += 1;
        let Some((next, monitor)) = replacement.take() else { return };
        queue.close_ledger(Some(QueueMonitor::Socket(monitor)));
        let arrived = lock(&queue.before).arrived(queue.path.counters.taken.get());
        queue.arrived_before.advance_to(arrived);
        queue.changes.add(1);
        self.before = self.before.and(std::mem::replace(&mut self.socket, next).counters());
    }
}

impl ReceivePath for AfXdp {
    type Packet<'a> = FramePacket<'a>;

    #[inline]
    fn number(&self) -> usize {
        self.number
    }

    #[inline]
    fn vlan(&self) -> Option<Vlan> {
        self.options.vlan
    }

    #[inline]
    fn leases(&self) -> u32 {
        self.socket.frame_count().saturating_sub(self.options.reserve).saturating_sub(self.socket.leased_frames())
    }

    #[inline]
    fn look(&mut self) -> Result<bool, Error> {
        if self.socket.pending() > 0 {
            return Ok(true);
        }
        self.rest();
        Ok(false)
    }

    #[inline]
    fn receive(&mut self, mut each: impl FnMut(FramePacket<'_>) -> ControlFlow<()>) -> Result<(), Error> {
        let queue = &self.shared.queues[self.number];
        let batch = FrameBatch::new(self.options, &queue.path.counters, &self.clock);
        self.socket.receive(BATCH, |frame| each(FramePacket::new(frame, &batch)));
        queue.leased.set(self.socket.leased_frames().into());
        let counted = self.before.and(self.socket.counters());
        queue.refused_descriptors.advance_to(counted.refused);
        queue.continuation_descriptors.advance_to(counted.continuation);
        Ok(())
    }

    fn prepare_to_wait(&mut self) -> Result<(), Error> {
        self.socket.refill();
        self.socket.wake_if_needed();
        Ok(())
    }

    fn fds<'a>(&'a self, fds: &mut Vec<BorrowedFd<'a>>) {
        fds.extend([self.queue_shared().wake_fd(), self.socket.as_fd()]);
    }

    fn replacements(&self) -> u64 {
        self.replacements
    }
}

impl Drop for AfXdp {
    fn drop(&mut self) {
        // The kernel's counters are closed with the socket; a monitor that is kept would keep the queue taken.
        self.queue_shared().close_ledger(None);
    }
}

impl<'a> Packet<'a> for FramePacket<'a> {
    #[inline]
    fn inspect(&mut self) -> Result<Found, DropReason> {
        let FrameBatch { options, counters, clock, time } = self.batch;
        let stamp = if options.stamp { take_stamp(&mut self.frame, counters) } else { None };
        let time = stamp.or_else(|| time.get()).unwrap_or_else(|| {
            let now = clock.now();
            time.set(Some(now));
            now
        });
        let tags = options.vlan.map(Vlan::tags).unwrap_or_default();
        let parsed = parse(self.frame.bytes(), tags, options.verify_checksums, counters)?;
        Ok(Found { key: parsed.key, source_port: parsed.source_port, payload: parsed.payload, time })
    }

    #[inline]
    fn into_payload(self, payload: Range<usize>) -> Payload<'a> {
        Payload::Frame(self.frame, payload)
    }
}

/// The time that the XDP program wrote before the frame. It is wiped, so that it is never read twice.
#[inline]
fn take_stamp(frame: &mut Received<'_>, counters: &QueueCounters) -> Option<ReceiveTime> {
    if let Some(bytes) = frame.metadata::<STAMP_SIZE>() {
        let (magic, time) = bytes.split_at_mut(8);
        if *magic == Stamp::MAGIC.to_ne_bytes() {
            magic.fill(0);
            let nanoseconds = u64::from_ne_bytes(*time.first_chunk()?);
            return Some(ReceiveTime { nanoseconds, origin: TimeOrigin::Xdp });
        }
    }
    counters.unstamped.add(1);
    None
}
