//! What the XDP program counts for each group slot. It is read without the program, and so without the lock that keeps
//! it.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use receiver_common::{AnyAddress, Unwanted};

use super::map_batch::read_per_cpu;
use super::operation;
use super::refused::refused;
use crate::api::error::Error;
use crate::engine::filter::address_v6;

/// Bytes of counters that one system call reads at most.
const BATCH_BYTES: usize = 1 << 20;

/// Frames of one group slot whose source was not wanted, since load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnwantedCounts {
    /// Dropped.
    pub blocked: u64,
    /// Passed to the kernel for other programs.
    pub passed: u64,
    /// The source of the latest such frame on the CPU that received most of them; `None` if there was none.
    pub latest: Option<IpAddr>,
}

impl UnwantedCounts {
    /// What was counted since an earlier count of the same slot. The latest source stays.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            blocked: self.blocked.saturating_sub(before.blocked),
            passed: self.passed.saturating_sub(before.passed),
            latest: self.latest,
        }
    }

    /// Adds up the counts of all CPUs.
    fn of(cpus: &[Unwanted]) -> Self {
        let frames = |cpu: &Unwanted| cpu.dropped + cpu.passed;
        let most = cpus.iter().max_by_key(|cpu| frames(cpu)).filter(|cpu| frames(cpu) > 0);
        Self {
            blocked: cpus.iter().map(|cpu| cpu.dropped).sum(),
            passed: cpus.iter().map(|cpu| cpu.passed).sum(),
            latest: most.map(|cpu| address(cpu.source)),
        }
    }
}

/// Reads the counters of group slots, on any thread.
#[derive(Clone)]
pub struct SlotCounters {
    /// Of the variant `PerCpuArray`.
    map: Arc<Map>,
}

impl SlotCounters {
    /// Returns `None` if the map is not a per-CPU array.
    pub(super) fn new(map: Map) -> Option<Self> {
        matches!(map, Map::PerCpuArray(_)).then(|| Self { map: Arc::new(map) })
    }

    /// The counts of one slot.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn get(&self, slot: u32, interface: &str) -> Result<UnwantedCounts, Error> {
        self.single(slot).map_err(|error| refused(interface, operation::COUNTER, &error))
    }

    /// The counts of the first `slots` slots, by a system call for each 16,384 of them with two CPUs; fewer slots where
    /// the map ends before.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn read(&self, slots: u32, interface: &str) -> Result<Vec<UnwantedCounts>, Error> {
        match self.batches(slots) {
            Ok(counts) => Ok(counts),
            // A kernel without the batch command refuses it in one way or another.
            Err(_) => (0..slots).map(|slot| self.get(slot, interface)).collect(),
        }
    }

    fn batches(&self, slots: u32) -> io::Result<Vec<UnwantedCounts>> {
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let Map::PerCpuArray(data) = &*self.map else { return Err(io::ErrorKind::InvalidInput.into()) };
        let batch = u32::try_from(BATCH_BYTES / (cpus * size_of::<Unwanted>())).unwrap_or(1).max(1);
        let mut counts = Vec::new();
        while (counts.len() as u32) < slots {
            let first = counts.len() as u32;
            let values = read_per_cpu::<Unwanted>(data.fd().as_fd(), first, batch.min(slots - first), cpus)?;
            if values.is_empty() {
                break;
            }
            counts.extend(values.chunks(cpus).map(UnwantedCounts::of));
        }
        Ok(counts)
    }

    fn single(&self, slot: u32) -> Result<UnwantedCounts, MapError> {
        let array: PerCpuArray<&MapData, Unwanted> = (&*self.map).try_into()?;
        Ok(UnwantedCounts::of(&array.get(&slot, 0)?))
    }
}

/// An address as the program's maps hold it.
pub(super) fn address(words: AnyAddress) -> IpAddr {
    address_v6(words).to_canonical()
}
