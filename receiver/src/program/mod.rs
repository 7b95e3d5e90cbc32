//! The XDP program in the kernel: load, attach, steer, read its counts, detach. The only room that knows aya.

pub mod driver;
mod filter_v4;
mod table;
mod trace;
mod verifier;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::{ProgramError, TestRun, TestRunOptions, Xdp, XdpMode, loaded_programs, xdp::XdpLinkId};
use aya::{Ebpf, EbpfLoader, Pod};
use receiver_common::table::{MAX_SLOTS, buckets};
use receiver_common::{
    AnyAddress, FlowAction, FlowKeyV6, GroupAction, GroupKeyV6, OtherPort, Port, Unwanted, Verdict, names,
    shared_words, wire,
};

use self::filter_v4::FilterV4;
use self::trace::Trace;
use self::verifier::complaint;
use crate::api::error::Error;
use crate::api::vlan::Vlan;
use crate::engine::filter::wire_v6;
use crate::engine::others::Holder;
use crate::interface::Interface;
use receiver_host::{Lack, XDP, is_for_want_of_privilege, os_error, reasons, verifier_log};

/// The compiled program, checked in; `cargo xtask build-ebpf --check` proves that it matches its source.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../receiver-ebpf/object/receiver.bpf.o");

/// What is fixed when the program is loaded.
#[derive(Clone, Debug)]
pub struct Config {
    /// The tags that frames must carry; none: only untagged frames are looked at.
    pub vlan: Option<Vlan>,
    /// Write the time before each redirected frame (`bpf_ktime_get_tai_ns`, Linux 6.1).
    pub stamp: bool,
    /// Pass wanted frames whose UDP checksum is partial to the kernel: in generic mode one may hold several datagrams.
    pub pass_partial: bool,
    /// Log every verdict through aya-log. Slow; for debugging.
    pub trace: bool,
    /// How many (source, group, port) entries, and how many (group, port) entries, of each family. There are 131,072
    /// (group, port) entries of each at most.
    pub max_flows: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vlan: None,
            stamp: false,
            pass_partial: false,
            trace: false,
            max_flows: receiver_common::DEFAULT_MAX_FLOWS,
        }
    }
}

/// Where in the kernel the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// In the driver.
    Native,
    /// In the network stack, on socket buffers (SKB mode).
    Generic,
}

/// Which entry of the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffers {
    /// For frames that lie in one buffer. Drivers refuse it where the MTU is larger than that.
    One,
    /// Also for frames over several (section `xdp.frags`, Linux 5.18). Not every driver takes it.
    Several,
}

impl Buffers {
    fn entry(self) -> &'static str {
        match self {
            Self::One => names::PROGRAM,
            Self::Several => names::PROGRAM_FRAGS,
        }
    }
}

/// What BPF_PROG_TEST_RUN says of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestVerdict {
    /// The XDP action: 1 drop, 2 pass, 4 redirect.
    pub action: u32,
    /// Mean duration of one run in nanoseconds, the run's own cost included.
    pub nanoseconds: u64,
}

/// Frames of one group slot whose source was not wanted, since load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnwantedCounts {
    /// Dropped.
    pub blocked: u64,
    /// Passed to the kernel for other programs.
    pub passed: u64,
}

impl UnwantedCounts {
    /// What was counted since an earlier count of the same slot.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { blocked: self.blocked.saturating_sub(before.blocked), passed: self.passed.saturating_sub(before.passed) }
    }
}

/// The loaded program and its maps. Dropping it detaches: a bpf_link holds the program, so that even a killed process
/// leaves the interface clean.
pub struct Program {
    interface: String,
    /// The entry that was loaded last.
    buffers: Buffers,
    filter_v4: FilterV4,
    flows_v6: HashMap<MapData, FlowKeyV6, FlowAction>,
    groups_v6: HashMap<MapData, GroupKeyV6, GroupAction>,
    verdicts: PerCpuArray<MapData, u64>,
    blocked: PerCpuArray<MapData, Unwanted>,
    shared: Array<MapData, u64>,
    other_ports: PerCpuArray<MapData, OtherPort>,
    sockets: XskMap<MapData>,
    max_flows: u32,
    /// The maps behind `filter_v4`: the instructions of an entry that is loaded later name them by descriptor.
    _tables: [MapData; 2],
    trace: Option<Trace>,
    link: Option<XdpLinkId>,
    ebpf: Ebpf,
}

impl Program {
    /// Loads the program for an interface, with the entry for single buffers. Needs CAP_BPF and CAP_NET_ADMIN.
    ///
    /// # Errors
    /// [`Error::NotPermitted`], [`Error::Program`] with the verifier's or loader's reason.
    pub fn load(interface: &Interface, config: &Config) -> Result<Self, Error> {
        let name = interface.name.as_str();
        let (count, outer, inner) = config.vlan.map_or((0, 0, 0), Vlan::as_globals);
        let (stamp, pass_partial) = (u32::from(config.stamp), u32::from(config.pass_partial));
        let own_mac = interface.mac.map_or(0, wire::mac);
        let pointer_arithmetic = u32::from(receiver_host::is_full_speed());
        if pointer_arithmetic == 0 {
            tracing::info!("{name}: without CAP_PERFMON a verdict of the XDP program costs two to three times as much");
        }
        // 0 is "off" (aya_log::Level starts at 1); the verifier then removes the calls.
        let level = if config.trace { aya_log::Level::Debug as u8 } else { 0 };
        let max_groups = config.max_flows.min(MAX_SLOTS / 2);
        let (flow_buckets, group_buckets) = (buckets(config.max_flows), buckets(max_groups));
        let (flows_mask, groups_mask) = (flow_buckets - 1, group_buckets - 1);
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
            .override_global(aya_log::LEVEL, &level, true);
        loader
            .map_max_entries(names::FLOWS_V4, flow_buckets)
            .map_max_entries(names::GROUPS_V4, group_buckets)
            .map_max_entries(names::FLOWS_V6, config.max_flows)
            .map_max_entries(names::GROUPS_V6, max_groups);
        // Groups of both families share the slots, and a group for which there turns out to be no room has had one too.
        let slots = 2 * max_groups + 1;
        loader.map_max_entries(names::BLOCKED, slots).map_max_entries(names::SHARED, shared_words(slots));
        let mut ebpf = loader.load(OBJECT).map_err(|error| refused(name, "load", &error))?;
        let trace = match config.trace {
            true => {
                Some(Trace::start(&mut ebpf).map_err(|error| refused(name, "read the program's log", error.as_ref()))?)
            }
            false => None,
        };
        xdp(&mut ebpf, name, Buffers::One)?.load().map_err(|error| refused(name, "load", &error))?;
        let (flows, groups) = (array(&mut ebpf, names::FLOWS_V4, name)?, array(&mut ebpf, names::GROUPS_V4, name)?);
        let filter_v4 = FilterV4::of_maps(flows.fd().as_fd(), config.max_flows, groups.fd().as_fd(), max_groups)
            .map_err(|error| refused(name, "map the filter's memory of", &std::io::Error::from(error)))?;
        Ok(Self {
            interface: name.to_owned(),
            buffers: Buffers::One,
            filter_v4,
            flows_v6: map(&mut ebpf, names::FLOWS_V6, name)?,
            groups_v6: map(&mut ebpf, names::GROUPS_V6, name)?,
            verdicts: map(&mut ebpf, names::VERDICTS, name)?,
            blocked: map(&mut ebpf, names::BLOCKED, name)?,
            shared: map(&mut ebpf, names::SHARED, name)?,
            other_ports: map(&mut ebpf, names::OTHER_PORTS, name)?,
            sockets: map(&mut ebpf, names::SOCKETS, name)?,
            max_flows: config.max_flows,
            _tables: [flows, groups],
            trace,
            link: None,
            ebpf,
        })
    }

    /// Takes the entry for frames over so many buffers from the next attach on; to be called while detached.
    ///
    /// # Errors
    /// [`Error::NotPermitted`], [`Error::Program`] with the verifier's or loader's reason: the entry stays what it was.
    pub fn set_buffers(&mut self, buffers: Buffers) -> Result<(), Error> {
        let program = xdp(&mut self.ebpf, &self.interface, buffers)?;
        match program.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => {}
            Err(error) => return Err(refused(&self.interface, "load", &error)),
        }
        self.buffers = buffers;
        Ok(())
    }

    /// The entry that is attached, or will be.
    pub fn buffers(&self) -> Buffers {
        self.buffers
    }

    /// Attaches to the interface. Nothing passes to AF_XDP before [`Program::set_socket`].
    ///
    /// # Errors
    /// [`Error::XdpOccupied`] when another program sits there, [`Error::NotPermitted`], [`Error::Program`].
    pub fn attach(&mut self, interface: &Interface, attach: Attach) -> Result<(), Error> {
        // Asked first, since the kernel's answers for "occupied" differ by mode, and aya would try netlink, which replaces.
        if let Some(program) = interface.xdp_program {
            return Err(occupied(&interface.name, program));
        }
        let mode = match attach {
            Attach::Native => XdpMode::Driver,
            Attach::Generic => XdpMode::Skb,
        };
        let link = xdp(&mut self.ebpf, &self.interface, self.buffers)?
            .attach_to_if_index(interface.index, mode)
            .map_err(|error| {
                match os_error(&error) {
                    // Somebody came between the question and the attach.
                    Some(libc::EBUSY | libc::EEXIST) => match Interface::lookup(&interface.name) {
                        Ok(Interface { xdp_program: Some(program), name, .. }) => occupied(&name, program),
                        _ => refused(&interface.name, "attach", &error),
                    },
                    _ => refused(&interface.name, "attach", &error),
                }
            })?;
        self.link = Some(link);
        Ok(())
    }

    /// The id of the entry that is attached, or will be, as netlink tells it of an interface.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn id(&mut self) -> Result<u32, Error> {
        let info = xdp(&mut self.ebpf, &self.interface, self.buffers)?.info();
        info.map(|info| info.id()).map_err(|error| refused(&self.interface, "ask about", &error))
    }

    /// The interface has another name now.
    pub fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.interface);
    }

    /// Takes the program off the interface.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn detach(&mut self) -> Result<(), Error> {
        let Some(link) = self.link.take() else { return Ok(()) };
        xdp(&mut self.ebpf, &self.interface, self.buffers)?
            .detach(link)
            .map_err(|error| refused(&self.interface, "detach", &error))
    }

    /// Gives the frames of a queue to an AF_XDP socket bound to that queue.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn set_socket(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), Error> {
        self.sockets
            .set(queue, socket.as_raw_fd(), 0)
            .map_err(|error| refused(&self.interface, "put a socket into the XSKMAP", &error))
    }

    /// Takes a queue's socket out: its wanted frames pass to the kernel from now on.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn unset_socket(&mut self, queue: u32) -> Result<(), Error> {
        match self.sockets.unset(queue) {
            Err(error) if os_error(&error) == Some(libc::ENOENT) => Ok(()),
            other => other.map_err(|error| refused(&self.interface, "take a socket out of the XSKMAP", &error)),
        }
    }

    /// Sets what becomes of one flow. Both addresses must be of one family, and all entries of one (group, port) name one
    /// slot. The change holds for every frame that the program begins with after the call; IPv4 only counts once the
    /// group has its entry too.
    ///
    /// # Errors
    /// [`Error::FilterFull`], [`Error::Program`].
    pub fn set_flow(&mut self, source: IpAddr, group: IpAddr, port: u16, action: FlowAction) -> Result<(), Error> {
        match (source, group) {
            (IpAddr::V4(source), IpAddr::V4(group)) => {
                let result = self.filter_v4.set_flow(source, group, port, action);
                result.map_err(|refusal| self.refused_v4(refusal))
            }
            _ => {
                let result = self.flows_v6.insert(flow_key_v6(source, group, port), action, 0);
                result.map_err(|error| self.refused_update(error))
            }
        }
    }

    /// Removes a flow's entry: the group's decides from now on. One that is not there is no error.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn remove_flow(&mut self, source: IpAddr, group: IpAddr, port: u16) -> Result<(), Error> {
        match (source, group) {
            (IpAddr::V4(source), IpAddr::V4(group)) => {
                self.filter_v4.remove_flow(source, group, port);
                Ok(())
            }
            _ => {
                let result = self.flows_v6.remove(&flow_key_v6(source, group, port));
                self.removed(result)
            }
        }
    }

    /// Sets what becomes of a group's datagrams whose source has no entry.
    ///
    /// # Errors
    /// [`Error::FilterFull`], [`Error::Program`].
    pub fn set_group(&mut self, group: IpAddr, port: u16, action: GroupAction) -> Result<(), Error> {
        match group {
            IpAddr::V4(group) => {
                let result = self.filter_v4.set_group(group, port, action);
                result.map_err(|refusal| self.refused_v4(refusal))
            }
            group => {
                let result = self.groups_v6.insert(group_key_v6(group, port), action, 0);
                result.map_err(|error| self.refused_update(error))
            }
        }
    }

    /// Passes the frames of unwanted sources to the kernel ([`Verdict::PassedShared`]), or drops them again. To be called
    /// after [`Program::set_group`]; holds until [`Program::remove_group`], whatever flows are set.
    ///
    /// # Errors
    /// [`Error::Program`]: also if the group has no entry.
    pub fn set_shared(&mut self, group: IpAddr, port: u16, shared: bool) -> Result<(), Error> {
        let slot = self.slot(group, port)?.ok_or_else(|| Error::Program {
            name: self.interface.clone(),
            doing: "change the filter of",
            reason: format!("{} is not in the filter", std::net::SocketAddr::new(group, port)),
        })?;
        self.set_slot_shared(slot, shared)
    }

    /// As [`Program::set_shared`], by slot, so that it holds before the first entry that names the slot is set.
    pub(crate) fn set_slot_shared(&mut self, slot: u32, shared: bool) -> Result<(), Error> {
        let refused = |error| refused(&self.interface, "change the filter of", &error);
        let (at, bit) = (slot / u64::BITS, 1 << (slot % u64::BITS));
        let word = self.shared.get(&at, 0).map_err(refused)?;
        let changed = if shared { word | bit } else { word & !bit };
        if changed == word { Ok(()) } else { self.shared.set(at, changed, 0).map_err(refused) }
    }

    /// The slot that a group's entry names.
    fn slot(&self, group: IpAddr, port: u16) -> Result<Option<u32>, Error> {
        match group {
            IpAddr::V4(group) => Ok(self.filter_v4.slot_of_group(group, port)),
            group => match self.groups_v6.get(&group_key_v6(group, port), 0) {
                Ok(action) => Ok(Some(action.slot())),
                Err(MapError::KeyNotFound) => Ok(None),
                Err(error) => Err(refused(&self.interface, "read the filter of", &error)),
            },
        }
    }

    /// Removes a group's entry: its datagrams pass from now on. One that is not there is no error.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn remove_group(&mut self, group: IpAddr, port: u16) -> Result<(), Error> {
        // The slot may be another group's next.
        if let Some(slot) = self.slot(group, port)? {
            self.set_slot_shared(slot, false)?;
        }
        match group {
            IpAddr::V4(group) => {
                self.filter_v4.remove_group(group, port);
                Ok(())
            }
            group => {
                let result = self.groups_v6.remove(&group_key_v6(group, port));
                self.removed(result)
            }
        }
    }

    /// Frames by verdict since load, over all CPUs.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn verdicts(&self) -> Result<[u64; Verdict::COUNT], Error> {
        let mut counts = [0; Verdict::COUNT];
        for (index, count) in (0..).zip(&mut counts) {
            let values = self.verdicts.get(&index, 0);
            *count = values.map_err(|error| refused(&self.interface, "read a counter", &error))?.iter().sum();
        }
        Ok(counts)
    }

    /// Frames of unwanted sources that were dropped for one group slot since load.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn blocked(&self, slot: u32) -> Result<u64, Error> {
        Ok(self.unwanted_counts(slot)?.blocked)
    }

    /// Frames of unwanted sources that were dropped or [passed](Program::set_shared) for one group slot since load.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn unwanted_counts(&self, slot: u32) -> Result<UnwantedCounts, Error> {
        let values = self.unwanted(slot)?;
        let sum = |of: fn(&Unwanted) -> u64| values.iter().map(of).sum();
        Ok(UnwantedCounts { blocked: sum(|value| value.dropped), passed: sum(|value| value.passed) })
    }

    /// A source whose frame was dropped or [passed](Program::set_shared) as unwanted for a group slot: the last one on the
    /// CPU that met most of them. `None` if there was none since load.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn last_unwanted(&self, slot: u32) -> Result<Option<IpAddr>, Error> {
        let count = |unwanted: &Unwanted| unwanted.dropped + unwanted.passed;
        let most = self.unwanted(slot)?.into_iter().max_by_key(count);
        Ok(most.filter(|unwanted| count(unwanted) > 0).map(|unwanted| address(unwanted.source)))
    }

    fn unwanted(&self, slot: u32) -> Result<Vec<Unwanted>, Error> {
        let values = self.blocked.get(&slot, 0).map_err(|error| refused(&self.interface, "read a counter", &error))?;
        Ok(values.to_vec())
    }

    /// Groups and ports of frames that passed as [`Verdict::PassedOtherGroup`] since load. At most
    /// [`receiver_common::OTHER_PORTS`] for each CPU: a new one takes the place of an older one with its hash.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn other_ports(&self) -> Result<Vec<(IpAddr, u16)>, Error> {
        let mut seen = BTreeSet::new();
        for index in 0..receiver_common::OTHER_PORTS {
            let values = self.other_ports.get(&index, 0);
            let values = values.map_err(|error| refused(&self.interface, "read a map of", &error))?;
            let there = values.iter().filter(|other| other.group != [0; 2]);
            seen.extend(there.map(|other| (address(other.group), Port::from_wire(other.port as u16).to_host())));
        }
        Ok(seen.into_iter().collect())
    }

    /// How many entries the maps hold.
    pub fn max_flows(&self) -> u32 {
        self.max_flows
    }

    /// Passes what is left of the program's log on to `tracing` (target `receiver::xdp`); a thread does so all the
    /// time. To be called while no frames come: it goes on as long as the program logs. Nothing unless `trace` was
    /// asked for.
    pub fn flush_log(&self) {
        if let Some(trace) = &self.trace {
            trace.flush();
        }
    }

    /// Verdicts that were not logged since load, for want of room in the program's log; `None` unless `trace` was asked
    /// for. Exact after [`Program::flush_log`]; before, those on their way to the log are among them.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn unlogged(&self) -> Result<Option<u64>, Error> {
        let Some(trace) = &self.trace else { return Ok(None) };
        let verdicts: u64 = self.verdicts()?.iter().sum();
        Ok(Some(verdicts.saturating_sub(trace.logged())))
    }

    /// Runs the program over a frame by BPF_PROG_TEST_RUN, as if it came in on `queue` of the attached interface.
    ///
    /// # Errors
    /// [`Error::Program`]: the frame is shorter than 14 bytes, or the queue does not exist.
    pub fn test(&mut self, frame: &[u8], interface: &Interface, queue: u32, repeat: u32) -> Result<TestVerdict, Error> {
        self.test_split(frame, frame.len(), interface, queue, repeat)
    }

    /// As [`Program::test`], with only so many bytes of the frame in its first buffer (Linux 6.18; at least 14).
    ///
    /// # Errors
    /// As there; also, the entry is for single buffers.
    pub fn test_split(
        &mut self,
        frame: &[u8],
        first: usize,
        interface: &Interface,
        queue: u32,
        repeat: u32,
    ) -> Result<TestVerdict, Error> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let mut context = [0u8; 24];
        context[4..8].copy_from_slice(&u32::try_from(first).unwrap_or(u32::MAX).to_ne_bytes());
        context[12..16].copy_from_slice(&interface.index.to_ne_bytes());
        context[16..20].copy_from_slice(&queue.to_ne_bytes());
        let options =
            TestRunOptions { data_in: Some(frame), ctx_in: Some(&context), repeat, ..TestRunOptions::default() };
        let result = xdp(&mut self.ebpf, &self.interface, self.buffers)?
            .test_run(options)
            .map_err(|error| refused(&self.interface, "test-run a frame", &error))?;
        let nanoseconds = u64::try_from(result.duration.as_nanos()).unwrap_or(u64::MAX);
        Ok(TestVerdict { action: result.return_value, nanoseconds })
    }

    fn refused_update(&self, error: MapError) -> Error {
        match os_error(&error) {
            Some(libc::E2BIG | libc::ENOSPC) => Error::FilterFull { limit: self.max_flows },
            _ => refused(&self.interface, "change the filter", &error),
        }
    }

    fn refused_v4(&self, refusal: filter_v4::Refusal) -> Error {
        match refusal {
            filter_v4::Refusal::Full { limit } => Error::FilterFull { limit },
            filter_v4::Refusal::Slot(reason) => {
                Error::Program { name: self.interface.clone(), doing: "change the filter of", reason }
            }
        }
    }

    fn removed(&self, result: Result<(), MapError>) -> Result<(), Error> {
        match result {
            Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
            Err(error) if os_error(&error) == Some(libc::ENOENT) => Ok(()),
            other => other.map_err(|error| refused(&self.interface, "change the filter", &error)),
        }
    }
}

/// An address as the program's maps hold it.
fn address([first, last]: AnyAddress) -> IpAddr {
    let bytes = u128::from(first.to_le()) | u128::from(last.to_le()) << 64;
    IpAddr::from(bytes.to_le_bytes()).to_canonical()
}

fn flow_key_v6(source: IpAddr, group: IpAddr, port: u16) -> FlowKeyV6 {
    FlowKeyV6 { source: wire_v6(source), group: wire_v6(group), port: Port::from_host(port) }
}

fn group_key_v6(group: IpAddr, port: u16) -> GroupKeyV6 {
    GroupKeyV6 { group: wire_v6(group), port: Port::from_host(port) }
}

fn xdp<'a>(ebpf: &'a mut Ebpf, interface: &str, buffers: Buffers) -> Result<&'a mut Xdp, Error> {
    let program = ebpf.program_mut(buffers.entry()).ok_or_else(|| foreign(interface))?;
    program.try_into().map_err(|error: ProgramError| refused(interface, "use", &error))
}

fn map<M>(ebpf: &mut Ebpf, name: &str, interface: &str) -> Result<M, Error>
where
    M: TryFrom<aya::maps::Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| foreign(interface))?;
    M::try_from(map).map_err(|error| refused(interface, "open a map of", &error))
}

/// An array that is not accessed through aya.
fn array(ebpf: &mut Ebpf, name: &str, interface: &str) -> Result<MapData, Error> {
    match ebpf.take_map(name) {
        Some(Map::Array(data)) => Ok(data),
        _ => Err(foreign(interface)),
    }
}

fn occupied(interface: &str, program: u32) -> Error {
    Error::XdpOccupied { name: interface.to_owned(), program, holder: Box::new(Holder::of(program, name_of(program))) }
}

/// The name of a program that is loaded, by its id. Needs CAP_SYS_ADMIN.
fn name_of(id: u32) -> Option<String> {
    let program = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id)?;
    program.name_as_str().map(ToOwned::to_owned)
}

fn foreign(interface: &str) -> Error {
    Error::Program {
        name: interface.to_owned(),
        doing: "use",
        reason: "the compiled object does not fit this library; rebuild it with `cargo xtask build-ebpf`".into(),
    }
}

/// The loader's error as ours: lack of privilege apart, the chain of reasons in one line.
fn refused(interface: &str, doing: &'static str, error: &(dyn std::error::Error + 'static)) -> Error {
    if is_for_want_of_privilege(error) {
        let doing = if doing == "load" { "loading an XDP program" } else { "steering XDP" };
        return Error::NotPermitted { doing, name: interface.to_owned(), lack: Lack::of(&XDP) };
    }
    if let Some(log) = verifier_log(error) {
        tracing::debug!("the verifier's log of the XDP program for {interface}:\n{log}");
        if !receiver_host::is_full_speed() {
            let doing = "loading an XDP program";
            return Error::NotPermitted { doing, name: interface.to_owned(), lack: Lack::Perfmon };
        }
        return Error::Verifier { name: interface.to_owned(), reason: complaint(&log) };
    }
    Error::Program { name: interface.to_owned(), doing, reason: reasons(error) }
}

/// Keeps the bound that the maps ask for in sight: keys and values are plain bytes.
const _: fn() = || {
    fn pod<T: Pod>() {}
    pod::<FlowKeyV6>();
    pod::<GroupAction>();
};
