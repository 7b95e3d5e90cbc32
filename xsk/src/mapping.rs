//! Memory from mmap(2), for the packet memory and the rings.
#![allow(unsafe_code)]

use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::errno::Errno;

const HUGE_2_MIB: usize = 2 << 20;

/// All pages are present from the start. Miri does not know the flag.
const POPULATE: MapFlags = if cfg!(miri) { MapFlags::empty() } else { MapFlags::POPULATE };

/// The size of the pages that back the packet memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSize {
    /// Pages of 2 MiB (`MAP_HUGETLB`): one TLB entry for up to 1024 frames.
    Huge2MiB,
    /// The machine's base pages.
    Base,
}

/// A readable and writable mapping, which is unmapped on drop.
///
/// It gives access to nothing but its address and length. Its users (ring cursors, frame tokens, filter tables) define
/// who may access which bytes at what time.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping is an address range of the process, valid on every thread until it is unmapped. Only `drop`, which
// needs ownership, unmaps it; the shared methods return the address and the length.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps zeroed private memory of at least `length` bytes, with all pages present.
    ///
    /// # Errors
    ///
    /// mmap(2) failed.
    pub fn anonymous(length: usize) -> Result<Self, Errno> {
        Self::new_anonymous(length, MapFlags::empty())
    }

    /// Maps memory as [`Mapping::anonymous`] does, in pages of 2 MiB.
    ///
    /// # Errors
    ///
    /// mmap(2) failed; `ENOMEM` if too few huge pages are reserved.
    pub fn anonymous_huge(length: usize) -> Result<Self, Errno> {
        if cfg!(miri) {
            // It has none.
            return Err(Errno::NOMEM);
        }
        let length = length.checked_next_multiple_of(HUGE_2_MIB).ok_or(Errno::NOMEM)?;
        Self::new_anonymous(length, MapFlags::HUGETLB | MapFlags::HUGE_2MB)
    }

    fn new_anonymous(length: usize, extra: MapFlags) -> Result<Self, Errno> {
        let flags = MapFlags::PRIVATE | POPULATE | extra;
        // SAFETY: with a null hint and without MAP_FIXED the kernel picks a range that nothing else uses.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags) };
        Self::from_kernel(start.map_err(Errno::of)?.cast(), length)
    }

    /// Maps `length` bytes of `fd` at `offset`, shared with the kernel.
    ///
    /// # Errors
    ///
    /// mmap(2) failed.
    pub fn of_fd(fd: BorrowedFd<'_>, length: usize, offset: u64) -> Result<Self, Errno> {
        let flags = MapFlags::SHARED | POPULATE;
        // SAFETY: with a null hint and without MAP_FIXED the kernel picks a range that nothing else uses.
        let start = unsafe { mmap(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags, fd, offset) };
        Self::from_kernel(start.map_err(Errno::of)?.cast(), length)
    }

    fn from_kernel(start: *mut u8, length: usize) -> Result<Self, Errno> {
        Ok(Self { start: NonNull::new(start).ok_or(Errno::NOMEM)?, length })
    }

    /// Returns the address of the first byte, which is aligned to a page.
    #[inline]
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Returns the length in bytes.
    pub fn length(&self) -> usize {
        self.length
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mmap returned this range. All owners of pointers into it also hold this mapping (by `Arc`), so no
        // reference is left.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok(), "munmap of a range that mmap gave: {unmapped:?}");
    }
}
