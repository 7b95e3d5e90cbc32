//! Memory from mmap(2) that unmaps itself: the packet memory and the rings.
#![allow(unsafe_code)]

use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::errno::Errno;

const HUGE_2_MIB: usize = 2 << 20;

/// The pages that packet memory got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSize {
    /// Pages of 2 MiB (`MAP_HUGETLB`): one TLB entry for up to 1024 frames.
    Huge2MiB,
    /// The machine's base pages.
    Base,
}

/// A mapping, readable and writable, that is unmapped on drop.
///
/// It hands out nothing but its address: who may touch which bytes when is settled by its users, the ring cursors,
/// the frame tokens, the filter's tables.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping is an address range of the process, valid on every thread until it is unmapped. Only `drop`, which
// needs ownership, unmaps it; the shared methods tell the address and the length.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Zeroed private memory of at least `length` bytes, present from the start.
    pub fn anonymous(length: usize) -> Result<Self, Errno> {
        Self::new_anonymous(length, MapFlags::empty())
    }

    /// As [`Mapping::anonymous`], in pages of 2 MiB; an error where the system has none to give.
    pub fn anonymous_huge(length: usize) -> Result<Self, Errno> {
        let length = length.checked_next_multiple_of(HUGE_2_MIB).ok_or(Errno::NOMEM)?;
        Self::new_anonymous(length, MapFlags::HUGETLB | MapFlags::HUGE_2MB)
    }

    fn new_anonymous(length: usize, extra: MapFlags) -> Result<Self, Errno> {
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE | extra;
        // SAFETY: with a null hint and without MAP_FIXED the kernel picks a range that nothing else uses.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags) };
        Self::from_kernel(start.map_err(Errno::of)?.cast(), length)
    }

    /// `length` bytes of what `fd` offers at `offset`, shared with the kernel.
    pub fn of_fd(fd: BorrowedFd<'_>, length: usize, offset: u64) -> Result<Self, Errno> {
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: with a null hint and without MAP_FIXED the kernel picks a range that nothing else uses.
        let start = unsafe { mmap(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags, fd, offset) };
        Self::from_kernel(start.map_err(Errno::of)?.cast(), length)
    }

    fn from_kernel(start: *mut u8, length: usize) -> Result<Self, Errno> {
        Ok(Self { start: NonNull::new(start).ok_or(Errno::NOMEM)?, length })
    }

    /// The first byte; aligned to a page.
    #[inline]
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Bytes mapped.
    pub fn length(&self) -> usize {
        self.length
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the one that mmap gave, and whoever points into it holds this mapping (by `Arc`), so no
        // reference is left.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok(), "munmap of a range that mmap gave: {unmapped:?}");
    }
}
