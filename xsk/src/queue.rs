//! The receive path of one queue without the socket: from the RX ring to the callback, and by way of the free frames to
//! the fill ring.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ops::{ControlFlow, Deref};
use std::ptr::NonNull;

use super::descriptor::Descriptor;
use super::lease::Lease;
use super::ring::{Consumer, Producer, Taken};
use super::umem::{Extent, Frame, Umem};

/// Upper bound of the length of a packet in several buffers: an Ethernet header, two VLAN tags, and the longest IPv4
/// packet. An IPv6 packet can be 40 bytes longer, but no MTU of Linux allows that.
const MAX_PACKET: usize = 14 + 2 * 4 + 65_535;

/// The packet memory and the two rings of one queue.
#[derive(Debug)]
pub struct Queue {
    umem: Umem,
    fill: Producer<u64>,
    rx: Consumer<Descriptor>,
    /// Where a packet in several buffers is assembled. Empty if such packets are dropped.
    scratch: Box<[u8]>,
    /// True within a packet that has more buffers than the ring has slots. Such a packet is dropped.
    discarding: bool,
    /// Upper bound of the frames that the kernel gets.
    fill_limit: u32,
    counters: Counters,
}

/// Counters of the receive path since the start. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Packets of one buffer that were dropped because of an invalid descriptor: the kernel does not have the frame, or
    /// the packet is longer than a frame. A correct kernel causes none.
    pub invalid_descriptors: u64,
    /// Packets in several buffers (`XDP_PKT_CONTD`) that were dropped: the queue does not accept such packets
    /// ([`Queue::gathering`]), or the packet was too long, or one of its descriptors was invalid.
    pub unsupported_packets: u64,
    /// Packets in several buffers that were assembled and delivered.
    pub gathered_packets: u64,
    /// Descriptors after the first of a packet, for delivered and dropped packets.
    pub continuation_descriptors: u64,
    /// System calls that wake the kernel for the fill ring, or that busy-poll.
    pub wakeups: u64,
    /// Failed `wakeups`, for example because the interface is down.
    pub wakeup_failures: u64,
}

/// A packet in its frame, or a packet assembled from several buffers. Dropping it frees its frame;
/// [`Received::into_lease`] keeps the packet.
#[derive(Debug)]
pub struct Received<'a> {
    umem: &'a mut Umem,
    /// The packet's frame, or the first of several.
    frame: Frame,
    /// The part of the packet that is in that frame.
    extent: Extent,
    /// The packet, in that frame or in the queue's scratch memory. Borrowed with `umem`.
    bytes: NonNull<[u8]>,
    gathered: bool,
}

/// The result of assembling a packet in several buffers.
enum Chain {
    /// The packet's first frame, and the packet's length in the scratch memory.
    Whole(Frame, Extent, usize),
    Dropped,
    /// The end of the packet is not in the ring yet. Nothing was taken.
    Incomplete,
}

impl Queue {
    /// Makes a queue over these rings. The fill ring is empty until [`Queue::refill`].
    #[must_use]
    pub fn new(umem: Umem, fill: Producer<u64>, rx: Consumer<Descriptor>) -> Self {
        Self {
            umem,
            fill,
            rx,
            scratch: Box::default(),
            discarding: false,
            fill_limit: u32::MAX,
            counters: Counters::default(),
        }
    }

    /// Limits the frames that the kernel gets to slightly more than the RX ring has slots. This is for copy mode.
    ///
    /// The kernel uses the fill ring in order. The fewer frames it has, the sooner it uses a frame again, while the
    /// caches still hold it. Only a driver that keeps frames in its own ring can use more frames than the RX ring has
    /// slots. The surplus makes the kernel count a full RX ring as such, and not as an empty fill ring.
    #[must_use]
    pub fn limit_fill(self) -> Self {
        let slots = self.rx.capacity();
        Self { fill_limit: slots + (slots / 16).max(64), ..self }
    }

    /// Accepts packets in several buffers, with memory to assemble them. Without this, the queue drops them.
    #[must_use]
    pub fn gathering(self) -> Self {
        Self { scratch: vec![0; MAX_PACKET].into_boxed_slice(), ..self }
    }

    /// Takes up to `limit` descriptors from the RX ring and calls `each` with each packet. If `each` returns
    /// `ControlFlow::Break`, the remaining packets stay in the ring. Returns the number of descriptors taken.
    ///
    /// A packet in several buffers is copied into one piece. It is taken whole or not at all: it may exceed `limit`,
    /// and it stays in the ring until its last descriptor is there.
    ///
    /// The whole batch takes one acquire load and one release store. The method does not refill. If `each` panics, the
    /// current packet counts as taken, and the remaining packets stay in the ring.
    #[inline]
    pub fn receive(&mut self, limit: u32, mut each: impl FnMut(Received<'_>) -> ControlFlow<()>) -> u32 {
        let Self { umem, rx, scratch, discarding, counters, .. } = self;
        let mut batch = rx.take(limit);
        // All at once, before the first is read: then the CPU that filled them releases the cache lines together.
        batch.rest().for_each(|descriptor| umem.prefetch(descriptor.address));
        while let Some(descriptor) = batch.next() {
            let (frame, extent, bytes, gathered) = if descriptor.is_continued() || *discarding {
                match gather(descriptor, &mut batch, umem, scratch, discarding, counters) {
                    Chain::Whole(frame, extent, length) => {
                        (frame, extent, NonNull::from(scratch.get(..length).unwrap_or(&[])), true)
                    }
                    Chain::Dropped => continue,
                    Chain::Incomplete => break,
                }
            } else {
                let Some(frame) = umem.reclaim(descriptor.address) else {
                    counters.invalid_descriptors += 1;
                    continue;
                };
                let Some(extent) = umem.extent(descriptor.address, descriptor.length) else {
                    counters.invalid_descriptors += 1;
                    umem.release(frame);
                    continue;
                };
                let bytes = umem.bytes(&frame, extent);
                (frame, extent, bytes, false)
            };
            // The one call of `each`, so that it is inlined: otherwise each packet passes through memory.
            if each(Received { umem, frame, extent, bytes, gathered }).is_break() {
                break;
            }
        }
        batch.taken()
    }

    /// Gives free frames to the kernel, as many as the fill ring has room for and [`Queue::limit_fill`] allows, by one
    /// release store. Returns their number.
    #[inline]
    pub fn refill(&mut self) -> u32 {
        self.umem.collect_returns();
        let at_hand = self.umem.at_hand().min(self.fill_limit.saturating_sub(self.umem.kernel_frames()));
        if at_hand == 0 {
            return 0;
        }
        let count = self.fill.room(at_hand).min(at_hand);
        let mut frames = self.umem.lend(count);
        self.fill.produce(count, || frames.next())
    }

    /// Returns true if the kernel asks to be woken, and has frames to continue with.
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        self.fill.needs_wakeup() && self.umem.kernel_frames() > 0
    }

    /// Returns the packet memory, for its counters.
    #[inline]
    pub fn umem(&self) -> &Umem {
        &self.umem
    }

    /// Returns the RX ring, for its positions.
    #[inline]
    pub fn rx(&self) -> &Consumer<Descriptor> {
        &self.rx
    }

    /// Returns the counters so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn count_wakeup(&mut self, failed: bool) {
        self.counters.wakeups += 1;
        self.counters.wakeup_failures += u64::from(failed);
    }
}

/// Assembles the packet in several buffers that begins with `first`, which was just taken from `batch`.
#[cold]
fn gather(
    first: Descriptor,
    batch: &mut Taken<'_, Descriptor>,
    umem: &mut Umem,
    scratch: &mut [u8],
    discarding: &mut bool,
    counters: &mut Counters,
) -> Chain {
    let rest = if *discarding { None } else { batch.reach(|descriptor| !descriptor.is_continued()) };
    let Some(rest) = rest else {
        // A packet that fills the ring without an end would stay there for ever.
        if !*discarding && !batch.is_stuck() {
            batch.put_back();
            return Chain::Incomplete;
        }
        *discarding = first.is_continued();
        counters.continuation_descriptors += u64::from(*discarding);
        counters.unsupported_packets += u64::from(!*discarding);
        if let Some(frame) = umem.reclaim(first.address) {
            umem.release(frame);
        }
        return Chain::Dropped;
    };
    counters.continuation_descriptors += u64::from(rest);
    let mut head = None;
    let mut whole = true;
    let mut length = 0;
    for descriptor in std::iter::once(first).chain(batch.by_ref().take(rest as usize)) {
        let Some(frame) = umem.reclaim(descriptor.address) else {
            whole = false;
            continue;
        };
        let extent = umem.extent(descriptor.address, descriptor.length);
        let room = extent.and_then(|extent| scratch.get_mut(length..length + extent.length as usize));
        match (extent, room) {
            (Some(extent), Some(room)) if whole => {
                // SAFETY: `Umem::bytes` returns bytes of the frame whose only token is held here: nobody writes to
                // them.
                room.copy_from_slice(unsafe { umem.bytes(&frame, extent).as_ref() });
                length += room.len();
                if head.is_none() {
                    head = Some((frame, extent));
                    continue;
                }
            }
            _ => whole = false,
        }
        umem.release(frame);
    }
    match head {
        Some((frame, extent)) if whole => {
            counters.gathered_packets += 1;
            Chain::Whole(frame, extent, length)
        }
        broken => {
            counters.unsupported_packets += 1;
            if let Some((frame, _)) = broken {
                umem.release(frame);
            }
            Chain::Dropped
        }
    }
}

impl<'a> Received<'a> {
    /// A packet that lies in one frame.
    #[inline]
    pub(super) fn in_frame(umem: &'a mut Umem, frame: Frame, extent: Extent) -> Self {
        let bytes = umem.bytes(&frame, extent);
        Self { umem, frame, extent, bytes, gathered: false }
    }
}

impl Received<'_> {
    /// Returns the packet, from its Ethernet header on.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the bytes lie in the frame (`Umem::bytes`) or in the scratch memory, and both are initialized. The
        // frame is mapped while the borrowed `Umem` lives, and `self` holds its only token, so nobody writes to it. The
        // queue that is borrowed with the `Umem` does not use the scratch memory before the callback ends.
        unsafe { self.bytes.as_ref() }
    }

    /// Returns true if the packet was assembled from several buffers. Then [`Received::into_lease`] copies it.
    #[inline]
    pub fn is_gathered(&self) -> bool {
        self.gathered
    }

    /// Returns the `N` bytes right before the packet, where an XDP program leaves metadata (`bpf_xdp_adjust_meta`), or
    /// `None` if the frame starts later. If the program left no metadata, the bytes have arbitrary old values.
    #[inline]
    pub fn metadata<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        let before = u32::try_from(N).ok()?;
        let start = self.extent.start.checked_sub(before).filter(|&start| start >= self.umem.pool().reserved)?;
        let first = self.umem.pool().locate(&self.frame, start);
        // SAFETY: the `N` bytes end where the packet starts and begin within the same frame, so they are mapped and
        // initialized; bytes need no alignment. `self` holds the frame's only token, and `&mut self` excludes any other
        // reference into the frame.
        Some(unsafe { first.cast::<[u8; N]>().as_mut() })
    }

    /// Keeps the packet. Its frame returns to the queue when the lease is dropped. A packet that was assembled from
    /// several buffers is copied, and its frames are freed.
    #[inline]
    pub fn into_lease(self) -> Lease {
        if self.gathered {
            return Lease::of_copy(self.bytes().into());
        }
        let mut this = ManuallyDrop::new(self);
        let pool = this.umem.note_lease();
        Lease::new(pool, this.frame.take(), this.extent)
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
        self.umem.release(self.frame.take());
    }
}
