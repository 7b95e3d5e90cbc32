//! The loaded program and its maps.

use aya::maps::{MapData, PerCpuArray, XskMap};
use aya::programs::xdp::XdpLinkId;
use aya::{Ebpf, EbpfLoader};
use receiver_common::table::{MAX_SLOTS, buckets};
use receiver_common::{OtherPort, names, wire};

use super::entry::{Buffers, PartialChecksums, xdp};
use super::filter_tables::{FilterTables, V4, V6};
use super::map::{array, map};
use super::operation;
use super::refused::{foreign, refused};
use super::rings::{Ring, RingGlobals, RingShape, Rings, Waker};
use super::slot_counters::SlotCounters;
use super::tap::{self, TapGlobals, TapMaps, TapRings};
use super::trace::Trace;
use crate::api::config::ReceiverConfig;
use crate::api::error::Error;
use crate::api::vlan::Vlan;
use receiver_host::Interface;
use receiver_xsk::{MappedMaps, MappedQueue};

/// The compiled program, checked in (a link to `receiver-ebpf/object`, so that a package has it); `cargo xtask
/// build-ebpf --check` proves that it matches its source.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../object/receiver.bpf.o");

/// The loaded program and its maps. Dropping it detaches: a bpf_link holds the program, so that even a killed process
/// leaves the interface clean.
pub struct Program {
    pub(super) interface: String,
    /// The entry that was loaded last.
    pub(super) buffers: Buffers,
    pub(super) filter_v4: FilterTables<V4>,
    pub(super) filter_v6: FilterTables<V6>,
    pub(super) verdicts: PerCpuArray<MapData, u64>,
    pub(super) blocked: SlotCounters,
    pub(super) other_ports: PerCpuArray<MapData, OtherPort>,
    pub(super) sockets: XskMap<MapData>,
    pub(super) rings: Option<Rings>,
    pub(super) tap: Option<TapMaps>,
    pub(super) tap_rings: Option<TapRings>,
    pub(super) trace: Option<Trace>,
    pub(super) link: Option<XdpLinkId>,
    pub(super) ebpf: Ebpf,
}

impl Program {
    /// Loads the program for an interface, with the entry for single buffers. Needs CAP_BPF and CAP_NET_ADMIN.
    ///
    /// Wanted frames go to AF_XDP sockets ([`Program::set_socket`]).
    ///
    /// Of the configuration it takes `vlan`, `timestamps`, `trace_verdicts`, `tap` and `max_flows`, and without the
    /// latter `subscriptions`. There are at most 131,072 (group, port) entries of each IP version.
    ///
    /// # Errors
    /// [`Error::NotPermitted`], [`Error::Program`] with the verifier's or loader's reason.
    #[cfg(feature = "internals")]
    pub fn load(interface: &Interface, config: &ReceiverConfig, checksums: PartialChecksums) -> Result<Self, Error> {
        Self::load_with(interface, config, checksums, None)
    }

    /// Loads the program for an interface, with the entry for single buffers. Wanted frames go to mapped rings of this
    /// shape, or to AF_XDP sockets if there is none. Needs CAP_BPF and CAP_NET_ADMIN.
    ///
    /// # Errors
    /// [`Error::NotPermitted`], [`Error::Program`] with the verifier's or loader's reason.
    pub fn load_with(
        interface: &Interface,
        config: &ReceiverConfig,
        checksums: PartialChecksums,
        rings: Option<&RingShape>,
    ) -> Result<Self, Error> {
        let name = interface.name.as_str();
        let (count, outer, inner) = config.vlan.map_or((0, 0, 0), Vlan::as_globals);
        let (stamp, pass_partial) = (u32::from(config.timestamps), u32::from(checksums == PartialChecksums::Pass));
        let own_mac = interface.mac.map_or(0, wire::mac);
        let pointer_arithmetic = u32::from(receiver_host::is_full_speed());
        if pointer_arithmetic == 0 {
            tracing::info!("{name}: without CAP_PERFMON a verdict of the XDP program costs two to three times as much");
        }
        let stores_in_order = u32::from(cfg!(target_arch = "x86_64"));
        // 0 is "off" (aya_log::Level starts at 1); the verifier then removes the calls.
        let level = if config.trace_verdicts { aya_log::Level::Debug as u8 } else { 0 };
        let max_flows = config.filter_entries();
        let max_groups = max_flows.min(MAX_SLOTS / 2);
        let (flow_buckets, group_buckets) = (buckets(max_flows), buckets(max_groups));
        let (flows_mask, groups_mask) = (flow_buckets - 1, group_buckets - 1);
        let ring_globals = RingGlobals::of(rings);
        let tap_globals = TapGlobals::of(config.tap.as_ref(), interface);
        let mut loader = EbpfLoader::new();
        loader
            .override_global(names::FLOWS_MASK, &flows_mask, true)
            .override_global(names::GROUPS_MASK, &groups_mask, true)
            .override_global(names::VLAN_TAGS, &count, true)
            .override_global(names::VLAN_OUTER, &outer, true)
            .override_global(names::VLAN_INNER, &inner, true)
            .override_global(names::STAMP, &stamp, true)
            .override_global(names::OWN_MAC, &own_mac, true)
            .override_global(names::PASS_PARTIAL, &pass_partial, true)
            .override_global(names::POINTER_ARITHMETIC, &pointer_arithmetic, true)
            .override_global(names::STORES_IN_ORDER, &stores_in_order, true)
            .override_global(aya_log::LEVEL, &level, true);
        loader
            .map_max_entries(names::FLOWS_V4, flow_buckets)
            .map_max_entries(names::GROUPS_V4, group_buckets)
            .map_max_entries(names::FLOWS_V6, flow_buckets)
            .map_max_entries(names::GROUPS_V6, group_buckets);
        // Groups of both families share the slots, and a group for which there turns out to be no room has had one too.
        loader.map_max_entries(names::BLOCKED, 2 * max_groups + 1);
        ring_globals.set(&mut loader, rings);
        tap_globals.set(&mut loader);
        let mut ebpf = loader.load(OBJECT).map_err(|error| refused(name, operation::LOAD, &error))?;
        let trace = match config.trace_verdicts {
            true => Some(Trace::open(&mut ebpf).map_err(|error| refused(name, operation::LOG, error.as_ref()))?),
            false => None,
        };
        xdp(&mut ebpf, name, Buffers::One)?.load().map_err(|error| refused(name, operation::LOAD, &error))?;
        let unmapped = |errno| refused(name, operation::MAP, &std::io::Error::from(errno));
        let maps = [array(&mut ebpf, names::FLOWS_V4, name)?, array(&mut ebpf, names::GROUPS_V4, name)?];
        let filter_v4 = FilterTables::of_maps(maps, max_flows, max_groups).map_err(unmapped)?;
        let maps = [array(&mut ebpf, names::FLOWS_V6, name)?, array(&mut ebpf, names::GROUPS_V6, name)?];
        let filter_v6 = FilterTables::of_maps(maps, max_flows, max_groups).map_err(unmapped)?;
        let tap = config.tap.map(|tap| tap::open(&mut ebpf, name, &tap, &tap_globals)).transpose()?;
        let (tap, tap_rings) = tap.unzip();
        Ok(Self {
            interface: name.to_owned(),
            buffers: Buffers::One,
            filter_v4,
            filter_v6,
            verdicts: map(&mut ebpf, names::VERDICTS, name)?,
            blocked: ebpf.take_map(names::BLOCKED).and_then(SlotCounters::new).ok_or_else(|| foreign(name))?,
            other_ports: map(&mut ebpf, names::OTHER_PORTS, name)?,
            sockets: map(&mut ebpf, names::SOCKETS, name)?,
            rings: rings.map(|shape| Rings::take(&mut ebpf, name, shape)).transpose()?,
            tap,
            tap_rings,
            trace,
            link: None,
            ebpf,
        })
    }

    /// Returns true if the program was loaded with mapped rings.
    pub(crate) fn has_rings(&self) -> bool {
        self.rings.is_some()
    }

    /// The maps of the mapped rings; `None` if the program was loaded without.
    #[cfg(feature = "internals")]
    pub fn rings(&self) -> Option<&Rings> {
        self.rings.as_ref()
    }

    /// Maps a ring for each of these queues, and lets packets into it. The program must have been loaded with rings of
    /// this shape.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub(crate) fn open_rings(&mut self, queues: &[u32], shape: &RingShape) -> Result<Vec<Ring>, Error> {
        let Some(rings) = &self.rings else { return Err(foreign(&self.interface)) };
        let maps = MappedMaps {
            control: rings.control(),
            entries: rings.entries(),
            frames: rings.frames(),
            slots: shape.slots,
            frames_per_ring: shape.frames / queues.len().max(1) as u32,
            frame_size: rings.frame_size(),
        };
        let mapped = MappedQueue::map(&maps, queues).map_err(|errno| {
            let error = std::io::Error::from_raw_os_error(errno.raw_os_error());
            refused(&self.interface, operation::MAP_RINGS, &error)
        })?;
        let mut rings = Vec::with_capacity(queues.len());
        for queue in mapped {
            let waker = self.make_waker(queue.queue())?.ok_or_else(|| foreign(&self.interface))?;
            queue.open();
            rings.push(Ring { queue, waker });
        }
        Ok(rings)
    }

    /// Bytes of a frame of the mapped rings; `None` if the program was loaded without.
    pub(crate) fn ring_frame_size(&self) -> Option<usize> {
        self.rings.as_ref().map(Rings::frame_size)
    }

    /// Makes what wakes the consumer of a queue's ring. `None` if the program was loaded without rings.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn make_waker(&mut self, queue: u32) -> Result<Option<Waker>, Error> {
        let made = self.rings.as_mut().map(|rings| rings.make_waker(queue)).transpose();
        made.map_err(|error| refused(&self.interface, operation::MAKE_WAKER, &error))
    }
}
