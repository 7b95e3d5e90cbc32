//! The tap's part of the ledger.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The counts of a tap. All are 0 without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapLedger {
    /// Frames of the tap's verdicts, as the program counted the verdicts.
    pub frames: u64,
    /// Of these: the reader has taken them.
    pub taken: u64,
    /// Of these: they wait for the reader. A gauge.
    pub in_ring: u64,
    /// Lost: every slot of a ring held a frame.
    pub ring_full: u64,
    /// Lost: other CPUs took each slot that was tried.
    pub ring_busy: u64,
    /// Lost: nobody read the tap any more.
    pub closed: u64,
    /// Lost: the program could not copy the frame.
    pub not_copied: u64,
}

impl TapLedger {
    /// Frames that the reader does not get.
    pub fn lost(&self) -> u64 {
        self.ring_full + self.ring_busy + self.closed + self.not_copied
    }

    /// The difference between the verdicts and what became of their frames.
    pub(crate) fn unaccounted(&self) -> u64 {
        self.frames.abs_diff(self.taken + self.in_ring + self.lost())
    }

    /// Every count by its name.
    pub(crate) fn causes(&self) -> [(&'static str, u64); 6] {
        [
            ("tap_frames", self.taken),
            ("tap_in_ring", self.in_ring),
            ("tap_ring_full", self.ring_full),
            ("tap_ring_busy", self.ring_busy),
            ("tap_closed", self.closed),
            ("tap_not_copied", self.not_copied),
        ]
    }
}

/// What the reader of a tap counts. Each counter has one writer.
#[derive(Debug, Default)]
pub(crate) struct TapCounters {
    /// Frames that it has taken.
    pub taken: AtomicU64,
    /// Frames that it found in the rings when it ended.
    pub abandoned: AtomicU64,
    /// Frames without content, or with a wrong header.
    pub not_copied: AtomicU64,
}

impl TapCounters {
    /// The reader's part of the ledger.
    pub fn read(&self) -> TapLedger {
        TapLedger {
            taken: self.taken.load(Relaxed),
            closed: self.abandoned.load(Relaxed),
            not_copied: self.not_copied.load(Relaxed),
            ..TapLedger::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_has_one_place() {
        let ledger =
            TapLedger { frames: 21, taken: 1, in_ring: 2, ring_full: 3, ring_busy: 4, closed: 5, not_copied: 6 };
        assert_eq!((ledger.lost(), ledger.unaccounted()), (18, 0));
        assert_eq!(TapLedger { taken: 0, ..ledger }.unaccounted(), 1);
        assert_eq!(TapLedger { ring_full: 5, ..ledger }.unaccounted(), 2);
    }
}
