//! Any number of memberships on one interface, over as many sockets as the kernel's limits require.
//!
//! # One socket for each group and port, and why
//!
//! Each socket is bound to (group, port) and joins that one group. Then the kernel finds it by its hash of address and
//! port, whatever the number of others, and a datagram wakes no socket that did not ask for it. A datagram is offered
//! to *every* wildcard socket on its port, each of which walks its list of groups: with 10,000 groups on one port, 500
//! sockets of 20 groups. A wildcard socket also takes unicast datagrams from other programs on the port. And with one
//! group each, sockets cannot reach the limits per socket: `igmp_max_memberships` (20) and option memory. The price is
//! a descriptor and about 3 KiB of kernel memory per (group, port).
//!
//! If descriptors are short, groups are packed on wildcard sockets, as many as the kernel accepts. [`Layout::Auto`]
//! decides by RLIMIT_NOFILE: half of it is for sockets with one group, and the rest of the groups share. Before it
//! shares, it raises the soft limit (often 1,024) to the hard one, which needs no privilege. With a hard limit of 1,024
//! descriptors, 10,000 IPv4 groups take 512 sockets with one group and 475 shared ones.
//!
//! # Sockets that only signal
//!
//! A socket that is bound to no port signals a join, and the kernel delivers nothing to it ([`Options::join_only`]).
//! That is for a receiver that gets its packets by another way while the kernel gets them too. Otherwise there is no
//! use for it. In the XDP modes the wanted frames are redirected and the unwanted dropped before they reach the stack.
//! The sockets see neither; what they see (fragments, frames of a queue that is not served) they must deliver. In mode
//! `socket` they deliver everything. Each (source, group, port) is in the filter of exactly one socket, so that nothing
//! is queued twice. Thousands of joins cost no copies; the test `scale` counts that.
//!
//! # More sources than a socket can name
//!
//! `igmp_max_msf` (10) and `mld_max_msf` (64) limit the sources of a group *on one socket*. A longer INCLUDE filter is
//! spread over several sockets for the group; each source is on exactly one of them, so that nothing is received twice.
//! An EXCLUDE filter cannot be spread, because each socket would accept what the others block: it is refused, and the
//! error names the sysctl. To shorten it silently would deliver what the user blocked.
//!
//! # What may still come
//!
//! Datagrams that were queued before `block`, `remove_source` or `set_filter` are still queued after. The reader must
//! check the filter again. While `set_filter` turns an INCLUDE filter over several sockets into EXCLUDE, or back, a
//! datagram can be received by two of them.

mod place;
mod renew;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::errno::Errno;
use crate::error::{MembershipError, Operation, Reason, SocketError};
use crate::limits::Limits;
use crate::socket::{MembershipSocket, OptionStyle};
use crate::state::{Request, State};
use crate::subscription::{is_ssm_range, validate_group, validate_source};
use crate::udp::{OpenError, SocketId, SocketOptions, UdpDataSocket};
use crate::{InterfaceRef, Refusal, SourceFilter, SubscriptionError};

/// How memberships are spread over sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `PerGroup` up to half of the process's limit of descriptors, then `Shared`. Raises the soft limit
    /// (RLIMIT_NOFILE) to the hard one before it shares.
    #[default]
    Auto,
    /// A socket for each (group, port), bound to both. The fastest, and it takes nothing from other programs.
    PerGroup,
    /// Wildcard sockets with as many groups as the kernel accepts: a twentieth of the descriptors on a stock IPv4
    /// kernel. They also take unicast datagrams to their ports, which are refused. Datagrams of a blocked source can be
    /// received between the join of an any-source group and its block.
    Shared,
}

/// The options of a [`MembershipSet`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The socket options to use.
    pub style: OptionStyle,
    /// How memberships are spread over sockets.
    pub layout: Layout,
    /// The options of the data sockets.
    pub socket: SocketOptions,
    /// Allow any-source memberships in 232.0.0.0/8 and ff3x::/32, which RFC 4607 reserves for source-specific ones.
    pub allow_asm_in_ssm_range: bool,
    /// If true, the sockets are bound to no port: they join, so that the interface receives the groups, and the kernel
    /// delivers nothing to them. [`MembershipSet::take_events`] then has none of them. Default: false.
    pub join_only: bool,
}

/// A data socket was opened or closed. [`KernelPath::add`](crate::udp::KernelPath::add) and
/// [`KernelPath::remove`](crate::udp::KernelPath::remove) take it.
#[derive(Clone, Debug)]
pub enum SocketEvent {
    /// Receive from this socket, too. Its memberships are complete.
    Added {
        /// The socket's identity.
        id: SocketId,
        /// The socket.
        socket: Arc<UdpDataSocket>,
    },
    /// Receive no more from this socket: its last membership has ended.
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
    /// How many sources the kernel accepted if those were fewer than the sysctl allows, for IPv4 and for IPv6.
    learned: [usize; 2],
    /// With this many sockets, [`Layout::Auto`] begins to share.
    own_sockets: usize,
    sockets: BTreeMap<SocketId, Slot>,
    memberships: BTreeMap<(IpAddr, u16), Membership>,
    events: Vec<SocketEvent>,
    cancel: Option<Arc<AtomicBool>>,
}

#[derive(Debug)]
struct Slot {
    memberships: MembershipSocket<Arc<UdpDataSocket>>,
    /// True if the kernel had no room for another group (shared layout).
    full: bool,
}

/// One (group, port): its state, and the sockets that have a part of it. Only INCLUDE can have more than one part.
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
    /// A set without memberships. Reads the limits of the calling thread's network namespace; opens nothing.
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

    /// Joins a group on a port with a filter, INCLUDE (source-specific) or EXCLUDE (any-source). Other ports of a group
    /// share the join on the wire: the kernel counts its sockets, and leaves with the last.
    ///
    /// # Errors
    /// Nothing was changed. `EADDRINUSE` if this (group, port) is joined already.
    pub fn join(&mut self, group: IpAddr, port: u16, filter: &SourceFilter) -> Result<(), MembershipError> {
        self.try_join(group, port, filter).map_err(|reason| self.error(Operation::Join, group, port, None, reason))
    }

    /// Ends a membership.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` if there is none.
    pub fn leave(&mut self, group: IpAddr, port: u16) -> Result<(), MembershipError> {
        self.try_leave(group, port).map_err(|reason| self.error(Operation::Leave, group, port, None, reason))
    }

    /// Adds a source to an INCLUDE membership, or joins with this source.
    ///
    /// # Errors
    /// Nothing was changed. `EADDRNOTAVAIL` for a source that is accepted already, `EINVAL` on an EXCLUDE membership.
    pub fn add_source(&mut self, group: IpAddr, port: u16, source: IpAddr) -> Result<(), MembershipError> {
        self.try_add_source(group, port, source)
            .map_err(|reason| self.error(Operation::AddSource, group, port, Some(source), reason))
    }

    /// Removes a source from an INCLUDE membership; the last one ends it.
    ///
    /// # Errors
    /// Nothing was changed. `EADDRNOTAVAIL` for a source that is not accepted, `EINVAL` on EXCLUDE or no membership.
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

    /// Accepts a blocked source of an EXCLUDE membership again.
    ///
    /// # Errors
    /// Nothing was changed. `EADDRNOTAVAIL` for a source that is not blocked, `EINVAL` on INCLUDE or no membership.
    pub fn unblock(&mut self, group: IpAddr, port: u16, source: IpAddr) -> Result<(), MembershipError> {
        self.try_blocked(group, port, Request::Unblock(source))
            .map_err(|reason| self.error(Operation::Unblock, group, port, Some(source), reason))
    }

    /// Replaces the filter of a membership; INCLUDE without a source leaves. The change is atomic on each socket, and
    /// each source that stays keeps its socket: a source that is accepted before and after loses no datagram.
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
        // The kernel looks for a membership from the latest on. To leave them in the order of joining would take time
        // that grows with the square of their number.
        while let Some((id, slot)) = self.sockets.pop_last() {
            slot.memberships.end_all();
            self.announce_removal(id);
        }
    }

    /// Sets a flag that ends a join of many sources early once it is true. Nothing is joined then, and the error is
    /// [`Reason::Cancelled`].
    pub fn cancel_by(&mut self, flag: Option<Arc<AtomicBool>>) {
        self.cancel = flag;
    }

    /// The sockets that were opened and closed since the last call, in order.
    #[must_use = "a socket that nobody receives from fills up and drops"]
    pub fn take_events(&mut self) -> Vec<SocketEvent> {
        std::mem::take(&mut self.events)
    }

    /// The state of the membership of this group and port.
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

    /// The kernel's limits, as they were when they were last needed.
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
                    // Fewer sources fit on a socket than was assumed.
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

    /// Makes `sources` the INCLUDE filter over `parts` and, if they are too few, over new ones. First it opens new
    /// sockets, then it changes filters, then it closes empty sockets: no source that stays is ever without a socket.
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

    /// How many sources of a group one socket can name. The sysctl is read again if `wanted` is above its last value:
    /// once per operation, since it costs more than a join.
    fn sources_per_part(&mut self, group: IpAddr, wanted: usize) -> usize {
        if self.limits.sources_per_group(group).is_some_and(|limit| limit < wanted) {
            self.limits = Limits::read();
        }
        let limit = self.limits.sources_per_group(group).unwrap_or(usize::MAX);
        limit.min(self.learned[usize::from(group.is_ipv6())]).max(1)
    }

    /// `refused` sources were too many for a socket. The next guess is the value of a stock kernel, since `mld_max_msf`
    /// can only be read in the initial network namespace; then half each time.
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
            ("bind", errno @ Errno::ACCES) => Reason::PortPrivileged { errno },
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
    /// The kernel path can hold the sockets longer; their memberships end here.
    fn drop(&mut self) {
        self.leave_all();
    }
}
