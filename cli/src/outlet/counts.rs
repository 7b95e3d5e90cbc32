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

/// What a device does to units on purpose, as its target asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impairments {
    /// Units that are not written, and their bytes.
    pub lost: u64,
    pub lost_bytes: u64,
    /// Units that are written twice.
    pub duplicated: u64,
    /// Units that are held back until later ones were written.
    pub reordered: u64,
}

/// Counts units. They only grow.
#[derive(Debug, Default)]
pub struct Counts {
    written: AtomicU64,
    bytes: AtomicU64,
    late: AtomicU64,
    lost: AtomicU64,
    duplicated: AtomicU64,
    reordered: AtomicU64,
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

    /// Counts what was done to units on purpose.
    pub fn add_impairments(&self, impairments: Impairments) {
        self.lost.fetch_add(impairments.lost, Relaxed);
        self.duplicated.fetch_add(impairments.duplicated, Relaxed);
        self.reordered.fetch_add(impairments.reordered, Relaxed);
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

    /// What was done to units on purpose; without the bytes.
    pub fn impairments(&self) -> Impairments {
        let [lost, duplicated, reordered] =
            [&self.lost, &self.duplicated, &self.reordered].map(|count| count.load(Relaxed));
        Impairments { lost, lost_bytes: 0, duplicated, reordered }
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
