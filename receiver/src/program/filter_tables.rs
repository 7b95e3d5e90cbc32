//! The filter of one IP version as user space writes it: two tables, and the slot of each (group, port).

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use aya::maps::MapData;
use receiver_common::table::{MAX_SLOTS, v4, v6};
use receiver_common::{AnyAddress, FlowAction, GroupAction};
use rustix::io;

use super::table::{Entry, Full, Layout, MappedTable};
use crate::engine::filter::wire_v6;

/// An IP version: how its tables hold addresses.
pub(super) trait Family {
    type Address: Copy + Eq + Hash + Into<IpAddr>;
    const GROUPS: Layout;
    const FLOWS: Layout;

    fn group(group: Self::Address, port: u16, action: GroupAction) -> Entry;
    fn flow(source: Self::Address, group: Self::Address, port: u16, action: FlowAction) -> Entry;
}

/// IPv4.
pub(super) enum V4 {}

/// IPv6.
pub(super) enum V6 {}

impl Family for V4 {
    type Address = Ipv4Addr;
    const GROUPS: Layout = Layout::new::<()>(v4::GroupEntry::KEY, 0);
    const FLOWS: Layout = Layout::new::<()>(v4::FlowEntry::KEY, 0);

    fn group(group: Ipv4Addr, port: u16, action: GroupAction) -> Entry {
        let hash = v4::GroupEntry::hash(v4::GroupEntry::key(group.into(), port));
        Entry { word: v4::GroupEntry::word(group.into(), port, action), hash, record: [0; 2] }
    }

    fn flow(source: Ipv4Addr, group: Ipv4Addr, port: u16, action: FlowAction) -> Entry {
        let group = v4::GroupEntry::hash(v4::GroupEntry::key(group.into(), port));
        let hash = v4::FlowEntry::hash(v4::FlowEntry::source(u32::from(source).to_be()), group);
        Entry { word: v4::FlowEntry::word(source.into(), action), hash, record: [0; 2] }
    }
}

impl Family for V6 {
    type Address = Ipv6Addr;
    const GROUPS: Layout = Layout::new::<AnyAddress>(v6::GroupEntry::KEY, v6::GroupEntry::GENERATION);
    const FLOWS: Layout = Layout::new::<AnyAddress>(v6::FlowEntry::KEY, v6::FlowEntry::GENERATION);

    fn group(group: Ipv6Addr, port: u16, action: GroupAction) -> Entry {
        let (record, port) = (wire_v6(group), port.to_be());
        let hash = v6::GroupEntry::hash(record, port);
        Entry { word: v6::GroupEntry::word(port, hash, action), hash, record }
    }

    fn flow(source: Ipv6Addr, group: Ipv6Addr, port: u16, action: FlowAction) -> Entry {
        let source = wire_v6(source);
        let hash = v6::FlowEntry::hash(source, v6::GroupEntry::hash(wire_v6(group), port.to_be()));
        Entry { word: v6::FlowEntry::word(hash, action), hash, record: source }
    }
}

/// The one writer of both tables.
pub(super) struct FilterTables<F: Family> {
    flows: MappedTable,
    groups: MappedTable,
    max_flows: u32,
    max_groups: u32,
    known: HashMap<(F::Address, u16), Known>,
    /// The maps of `flows` and `groups`: the instructions of an entry that is loaded later name them by descriptor.
    _maps: [MapData; 2],
}

/// What the tables hold of one (group, port).
struct Known {
    slot: u32,
    flows: u32,
    /// The action of the group's entry, if it has one.
    group: Option<GroupAction>,
}

/// Why an entry was not set.
#[derive(Debug)]
pub(super) enum SetError {
    /// The table already holds as many entries as it was made for.
    Full { limit: u32 },
    /// The slot is not that of the (group, port), for this reason.
    Slot(String),
}

impl<F: Family> FilterTables<F> {
    /// Over the array maps of flows and of groups.
    pub(super) fn of_maps(maps: [MapData; 2], max_flows: u32, max_groups: u32) -> io::Result<Self> {
        let [flows, groups] = &maps;
        Ok(Self {
            flows: MappedTable::of_map(flows.fd().as_fd(), max_flows, F::FLOWS)?,
            groups: MappedTable::of_map(groups.fd().as_fd(), max_groups, F::GROUPS)?,
            max_flows,
            max_groups,
            known: HashMap::new(),
            _maps: maps,
        })
    }

    pub(super) fn set_flow(
        &mut self,
        source: F::Address,
        group: F::Address,
        port: u16,
        action: FlowAction,
    ) -> Result<(), SetError> {
        let slot = self.slot(group, port, action.slot)?;
        let new = self.flows.set(&F::flow(source, group, port, action));
        let new = new.map_err(|Full| SetError::Full { limit: self.max_flows })?;
        let known = self.known.entry((group, port)).or_insert(Known { slot, flows: 0, group: None });
        known.flows += u32::from(new);
        Ok(())
    }

    pub(super) fn remove_flow(&mut self, source: F::Address, group: F::Address, port: u16) {
        let Some(known) = self.known.get_mut(&(group, port)) else { return };
        if self.flows.remove(&F::flow(source, group, port, FlowAction::block(known.slot))) {
            known.flows -= 1;
        }
        self.forget(group, port);
    }

    pub(super) fn set_group(&mut self, group: F::Address, port: u16, action: GroupAction) -> Result<(), SetError> {
        let slot = self.slot(group, port, action.slot)?;
        let set = self.groups.set(&F::group(group, port, action));
        set.map_err(|Full| SetError::Full { limit: self.max_groups })?;
        self.known.entry((group, port)).or_insert(Known { slot, flows: 0, group: None }).group = Some(action);
        Ok(())
    }

    pub(super) fn remove_group(&mut self, group: F::Address, port: u16) {
        let Some(known) = self.known.get_mut(&(group, port)) else { return };
        if let Some(action) = known.group.take() {
            self.groups.remove(&F::group(group, port, action));
        }
        self.forget(group, port);
    }

    /// The action of a group's entry.
    pub(super) fn group(&self, group: F::Address, port: u16) -> Option<GroupAction> {
        self.known.get(&(group, port)).and_then(|known| known.group)
    }

    /// The slot, if it is the one that the other entries of (group, port) name.
    fn slot(&self, group: F::Address, port: u16, slot: u32) -> Result<u32, SetError> {
        if slot >= MAX_SLOTS {
            return Err(SetError::Full { limit: self.max_groups });
        }
        match self.known.get(&(group, port)) {
            Some(known) if known.slot != slot => Err(SetError::Slot(format!(
                "{} has slot {}, not {slot}: all its entries must name one slot",
                SocketAddr::new(group.into(), port),
                known.slot
            ))),
            _ => Ok(slot),
        }
    }

    fn forget(&mut self, group: F::Address, port: u16) {
        if self.known.get(&(group, port)).is_some_and(|known| known.flows == 0 && known.group.is_none()) {
            self.known.remove(&(group, port));
        }
    }
}
