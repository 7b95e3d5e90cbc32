//! The program's filter, as the control side changes it: flows, groups, and what becomes of unwanted sources.

use std::net::{IpAddr, SocketAddr};

use receiver_common::{FlowAction, GroupAction};

use super::filter_tables::SetError;
use super::loaded::Program;
use super::operation;
use crate::api::error::Error;
use crate::engine::filter::ipv6;

impl Program {
    /// Sets what becomes of one flow. Both addresses must be of one family, and all entries of one (group, port) name
    /// one slot. The change holds for every frame that the program begins with after the call, once the group has its
    /// entry too.
    ///
    /// # Errors
    /// [`Error::FilterFull`], [`Error::Program`].
    pub fn set_flow(&mut self, source: IpAddr, group: IpAddr, port: u16, action: FlowAction) -> Result<(), Error> {
        let result = match (source, group) {
            (IpAddr::V4(source), IpAddr::V4(group)) => self.filter_v4.set_flow(source, group, port, action),
            _ => self.filter_v6.set_flow(ipv6(source), ipv6(group), port, action),
        };
        result.map_err(|error| self.not_set(error))
    }

    /// Removes a flow's entry: the group's decides from now on. One that is not there is no error.
    pub fn remove_flow(&mut self, source: IpAddr, group: IpAddr, port: u16) {
        match (source, group) {
            (IpAddr::V4(source), IpAddr::V4(group)) => self.filter_v4.remove_flow(source, group, port),
            _ => self.filter_v6.remove_flow(ipv6(source), ipv6(group), port),
        }
    }

    /// Sets what becomes of a group's datagrams whose source has no entry, and of those that are not wanted: they are
    /// dropped, or pass to the kernel ([`Verdict::PassedShared`](receiver_common::Verdict::PassedShared)).
    ///
    /// # Errors
    /// [`Error::FilterFull`], [`Error::Program`].
    pub fn set_group(&mut self, group: IpAddr, port: u16, action: GroupAction) -> Result<(), Error> {
        let result = match group {
            IpAddr::V4(group) => self.filter_v4.set_group(group, port, action),
            IpAddr::V6(group) => self.filter_v6.set_group(group, port, action),
        };
        result.map_err(|error| self.not_set(error))
    }

    /// Changes [`GroupAction::is_shared`] of a group's entry, and leaves the rest of it as it is.
    ///
    /// # Errors
    /// [`Error::Program`]: also if the group has no entry.
    pub fn set_shared(&mut self, group: IpAddr, port: u16, shared: bool) -> Result<(), Error> {
        let action = match group {
            IpAddr::V4(group) => self.filter_v4.group(group, port),
            IpAddr::V6(group) => self.filter_v6.group(group, port),
        };
        let action = action.ok_or_else(|| Error::Program {
            name: self.interface.clone(),
            doing: operation::CHANGE_FILTER,
            reason: format!("{} is not in the filter", SocketAddr::new(group, port)),
        })?;
        if action.is_shared == shared { Ok(()) } else { self.set_group(group, port, action.shared(shared)) }
    }

    /// Removes a group's entry: its datagrams pass from now on. One that is not there is no error.
    pub fn remove_group(&mut self, group: IpAddr, port: u16) {
        match group {
            IpAddr::V4(group) => self.filter_v4.remove_group(group, port),
            IpAddr::V6(group) => self.filter_v6.remove_group(group, port),
        }
    }

    fn not_set(&self, error: SetError) -> Error {
        match error {
            SetError::Full { limit } => Error::FilterFull { limit },
            SetError::Slot(reason) => {
                Error::Program { name: self.interface.clone(), doing: operation::CHANGE_FILTER, reason }
            }
        }
    }
}
