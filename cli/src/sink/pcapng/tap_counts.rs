//! What a recording knows of frames that were not delivered: their interface, and what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use receiver::{Ledger, TapLedger};
use receiver_capture::UNDELIVERED;

use super::block::{Interface, Statistics};
use crate::outlet::Counts;

/// The causes of [`TapLedger::lost`], by their names in the ledger.
pub const LOSSES: [&str; 4] = ["tap_ring_full", "tap_ring_busy", "tap_closed", "tap_not_copied"];

/// What became of the frames of the tap.
#[derive(Debug, Default)]
pub struct TapCounts {
    /// Counts frames by what became of them.
    pub counts: Arc<Counts>,
    /// Frames that came from the tap.
    pub taken: AtomicU64,
    /// Frames that the tap lost, and that no frame in the file has with it yet.
    pub noticed: AtomicU64,
}

impl TapCounts {
    /// The statistics of the interface with this number. `base` has the times.
    pub fn statistics(&self, interface: u32, base: &Statistics, ledger: &Ledger, comment: String) -> Statistics {
        // Taken and written first, as for the other interfaces.
        let (taken, written, unwritten) = (self.taken.load(Relaxed), self.counts.written(), self.counts.dropped());
        let tap: TapLedger = ledger.tap();
        Statistics {
            interface,
            received: tap.frames,
            interface_dropped: 0,
            accepted: taken + tap.lost(),
            dropped: tap.lost() + unwritten,
            delivered: written,
            comment,
            ..base.clone()
        }
    }
}

/// The interface of these frames, on the interface of this name.
pub fn interface(name: &str, os: &str, verdicts: &str) -> Interface {
    Interface {
        name: name.to_owned(),
        // By its beginning `receiver analyze` and `receiver replay` leave the frames out.
        description: format!("{UNDELIVERED}frames that the XDP program dropped or passed to the kernel"),
        filter: String::new(),
        os: os.to_owned(),
        comment: format!(
            "The comment of each frame is the verdict of the XDP program, one of {verdicts}. The program took the \
             times. Frames are cut to 2016 bytes."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_losses_are_those_that_the_ledger_adds_up() {
        let ledger = Ledger::default();
        for name in LOSSES {
            assert_eq!(ledger.count(name), Some(0), "{name}");
        }
        assert_eq!(ledger.tap().lost(), 0);
    }

    #[test]
    fn the_statistics_are_those_of_the_tap() {
        let tap = TapCounts::default();
        tap.taken.store(7, Relaxed);
        tap.counts.add_written(5, 500);
        let base = Statistics { time: 3, start: 2, accepted: 9, ..Statistics::default() };
        let found = tap.statistics(2, &base, &Ledger::default(), "c".to_owned());
        assert_eq!((found.interface, found.time, found.start), (2, 3, 2));
        assert_eq!((found.accepted, found.dropped, found.delivered), (7, 0, 5));
    }
}
