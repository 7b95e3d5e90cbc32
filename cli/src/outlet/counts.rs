//! What became of units: written, or dropped for a reason.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a unit was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DropReason {
    /// More waited than may wait: the reader is slow or stuck.
    SlowReader,
    /// Nobody reads, and more waited than may wait.
    NoReader,
    /// The disk or the quota was full.
    FullDisk,
    /// The destination takes no unit of this length.
    TooLong,
    /// The kernel or the network refused the unit.
    Refused,
    /// Writing failed for another reason.
    Failed,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::SlowReader, Self::NoReader, Self::FullDisk, Self::TooLong, Self::Refused, Self::Failed];

    /// The reason for units that an error keeps from being written.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::FullDisk,
            io::ErrorKind::BrokenPipe => Self::NoReader,
            _ => Self::Failed,
        }
    }

    /// Its name in JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::SlowReader => "slow_reader",
            Self::NoReader => "no_reader",
            Self::FullDisk => "full_disk",
            Self::TooLong => "too_long",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// Returns true if something failed, other than that a reader did not read.
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::SlowReader | Self::NoReader)
    }
}

/// Counts units. They only grow.
#[derive(Debug, Default)]
pub struct Counts {
    written: AtomicU64,
    bytes: AtomicU64,
    late: AtomicU64,
    impaired: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
}

impl Counts {
    /// Counts units that were written.
    pub fn add_written(&self, units: u64, bytes: u64) {
        self.written.fetch_add(units, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts units that were written later than they should have been.
    pub fn add_late(&self, units: u64) {
        self.late.fetch_add(units, Relaxed);
    }

    /// Counts units that are not written, as the target asks.
    pub fn add_impaired(&self, units: u64) {
        self.impaired.fetch_add(units, Relaxed);
    }

    /// Counts units that are never written.
    pub fn add_dropped(&self, reason: DropReason, units: u64) {
        self.dropped[reason as usize].fetch_add(units, Relaxed);
    }

    /// Units that were written.
    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Bytes of them.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Units that were written late.
    pub fn late(&self) -> u64 {
        self.late.load(Relaxed)
    }

    /// Units that were not written, as the target asks.
    pub fn impaired(&self) -> u64 {
        self.impaired.load(Relaxed)
    }

    /// Units that were dropped.
    pub fn dropped(&self) -> u64 {
        DropReason::ALL.into_iter().map(|reason| self.dropped_for(reason)).sum()
    }

    /// Units that were dropped for this reason.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Relaxed)
    }
}
