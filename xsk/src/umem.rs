//! The packet memory: its frames, who holds each of them, and how they come back.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use super::errno::Errno;
use super::mapping::{Mapping, PageSize};

/// Bytes that the kernel keeps free before each packet, on top of [`UmemConfig::headroom`] (`XDP_PACKET_HEADROOM`).
pub(super) const KERNEL_HEADROOM: u32 = 256;

/// Are huge pages asked for?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HugePages {
    /// Take pages of 2 MiB where the system has reserved them (`vm.nr_hugepages`), base pages elsewhere.
    #[default]
    Try,
    /// Base pages.
    Never,
}

/// The shape of the packet memory of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UmemConfig {
    /// Number of frames, a power of two. Enough for both rings, plus what consumers may hold as leases.
    pub frame_count: u32,
    /// Bytes of a frame: 2048 or 4096. 256 of them (and [`UmemConfig::headroom`]) are not for the packet.
    pub frame_size: u32,
    /// Bytes kept free before each packet, on top of the kernel's 256.
    pub headroom: u32,
    /// Are huge pages asked for?
    pub huge_pages: HugePages,
}

impl Default for UmemConfig {
    /// 8192 frames of 2048 bytes: 16 MiB.
    fn default() -> Self {
        Self { frame_count: 8192, frame_size: 2048, headroom: 0, huge_pages: HugePages::Try }
    }
}

impl UmemConfig {
    /// Bytes of all frames.
    pub fn length(&self) -> u64 {
        u64::from(self.frame_count) * u64::from(self.frame_size)
    }

    /// What is wrong with it, in words; `None` if nothing is.
    pub(super) fn fault(&self) -> Option<String> {
        let Self { frame_count, frame_size, headroom, .. } = *self;
        if !frame_count.is_power_of_two() {
            return Some(format!("frame_count {frame_count} is not a power of two; take {}", near_power(frame_count)));
        }
        if frame_size != 2048 && frame_size != 4096 {
            return Some(format!("frame_size {frame_size} is not supported; take 2048 or 4096"));
        }
        let most = frame_size - KERNEL_HEADROOM - 1;
        if headroom > most {
            return Some(format!(
                "headroom {headroom} leaves no room for a packet in {frame_size} bytes; {most} at most"
            ));
        }
        if usize::try_from(self.length()).is_err() {
            return Some(format!(
                "{frame_count} frames of {frame_size} bytes do not fit the address space; take fewer"
            ));
        }
        None
    }
}

/// The power of two to advise instead of `number`.
pub(super) fn near_power(number: u32) -> u32 {
    number.checked_next_power_of_two().unwrap_or(1 << 31).max(1)
}

/// The right to use one frame. Neither `Clone` nor `Copy`, made once for each frame by [`Umem::new`], turned into a
/// plain address only for the kernel, and made again only for an address that the kernel holds.
#[derive(Debug)]
pub(super) struct Frame(u32);

/// The packet memory of one queue, and the books on its frames.
#[derive(Debug)]
pub struct Umem {
    pool: Arc<Pool>,
    /// Frames that nobody uses, the newest last. Its capacity is the number of frames, so pushing never allocates.
    free: Vec<Frame>,
    /// By frame: handed to the kernel and not back yet?
    with_kernel: Box<[bool]>,
    kernel_frames: u32,
    /// Leases made, less those whose frame was taken from the return queue.
    leased: u32,
}

/// What leases share with their queue: the memory, and the way back.
#[derive(Debug)]
pub(super) struct Pool {
    memory: Mapping,
    /// log2 of the frame size.
    frame_shift: u32,
    page_size: PageSize,
    /// Frames of dropped leases. One place for each frame there is, so pushing never fails.
    returns: ArrayQueue<Frame>,
}

/// A packet within a frame: `start` and `length` in bytes, `start` from the first byte of the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) start: u32,
    pub(super) length: u32,
}

impl Umem {
    /// Maps the memory; all frames are free.
    ///
    /// # Errors
    /// `EINVAL` for a configuration that [`UmemConfig`] does not allow; `ENOMEM` from mmap(2).
    pub fn new(config: &UmemConfig) -> Result<Self, Errno> {
        if config.fault().is_some() {
            return Err(Errno::INVAL);
        }
        let length = usize::try_from(config.length()).map_err(|_| Errno::NOMEM)?;
        let huge = match config.huge_pages {
            HugePages::Try => Mapping::anonymous_huge(length).ok(),
            HugePages::Never => None,
        };
        let (memory, page_size) = match huge {
            Some(memory) => (memory, PageSize::Huge2MiB),
            None => (Mapping::anonymous(length)?, PageSize::Base),
        };
        let count = config.frame_count as usize;
        let pool = Pool {
            memory,
            frame_shift: config.frame_size.trailing_zeros(),
            page_size,
            returns: ArrayQueue::new(count),
        };
        Ok(Self {
            pool: Arc::new(pool),
            free: (0..config.frame_count).map(Frame).collect(),
            with_kernel: vec![false; count].into_boxed_slice(),
            kernel_frames: 0,
            leased: 0,
        })
    }

    /// Number of frames.
    pub fn frame_count(&self) -> u32 {
        self.with_kernel.len() as u32
    }

    /// Bytes of a frame.
    pub fn frame_size(&self) -> u32 {
        1 << self.pool.frame_shift
    }

    /// The pages that the memory got.
    pub fn page_size(&self) -> PageSize {
        self.pool.page_size
    }

    /// Frames that nobody uses; those of dropped leases count as soon as they are dropped.
    #[inline]
    pub fn free_frames(&self) -> u32 {
        self.free.len() as u32 + self.returned()
    }

    /// Frames that the kernel has: in the fill ring, in the driver, or in the RX ring.
    #[inline]
    pub fn kernel_frames(&self) -> u32 {
        self.kernel_frames
    }

    /// Frames that leases hold.
    #[inline]
    pub fn leased_frames(&self) -> u32 {
        self.leased - self.returned()
    }

    /// The address to register.
    pub(super) fn address(&self) -> NonNull<u8> {
        self.pool.memory.start()
    }

    /// Frames at hand for the kernel.
    #[inline]
    pub(super) fn at_hand(&self) -> u32 {
        self.free.len() as u32
    }

    /// Takes the frames of dropped leases back.
    #[inline]
    pub(super) fn collect_returns(&mut self) {
        // Without leases this is all that it costs: no look at the shared queue.
        while self.leased > 0 {
            let Some(frame) = self.pool.returns.pop() else { break };
            self.leased -= 1;
            self.free.push(frame);
        }
    }

    /// Hands the `count` frames that became free last to the kernel: the addresses that stand for them in the fill ring.
    ///
    /// The newest frames, whose memory the caches still hold; among these the oldest first. So batches keep the order in
    /// which the kernel filled them, and neighbours stay neighbours: it walks its books and the memory upwards.
    #[inline]
    pub(super) fn lend(&mut self, count: u32) -> impl Iterator<Item = u64> {
        let Self { pool, free, with_kernel, kernel_frames, .. } = self;
        let first = free.len().saturating_sub(count as usize);
        free.drain(first..).map(|Frame(index)| {
            with_kernel[index as usize] = true;
            *kernel_frames += 1;
            u64::from(index) << pool.frame_shift
        })
    }

    /// Takes a frame from the kernel, by an address in it. `None` if the address is in no frame that the kernel has.
    #[inline]
    pub(super) fn reclaim(&mut self, address: u64) -> Option<Frame> {
        let index = usize::try_from(address >> self.pool.frame_shift).ok()?;
        let held = self.with_kernel.get_mut(index)?;
        if !std::mem::take(held) {
            return None;
        }
        self.kernel_frames -= 1;
        Some(Frame(index as u32))
    }

    /// The packet that a descriptor names, if it lies within one frame.
    #[inline]
    pub(super) fn extent(&self, address: u64, length: u32) -> Option<Extent> {
        let size = self.frame_size();
        let start = (address & u64::from(size - 1)) as u32;
        (length <= size - start).then_some(Extent { start, length })
    }

    /// The bytes of an extent of a frame: initialized, and mapped while this lives. To be read by whoever holds the
    /// frame's token.
    #[inline]
    pub(super) fn bytes(&self, frame: &Frame, extent: Extent) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.pool.locate(frame, extent.start), extent.length as usize)
    }

    /// Asks the CPU for the cache line at an address that the kernel named; any address will do. Elsewhere than on x86-64
    /// this does nothing.
    #[inline]
    pub(super) fn prefetch(&self, address: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let line = self.pool.memory.start().as_ptr().wrapping_add(address as usize);
            // SAFETY: a prefetch reads nothing that the program sees, and never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = address;
    }

    /// Gives a frame back that was not leased.
    #[inline]
    pub(super) fn release(&mut self, frame: Frame) {
        self.free.push(frame);
    }

    /// Notes that a frame goes out as a lease, and gives what the lease shares with the queue.
    #[inline]
    pub(super) fn note_lease(&mut self) -> Arc<Pool> {
        self.leased += 1;
        Arc::clone(&self.pool)
    }

    #[inline]
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    #[inline]
    fn returned(&self) -> u32 {
        if self.leased == 0 { 0 } else { self.pool.returns.len() as u32 }
    }

    /// Every frame on the free stack, and every frame that the kernel has, for tests.
    /// Frames that were given back and not collected count as free.
    #[cfg(test)]
    pub(super) fn census(&self) -> (Vec<u32>, Vec<u32>) {
        let mut free: Vec<u32> = self.free.iter().map(|frame| frame.0).collect();
        // Each once through the queue: out and in again.
        for _ in 0..self.pool.returns.len() {
            let frame = self.pool.returns.pop().expect("nobody else is at it");
            free.push(frame.0);
            self.pool.give_back(frame);
        }
        let kernel = self.with_kernel.iter().zip(0..).filter_map(|(held, index)| held.then_some(index)).collect();
        (free, kernel)
    }

    /// The shared part, for tests that play the kernel.
    #[cfg(test)]
    pub(super) fn share(&self) -> Arc<Pool> {
        Arc::clone(&self.pool)
    }
}

impl Pool {
    /// The first byte of an extent. Valid for reads of its length, and for writes while no reference to it lives, by
    /// whoever holds the frame's token.
    #[inline]
    pub(super) fn locate(&self, frame: &Frame, start: u32) -> NonNull<u8> {
        let offset = ((frame.0 as usize) << self.frame_shift) + start as usize;
        // SAFETY: a token's index is below the number of frames, and a start is at most the frame's size: `Extent`s
        // come from `Umem::extent`. So the offset is within the mapping or one past its end.
        unsafe { self.memory.start().add(offset) }
    }

    /// The way back of a lease's frame, from any thread.
    #[inline]
    pub(super) fn give_back(&self, frame: Frame) {
        let full = self.returns.push(frame);
        debug_assert!(full.is_ok(), "more frames came back than there are");
    }

    /// Writes as the kernel would, for tests that play it.
    #[cfg(test)]
    pub(super) fn kernel_write(&self, address: u64, bytes: &[u8]) {
        let offset = address as usize;
        assert!(offset + bytes.len() <= self.memory.length());
        // SAFETY: within the mapping. The fake kernel writes only to frames that it took from the fill ring and has not
        // delivered yet, so no token and no reference to them exists.
        unsafe { self.memory.start().add(offset).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) }
    }
}

impl Frame {
    /// Takes the token out. What stays names no frame, and is never given to anybody.
    #[inline]
    pub(super) fn take(&mut self) -> Self {
        Self(std::mem::replace(&mut self.0, u32::MAX))
    }

    /// The frame's number, for tests.
    #[cfg(test)]
    pub(super) fn index(&self) -> u32 {
        self.0
    }
}
