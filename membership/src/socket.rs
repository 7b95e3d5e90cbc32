//! The memberships of one socket: executes what the state machine allows, in one of several option styles, reads back
//! what the kernel then holds, and takes half-made changes back.
//!
//! Linux never sees a request that it would judge in another way: it would switch JOIN_GROUP + JOIN_SOURCE_GROUP to
//! INCLUDE in silence, and leave a deaf INCLUDE{} after JOIN_GROUP + LEAVE_SOURCE_GROUP.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use super::error::SocketError;
use super::sockopt as opt;
use super::state::{Request, State};
use super::{InterfaceRef, Refusal};
use crate::SourceFilter;
use crate::subscription::{validate_group, validate_source};

/// Which socket options are used. All lead to the same states and to the same reports on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OptionStyle {
    /// `MCAST_*` for both families, by interface index: also works where the interface has no address.
    #[default]
    Mcast,
    /// `IP_*` for IPv4, with sources by interface address, and `IPV6_*` where IPv6 has its own.
    ProtocolSpecific,
    /// `MCAST_MSFILTER`: joined as in `Mcast`, since the kernel asks for a membership first; every change from then on,
    /// leaving included, replaces the filter as a whole.
    FullState,
    /// The same with `IP_MSFILTER` for IPv4, by interface address.
    FullStateProtocolSpecific,
}

impl OptionStyle {
    /// All of them, for tests and for the conformance table.
    pub const ALL: [Self; 4] = [Self::Mcast, Self::ProtocolSpecific, Self::FullState, Self::FullStateProtocolSpecific];

    fn is_protocol_specific(self) -> bool {
        matches!(self, Self::ProtocolSpecific | Self::FullStateProtocolSpecific)
    }

    fn is_full_state(self) -> bool {
        matches!(self, Self::FullState | Self::FullStateProtocolSpecific)
    }
}

/// A socket and what is joined on it, on one interface.
#[derive(Debug)]
pub struct MembershipSocket<S> {
    socket: S,
    interface: InterfaceRef,
    style: OptionStyle,
    /// Only groups that are joined.
    states: BTreeMap<IpAddr, State>,
}

impl<S: AsFd> MembershipSocket<S> {
    /// A socket on which nothing is joined yet. Its memberships must be changed here only.
    pub fn new(socket: S, interface: InterfaceRef, style: OptionStyle) -> Self {
        Self { socket, interface, style, states: BTreeMap::new() }
    }

    /// The socket.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// What is joined of this group.
    pub fn state(&self, group: IpAddr) -> &State {
        static NOT_MEMBER: State = State::NotMember;
        self.states.get(&group).unwrap_or(&NOT_MEMBER)
    }

    /// The groups that are joined, with their states.
    pub fn states(&self) -> impl ExactSizeIterator<Item = (IpAddr, &State)> {
        self.states.iter().map(|(&group, state)| (group, state))
    }

    /// Judges the request, has the kernel do it, and reads back what the kernel then holds.
    ///
    /// # Errors
    /// Then everything is as before, in the kernel too, unless it is [`SocketError::NotRestored`]. `Refused` and
    /// `Invalid` never reached the kernel.
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
        if let Err(cause) = self.execute(group, &previous, &next, request).and_then(|()| self.confirm(group, &next)) {
            return Err(self.restore(group, &previous, cause));
        }
        match next {
            State::NotMember => self.states.remove(&group),
            next => self.states.insert(group, next),
        };
        Ok(())
    }

    /// Ends what the socket holds of a group that the kernel has lost with the device. [`MembershipSocket::state`] stays.
    pub(super) fn abandon(&self, group: IpAddr) {
        // By index, as in `restore`. It fails where nothing is held.
        let _ = opt::mcast_group(self.fd(), opt::MCAST_LEAVE_GROUP, self.interface.index, group);
    }

    /// As [`MembershipSocket::abandon`], of all groups: for a socket that is given up.
    pub(super) fn abandon_all(&self) {
        self.states.keys().for_each(|&group| self.abandon(group));
    }

    /// Joins a group again as [`MembershipSocket::state`] says, after [`MembershipSocket::abandon`].
    ///
    /// # Errors
    /// The kernel did not take it: the group is not joined.
    pub(super) fn renew(&self, group: IpAddr) -> Result<(), SocketError> {
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
                // The join has said it all.
                1 if !filter.is_exclude() => Ok(()),
                0 => Ok(()),
                _ => self.set_filter_by_index(group, &filter),
            })
            .and_then(|()| self.confirm(group, state));
        renewed.inspect_err(|_| self.abandon(group))
    }

    /// What the kernel holds for this socket, interface and group, by the getter that belongs to the option style. The
    /// state INCLUDE with an empty list can be seen here if something else than this type changed the socket.
    ///
    /// # Errors
    /// What the getter said, under its name.
    pub fn kernel_state(&self, group: IpAddr) -> Result<State, SocketError> {
        let expected = self.state(group).filter().sources().len();
        match (self.style.is_protocol_specific(), group) {
            (true, IpAddr::V4(group)) => match self.interface_address() {
                Ok(address) => kernel(opt::IP_MSFILTER, opt::ip_filter(self.fd(), address, group, expected)),
                // The address may have gone since; the kernel still knows the index.
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
            // The state machine lets no JOIN_GROUP pass on a group that is joined.
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

    /// Any-source memberships of IPv6 are left with `IPV6_DROP_MEMBERSHIP`, source-specific ones with
    /// `MCAST_LEAVE_GROUP`, as the recipes say.
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

    fn source(&self, group: IpAddr, source: IpAddr, ip: opt::Opt, mcast: opt::Opt) -> Result<(), SocketError> {
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

    /// Always by index: where two interfaces have one address, the kernel may have taken the other.
    fn confirm(&self, group: IpAddr, expected: &State) -> Result<(), SocketError> {
        let kernel = self.filter_by_index(group, expected.filter().sources().len())?;
        if kernel == *expected {
            Ok(())
        } else {
            Err(SocketError::FilterDiffers { expected: expected.clone(), kernel })
        }
    }

    /// Puts the kernel back to `previous` after a change failed for `cause`, which is given back.
    fn restore(&self, group: IpAddr, previous: &State, cause: SocketError) -> SocketError {
        let index = self.interface.index;
        let held = |expected: &State| self.filter_by_index(group, expected.filter().sources().len());
        if let (SocketError::FilterDiffers { expected: State::Include(sources), .. }, State::NotMember) =
            (&cause, previous)
        {
            // Where two interfaces have one address, the join may stand on the other one: it is undone as it was done.
            for &source in sources {
                let _ = self.source(group, source, opt::IP_DROP_SOURCE_MEMBERSHIP, opt::MCAST_LEAVE_SOURCE_GROUP);
            }
        }
        let Ok(kernel) = held(previous) else { return cause };
        if kernel == *previous {
            return cause;
        }
        // The steps by index, whatever the style: what is to be repaired may lie in the style's own way of naming the
        // interface. Whether they worked is read back below.
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

fn kernel<T>(option: opt::Opt, result: Result<T, Errno>) -> Result<T, SocketError> {
    result.map_err(|errno| SocketError::Kernel { option: option.name, errno })
}
