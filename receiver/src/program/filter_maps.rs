//! The program's filter, as the control side changes it: flows, groups, and what becomes of unwanted sources.

use std::net::{IpAddr, SocketAddr};

use aya::maps::MapError;
use receiver_common::{FlowAction, FlowKeyV6, GroupAction, GroupKeyV6, Port};
use receiver_host::os_error;

use super::filter_v4::SetError;
use super::loaded::Program;
use super::operation;
use super::refused::refused;
use crate::api::error::Error;
use crate::engine::filter::wire_v6;

impl Program {
    /// Sets what becomes of one flow. Both addresses must be of one family, and all entries of one (group, port) name
    /// one slot. The change holds for every frame that the program begins with after the call; IPv4 only counts once
    /// the group has its entry too.
    ///
    /// # Errors
    /// [`Error::FilterFull`], [`Error::Program`].
    pub fn set_flow(&mut self, source: IpAddr, group: IpAddr, port: u16, action: FlowAction) -> Result<(), Error> {
        match (source, group) {
            (IpAddr::V4(source), IpAddr::V4(group)) => {
                let result = self.filter_v4.set_flow(source, group, port, action);
                result.map_err(|error| self.refused_v4(error))
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
                result.map_err(|error| self.refused_v4(error))
            }
            group => {
                let result = self.groups_v6.insert(group_key_v6(group, port), action, 0);
                result.map_err(|error| self.refused_update(error))
            }
        }
    }

    /// Passes the frames of unwanted sources to the kernel ([`Verdict::PassedShared`]), or drops them again. To be
    /// called after [`Program::set_group`]; holds until [`Program::remove_group`], whatever flows are set.
    ///
    /// # Errors
    /// [`Error::Program`]: also if the group has no entry.
    pub fn set_shared(&mut self, group: IpAddr, port: u16, shared: bool) -> Result<(), Error> {
        let slot = self.slot(group, port)?.ok_or_else(|| Error::Program {
            name: self.interface.clone(),
            doing: operation::CHANGE_FILTER,
            reason: format!("{} is not in the filter", SocketAddr::new(group, port)),
        })?;
        self.set_slot_shared(slot, shared)
    }

    /// As [`Program::set_shared`], by slot, so that it holds before the first entry that names the slot is set.
    pub(crate) fn set_slot_shared(&mut self, slot: u32, shared: bool) -> Result<(), Error> {
        let refused = |error| refused(&self.interface, operation::CHANGE_FILTER, &error);
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
                Err(error) => Err(refused(&self.interface, operation::READ_FILTER, &error)),
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

    fn refused_update(&self, error: MapError) -> Error {
        match os_error(&error) {
            Some(libc::E2BIG | libc::ENOSPC) => Error::FilterFull { limit: self.max_flows },
            _ => refused(&self.interface, operation::CHANGE_FILTER, &error),
        }
    }

    fn refused_v4(&self, error: SetError) -> Error {
        match error {
            SetError::Full { limit } => Error::FilterFull { limit },
            SetError::Slot(reason) => {
                Error::Program { name: self.interface.clone(), doing: operation::CHANGE_FILTER, reason }
            }
        }
    }

    fn removed(&self, result: Result<(), MapError>) -> Result<(), Error> {
        match result {
            Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
            Err(error) if os_error(&error) == Some(libc::ENOENT) => Ok(()),
            other => other.map_err(|error| refused(&self.interface, operation::CHANGE_FILTER, &error)),
        }
    }
}

fn flow_key_v6(source: IpAddr, group: IpAddr, port: u16) -> FlowKeyV6 {
    FlowKeyV6 { source: wire_v6(source), group: wire_v6(group), port: Port::from_host(port) }
}

fn group_key_v6(group: IpAddr, port: u16) -> GroupKeyV6 {
    GroupKeyV6 { group: wire_v6(group), port: Port::from_host(port) }
}
