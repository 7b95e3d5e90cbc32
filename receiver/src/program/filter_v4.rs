//! The IPv4 filter as user space writes it: two tables, and the slot of each (group, port).

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use receiver_common::table::{FlowEntry, GroupEntry, MAX_SLOTS};
use receiver_common::{FlowAction, GroupAction};
use rustix::io;

use super::table::{Full, MappedTable};

/// The one writer of both tables.
pub(super) struct FilterV4 {
    flows: MappedTable,
    groups: MappedTable,
    max_flows: u32,
    max_groups: u32,
    known: HashMap<(Ipv4Addr, u16), Known>,
}

/// What the tables hold of one (group, port).
struct Known {
    slot: u32,
    flows: u32,
    group: bool,
}

/// Why an entry was not set.
#[derive(Debug)]
pub(super) enum SetError {
    /// The table already holds as many entries as it was made for.
    Full { limit: u32 },
    /// The slot is not that of the (group, port), for this reason.
    Slot(String),
}

impl FilterV4 {
    pub(super) fn of_maps(
        flows: BorrowedFd<'_>,
        max_flows: u32,
        groups: BorrowedFd<'_>,
        max_groups: u32,
    ) -> io::Result<Self> {
        Ok(Self {
            flows: MappedTable::of_map(flows, max_flows, FlowEntry::KEY)?,
            groups: MappedTable::of_map(groups, max_groups, GroupEntry::KEY)?,
            max_flows,
            max_groups,
            known: HashMap::new(),
        })
    }

    pub(super) fn set_flow(
        &mut self,
        source: Ipv4Addr,
        group: Ipv4Addr,
        port: u16,
        action: FlowAction,
    ) -> Result<(), SetError> {
        let slot = self.slot(group, port, action.slot())?;
        let new =
            self.flows.set(FlowEntry::word(source.into(), slot, action.is_accept()), flow_hash(source, group, port));
        let new = new.map_err(|Full| SetError::Full { limit: self.max_flows })?;
        let known = self.known.entry((group, port)).or_insert(Known { slot, flows: 0, group: false });
        known.flows += u32::from(new);
        Ok(())
    }

    pub(super) fn remove_flow(&mut self, source: Ipv4Addr, group: Ipv4Addr, port: u16) {
        let Some(known) = self.known.get_mut(&(group, port)) else { return };
        if self.flows.remove(FlowEntry::key(source.into(), known.slot), flow_hash(source, group, port)) {
            known.flows -= 1;
        }
        self.forget(group, port);
    }

    pub(super) fn set_group(&mut self, group: Ipv4Addr, port: u16, action: GroupAction) -> Result<(), SetError> {
        let slot = self.slot(group, port, action.slot())?;
        let hash = GroupEntry::hash(GroupEntry::key(group.into(), port));
        let set = self.groups.set(GroupEntry::word(group.into(), port, slot, action.is_exclude()), hash);
        set.map_err(|Full| SetError::Full { limit: self.max_groups })?;
        self.known.entry((group, port)).or_insert(Known { slot, flows: 0, group: false }).group = true;
        Ok(())
    }

    pub(super) fn remove_group(&mut self, group: Ipv4Addr, port: u16) {
        let Some(known) = self.known.get_mut(&(group, port)) else { return };
        let key = GroupEntry::key(group.into(), port);
        self.groups.remove(key, GroupEntry::hash(key));
        known.group = false;
        self.forget(group, port);
    }

    /// The slot of a group that has an entry.
    pub(super) fn slot_of_group(&self, group: Ipv4Addr, port: u16) -> Option<u32> {
        self.known.get(&(group, port)).filter(|known| known.group).map(|known| known.slot)
    }

    /// The slot, if it is the one that the other entries of (group, port) name.
    fn slot(&self, group: Ipv4Addr, port: u16, slot: u32) -> Result<u32, SetError> {
        if slot >= MAX_SLOTS {
            return Err(SetError::Full { limit: self.max_groups });
        }
        match self.known.get(&(group, port)) {
            Some(known) if known.slot != slot => Err(SetError::Slot(format!(
                "{group}:{port} has slot {}, not {slot}: all its entries must name one slot",
                known.slot
            ))),
            _ => Ok(slot),
        }
    }

    fn forget(&mut self, group: Ipv4Addr, port: u16) {
        if self.known.get(&(group, port)).is_some_and(|known| known.flows == 0 && !known.group) {
            self.known.remove(&(group, port));
        }
    }
}

fn flow_hash(source: Ipv4Addr, group: Ipv4Addr, port: u16) -> u64 {
    FlowEntry::hash(FlowEntry::source(u32::from(source).to_be()), GroupEntry::hash(GroupEntry::key(group.into(), port)))
}
