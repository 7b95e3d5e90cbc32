//! The packet memory (UMEM): its frames, their holders, and their return.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use super::errno::Errno;
use super::mapping::{Mapping, PageSize};

/// Bytes that the kernel keeps free before each packet (`XDP_PACKET_HEADROOM`), in addition to
/// [`UmemConfig::headroom`].
pub(super) const KERNEL_HEADROOM: u32 = 256;

/// Whether to use huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HugePages {
    /// Use pages of 2 MiB if the system has reserved enough (`vm.nr_hugepages`), otherwise base pages.
    #[default]
    Try,
    /// Use base pages.
    Never,
}

/// The configuration of the packet memory of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UmemConfig {
    /// Number of frames, a power of two: enough for both rings and for the leases that consumers may hold.
    pub frame_count: u32,
    /// Size of a frame in bytes: 2048 or 4096. The packet may use all but 256 bytes and [`UmemConfig::headroom`].
    pub frame_size: u32,
    /// Bytes kept free before each packet, in addition to the kernel's 256.
    pub headroom: u32,
    /// Whether to use huge pages.
    pub huge_pages: HugePages,
}

impl Default for UmemConfig {
    /// Returns 8192 frames of 2048 bytes, which is 16 MiB.
    fn default() -> Self {
        Self { frame_count: 8192, frame_size: 2048, headroom: 0, huge_pages: HugePages::Try }
    }
}

impl UmemConfig {
    /// Returns the size of all frames in bytes.
    pub fn length(&self) -> u64 {
        u64::from(self.frame_count) * u64::from(self.frame_size)
    }

    /// Describes what is wrong, and the remedy. `None` if the configuration is valid.
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

/// The power of two to recommend instead of `number`.
pub(super) fn near_power(number: u32) -> u32 {
    number.checked_next_power_of_two().unwrap_or(1 << 31).max(1)
}

/// The right to use one frame, neither `Clone` nor `Copy`. [`Umem::new`] makes one token for each frame. Only giving
/// the frame to the kernel turns the token into a plain address, and only an address that the kernel holds turns back
/// into one.
#[derive(Debug)]
pub(super) struct Frame(u32);

/// The packet memory of one queue, and the state of its frames.
#[derive(Debug)]
pub struct Umem {
    pool: Arc<Pool>,
    /// Free frames, the latest last. The capacity is the number of frames, so a push never allocates.
    free: Vec<Frame>,
    /// For each frame, true while the kernel has it.
    with_kernel: Box<[bool]>,
    kernel_frames: u32,
    /// Number of leases made, minus those whose frame was taken from the return queue.
    leased: u32,
}

/// What leases share with their queue: the memory and the return queue.
#[derive(Debug)]
pub(super) struct Pool {
    memory: Arc<Mapping>,
    frame_size: u32,
    /// log2 of the frame size, if that is a power of two.
    frame_shift: u32,
    page_size: PageSize,
    /// Bytes at the start of each frame that are not for metadata.
    pub(super) reserved: u32,
    /// Frames of dropped leases. There is a place for each frame, so a push never fails.
    returns: ArrayQueue<Frame>,
}

/// A packet within a frame: `start` and `length` in bytes, `start` relative to the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) start: u32,
    pub(super) length: u32,
}

impl Umem {
    /// Maps the memory. All frames are free.
    ///
    /// # Errors
    ///
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
        Ok(Self::of(Arc::new(memory), page_size, config.frame_count, config.frame_size, 0))
    }

    /// Over memory that is shared with the kernel otherwise than by an AF_XDP socket: `frame_count` frames of
    /// `frame_size` bytes. The first `reserved` bytes of each are not for the metadata of a packet.
    ///
    /// Unless the size is a power of two, frames have numbers alone, and no addresses.
    pub(super) fn over(memory: Arc<Mapping>, frame_count: u32, frame_size: u32, reserved: u32) -> Self {
        assert!(memory.length() >= frame_count as usize * frame_size as usize, "frames beyond the memory");
        Self::of(memory, PageSize::Base, frame_count, frame_size, reserved)
    }

    fn of(memory: Arc<Mapping>, page_size: PageSize, frame_count: u32, frame_size: u32, reserved: u32) -> Self {
        let count = frame_count as usize;
        let returns = ArrayQueue::new(count);
        let pool = Pool { memory, frame_size, frame_shift: frame_size.trailing_zeros(), page_size, reserved, returns };
        Self {
            pool: Arc::new(pool),
            free: (0..frame_count).map(Frame).collect(),
            with_kernel: vec![false; count].into_boxed_slice(),
            kernel_frames: 0,
            leased: 0,
        }
    }

    /// Returns the number of frames.
    pub fn frame_count(&self) -> u32 {
        self.with_kernel.len() as u32
    }

    /// Returns the size of a frame in bytes.
    pub fn frame_size(&self) -> u32 {
        self.pool.frame_size
    }

    /// Returns the size of the pages that back the memory.
    pub fn page_size(&self) -> PageSize {
        self.pool.page_size
    }

    /// Returns the number of free frames, including those of dropped leases.
    #[inline]
    pub fn free_frames(&self) -> u32 {
        self.free.len() as u32 + self.returned()
    }

    /// Returns the number of frames that the kernel has, in the fill ring, the driver or the RX ring.
    #[inline]
    pub fn kernel_frames(&self) -> u32 {
        self.kernel_frames
    }

    /// Returns the number of frames that leases hold.
    #[inline]
    pub fn leased_frames(&self) -> u32 {
        self.leased - self.returned()
    }

    /// The address to register with the kernel.
    pub(super) fn address(&self) -> NonNull<u8> {
        self.pool.memory.start()
    }

    /// Number of frames that can be given to the kernel.
    #[inline]
    pub(super) fn at_hand(&self) -> u32 {
        self.free.len() as u32
    }

    /// Takes back the frames of dropped leases.
    #[inline]
    pub(super) fn collect_returns(&mut self) {
        // Without leases the shared queue is not read.
        while self.leased > 0 {
            let Some(frame) = self.pool.returns.pop() else { break };
            self.leased -= 1;
            self.free.push(frame);
        }
    }

    /// Gives the `count` frames that became free last to the kernel. Returns their addresses for the fill ring.
    #[inline]
    pub(super) fn lend(&mut self, count: u32) -> impl Iterator<Item = u64> {
        let shift = self.pool.frame_shift;
        self.lend_numbers(count).map(move |number| u64::from(number) << shift)
    }

    /// Gives the `count` frames that became free last to the kernel. Returns their numbers.
    ///
    /// The caches still hold the memory of the latest frames. Among these the oldest come first. So batches keep the
    /// order in which the kernel filled them, and the kernel walks its tables and the memory upwards.
    #[inline]
    pub(super) fn lend_numbers(&mut self, count: u32) -> impl Iterator<Item = u32> {
        let Self { free, with_kernel, kernel_frames, .. } = self;
        let first = free.len().saturating_sub(count as usize);
        free.drain(first..).map(|Frame(index)| {
            with_kernel[index as usize] = true;
            *kernel_frames += 1;
            index
        })
    }

    /// Takes a frame back from the kernel, by an address in it. Returns `None` if the kernel does not have that frame.
    #[inline]
    pub(super) fn reclaim(&mut self, address: u64) -> Option<Frame> {
        self.reclaim_number(u32::try_from(address >> self.pool.frame_shift).ok()?)
    }

    /// Takes a frame back from the kernel, by its number. Returns `None` if the kernel does not have that frame.
    #[inline]
    pub(super) fn reclaim_number(&mut self, number: u32) -> Option<Frame> {
        let held = self.with_kernel.get_mut(number as usize)?;
        if !std::mem::take(held) {
            return None;
        }
        self.kernel_frames -= 1;
        Some(Frame(number))
    }

    /// The extent of the packet that a descriptor names, if it lies within one frame.
    #[inline]
    pub(super) fn extent(&self, address: u64, length: u32) -> Option<Extent> {
        self.extent_from((address & u64::from(self.frame_size() - 1)) as u32, length)
    }

    /// The extent of a packet that starts at `start`, below the frame's size, if it lies within one frame.
    #[inline]
    pub(super) fn extent_from(&self, start: u32, length: u32) -> Option<Extent> {
        (length <= self.frame_size() - start).then_some(Extent { start, length })
    }

    /// The bytes of an extent of a frame: initialized, and mapped while `self` lives. Only the holder of the frame's
    /// token may read them.
    #[inline]
    pub(super) fn bytes(&self, frame: &Frame, extent: Extent) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.pool.locate(frame, extent.start), extent.length as usize)
    }

    /// Prefetches the cache line at an address that the kernel named. Any address is allowed. On other machines than
    /// x86-64 the method does nothing.
    #[inline]
    pub(super) fn prefetch(&self, address: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let line = self.pool.memory.start().as_ptr().wrapping_add(address as usize);
            // SAFETY: a prefetch has no visible effect, and never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = address;
    }

    /// Frees a frame that was not leased.
    #[inline]
    pub(super) fn release(&mut self, frame: Frame) {
        self.free.push(frame);
    }

    /// Counts a lease, and returns what it shares with the queue.
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

    /// All free frames, and all frames that the kernel has, for tests. Returned frames that were not collected count as
    /// free.
    #[cfg(test)]
    pub(super) fn census(&self) -> (Vec<u32>, Vec<u32>) {
        let mut free: Vec<u32> = self.free.iter().map(|frame| frame.0).collect();
        // Each frame leaves the queue once and enters it again.
        for _ in 0..self.pool.returns.len() {
            let frame = self.pool.returns.pop().expect("nobody else is at it");
            free.push(frame.0);
            self.pool.give_back(frame);
        }
        let kernel = self.with_kernel.iter().zip(0..).filter_map(|(held, index)| held.then_some(index)).collect();
        (free, kernel)
    }

    /// The shared part, for tests that act as the kernel.
    #[cfg(test)]
    pub(super) fn share(&self) -> Arc<Pool> {
        Arc::clone(&self.pool)
    }
}

impl Pool {
    /// The address of an extent's first byte. The holder of the frame's token may read the extent, and may write it
    /// while no reference to it lives.
    #[inline]
    pub(super) fn locate(&self, frame: &Frame, start: u32) -> NonNull<u8> {
        let offset = frame.0 as usize * self.frame_size as usize + start as usize;
        // SAFETY: a token's index is below the number of frames, and a start is at most the frame's size, since
        // `Umem::extent_from` makes all extents. So the offset is within the mapping or one past its end.
        unsafe { self.memory.start().add(offset) }
    }

    /// Returns a lease's frame, from any thread.
    #[inline]
    pub(super) fn give_back(&self, frame: Frame) {
        let full = self.returns.push(frame);
        debug_assert!(full.is_ok(), "more frames came back than there are");
    }

    /// Writes as the kernel would, for tests that act as the kernel.
    #[cfg(test)]
    pub(super) fn kernel_write(&self, address: u64, bytes: &[u8]) {
        let offset = address as usize;
        assert!(offset + bytes.len() <= self.memory.length());
        // SAFETY: the range lies within the mapping. The fake kernel writes only to frames that it took from the fill
        // ring and has not delivered yet, so neither a token nor a reference to them exists.
        unsafe { self.memory.start().add(offset).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) }
    }
}

impl Frame {
    /// Takes the token out. The remaining value names no frame and is never used.
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
