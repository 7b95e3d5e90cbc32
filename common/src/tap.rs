//! The tap: copies of frames by their verdict, for a reader in user space, before the program acts on the verdict.
//!
//! The copies go into mapped rings of their own, by the protocol of [`mapped`](crate::mapped). Receive queues share
//! the rings: the ring of a queue is its number, masked. A slot holds a [`TapMark`] where a stamp would be, and the
//! frame behind it, cut to [`MAX_PACKET`](crate::mapped::MAX_PACKET). A frame that gets no slot is counted by
//! [`TapLoss`]. It is treated as any other.

use crate::STAMP_SIZE;

/// What the program knows of a frame in the tap. It stands directly before the frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapMark {
    /// Bytes of the frame before it was cut, over all of its buffers.
    pub length: u32,
    /// The number of its verdict.
    pub verdict: u16,
    /// The receive queue, modulo 2^16.
    pub queue: u16,
    /// Nanoseconds of CLOCK_TAI when the program ran.
    pub tai_ns: u64,
}

impl TapMark {
    /// Reads a mark from memory.
    pub fn from_bytes(bytes: &[u8; STAMP_SIZE]) -> Self {
        let [l0, l1, l2, l3, v0, v1, q0, q1, time @ ..] = *bytes;
        Self {
            length: u32::from_ne_bytes([l0, l1, l2, l3]),
            verdict: u16::from_ne_bytes([v0, v1]),
            queue: u16::from_ne_bytes([q0, q1]),
            tai_ns: u64::from_ne_bytes(time),
        }
    }
}

/// Why a frame is not in the tap. The discriminant is the index into the map of counters.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapLoss {
    /// Every slot of the ring held a frame that was not read yet.
    RingFull = 0,
    /// Other CPUs took each slot of the ring that was tried.
    RingBusy = 1,
    /// Nobody reads the ring.
    Closed = 2,
}

impl TapLoss {
    /// Number of reasons.
    pub const COUNT: usize = 3;
}

const _: () = {
    assert!(size_of::<TapMark>() == STAMP_SIZE, "it takes the place of a stamp");
    assert!(core::mem::align_of::<TapMark>() == 8);
    assert!(crate::Verdict::COUNT <= 64, "the set of verdicts is a word");
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mut bytes = [0; STAMP_SIZE];
        bytes[..4].copy_from_slice(&70_000_u32.to_ne_bytes());
        bytes[4..6].copy_from_slice(&2_u16.to_ne_bytes());
        bytes[6..8].copy_from_slice(&1_023_u16.to_ne_bytes());
        bytes[8..].copy_from_slice(&u64::MAX.to_ne_bytes());
        let mark = TapMark { length: 70_000, verdict: 2, queue: 1_023, tai_ns: u64::MAX };
        assert_eq!(TapMark::from_bytes(&bytes), mark);
    }
}
