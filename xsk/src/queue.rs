//! The receive path of one queue, without the socket: RX ring to callback to free frames to fill ring.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ops::{ControlFlow, Deref};
use std::ptr::NonNull;

use super::descriptor::Descriptor;
use super::lease::Lease;
use super::ring::{Consumer, Producer, Taken};
use super::umem::{Extent, Frame, Umem};

/// The longest packet over several buffers, in bytes: an Ethernet header, two VLAN tags, and the longest IPv4 packet.
/// An IPv6 packet can have 40 more, which no MTU of Linux allows.
const MAX_PACKET: usize = 14 + 2 * 4 + 65_535;

/// The packet memory and the two rings of one queue.
#[derive(Debug)]
pub struct Queue {
    umem: Umem,
    fill: Producer<u64>,
    rx: Consumer<Descriptor>,
    /// Where a packet over several buffers is put together; empty if such are not wanted.
    scratch: Box<[u8]>,
    /// Within a packet that has more buffers than the ring has slots: it is being dropped.
    discarding: bool,
    /// Frames that the kernel is given at most.
    fill_limit: u32,
    counters: Counters,
}

/// What went wrong on the receive path since the start. All count up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets of one buffer whose descriptor names no frame the kernel had, or more bytes than a frame has: dropped.
    /// Never seen of a sound kernel.
    pub invalid_descriptors: u64,
    /// Packets over several buffers (`XDP_PKT_CONTD`) that were dropped whole: nobody asked for such
    /// ([`Queue::gathering`]), or they were too long, or one of the descriptors was invalid.
    pub unsupported_packets: u64,
    /// Packets over several buffers that were put together and shown.
    pub gathered_packets: u64,
    /// Descriptors beyond the one that each packet has, whether it was shown or dropped.
    pub continuation_descriptors: u64,
    /// System calls made to wake the fill side, or to busy-poll.
    pub wakeups: u64,
    /// Those of them that failed, as when the interface is down.
    pub wakeup_failures: u64,
}

/// A packet in its frame, or put together from several. Read in place, its frame is free again when this is dropped;
/// [`Received::into_lease`] keeps it.
#[derive(Debug)]
pub struct Received<'a> {
    umem: &'a mut Umem,
    /// The packet's frame, or the first of several.
    frame: Frame,
    /// What of the packet is in that frame.
    extent: Extent,
    /// The packet: in that frame, or in the queue's scratch memory. Borrowed with `umem`.
    bytes: NonNull<[u8]>,
    gathered: bool,
}

/// What became of a packet over several buffers.
enum Chain {
    /// It is in the scratch memory, so many bytes long; this is its first frame.
    Whole(Frame, Extent, usize),
    Dropped,
    /// Its end is not in the ring yet. Nothing was taken.
    Incomplete,
}

impl Queue {
    /// A queue over these rings. Nothing is in the fill ring yet: see [`Queue::refill`].
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

    /// With no more frames for the kernel than fill the RX ring, and a few: for where the kernel copies into them.
    ///
    /// It uses the fill ring in turn, so the fewer are in it, the sooner a frame is used again, while the caches still
    /// hold it. More than the RX ring has room for are of use only to a driver that keeps frames in its own ring. The few
    /// more are there so that a full RX ring is counted as such, and not as an empty fill ring.
    #[must_use]
    pub fn limit_fill(self) -> Self {
        let slots = self.rx.capacity();
        Self { fill_limit: slots + (slots / 16).max(64), ..self }
    }

    /// With memory to put packets over several buffers together; without, they are dropped.
    #[must_use]
    pub fn gathering(self) -> Self {
        Self { scratch: vec![0; MAX_PACKET].into_boxed_slice(), ..self }
    }

    /// Takes at most `limit` descriptors from the RX ring and shows each packet to `each`, until that says
    /// `ControlFlow::Break`: then the rest stays in the ring. Returns how many descriptors were taken.
    ///
    /// A packet over several buffers is copied into one piece. It is taken whole or not at all: beyond `limit`, if it
    /// begins before; not yet, if its end is not in the ring.
    ///
    /// One acquire load and one release store for the whole batch. Does not refill. When `each` panics, the packets
    /// before and the one in hand are done with, the rest stays in the ring.
    #[inline]
    pub fn receive(&mut self, limit: u32, mut each: impl FnMut(Received<'_>) -> ControlFlow<()>) -> u32 {
        let Self { umem, rx, scratch, discarding, counters, .. } = self;
        let mut batch = rx.take(limit);
        // All at once, before the first is read: the CPU that filled them gives them up in one go.
        batch.rest().for_each(|descriptor| umem.prefetch(descriptor.address));
        while let Some(descriptor) = batch.next() {
            if descriptor.is_continued() || *discarding {
                match gather(descriptor, &mut batch, umem, scratch, discarding, counters) {
                    Chain::Whole(frame, extent, length) => {
                        let bytes = NonNull::from(scratch.get(..length).unwrap_or(&[]));
                        if each(Received { umem, frame, extent, bytes, gathered: true }).is_break() {
                            break;
                        }
                    }
                    Chain::Dropped => {}
                    Chain::Incomplete => break,
                }
                continue;
            }
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
            if each(Received { umem, frame, extent, bytes, gathered: false }).is_break() {
                break;
            }
        }
        batch.taken()
    }

    /// Hands every free frame to the kernel for which the fill ring has room ([`Queue::limit_fill`]: which the RX ring can
    /// take), by one release store. Returns how many.
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
    pub fn rx(&self) -> &Consumer<Descriptor> {
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

/// Puts together the packet over several buffers that begins with `first`, which was just taken from `batch`.
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
        // A packet that fills the ring and does not end would stand there for ever.
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
                // SAFETY: `Umem::bytes` gives bytes of the frame whose only token we hold: nobody writes to them.
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

impl Received<'_> {
    /// The packet, from its Ethernet header on.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: they lie in the frame (`Umem::bytes`), which is mapped while the borrowed `Umem` lives and whose only
        // token we hold, so that nobody writes to it; or in the scratch memory, of which the queue that is borrowed with
        // the `Umem` makes no use before the callback is over. Both are initialized.
        unsafe { self.bytes.as_ref() }
    }

    /// Was it put together from several buffers? Then [`Received::into_lease`] copies it.
    #[inline]
    pub fn is_gathered(&self) -> bool {
        self.gathered
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

    /// Keeps the packet: its frame comes back to the queue when the lease is dropped. One that was put together from
    /// several buffers is copied, into memory of its own, and its frames are free.
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
