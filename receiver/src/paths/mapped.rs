//! The mapped ring as a worker sees it: packets in frames that the XDP program wrote.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};

use crate::api::error::Error;
use crate::api::vlan::Vlan;
use crate::engine::shared::Shared;
use crate::paths::ReceivePath;
use crate::paths::frame::{BATCH, FrameOptions, FramePacket, FrameQueue};
use crate::paths::gathering::Gathering;
use crate::program::Ring;

/// How often the worker looks for a packet that the program is copying, before it lets the caller look.
const LOOKS: u32 = 10_000;

/// Receives from the mapped ring of one queue.
pub(crate) struct Mapped {
    queue: FrameQueue,
    ring: Ring,
    /// Readable if a packet came while the worker was about to sleep.
    ready_fd: OwnedFd,
    is_ready_fd_raised: bool,
    gathering: Gathering,
}

impl Mapped {
    /// For queue `number` of [`Shared::queues`].
    pub fn new(shared: Arc<Shared>, number: usize, ring: Ring, options: FrameOptions) -> Result<Self, Error> {
        let ready_fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::Wait { doing: "make an eventfd", source: errno.into() })?;
        let queue = FrameQueue::new(shared, number, options);
        Ok(Self { queue, ring, ready_fd, is_ready_fd_raised: false, gathering: Gathering::new(Instant::now()) })
    }

    /// The receive queue's number.
    pub fn queue(&self) -> u32 {
        self.queue.shared().queue
    }

    /// Ends a sleep, if there was one.
    #[inline]
    fn wake(&mut self) {
        if self.ring.queue.wake() {
            self.ring.waker.drain();
        }
        if self.is_ready_fd_raised {
            self.is_ready_fd_raised = false;
            let _ = rustix::io::read(&self.ready_fd, &mut [0; 8]);
        }
    }
}

impl ReceivePath for Mapped {
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
        let umem = self.ring.queue.umem();
        self.queue.leases(umem.frame_count(), umem.leased_frames())
    }

    #[inline]
    fn look(&mut self) -> Result<bool, Error> {
        self.wake();
        self.gathering.wait();
        if self.ring.queue.is_ready() {
            return Ok(true);
        }
        self.queue.shared().leased.set(self.ring.queue.umem().leased_frames().into());
        Ok(false)
    }

    #[inline]
    fn receive(&mut self, mut each: impl FnMut(FramePacket<'_>) -> ControlFlow<()>) -> Result<(), Error> {
        let (queue, batch) = (self.queue.shared(), self.queue.batch());
        let mut stopped = false;
        let taken = self.ring.queue.receive(BATCH as u32, |frame| {
            let flow = each(FramePacket::new(frame, &batch));
            stopped = flow.is_break();
            flow
        });
        self.gathering.took(taken);
        if taken < BATCH as u32 && !stopped {
            self.gathering.emptied(Instant::now());
        }
        queue.leased.set(self.ring.queue.umem().leased_frames().into());
        queue.refused_descriptors.advance_to(self.ring.queue.refused());
        queue.not_copied.advance_to(self.ring.queue.not_copied());
        Ok(())
    }

    fn prepare_to_wait(&mut self) -> Result<(), Error> {
        self.ring.waker.drain();
        if self.ring.queue.sleep() {
            return Ok(());
        }
        // The packet is there, or the program is copying it on another CPU.
        (0..LOOKS).take_while(|_| !self.ring.queue.is_ready()).for_each(|_| std::hint::spin_loop());
        self.is_ready_fd_raised = true;
        let raised = rustix::io::write(&self.ready_fd, &1u64.to_ne_bytes());
        raised.map(drop).map_err(|errno| Error::Wait { doing: "raise an eventfd", source: errno.into() })
    }

    fn fds<'a>(&'a self, fds: &mut Vec<BorrowedFd<'a>>) {
        fds.extend([self.ready_fd.as_fd(), self.ring.waker.as_fd()]);
    }

    fn replacements(&self) -> u64 {
        0
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.queue.shared().close_ledger(None);
    }
}
