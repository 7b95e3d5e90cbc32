//! The maps of the tap (`receiver_common::tap`): its rings, what wakes its reader, and what it lost.

use std::os::fd::AsFd;
use std::sync::Arc;

use aya::maps::{Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::{Ebpf, EbpfLoader};
use receiver_common::mapped::FRAME_SIZE;
use receiver_common::tap::TapLoss;
use receiver_common::{Verdict, names};
use receiver_xsk::{MappedMaps, MappedMonitor, MappedQueue};

use super::map::map;
use super::operation;
use super::refused::{foreign, refused};
use super::rings::Waker;
use crate::api::error::Error;
use crate::api::tap_config::TapConfig;
use crate::api::verdict_set::VerdictSet;
use crate::stats::tap_ledger::{TapCounters, TapLedger};
use receiver_host::Interface;

/// The most rings of a tap.
const MOST_RINGS: u32 = 8;

/// What the tap needs of the program: its globals, for as long as the loader needs them.
pub(super) struct TapGlobals {
    is_on: u32,
    verdicts: u64,
    mask: u32,
    slots: u32,
}

impl TapGlobals {
    pub(super) fn of(tap: Option<&TapConfig>, interface: &Interface) -> Self {
        let rings = interface.queues.clamp(1, MOST_RINGS).next_power_of_two();
        match tap {
            Some(tap) => Self { is_on: 1, verdicts: tap.verdicts.bits(), mask: rings - 1, slots: tap.slots },
            None => Self { is_on: 0, verdicts: 0, mask: 0, slots: 1 },
        }
    }

    fn rings(&self) -> u32 {
        self.mask + 1
    }

    /// Sets the globals, and the sizes of the maps: as small as can be without a tap.
    pub(super) fn set<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        loader
            .override_global(names::TAP, &self.is_on, true)
            .override_global(names::TAP_VERDICTS, &self.verdicts, true)
            .override_global(names::TAP_RINGS_MASK, &self.mask, true)
            .override_global(names::TAP_SLOTS, &self.slots, true);
        let slots = self.rings().saturating_mul(self.slots);
        loader
            .map_max_entries(names::TAP_CONTROL, self.rings())
            .map_max_entries(names::TAP_ENTRIES, slots)
            .map_max_entries(names::TAP_FRAMES, slots)
            .map_max_entries(names::TAP_WAKER, rustix::param::page_size() as u32);
    }
}

/// The program's side of the tap: what it counts.
pub(super) struct TapMaps {
    verdicts: VerdictSet,
    lost: PerCpuArray<MapData, u64>,
    monitors: Vec<MappedMonitor>,
    counters: Arc<TapCounters>,
}

/// The reader's side of the tap.
pub struct TapRings {
    pub(crate) queues: Vec<MappedQueue>,
    pub(crate) waker: Waker,
    pub(crate) counters: Arc<TapCounters>,
    /// Frames with a number that is no verdict's.
    pub(crate) unknown: u64,
}

/// Opens the tap of a program that is not attached yet: so that no frame comes before. The maps stay with the loader:
/// the program's other entry may be loaded later, and names them by their descriptors.
pub(super) fn open(
    ebpf: &mut Ebpf,
    interface: &str,
    tap: &TapConfig,
    globals: &TapGlobals,
) -> Result<(TapMaps, TapRings), Error> {
    let array = |name| match ebpf.map(name) {
        Some(Map::Array(data)) => Ok(data.fd().as_fd()),
        _ => Err(foreign(interface)),
    };
    let maps = MappedMaps {
        control: array(names::TAP_CONTROL)?,
        entries: array(names::TAP_ENTRIES)?,
        frames: array(names::TAP_FRAMES)?,
        slots: tap.slots,
        frames_per_ring: tap.slots,
        frame_size: FRAME_SIZE,
    };
    let rings: Vec<u32> = (0..globals.rings()).collect();
    let queues = MappedQueue::map(&maps, &rings).map_err(|errno| {
        let error = std::io::Error::from_raw_os_error(errno.raw_os_error());
        refused(interface, operation::MAP_TAP, &error)
    })?;
    queues.iter().for_each(MappedQueue::open);
    let counters: Arc<TapCounters> = Arc::default();
    let waker = waker(ebpf, interface)?;
    let ours = TapMaps {
        verdicts: tap.verdicts,
        lost: map(ebpf, names::TAP_LOST, interface)?,
        monitors: queues.iter().map(MappedQueue::monitor).collect(),
        counters: Arc::clone(&counters),
    };
    Ok((ours, TapRings { queues, waker, counters, unknown: 0 }))
}

fn waker(ebpf: &Ebpf, interface: &str) -> Result<Waker, Error> {
    let Some(Map::RingBuf(data)) = ebpf.map(names::TAP_WAKER) else { return Err(foreign(interface)) };
    let fd = data.fd().as_fd().try_clone_to_owned().map_err(MapError::from);
    let ring = fd.and_then(MapData::from_fd).and_then(|data| RingBuf::try_from(Map::RingBuf(data)));
    Ok(Waker::new(ring.map_err(|error| refused(interface, operation::OPEN_MAP, &error))?))
}

impl TapMaps {
    /// The counts of the tap. `verdicts` were read before, so that no frame in flight looks lost.
    pub(super) fn ledger(&self, verdicts: &[u64; Verdict::COUNT]) -> Result<TapLedger, MapError> {
        let lost = |loss: TapLoss| -> Result<u64, MapError> { Ok(self.lost.get(&(loss as u32), 0)?.iter().sum()) };
        let read = self.counters.read();
        let in_ring = |monitor: &MappedMonitor| {
            let consumed = monitor.consumed();
            monitor.reserved().saturating_sub(consumed)
        };
        Ok(TapLedger {
            frames: self.verdicts.iter().map(|verdict| verdicts[verdict as usize]).sum(),
            in_ring: self.monitors.iter().map(in_ring).sum(),
            ring_full: lost(TapLoss::RingFull)?,
            ring_busy: lost(TapLoss::RingBusy)?,
            closed: read.closed + lost(TapLoss::Closed)?,
            ..read
        })
    }
}
