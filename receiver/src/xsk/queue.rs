//! The receive path of one queue, without the socket: RX ring to callback to free frames to fill ring.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ops::{ControlFlow, Deref};

use rustix::net::xdp::{XdpDesc, XdpDescOptions};

use super::lease::Lease;
use super::ring::{Consumer, Producer};
use super::umem::{Extent, Frame, Umem};

/// The packet memory and the two rings of one queue.
#[derive(Debug)]
pub struct Queue {
    umem: Umem,
    fill: Producer<u64>,
    rx: Consumer<XdpDesc>,
    /// Within a packet of several buffers, which is being dropped.
    discarding: bool,
    counters: Counters,
}

/// What went wrong on the receive path since the start. All count up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Descriptors that name no frame the kernel had, or more bytes than a frame has: dropped. Never seen of a sound
    /// kernel.
    pub invalid_descriptors: u64,
    /// Packets of several buffers (`XDP_PKT_CONTD`): dropped whole.
    pub unsupported_packets: u64,
    /// System calls made to wake the fill side, or to busy-poll.
    pub wakeups: u64,
    /// Those of them that failed, as when the interface is down.
    pub wakeup_failures: u64,
}

/// A packet in its frame. Read in place, its frame is free again when this is dropped; [`Received::into_lease`] keeps
/// it.
#[derive(Debug)]
pub struct Received<'a> {
    umem: &'a mut Umem,
    frame: ManuallyDrop<Frame>,
    extent: Extent,
}

impl Queue {
    /// A queue over these rings. Nothing is in the fill ring yet: see [`Queue::refill`].
    pub fn new(umem: Umem, fill: Producer<u64>, rx: Consumer<XdpDesc>) -> Self {
        Self { umem, fill, rx, discarding: false, counters: Counters::default() }
    }

    /// Takes at most `limit` descriptors from the RX ring and shows each packet to `each`, until that says
    /// `ControlFlow::Break`: then the rest stays in the ring. Returns how many descriptors were taken.
    ///
    /// One acquire load and one release store for the whole batch. Does not refill. When `each` panics, the packets
    /// before and the one in hand are done with, the rest stays in the ring.
    #[inline]
    pub fn receive(&mut self, limit: u32, mut each: impl FnMut(Received<'_>) -> ControlFlow<()>) -> u32 {
        let mut batch = self.rx.take(limit);
        for descriptor in batch.by_ref() {
            let Some(frame) = self.umem.reclaim(descriptor.addr) else {
                self.counters.invalid_descriptors += 1;
                continue;
            };
            // Made at once, so that from here on every way out gives the frame back.
            let mut received =
                Received { umem: &mut self.umem, frame: ManuallyDrop::new(frame), extent: Extent::default() };
            let more = descriptor.options.contains(XdpDescOptions::XDP_PKT_CONTD);
            if more || self.discarding {
                self.counters.unsupported_packets += u64::from(!more);
                self.discarding = more;
                continue;
            }
            let Some(extent) = received.umem.extent(descriptor.addr, descriptor.len) else {
                self.counters.invalid_descriptors += 1;
                continue;
            };
            received.extent = extent;
            if each(received).is_break() {
                break;
            }
        }
        batch.taken()
    }

    /// Hands every free frame to the kernel for which the fill ring has room, by one release store. Returns how many.
    #[inline]
    pub fn refill(&mut self) -> u32 {
        self.umem.collect_returns();
        let at_hand = self.umem.at_hand();
        if at_hand == 0 {
            return 0;
        }
        let count = self.fill.room(at_hand).min(at_hand);
        let mut frames = self.umem.lend(count);
        self.fill.produce(count, || frames.next())
    }

    /// Does the kernel ask to be woken, and has it frames to go on with?
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        self.fill.needs_wakeup() && self.umem.kernel_frames() > 0
    }

    /// The packet memory, for its books.
    #[inline]
    pub fn umem(&self) -> &Umem {
        &self.umem
    }

    /// The RX ring, for its positions.
    #[inline]
    pub fn rx(&self) -> &Consumer<XdpDesc> {
        &self.rx
    }

    /// What went wrong so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn count_wakeup(&mut self, failed: bool) {
        self.counters.wakeups += 1;
        self.counters.wakeup_failures += u64::from(failed);
    }
}

impl Received<'_> {
    /// The packet, from its Ethernet header on.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        let first = self.umem.pool().locate(&self.frame, self.extent.start);
        // SAFETY: the extent lies within the frame (`Umem::extent`), the memory is initialized (mmap zeroes it) and
        // mapped while the borrowed `Umem` lives. We hold the frame's only token, so nobody writes to it.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), self.extent.length as usize) }
    }

    /// The `N` bytes right before the packet, where an XDP program leaves metadata (`bpf_xdp_adjust_meta`). `None` if
    /// the frame does not reach that far. They hold old bytes if the program left none: that is for the caller to know.
    #[inline]
    pub fn metadata<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        let before = u32::try_from(N).ok()?;
        let start = self.extent.start.checked_sub(before)?;
        let first = self.umem.pool().locate(&self.frame, start);
        // SAFETY: the `N` bytes end where the packet starts and begin within the same frame, so they are mapped and
        // initialized; bytes need no alignment. We hold the frame's only token, and `&mut self` keeps any other
        // reference into it away.
        Some(unsafe { first.cast::<[u8; N]>().as_mut() })
    }

    /// Keeps the packet: its frame comes back to the queue when the lease is dropped.
    #[inline]
    pub fn into_lease(self) -> Lease {
        let mut this = ManuallyDrop::new(self);
        let pool = this.umem.note_lease();
        // SAFETY: `this` is never dropped, so the token is taken once.
        let frame = unsafe { ManuallyDrop::take(&mut this.frame) };
        Lease::new(pool, frame, this.extent)
    }
}

impl Deref for Received<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for Received<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the token is taken once, here; `into_lease` takes it only from a value that is never dropped.
        let frame = unsafe { ManuallyDrop::take(&mut self.frame) };
        self.umem.release(frame);
    }
}
