//! AF_XDP as a worker sees it: packets in frames that the kernel wrote, and a socket that can be replaced under way.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::api::error::Error;
use crate::api::vlan::Vlan;
use crate::engine::lock::lock;
use crate::engine::queue_monitor::QueueMonitor;
use crate::engine::shared::Shared;
use crate::paths::ReceivePath;
use crate::paths::frame::{BATCH, FrameOptions, FramePacket, FrameQueue};
use receiver_xsk::{Counters, XskSocket};

/// Receives from the AF_XDP socket of one queue.
pub(crate) struct AfXdp {
    queue: FrameQueue,
    socket: XskSocket,
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

impl AfXdp {
    /// For queue `number` of [`Shared::queues`].
    pub fn new(shared: Arc<Shared>, number: usize, socket: XskSocket, options: FrameOptions) -> Self {
        let queue = FrameQueue::new(shared, number, options);
        Self { queue, socket, before: RingCounts::default(), replacements: 0 }
    }

    /// The receive queue's number.
    pub fn queue(&self) -> u32 {
        self.queue.shared().queue
    }

    /// What an empty ring asks for.
    fn rest(&mut self) {
        if self.queue.shared().is_replaced() {
            self.replace_socket();
        } else {
            self.socket.wake_if_needed();
        }
        self.queue.shared().leased.set(self.socket.leased_frames().into());
    }

    /// Goes on with the socket that takes the place of one whose interface is gone.
    #[cold]
    fn replace_socket(&mut self) {
        let queue = self.queue.shared();
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
        self.queue.number
    }

    #[inline]
    fn vlan(&self) -> Option<Vlan> {
        self.queue.options.vlan
    }

    #[inline]
    fn leases(&self) -> u32 {
        self.queue.leases(self.socket.frame_count(), self.socket.leased_frames())
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
        let (queue, batch) = (self.queue.shared(), self.queue.batch());
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
        fds.extend([self.queue.shared().wake_fd(), self.socket.as_fd()]);
    }

    fn replacements(&self) -> u64 {
        self.replacements
    }
}

impl Drop for AfXdp {
    fn drop(&mut self) {
        // The kernel's counters are closed with the socket; a monitor that is kept would keep the queue taken.
        self.queue.shared().close_ledger(None);
    }
}
