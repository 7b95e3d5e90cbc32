//! A datagram's payload, in the memory of the path by which it came.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::api::origin::Path;
use crate::engine::copy_budget::CopyBudget;
use receiver_xsk::Received;

/// A payload, lent for the length of a callback.
pub(crate) enum Payload<'a> {
    /// In a frame, or put together from several, at these bytes.
    Frame(Received<'a>, Range<usize>),
    /// In a buffer of the kernel path.
    Buffer(&'a [u8]),
}

/// A payload that outlives the callback.
pub(crate) enum Kept {
    /// In its frame.
    Frame(Bytes),
    /// In memory of its own, because frames run low or the packet came over several.
    Copy(Bytes),
    /// In memory of its own, as always on the kernel path.
    Buffer(Bytes),
}

impl Payload<'_> {
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            // The range was checked against the frame when the packet was parsed.
            Self::Frame(frame, range) => frame.bytes().get(range.clone()).unwrap_or(&[]),
            Self::Buffer(bytes) => bytes,
        }
    }

    /// The whole frame, from its Ethernet header on, where the path has it.
    #[inline]
    pub fn frame(&self) -> Option<&[u8]> {
        match self {
            Self::Frame(frame, _) => Some(frame.bytes()),
            Self::Buffer(_) => None,
        }
    }

    #[inline]
    pub fn path(&self) -> Path {
        match self {
            Self::Frame(..) => Path::Xdp,
            Self::Buffer(_) => Path::Kernel,
        }
    }

    /// Keeps the payload. `leases` is the number of packets that may still be kept in their frames; the others are
    /// copied within the budget. Returns `None` if the budget is used up.
    pub fn keep(self, leases: &Cell<u32>, budget: &Arc<CopyBudget>) -> Option<Kept> {
        match self {
            Self::Frame(frame, range) if leases.get() > 0 && !frame.is_gathered() => {
                leases.set(leases.get() - 1);
                let mut lease = frame.into_lease();
                // In range: the payload was found in this frame.
                let _narrowed = lease.narrow(range);
                Some(Kept::Frame(Bytes::from_owner(lease)))
            }
            Self::Frame(frame, range) => budget.copy(frame.bytes().get(range).unwrap_or(&[])).map(Kept::Copy),
            Self::Buffer(bytes) => budget.copy(bytes).map(Kept::Buffer),
        }
    }
}
