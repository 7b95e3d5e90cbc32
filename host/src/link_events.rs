//! Changes of links as netlink reports them, message by message. A state that lasted only for a moment is in its
//! message, where a read of the link's state would come too late.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::interface::{carrier_downs, is_usable};
use crate::netlink::messages;

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

/// A change of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkEvent {
    /// The link has this state now.
    Changed {
        /// The link's index.
        index: u32,
        /// True if packets can come in.
        usable: bool,
        /// How often the link has lost its carrier, modulo 2³².
        carrier_downs: Option<u32>,
    },
    /// The link left the network namespace, or was deleted.
    Gone {
        /// The link's index.
        index: u32,
        /// True if it moved to another network namespace.
        moved: bool,
    },
    /// The link lost an IP version, and with it all memberships of that version.
    FamilyGone {
        /// The link's index.
        index: u32,
        /// True for IPv6.
        ipv6: bool,
    },
    /// The link gained an IP version, or a setting of it changed.
    FamilyChanged {
        /// The link's index.
        index: u32,
    },
    /// Messages were lost because the socket's buffer was full: anything may have changed.
    Overrun,
}

/// A subscription to the changes of all links of a network namespace.
#[derive(Debug)]
pub struct LinkEvents {
    socket: Socket,
    buffer: Vec<u8>,
}

impl LinkEvents {
    /// Subscribes in the calling thread's network namespace. Needs no privilege.
    ///
    /// # Errors
    /// As socket(2) and bind(2).
    pub fn subscribe() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, buffer: Vec::with_capacity(1 << 16) })
    }

    /// Takes all events since the last call, in order. Does not wait.
    ///
    /// # Errors
    /// As recv(2).
    pub fn take(&mut self) -> io::Result<Vec<LinkEvent>> {
        let mut events = Vec::new();
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => events.extend(events_of(&self.buffer)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(events),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => events.push(LinkEvent::Overrun),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for LinkEvents {
    /// Readable when there are events.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The events of one datagram.
pub fn events_of(datagram: &[u8]) -> impl Iterator<Item = LinkEvent> {
    messages(datagram).filter_map(event)
}

fn event(message: &[u8]) -> Option<LinkEvent> {
    let kind = u16::from_ne_bytes([message[4], message[5]]);
    if matches!(kind, RTM_NEWNETCONF | RTM_DELNETCONF) {
        return netconf(kind, &message[HEADER..]);
    }
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message).ok()?;
    match message.payload {
        // Bridges and IPv6 report links, too, in messages of their own families.
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) if is_of_link(&link) => {
            let (usable, carrier_downs) = (is_usable(&link), carrier_downs(&link));
            Some(LinkEvent::Changed { index: link.header.index, usable, carrier_downs })
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) if is_of_link(&link) => {
            let moved = link.attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::NewNetnsId(_)));
            Some(LinkEvent::Gone { index: link.header.index, moved })
        }
        _ => None,
    }
}

fn is_of_link(link: &LinkMessage) -> bool {
    link.header.interface_family == AddressFamily::Unspec
}

/// `struct netconfmsg` and its attributes. Messages of all interfaces and of the default have negative indices.
fn netconf(kind: u16, body: &[u8]) -> Option<LinkEvent> {
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
        (RTM_DELNETCONF, libc::AF_INET) => Some(LinkEvent::FamilyGone { index, ipv6: false }),
        (RTM_DELNETCONF, libc::AF_INET6) => Some(LinkEvent::FamilyGone { index, ipv6: true }),
        (RTM_NEWNETCONF, libc::AF_INET | libc::AF_INET6) => Some(LinkEvent::FamilyChanged { index }),
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
    fn a_family_that_goes_is_reported_with_its_interface() {
        let events = |bytes: &[u8]| messages(bytes).filter_map(event).collect::<Vec<_>>();
        let mut bytes = netconf_message(RTM_DELNETCONF, libc::AF_INET6, 7);
        bytes.extend(netconf_message(RTM_NEWNETCONF, libc::AF_INET, 8));
        assert_eq!(
            events(&bytes),
            [LinkEvent::FamilyGone { index: 7, ipv6: true }, LinkEvent::FamilyChanged { index: 8 }]
        );
        assert_eq!(events(&netconf_message(RTM_DELNETCONF, libc::AF_INET6, -1)), [], "of all interfaces");
        assert_eq!(events(&netconf_message(RTM_DELNETCONF, libc::AF_MPLS, 7)), []);
    }

    #[test]
    fn damage_is_no_event_and_no_panic() {
        let whole = netconf_message(RTM_DELNETCONF, libc::AF_INET, 7);
        for length in 0..whole.len() {
            let mut cut = whole[..length].to_vec();
            assert_eq!(messages(&cut).filter_map(event).count(), 0);
            if let Some(claimed) = cut.first_chunk_mut::<4>() {
                *claimed = (length as u32).to_ne_bytes();
                assert_eq!(messages(&cut).filter_map(event).count(), 0, "{length}");
            }
        }
    }
}
