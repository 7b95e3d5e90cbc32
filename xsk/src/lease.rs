//! A kept packet, which owns its frame or a copy.
#![allow(unsafe_code)]

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::umem::{Extent, Frame, Pool};

/// A received packet, or a part of it. It owns the packet's frame, or a copy if the packet had several buffers.
///
/// Dropping a lease on any thread returns the frame to its queue without a lock. The packet memory stays mapped while a
/// lease exists, even after the socket is closed. `bytes::Bytes::from_owner(lease)` makes a `Bytes` without a copy.
pub struct Lease {
    held: Held,
    extent: Extent,
}

enum Held {
    Frame(Arc<Pool>, Frame),
    Copy(Box<[u8]>),
}

impl Lease {
    #[inline]
    pub(super) fn new(pool: Arc<Pool>, frame: Frame, extent: Extent) -> Self {
        Self { held: Held::Frame(pool, frame), extent }
    }

    pub(super) fn of_copy(bytes: Box<[u8]>) -> Self {
        // At most `queue::MAX_PACKET`.
        let extent = Extent { start: 0, length: bytes.len() as u32 };
        Self { held: Held::Copy(bytes), extent }
    }

    /// Reduces the lease to `range` of its current bytes. Returns false, and changes nothing, if the range is out of
    /// bounds.
    #[inline]
    #[must_use = "`false` means that the range is out of bounds"]
    pub fn narrow(&mut self, range: Range<usize>) -> bool {
        if range.start > range.end || range.end > self.extent.length as usize {
            return false;
        }
        // Both fit: they are at most the length, a u32.
        self.extent.start += range.start as u32;
        self.extent.length = (range.end - range.start) as u32;
        true
    }

    /// The frame's number, if the lease holds a frame, for tests.
    #[cfg(test)]
    pub(super) fn frame_index(&self) -> Option<u32> {
        match &self.held {
            Held::Frame(_, frame) => Some(frame.index()),
            Held::Copy(_) => None,
        }
    }
}

impl Deref for Lease {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let (pool, frame) = match &self.held {
            Held::Frame(pool, frame) => (pool, frame),
            Held::Copy(bytes) => {
                // `narrow` only shrinks the extent.
                let start = self.extent.start as usize;
                return bytes.get(start..start + self.extent.length as usize).unwrap_or(&[]);
            }
        };
        let first = pool.locate(frame, self.extent.start);
        // SAFETY: the extent lies within the frame (`Umem::extent_from`, and `narrow` only shrinks it). The memory is
        // initialized (mmap zeroes it) and stays mapped while `pool` lives. This lease holds the frame's only token, so
        // neither the kernel nor another lease writes to it.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), self.extent.length as usize) }
    }
}

impl AsRef<[u8]> for Lease {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Lease");
        match &self.held {
            Held::Frame(_, frame) => debug.field("frame", frame),
            Held::Copy(bytes) => debug.field("copied", &bytes.len()),
        };
        debug.field("extent", &self.extent).finish()
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        if let Held::Frame(pool, frame) = &mut self.held {
            pool.give_back(frame.take());
        }
    }
}
