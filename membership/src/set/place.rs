//! Puts the parts of a membership on sockets, with one group or shared, and takes them off again.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Layout, MembershipSet, Placed, Slot, SocketEvent};
use crate::errno::Errno;
use crate::error::{Reason, SocketError};
use crate::socket::MembershipSocket;
use crate::state::Request;
use crate::udp::{SocketId, UdpDataSocket, wildcard};
use crate::{SourceFilter, SubscriptionError};

impl MembershipSet {
    /// Sets up a whole filter on sockets that have no part of the group yet. All of it, or nothing.
    pub(super) fn place_all(&mut self, group: IpAddr, port: u16, filter: &SourceFilter) -> Result<Vec<Placed>, Reason> {
        let SourceFilter::Include(sources) = filter else {
            return match self.place(group, port, filter) {
                Ok(placed) => Ok(vec![placed]),
                Err(reason) => Err(self.too_many_blocked(reason, group, &filter.clone().into())),
            };
        };
        let mut rest: Vec<IpAddr> = sources.iter().copied().collect();
        let mut placed = Vec::new();
        let mut room = self.sources_per_part(group, rest.len());
        while !rest.is_empty() {
            if self.cancel.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                self.displace(group, &placed);
                return Err(Reason::Cancelled);
            }
            let count = room.min(rest.len());
            let left = rest.len() - count;
            let part = SourceFilter::Include(rest[left..].iter().copied().collect());
            match self.place(group, port, &part) {
                Ok(part) => {
                    placed.push(part);
                    rest.truncate(left);
                }
                Err(Reason::NoRoom { .. }) if count > 1 => {
                    self.learn_below(group, count);
                    room = self.sources_per_part(group, 0);
                }
                Err(reason) => {
                    self.displace(group, &placed);
                    return Err(reason);
                }
            }
        }
        Ok(placed)
    }

    /// Sets up one part on one socket.
    pub(super) fn place(&mut self, group: IpAddr, port: u16, filter: &SourceFilter) -> Result<Placed, Reason> {
        let shared = self.shares();
        if shared && let Some(placed) = self.place_on_shared(group, port, filter)? {
            return Ok(placed);
        }
        let address = if shared { wildcard(group, port) } else { SocketAddr::new(group, port) };
        let socket = match UdpDataSocket::open(address, self.interface.index, &self.options.socket) {
            Ok(socket) => socket,
            Err(error) => {
                // Other parts of this process have more than half of the descriptors.
                let short = matches!(error.errno, Errno::MFILE | Errno::NFILE);
                if short && !shared && self.options.layout == Layout::Auto {
                    self.own_sockets = self.own_sockets.min(self.sockets.len());
                    if let Some(placed) = self.place_on_shared(group, port, filter)? {
                        return Ok(placed);
                    }
                }
                return Err(self.open_reason(error));
            }
        };
        let socket = Arc::new(socket);
        let id = socket.id();
        // Bound before the join, a port that is taken leaves no trace on the wire. But with blocked sources the filter
        // takes two steps, and datagrams that arrive between them must find no socket.
        let bind_last = filter.is_exclude() && !filter.sources().is_empty();
        let binds = !self.options.join_only;
        if binds && !bind_last {
            socket.bind().map_err(|error| self.open_reason(error))?;
        }
        let mut memberships = MembershipSocket::new(Arc::clone(&socket), self.interface.clone(), self.options.style);
        establish(&mut memberships, group, filter).map_err(|error| self.reason(error, group))?;
        if binds && bind_last {
            socket.bind().map_err(|error| self.open_reason(error))?;
        }
        self.sockets.insert(id, Slot { memberships, full: false });
        Ok(Placed { id, fresh: true })
    }

    /// Returns true if the next part goes on a socket with others.
    pub(super) fn shares(&mut self) -> bool {
        match self.options.layout {
            Layout::PerGroup => false,
            Layout::Shared => true,
            Layout::Auto => {
                if self.sockets.len() == self.own_sockets {
                    raise_descriptors();
                    self.own_sockets = self.own_sockets.max(descriptors() / 2);
                }
                self.sockets.len() >= self.own_sockets
            }
        }
    }

    /// Sets up one part on a wildcard socket that is open; `None` if none has room.
    pub(super) fn place_on_shared(
        &mut self,
        group: IpAddr,
        port: u16,
        filter: &SourceFilter,
    ) -> Result<Option<Placed>, Reason> {
        let candidates: Vec<SocketId> = self
            .sockets
            .iter()
            .filter(|(_, slot)| {
                let socket = slot.memberships.socket();
                !slot.full
                    && socket.group().is_none()
                    && socket.port() == port
                    && socket.is_ipv6() == group.is_ipv6()
                    && !slot.memberships.state(group).is_member()
            })
            .map(|(&id, _)| id)
            .collect();
        for id in candidates {
            let Some(slot) = self.sockets.get_mut(&id) else { continue };
            match establish(&mut slot.memberships, group, filter) {
                Ok(()) => return Ok(Some(Placed { id, fresh: false })),
                Err(error) if error.is_out_of_room() => slot.full = true,
                Err(error) => return Err(self.reason(error, group)),
            }
        }
        Ok(None)
    }

    /// Undoes what a failed operation had set up. Its sockets were not announced yet.
    pub(super) fn displace(&mut self, group: IpAddr, placed: &[Placed]) {
        // The latest first, as in `leave_all`.
        for part in placed.iter().rev() {
            if part.fresh {
                self.sockets.remove(&part.id);
            } else {
                let _ = self.request(part.id, group, &Request::LeaveGroup);
            }
        }
    }

    pub(super) fn announce(&mut self, placed: &[Placed]) {
        if self.options.join_only {
            return;
        }
        for part in placed.iter().filter(|part| part.fresh) {
            if let Some(slot) = self.sockets.get(&part.id) {
                let socket = Arc::clone(slot.memberships.socket());
                self.events.push(SocketEvent::Added { id: part.id, socket });
            }
        }
    }

    pub(super) fn announce_removal(&mut self, id: SocketId) {
        if !self.options.join_only {
            self.events.push(SocketEvent::Removed { id });
        }
    }

    /// Ends one part of a membership, and closes the socket if that was its last part.
    pub(super) fn drop_part(&mut self, group: IpAddr, port: u16, id: SocketId) -> Result<(), Reason> {
        if let Some(slot) = self.sockets.get_mut(&id) {
            let left = slot.memberships.request(group, &Request::LeaveGroup);
            let last = slot.memberships.states().len() <= usize::from(left.is_err());
            slot.full = false;
            match left {
                // The last part closes the socket, which ends the membership in any case.
                Err(error) if !last => return Err(self.reason(error, group)),
                _ => {}
            }
            if last {
                self.sockets.remove(&id);
                self.announce_removal(id);
            }
        }
        if let Some(membership) = self.memberships.get_mut(&(group, port)) {
            membership.parts.retain(|part| *part != id);
        }
        Ok(())
    }
}

/// Descriptors that this process may have open (the soft RLIMIT_NOFILE).
pub(super) fn descriptors() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Raises the soft limit to the hard one. If that is refused, it stays as it is.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).is_ok()
    {
        let (from, to) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
        tracing::info!(
            "the limit of open files (RLIMIT_NOFILE) is raised from {from} to {to}, because there are many groups"
        );
    }
}

/// Brings a socket from "not a member" to a filter, in at most two steps. All of it, or nothing.
fn establish(
    socket: &mut MembershipSocket<Arc<UdpDataSocket>>,
    group: IpAddr,
    filter: &SourceFilter,
) -> Result<(), SocketError> {
    let first = match filter {
        SourceFilter::Include(sources) => match sources.first() {
            Some(&source) => Request::JoinSource(source),
            None => return Err(SubscriptionError::NoSource(group).into()),
        },
        SourceFilter::Exclude(_) => Request::JoinGroup,
    };
    socket.request(group, &first)?;
    if socket.state(group).filter() == *filter {
        return Ok(());
    }
    socket.request(group, &Request::SetSources(filter.clone())).inspect_err(|_| {
        let _ = socket.request(group, &Request::LeaveGroup);
    })
}
