//! The memberships of one socket: makes the changes that the state machine allows, in one of several option styles,
//! reads back what the kernel then holds, and undoes changes that were only made in part.
//!
//! Linux never sees a request that it would judge differently. After JOIN_GROUP it would take JOIN_SOURCE_GROUP and
//! silently switch to INCLUDE, and LEAVE_SOURCE_GROUP and leave INCLUDE without a source.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};

use crate::errno::Errno;
use crate::error::SocketError;
use crate::sockopt::{self as opt, GroupSource, IpSource, Opt};
use crate::state::{Request, State};
use crate::subscription::{validate_group, validate_source};
use crate::{InterfaceRef, Refusal, SourceFilter};

/// The socket options to use. All lead to the same states and to the same reports on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OptionStyle {
    /// `MCAST_*` for both families, by interface index. Works for an interface without an address, too.
    #[default]
    Mcast,
    /// `IP_*` for IPv4, with sources by interface address, and `IPV6_*` where IPv6 has its own.
    ProtocolSpecific,
    /// `MCAST_MSFILTER`. The join is as in `Mcast`, since the kernel requires a membership first. Every change from
    /// then on, leaving included, replaces the filter as a whole.
    FullState,
    /// The same with `IP_MSFILTER` for IPv4, by interface address.
    FullStateProtocolSpecific,
}

impl OptionStyle {
    /// All styles.
    pub const ALL: [Self; 4] = [Self::Mcast, Self::ProtocolSpecific, Self::FullState, Self::FullStateProtocolSpecific];

    fn is_protocol_specific(self) -> bool {
        matches!(self, Self::ProtocolSpecific | Self::FullStateProtocolSpecific)
    }

    fn is_full_state(self) -> bool {
        matches!(self, Self::FullState | Self::FullStateProtocolSpecific)
    }
}

/// A socket and its memberships on one interface.
#[derive(Debug)]
pub struct MembershipSocket<S> {
    socket: S,
    interface: InterfaceRef,
    style: OptionStyle,
    /// Only groups that are joined.
    states: BTreeMap<IpAddr, State>,
    /// Groups of `states` that the kernel has lost: requests change the state alone, until they are renewed.
    abandoned: BTreeSet<IpAddr>,
}

impl<S: AsFd> MembershipSocket<S> {
    /// Takes a socket on which nothing is joined yet. From now on its memberships must only be changed here.
    pub fn new(socket: S, interface: InterfaceRef, style: OptionStyle) -> Self {
        Self { socket, interface, style, states: BTreeMap::new(), abandoned: BTreeSet::new() }
    }

    /// The socket.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The state of this group's membership.
    pub fn state(&self, group: IpAddr) -> &State {
        static NOT_MEMBER: State = State::NotMember;
        self.states.get(&group).unwrap_or(&NOT_MEMBER)
    }

    /// All groups that are joined, with their states.
    pub fn states(&self) -> impl ExactSizeIterator<Item = (IpAddr, &State)> {
        self.states.iter().map(|(&group, state)| (group, state))
    }

    /// Judges the request, has the kernel execute it, and reads back what the kernel then holds.
    ///
    /// # Errors
    /// Nothing was changed, in the kernel either, unless the error is [`SocketError::NotRestored`]. After `Refused` and
    /// `Invalid` the kernel was not asked.
    pub fn request(&mut self, group: IpAddr, request: &Request) -> Result<(), SocketError> {
        validate_group(group)?;
        let sources = match request {
            Request::SetSources(filter) => filter.sources().iter(),
            _ => Default::default(),
        };
        for &source in sources.chain(&request.source()) {
            validate_source(source, group)?;
        }
        let previous = self.state(group).clone();
        let next = previous.judge(request)?;
        if !self.abandoned.contains(&group)
            && let Err(cause) = self.execute(group, &previous, &next, request).and_then(|()| self.confirm(group, &next))
        {
            return Err(self.restore(group, &previous, cause));
        }
        if next == State::NotMember {
            self.states.remove(&group);
            self.abandoned.remove(&group);
        } else {
            self.states.insert(group, next);
        }
        Ok(())
    }

    /// Ends what the socket still holds of a group that the kernel has lost with the device.
    /// [`MembershipSocket::state`] stays, and requests change it, until [`MembershipSocket::renew`].
    pub(super) fn abandon(&mut self, group: IpAddr) {
        self.end(group);
        if self.states.contains_key(&group) {
            self.abandoned.insert(group);
        }
    }

    /// Ends all memberships, for a socket that is about to be closed.
    pub(super) fn end_all(&self) {
        self.states.keys().for_each(|&group| self.end(group));
    }

    fn end(&self, group: IpAddr) {
        // By index, as in `restore`. It fails if nothing is held.
        let _ = opt::mcast_group(self.fd(), opt::MCAST_LEAVE_GROUP, self.interface.index, group);
    }

    /// Joins a group again with its [`MembershipSocket::state`], after [`MembershipSocket::abandon`].
    ///
    /// # Errors
    /// The kernel refused, and the group is not joined: it stays abandoned.
    pub(super) fn renew(&mut self, group: IpAddr) -> Result<(), SocketError> {
        if !self.abandoned.contains(&group) {
            return Ok(());
        }
        let state = self.state(group);
        let filter = state.filter();
        let index = self.interface.index;
        let joined = match filter.sources().first() {
            Some(&first) if !filter.is_exclude() => {
                let joined = opt::mcast_source(self.fd(), opt::MCAST_JOIN_SOURCE_GROUP, index, group, first);
                kernel(opt::MCAST_JOIN_SOURCE_GROUP, joined)
            }
            _ => {
                let joined = opt::mcast_group(self.fd(), opt::MCAST_JOIN_GROUP, index, group);
                kernel(opt::MCAST_JOIN_GROUP, joined)
            }
        };
        let renewed = joined
            .and_then(|()| match filter.sources().len() {
                // The join has set the whole filter.
                1 if !filter.is_exclude() => Ok(()),
                0 => Ok(()),
                _ => self.set_filter_by_index(group, &filter),
            })
            .and_then(|()| self.confirm(group, state));
        match &renewed {
            Ok(()) => _ = self.abandoned.remove(&group),
            Err(_) => self.end(group),
        }
        renewed
    }

    /// The state that the kernel holds for this socket, interface and group, by the getter of the option style. It can
    /// be INCLUDE without a source if something else than this type changed the socket.
    ///
    /// # Errors
    /// The kernel refused the getter.
    pub fn kernel_state(&self, group: IpAddr) -> Result<State, SocketError> {
        let expected = self.state(group).filter().sources().len();
        match (self.style.is_protocol_specific(), group) {
            (true, IpAddr::V4(group)) => match self.interface_address() {
                Ok(address) => kernel(opt::IP_MSFILTER, opt::ip_filter(self.fd(), address, group, expected)),
                // The address may be gone; the kernel still knows the index.
                Err(_) => self.filter_by_index(group.into(), expected),
            },
            _ => self.filter_by_index(group, expected),
        }
    }

    fn filter_by_index(&self, group: IpAddr, expected: usize) -> Result<State, SocketError> {
        kernel(opt::MCAST_MSFILTER, opt::mcast_filter(self.fd(), self.interface.index, group, expected))
    }

    fn execute(&self, group: IpAddr, previous: &State, next: &State, request: &Request) -> Result<(), SocketError> {
        match (previous, request) {
            (State::NotMember, Request::JoinGroup) => self.join(group),
            (State::NotMember, Request::JoinSource(source)) => {
                self.source(group, *source, opt::IP_ADD_SOURCE_MEMBERSHIP, opt::MCAST_JOIN_SOURCE_GROUP)
            }
            (_, Request::SetSources(_)) => self.set_filter(group, next),
            (_, _) if self.style.is_full_state() => self.set_filter(group, next),
            (_, Request::LeaveGroup) => self.leave(group, previous),
            (_, Request::JoinSource(source)) => {
                self.source(group, *source, opt::IP_ADD_SOURCE_MEMBERSHIP, opt::MCAST_JOIN_SOURCE_GROUP)
            }
            (_, Request::LeaveSource(source)) => {
                self.source(group, *source, opt::IP_DROP_SOURCE_MEMBERSHIP, opt::MCAST_LEAVE_SOURCE_GROUP)
            }
            (_, Request::Block(source)) => self.source(group, *source, opt::IP_BLOCK_SOURCE, opt::MCAST_BLOCK_SOURCE),
            (_, Request::Unblock(source)) => {
                self.source(group, *source, opt::IP_UNBLOCK_SOURCE, opt::MCAST_UNBLOCK_SOURCE)
            }
            // The state machine has refused JOIN_GROUP on a group that is joined.
            (_, Request::JoinGroup) => Err(Refusal::AlreadyJoined.into()),
        }
    }

    fn join(&self, group: IpAddr) -> Result<(), SocketError> {
        let index = self.interface.index;
        match (self.style.is_protocol_specific(), group) {
            (true, IpAddr::V4(group)) => {
                kernel(opt::IP_ADD_MEMBERSHIP, opt::ip_group(self.fd(), opt::IP_ADD_MEMBERSHIP, index, group))
            }
            (true, IpAddr::V6(group)) => {
                kernel(opt::IPV6_ADD_MEMBERSHIP, opt::ipv6_group(self.fd(), opt::IPV6_ADD_MEMBERSHIP, index, group))
            }
            _ => kernel(opt::MCAST_JOIN_GROUP, opt::mcast_group(self.fd(), opt::MCAST_JOIN_GROUP, index, group)),
        }
    }

    /// `IPV6_DROP_MEMBERSHIP` leaves any-source memberships of IPv6 only; there is no IPV6_* option for sources.
    fn leave(&self, group: IpAddr, previous: &State) -> Result<(), SocketError> {
        let index = self.interface.index;
        match (self.style.is_protocol_specific(), group, previous) {
            (true, IpAddr::V4(group), _) => {
                kernel(opt::IP_DROP_MEMBERSHIP, opt::ip_group(self.fd(), opt::IP_DROP_MEMBERSHIP, index, group))
            }
            (true, IpAddr::V6(group), State::Exclude(_)) => {
                kernel(opt::IPV6_DROP_MEMBERSHIP, opt::ipv6_group(self.fd(), opt::IPV6_DROP_MEMBERSHIP, index, group))
            }
            _ => kernel(opt::MCAST_LEAVE_GROUP, opt::mcast_group(self.fd(), opt::MCAST_LEAVE_GROUP, index, group)),
        }
    }

    fn source(
        &self,
        group: IpAddr,
        source: IpAddr,
        ip: Opt<IpSource>,
        mcast: Opt<GroupSource>,
    ) -> Result<(), SocketError> {
        match (self.style.is_protocol_specific(), group, source) {
            (true, IpAddr::V4(group), IpAddr::V4(source)) => {
                let address = self.interface_address()?;
                kernel(ip, opt::ip_source(self.fd(), ip, address, group, source))
            }
            _ => kernel(mcast, opt::mcast_source(self.fd(), mcast, self.interface.index, group, source)),
        }
    }

    fn set_filter(&self, group: IpAddr, next: &State) -> Result<(), SocketError> {
        let filter = next.filter();
        match (self.style.is_protocol_specific(), group) {
            (true, IpAddr::V4(group)) => {
                let address = self.interface_address()?;
                kernel(opt::IP_MSFILTER, opt::set_ip_filter(self.fd(), address, group, &filter))
            }
            _ => self.set_filter_by_index(group, &filter),
        }
    }

    fn set_filter_by_index(&self, group: IpAddr, filter: &SourceFilter) -> Result<(), SocketError> {
        kernel(opt::MCAST_MSFILTER, opt::set_mcast_filter(self.fd(), self.interface.index, group, filter))
    }

    /// Always by index: if two interfaces have the same address, the kernel may have taken the other one.
    fn confirm(&self, group: IpAddr, expected: &State) -> Result<(), SocketError> {
        let kernel = self.filter_by_index(group, expected.filter().sources().len())?;
        if kernel == *expected {
            Ok(())
        } else {
            Err(SocketError::FilterDiffers { expected: expected.clone(), kernel })
        }
    }

    /// Restores `previous` in the kernel after a change failed for `cause`, which is returned.
    fn restore(&self, group: IpAddr, previous: &State, cause: SocketError) -> SocketError {
        let index = self.interface.index;
        let held = |expected: &State| self.filter_by_index(group, expected.filter().sources().len());
        if let (SocketError::FilterDiffers { expected: State::Include(sources), .. }, State::NotMember) =
            (&cause, previous)
        {
            // If two interfaces have the same address, the join may be on the other one: it is undone the way it was
            // done.
            for &source in sources {
                let _ = self.source(group, source, opt::IP_DROP_SOURCE_MEMBERSHIP, opt::MCAST_LEAVE_SOURCE_GROUP);
            }
        }
        let Ok(kernel) = held(previous) else { return cause };
        if kernel == *previous {
            return cause;
        }
        // By index in every style: the fault can be in how the style names the interface. The result is read back
        // below.
        let filter = previous.filter();
        if *previous == State::NotMember {
            let _ = opt::mcast_group(self.fd(), opt::MCAST_LEAVE_GROUP, index, group);
        } else {
            if kernel == State::NotMember {
                let _ = match filter.sources().first() {
                    Some(&first) if !filter.is_exclude() => {
                        opt::mcast_source(self.fd(), opt::MCAST_JOIN_SOURCE_GROUP, index, group, first)
                    }
                    _ => opt::mcast_group(self.fd(), opt::MCAST_JOIN_GROUP, index, group),
                };
            }
            let _ = self.set_filter_by_index(group, &filter);
        }
        match held(previous) {
            Ok(kernel) if kernel == *previous => cause,
            Ok(kernel) => SocketError::NotRestored { cause: Box::new(cause), kernel },
            Err(_) => SocketError::NotRestored { cause: Box::new(cause), kernel },
        }
    }

    fn interface_address(&self) -> Result<Ipv4Addr, SocketError> {
        match opt::interface_address(self.fd(), self.interface.index) {
            Ok(address) => Ok(address),
            Err(Errno::ADDRNOTAVAIL) => Err(SocketError::NoInterfaceAddress),
            Err(errno) => Err(SocketError::Kernel { option: "SIOCGIFADDR", errno }),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn kernel<T, V>(option: Opt<V>, result: Result<T, Errno>) -> Result<T, SocketError> {
    result.map_err(|errno| SocketError::Kernel { option: option.name, errno })
}
