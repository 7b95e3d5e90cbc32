//! What netlink tells of links while they change, message by message: a state that lasted for a moment is in its
//! message, where a look would come too late.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::interface::{carrier_downs, is_usable};

/// RTNLGRP_LINK, RTNLGRP_IPV4_NETCONF and RTNLGRP_IPV6_NETCONF as a mask (include/uapi/linux/rtnetlink.h).
const GROUPS: u32 = 1 | 1 << 23 | 1 << 24;
/// The messages of the last two, which the library does not parse.
const RTM_NEWNETCONF: u16 = 80;
const RTM_DELNETCONF: u16 = 81;
/// Attribute of a netconf message: the interface's index (include/uapi/linux/netconf.h).
const NETCONFA_IFINDEX: u16 = 1;
/// `struct nlmsghdr`, and `struct netconfmsg` with its padding, in bytes.
const HEADER: usize = 16;
const NETCONF_HEADER: usize = 4;

/// One change of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The link is like this now.
    Changed { index: u32, usable: bool, carrier_downs: Option<u32> },
    /// It left the network namespace, or was deleted.
    Gone { index: u32 },
    /// It lost an IP version, and with it all memberships of that.
    FamilyGone { index: u32, ipv6: bool },
    /// It gained an IP version, or a setting of it changed.
    FamilyChanged { index: u32 },
    /// More came than could be kept: anything may have changed.
    Overrun,
}

/// A socket on which they come.
pub(super) struct Events {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Events {
    /// Of the calling thread's network namespace.
    pub fn subscribe() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, buffer: Vec::with_capacity(1 << 16) })
    }

    /// All that came since the last call, in order. Does not wait.
    pub fn take(&mut self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => events.extend(messages(&self.buffer).filter_map(event)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(events),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => events.push(Event::Overrun),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The messages of one datagram.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        let message = rest.get(..length).filter(|message| message.len() >= HEADER)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn event(message: &[u8]) -> Option<Event> {
    let kind = u16::from_ne_bytes([message[4], message[5]]);
    if matches!(kind, RTM_NEWNETCONF | RTM_DELNETCONF) {
        return netconf(kind, &message[HEADER..]);
    }
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message).ok()?;
    match message.payload {
        // Bridges and IPv6 tell of links, too: in messages of their own families.
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) if is_of_link(&link) => {
            let (usable, carrier_downs) = (is_usable(&link), carrier_downs(&link));
            Some(Event::Changed { index: link.header.index, usable, carrier_downs })
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) if is_of_link(&link) => {
            Some(Event::Gone { index: link.header.index })
        }
        _ => None,
    }
}

fn is_of_link(link: &LinkMessage) -> bool {
    link.header.interface_family == AddressFamily::Unspec
}

/// `struct netconfmsg` and its attributes. Messages of all interfaces and of the default have negative indices.
fn netconf(kind: u16, body: &[u8]) -> Option<Event> {
    let family = i32::from(*body.first()?);
    let mut rest = body.get(NETCONF_HEADER..)?;
    let index = loop {
        let (header, value) = rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        if u16::from_ne_bytes([header[2], header[3]]) == NETCONFA_IFINDEX {
            break u32::try_from(i32::from_ne_bytes(*value.first_chunk()?)).ok()?;
        }
        rest = rest.get(length.next_multiple_of(4).max(4)..)?;
    };
    match (kind, family) {
        (RTM_DELNETCONF, libc::AF_INET) => Some(Event::FamilyGone { index, ipv6: false }),
        (RTM_DELNETCONF, libc::AF_INET6) => Some(Event::FamilyGone { index, ipv6: true }),
        (RTM_NEWNETCONF, libc::AF_INET | libc::AF_INET6) => Some(Event::FamilyChanged { index }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn netconf_message(kind: u16, family: i32, index: i32) -> Vec<u8> {
        let mut message = vec![0; HEADER];
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message.extend([family as u8, 0, 0, 0]);
        // Another attribute first: RP_FILTER, a word.
        for (attribute, value) in [(3_u16, 1), (NETCONFA_IFINDEX, index)] {
            message.extend(8_u16.to_ne_bytes());
            message.extend(attribute.to_ne_bytes());
            message.extend(i32::to_ne_bytes(value));
        }
        let length = message.len() as u32;
        message[..4].copy_from_slice(&length.to_ne_bytes());
        message
    }

    #[test]
    fn a_family_that_goes_is_told_with_its_interface() {
        let events = |bytes: &[u8]| messages(bytes).filter_map(event).collect::<Vec<_>>();
        let mut bytes = netconf_message(RTM_DELNETCONF, libc::AF_INET6, 7);
        bytes.extend(netconf_message(RTM_NEWNETCONF, libc::AF_INET, 8));
        assert_eq!(events(&bytes), [Event::FamilyGone { index: 7, ipv6: true }, Event::FamilyChanged { index: 8 }]);
        assert_eq!(events(&netconf_message(RTM_DELNETCONF, libc::AF_INET6, -1)), [], "of all interfaces");
        assert_eq!(events(&netconf_message(RTM_DELNETCONF, libc::AF_MPLS, 7)), []);
    }

    #[test]
    fn damage_is_no_event_and_no_panic() {
        let whole = netconf_message(RTM_DELNETCONF, libc::AF_INET, 7);
        for length in 0..whole.len() {
            let mut cut = whole[..length].to_vec();
            assert_eq!(messages(&cut).filter_map(event).count(), 0);
            if let Some(told) = cut.first_chunk_mut::<4>() {
                *told = (length as u32).to_ne_bytes();
                assert_eq!(messages(&cut).filter_map(event).count(), 0, "{length}");
            }
        }
    }
}
