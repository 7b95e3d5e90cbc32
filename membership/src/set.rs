//! Any number of memberships on one interface, over as many sockets as the kernel's limits ask.
//!
//! # One socket for each group and port, and why
//!
//! Each socket is bound to (group, port) and joins that one group. Then the kernel finds it by its hash of address and
//! port, whatever the number of others, and a datagram wakes no socket that did not ask for it. With wildcard sockets,
//! a datagram is offered to *every* socket on its port, each of which walks its list of groups: with 10,000 groups on
//! one port, 500 sockets of 20 groups. A wildcard socket also takes unicast datagrams from other programs on the port.
//! And neither limit per socket can be met: `igmp_max_memberships` (20) nor option memory. The price is a descriptor
//! and about 3 KiB of kernel memory per (group, port).
//!
//! Where descriptors are short, groups are packed on wildcard sockets, as many as the kernel takes. [`Layout::Auto`]
//! decides by RLIMIT_NOFILE: half of it goes to sockets of their own, the rest of the groups share. Before it shares, it
//! raises the soft limit (often 1,024) to the hard one, which needs no privilege. With 1,024 descriptors and not one
//! more, 10,000 IPv4 groups take 512 sockets of their own and 475 shared ones.
//!
//! # No sockets that only signal
//!
//! A socket with a filter that accepts nothing would signal a join without queueing. There is no use for it here. In the
//! XDP modes the wanted frames are redirected and the unwanted dropped before they reach the stack: the sockets see
//! neither, and what they do see (fragments, frames of a queue that is not served) is what they are there to deliver. In
//! mode `socket` they deliver everything. Each (source, group, port) stands in the filter of exactly one socket, so that
//! nothing is queued twice. Thousands of joins cost no copies; the test `scale` counts that.
//!
//! # More sources than a socket can name
//!
//! `igmp_max_msf` (10) and `mld_max_msf` (64) limit the sources of a group *on one socket*. An INCLUDE filter beyond it
//! is shared out over several sockets for the group; each source is on exactly one, so that nothing comes twice. An
//! EXCLUDE filter can not be shared out, for each socket would hear what the others block: it is refused, and the error
//! names the sysctl. To cut it short in silence would deliver what the user blocked.
//!
//! # What may still come
//!
//! Datagrams that were queued before `block`, `remove_source` or `set_filter` are still queued after. Who reads them
//! must look at the filter again. While `set_filter` turns an INCLUDE filter over several sockets into EXCLUDE, or
//! back, a datagram may come by two of them.

mod place;
mod renew;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::io::Errno;

use super::error::{MembershipError, Operation, Reason, SocketError};
use super::limits::Limits;
use super::socket::{MembershipSocket, OptionStyle};
use super::state::{Request, State};
use super::{InterfaceRef, Refusal};
use crate::subscription::{is_ssm_range, validate_group, validate_source};
use crate::udp::{OpenError, SocketId, SocketOptions, UdpDataSocket};
use crate::{SourceFilter, SubscriptionError};

/// How memberships are spread over sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `PerGroup` for as many sockets as half of the process's limit of descriptors, then `Shared`. Raises the soft limit
    /// (RLIMIT_NOFILE) to the hard one before it shares.
    #[default]
    Auto,
    /// A socket for each (group, port), bound to both: fastest, and takes nothing from other programs.
    PerGroup,
    /// Wildcard sockets with as many groups as the kernel takes: a twentieth of the descriptors on a stock IPv4 kernel.
    /// They also take unicast datagrams to their ports, which are refused. A blocked source of an any-source group may
    /// be heard for the moment between its join and its block.
    Shared,
}

/// How a [`MembershipSet`] works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The socket options used.
    pub style: OptionStyle,
    /// How memberships are spread over sockets.
    pub layout: Layout,
    /// What the data sockets are opened with.
    pub socket: SocketOptions,
    /// Allow any-source memberships in 232.0.0.0/8 and ff3x::/32, which RFC 4607 keeps for source-specific ones.
    pub allow_asm_in_ssm_range: bool,
}

/// A data socket came or went: tell [`crate::udp::KernelPath`].
#[derive(Clone, Debug)]
pub enum SocketEvent {
    /// Receive from this one too. Its memberships are complete.
    Added {
        /// The socket's identity.
        id: SocketId,
        /// The socket.
        socket: Arc<UdpDataSocket>,
    },
    /// Let this one go: its last membership has ended.
    Removed {
        /// The socket's identity.
        id: SocketId,
    },
}

/// The memberships on one interface. Dropping it ends them all.
#[derive(Debug)]
pub struct MembershipSet {
    interface: InterfaceRef,
    options: Options,
    limits: Limits,
    /// Smaller than the sysctl where the kernel took fewer sources: for IPv4 and for IPv6.
    learned: [usize; 2],
    /// With so many sockets, [`Layout::Auto`] begins to share.
    own_sockets: usize,
    sockets: BTreeMap<SocketId, Slot>,
    memberships: BTreeMap<(IpAddr, u16), Membership>,
    events: Vec<SocketEvent>,
    cancel: Option<Arc<AtomicBool>>,
}

#[derive(Debug)]
struct Slot {
    memberships: MembershipSocket<Arc<UdpDataSocket>>,
    /// The kernel had no room for another group (shared layout).
    full: bool,
}

/// One (group, port): its state, and the sockets that have a part of it. Only INCLUDE has more than one.
#[derive(Debug)]
struct Membership {
    state: State,
    parts: Vec<SocketId>,
}

/// A part of a membership that an unfinished operation has set up.
struct Placed {
    id: SocketId,
    fresh: bool,
}

impl MembershipSet {
    /// A set without memberships. Reads the limits of the network namespace; opens nothing.
    pub fn new(interface: InterfaceRef, options: Options) -> Self {
        Self {
            interface,
            options,
            limits: Limits::read(),
            learned: [usize::MAX; 2],
            own_sockets: place::descriptors() / 2,
            sockets: BTreeMap::new(),
            memberships: BTreeMap::new(),
            events: Vec::new(),
            cancel: None,
        }
    }

    /// Joins a group on a port with a filter, INCLUDE (source-specific) or EXCLUDE (any-source). Further ports of a
    /// group share the join on the wire: the kernel counts its sockets, and leaves with the last.
    ///
    /// # Errors
    /// Nothing was changed. `EADDRINUSE` where this (group, port) is joined already.
    pub fn join(&mut self, group: IpAddr, port: u16, filter: &SourceFilter) -> Result<(), MembershipError> {
        self.try_join(group, port, filter).map_err(|reason| self.error(Operation::Join, group, port, None, reason))
    }

    /// Ends a membership.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` where there is none.
    pub fn leave(&mut self, group: IpAddr, port: u16) -> Result<(), MembershipError> {
        self.try_leave(group, port).map_err(|reason| self.error(Operation::Leave, group, port, None, reason))
    }

    /// Hears one more source of an INCLUDE membership, or joins with this source.
    ///
    /// # Errors
    /// Nothing was changed. `EADDRNOTAVAIL` for a source that is heard already, `EINVAL` on an EXCLUDE membership.
    pub fn add_source(&mut self, group: IpAddr, port: u16, source: IpAddr) -> Result<(), MembershipError> {
        self.try_add_source(group, port, source)
            .map_err(|reason| self.error(Operation::AddSource, group, port, Some(source), reason))
    }

    /// Hears one source less of an INCLUDE membership; the last one ends it.
    ///
    /// # Errors
    /// Nothing was changed. `EADDRNOTAVAIL` for a source that is not heard, `EINVAL` on EXCLUDE or no membership.
    pub fn remove_source(&mut self, group: IpAddr, port: u16, source: IpAddr) -> Result<(), MembershipError> {
        self.try_remove_source(group, port, source)
            .map_err(|reason| self.error(Operation::RemoveSource, group, port, Some(source), reason))
    }

    /// Blocks a source of an EXCLUDE membership.
    ///
    /// # Errors
    /// Nothing was changed. `EADDRNOTAVAIL` for a source that is blocked already, `EINVAL` on INCLUDE or no membership.
    pub fn block(&mut self, group: IpAddr, port: u16, source: IpAddr) -> Result<(), MembershipError> {
        self.try_blocked(group, port, Request::Block(source))
            .map_err(|reason| self.error(Operation::Block, group, port, Some(source), reason))
    }

    /// Hears a blocked source of an EXCLUDE membership again.
    ///
    /// # Errors
    /// Nothing was changed. `EADDRNOTAVAIL` for a source that is not blocked, `EINVAL` on INCLUDE or no membership.
    pub fn unblock(&mut self, group: IpAddr, port: u16, source: IpAddr) -> Result<(), MembershipError> {
        self.try_blocked(group, port, Request::Unblock(source))
            .map_err(|reason| self.error(Operation::Unblock, group, port, Some(source), reason))
    }

    /// Replaces the filter of a membership; an INCLUDE filter of nothing leaves. Atomic on each socket, and each source
    /// that stays keeps its socket: one that is heard before and after loses no datagram.
    ///
    /// # Errors
    /// Nothing was changed. `EINVAL` without a membership.
    pub fn set_filter(&mut self, group: IpAddr, port: u16, filter: &SourceFilter) -> Result<(), MembershipError> {
        self.try_set_filter(group, port, filter)
            .map_err(|reason| self.error(Operation::SetFilter, group, port, None, reason))
    }

    /// Ends all memberships.
    pub fn leave_all(&mut self) {
        self.memberships.clear();
        // The kernel looks for a membership from the latest on: to leave them in the order of joining would take time
        // that grows with the square of their number.
        while let Some((id, slot)) = self.sockets.pop_last() {
            slot.memberships.abandon_all();
            self.events.push(SocketEvent::Removed { id });
        }
    }

    /// A flag that ends a join of many sources early once it is true: nothing is joined then, and the error says so.
    pub fn cancel_by(&mut self, flag: Option<Arc<AtomicBool>>) {
        self.cancel = flag;
    }

    /// The sockets that came and went since the last call, in order.
    #[must_use = "a socket that nobody receives from fills up and drops"]
    pub fn take_events(&mut self) -> Vec<SocketEvent> {
        std::mem::take(&mut self.events)
    }

    /// What is joined of this group on this port.
    pub fn state(&self, group: IpAddr, port: u16) -> &State {
        static NOT_MEMBER: State = State::NotMember;
        self.memberships.get(&(group, port)).map_or(&NOT_MEMBER, |membership| &membership.state)
    }

    /// All memberships: group, port and state.
    pub fn memberships(&self) -> impl ExactSizeIterator<Item = (IpAddr, u16, &State)> {
        self.memberships.iter().map(|(&(group, port), membership)| (group, port, &membership.state))
    }

    /// The data sockets that are open.
    pub fn sockets(&self) -> impl ExactSizeIterator<Item = &Arc<UdpDataSocket>> {
        self.sockets.values().map(|slot| slot.memberships.socket())
    }

    /// The interface.
    pub fn interface(&self) -> &InterfaceRef {
        &self.interface
    }

    /// The limits, as they were when they last mattered.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn try_join(&mut self, group: IpAddr, port: u16, filter: &SourceFilter) -> Result<(), Reason> {
        self.validate(group, port, filter)?;
        if *filter == SourceFilter::Include(BTreeSet::new()) {
            return Err(SubscriptionError::NoSource(group).into());
        }
        if self.state(group, port).is_member() {
            return Err(Refusal::AlreadyJoined.into());
        }
        let placed = self.place_all(group, port, filter)?;
        let parts = placed.iter().map(|part| part.id).collect();
        self.announce(&placed);
        self.memberships.insert((group, port), Membership { state: filter.clone().into(), parts });
        Ok(())
    }

    fn try_leave(&mut self, group: IpAddr, port: u16) -> Result<(), Reason> {
        self.state(group, port).judge(&Request::LeaveGroup)?;
        while let Some(id) = self.memberships.get(&(group, port)).and_then(|m| m.parts.last().copied()) {
            self.drop_part(group, port, id)?;
        }
        self.memberships.remove(&(group, port));
        Ok(())
    }

    fn try_add_source(&mut self, group: IpAddr, port: u16, source: IpAddr) -> Result<(), Reason> {
        let one = SourceFilter::Include([source].into());
        self.validate(group, port, &one)?;
        let next = self.state(group, port).judge(&Request::JoinSource(source))?;
        let parts = self.parts(group, port);
        let mut taken = false;
        let room = self.sources_per_part(group, usize::MAX);
        for id in parts {
            let Some(slot) = self.sockets.get_mut(&id) else { continue };
            if slot.memberships.state(group).filter().sources().len() >= room {
                continue;
            }
            match slot.memberships.request(group, &Request::JoinSource(source)) {
                Ok(()) => {
                    taken = true;
                    break;
                }
                Err(error) if error.is_out_of_room() => {}
                Err(error) => return Err(self.reason(error, group)),
            }
        }
        let mut placed = Vec::new();
        if !taken {
            placed = self.place_all(group, port, &one)?;
            self.announce(&placed);
        }
        let membership = self
            .memberships
            .entry((group, port))
            .or_insert_with(|| Membership { state: State::NotMember, parts: Vec::new() });
        membership.parts.extend(placed.iter().map(|part| part.id));
        membership.state = next;
        Ok(())
    }

    fn try_remove_source(&mut self, group: IpAddr, port: u16, source: IpAddr) -> Result<(), Reason> {
        let next = self.state(group, port).judge(&Request::LeaveSource(source))?;
        let owner = self.parts(group, port).into_iter().find(|id| self.part_sources(*id, group).contains(&source));
        if let Some(id) = owner {
            if self.part_sources(id, group).len() == 1 {
                self.drop_part(group, port, id)?;
            } else {
                self.request(id, group, &Request::LeaveSource(source))?;
            }
        }
        self.set_state(group, port, next);
        Ok(())
    }

    fn try_blocked(&mut self, group: IpAddr, port: u16, request: Request) -> Result<(), Reason> {
        if let Some(source) = request.source() {
            validate_group(group)?;
            validate_source(source, group)?;
        }
        let next = self.state(group, port).judge(&request)?;
        if let Some(&id) = self.parts(group, port).first() {
            self.request(id, group, &request).map_err(|reason| self.too_many_blocked(reason, group, &next))?;
        }
        self.set_state(group, port, next);
        Ok(())
    }

    fn try_set_filter(&mut self, group: IpAddr, port: u16, filter: &SourceFilter) -> Result<(), Reason> {
        self.validate(group, port, filter)?;
        let next = self.state(group, port).judge(&Request::SetSources(filter.clone()))?;
        let parts = self.parts(group, port);
        match filter {
            SourceFilter::Include(sources) if sources.is_empty() => return self.try_leave(group, port),
            SourceFilter::Include(sources) => loop {
                let room = self.sources_per_part(group, sources.len());
                match self.include_exactly(group, port, sources, &parts, room) {
                    Ok(()) => break,
                    // Fewer fit on a socket than was thought.
                    Err(Reason::NoRoom { .. }) if room > 1 => self.learn_below(group, room.min(sources.len())),
                    Err(reason) => return Err(reason),
                }
            },
            SourceFilter::Exclude(_) => {
                if let Some((&first, others)) = parts.split_first() {
                    self.request(first, group, &Request::SetSources(filter.clone()))
                        .map_err(|reason| self.too_many_blocked(reason, group, &next))?;
                    for &id in others {
                        self.drop_part(group, port, id)?;
                    }
                }
            }
        }
        self.set_state(group, port, next);
        Ok(())
    }

    /// Makes `sources` the INCLUDE filter over `parts` and, where they are too few, over new ones. First new sockets,
    /// then changes, then what is empty goes: no source that stays is ever without a socket.
    fn include_exactly(
        &mut self,
        group: IpAddr,
        port: u16,
        sources: &BTreeSet<IpAddr>,
        parts: &[SocketId],
        room: usize,
    ) -> Result<(), Reason> {
        let was_exclude = matches!(self.state(group, port), State::Exclude(_));
        let mut missing = sources.clone();
        let mut targets = Vec::new();
        for &id in parts {
            let before = self.part_filter(id, group);
            let kept: BTreeSet<IpAddr> =
                if was_exclude { BTreeSet::new() } else { before.sources().intersection(sources).copied().collect() };
            for source in &kept {
                missing.remove(source);
            }
            targets.push((id, before, kept));
        }
        for (_, _, target) in &mut targets {
            while target.len() < room
                && let Some(source) = missing.pop_first()
            {
                target.insert(source);
            }
        }
        let placed = match missing.is_empty() {
            true => Vec::new(),
            false => self.place_all(group, port, &SourceFilter::Include(missing))?,
        };
        let mut changed: Vec<(SocketId, SourceFilter)> = Vec::new();
        for (id, before, target) in &targets {
            let target = SourceFilter::Include(target.clone());
            if target.sources().is_empty() || target == *before {
                continue;
            }
            if let Err(reason) = self.request(*id, group, &Request::SetSources(target)) {
                for (id, before) in changed {
                    let _ = self.request(id, group, &Request::SetSources(before));
                }
                self.displace(group, &placed);
                return Err(reason);
            }
            changed.push((*id, before.clone()));
        }
        for (id, _, target) in targets {
            if target.is_empty() {
                self.drop_part(group, port, id)?;
            }
        }
        self.announce(&placed);
        if let Some(membership) = self.memberships.get_mut(&(group, port)) {
            membership.parts.extend(placed.iter().map(|part| part.id));
        }
        Ok(())
    }

    fn validate(&self, group: IpAddr, port: u16, filter: &SourceFilter) -> Result<(), Reason> {
        validate_group(group)?;
        if port == 0 {
            return Err(SubscriptionError::PortZero(group).into());
        }
        for &source in filter.sources() {
            validate_source(source, group)?;
        }
        if filter.is_exclude() && is_ssm_range(group) && !self.options.allow_asm_in_ssm_range {
            return Err(SubscriptionError::AsmInSsmRange(group).into());
        }
        Ok(())
    }

    fn request(&mut self, id: SocketId, group: IpAddr, request: &Request) -> Result<(), Reason> {
        match self.sockets.get_mut(&id) {
            Some(slot) => slot.memberships.request(group, request).map_err(|error| self.reason(error, group)),
            None => Ok(()),
        }
    }

    fn set_state(&mut self, group: IpAddr, port: u16, state: State) {
        if state == State::NotMember {
            self.memberships.remove(&(group, port));
        } else if let Some(membership) = self.memberships.get_mut(&(group, port)) {
            membership.state = state;
        }
    }

    fn parts(&self, group: IpAddr, port: u16) -> Vec<SocketId> {
        self.memberships.get(&(group, port)).map(|membership| membership.parts.clone()).unwrap_or_default()
    }

    fn part_filter(&self, id: SocketId, group: IpAddr) -> SourceFilter {
        self.sockets.get(&id).map_or(&State::NotMember, |slot| slot.memberships.state(group)).filter()
    }

    fn part_sources(&self, id: SocketId, group: IpAddr) -> BTreeSet<IpAddr> {
        self.part_filter(id, group).sources().clone()
    }

    /// How many sources of a group one socket can name. The sysctl is read again where `wanted` is more than it said: once
    /// an operation, since it costs more than a join.
    fn sources_per_part(&mut self, group: IpAddr, wanted: usize) -> usize {
        if self.limits.sources_per_group(group).is_some_and(|limit| limit < wanted) {
            self.limits = Limits::read();
        }
        let limit = self.limits.sources_per_group(group).unwrap_or(usize::MAX);
        limit.min(self.learned[usize::from(group.is_ipv6())]).max(1)
    }

    /// So many sources were too many for a socket. The next guess is the value of a stock kernel, since `mld_max_msf` can
    /// be read in the initial network namespace only; then half each time.
    fn learn_below(&mut self, group: IpAddr, refused: usize) {
        let stock = if group.is_ipv4() { 10 } else { 64 };
        let guess = if refused > stock { stock } else { refused / 2 };
        self.learned[usize::from(group.is_ipv6())] = guess.max(1);
    }

    fn too_many_blocked(&mut self, reason: Reason, group: IpAddr, wanted: &State) -> Reason {
        let asked = wanted.filter().sources().len();
        self.limits = Limits::read();
        let limit = self.limits.sources_per_group(group);
        match reason {
            Reason::NoRoom { .. } if asked > 0 && limit.is_none_or(|limit| asked > limit) => {
                Reason::TooManyBlocked { asked, limit, sysctl: Limits::sources_sysctl(group) }
            }
            other => other,
        }
    }

    fn open_reason(&self, error: OpenError) -> Reason {
        match (error.step, error.errno) {
            (_, errno @ (Errno::MFILE | Errno::NFILE)) => {
                Reason::OutOfDescriptors { errno, sockets: self.sockets.len(), limit: place::descriptors() }
            }
            ("bind", errno @ Errno::ADDRINUSE) => Reason::PortTaken { errno },
            ("bind", errno @ Errno::ACCESS) => Reason::PortPrivileged { errno },
            ("bind", errno @ Errno::NODEV) => Reason::InterfaceGone { option: "bind", errno },
            (step, errno) => Reason::Kernel { step, errno },
        }
    }

    fn reason(&self, error: SocketError, group: IpAddr) -> Reason {
        Reason::of_socket(error, group, &self.limits)
    }

    fn error(
        &self,
        operation: Operation,
        group: IpAddr,
        port: u16,
        source_address: Option<IpAddr>,
        reason: Reason,
    ) -> MembershipError {
        let interface = self.interface.clone();
        MembershipError { operation, group, port, source_address, interface, reason: Box::new(reason) }
    }
}

impl Drop for MembershipSet {
    /// The kernel path may hold the sockets longer; their memberships end here.
    fn drop(&mut self) {
        self.leave_all();
    }
}
