//! What the sender must know of its interface, asked from rtnetlink: it answers for the network namespace of the calling
//! thread, which sysfs does not.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::error::SendError;

/// Longest name, bytes: IFNAMSIZ less the terminating zero.
const MAX_NAME: usize = 15;

/// An interface, as it was when asked.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) index: u32,
    /// Bytes of an IP packet.
    pub(super) mtu: usize,
    /// The MAC address, where frames have an Ethernet header.
    pub(super) mac: Option<[u8; 6]>,
    up: bool,
    carrier: bool,
    addresses: Vec<OwnAddress>,
}

/// What the interface counted since it was made, by everybody who sends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkCounters {
    pub(super) tx_packets: u64,
    pub(super) tx_dropped: u64,
}

#[derive(Clone, Copy, Debug)]
struct OwnAddress {
    address: IpAddr,
    /// Duplicate address detection runs or has failed: nothing can be sent from it.
    tentative: bool,
}

impl Link {
    /// Asks for the interface and its addresses. Needs no privilege.
    pub(super) fn find(name: &str) -> Result<Self, SendError> {
        let unknown = || SendError::UnknownInterface(name.to_owned());
        // The kernel would answer a name that is none with other errors.
        if name.is_empty() || name.len() > MAX_NAME || name.contains(['/', '\0']) {
            return Err(unknown());
        }
        let mut wanted = LinkMessage::default();
        wanted.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let answers = match request(RouteNetlinkMessage::GetLink(wanted), 0) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Err(unknown()),
            answers => answers.map_err(SendError::os(format!("asking for interface {name}")))?,
        };
        let mut link = answers.iter().find_map(|answer| Self::read(name, answer)).ok_or_else(unknown)?;
        let dump = request(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)
            .map_err(SendError::os(format!("asking for the addresses of {name}")))?;
        link.addresses = dump.iter().filter_map(|answer| own_address(link.index, answer)).collect();
        Ok(link)
    }

    /// The interface's counters, now (`ip -s link`).
    pub(super) fn counters(&self) -> Result<LinkCounters, SendError> {
        let mut wanted = LinkMessage::default();
        wanted.header.index = self.index;
        let answers = request(RouteNetlinkMessage::GetLink(wanted), 0)
            .map_err(SendError::os(format!("asking for the counters of {}", self.name)))?;
        let counters = answers.iter().find_map(|answer| {
            let RouteNetlinkMessage::NewLink(message) = answer else { return None };
            message.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::Stats64(stats) => {
                    Some(LinkCounters { tx_packets: stats.tx_packets, tx_dropped: stats.tx_dropped })
                }
                _ => None,
            })
        });
        counters.ok_or_else(|| SendError::UnknownInterface(self.name.clone()))
    }

    /// Can anything leave through it?
    pub(super) fn check_up(&self) -> Result<(), SendError> {
        match (self.up, self.carrier) {
            (false, _) => Err(SendError::InterfaceDown(self.name.clone())),
            (_, false) => Err(SendError::NoCarrier(self.name.clone())),
            _ => Ok(()),
        }
    }

    /// Does the interface own the address?
    pub(super) fn owns(&self, address: IpAddr) -> Result<bool, SendError> {
        match self.addresses.iter().find(|own| own.address == address) {
            Some(own) if own.tentative => Err(SendError::Tentative { address, interface: self.name.clone() }),
            own => Ok(own.is_some()),
        }
    }

    /// The address to send from where none is named: the first of the group's family, one with a wider scope than the
    /// link rather than a link-local one.
    pub(super) fn default_source(&self, group: IpAddr) -> Result<IpAddr, SendError> {
        let of_family =
            || self.addresses.iter().filter(|own| own.address.is_ipv4() == group.is_ipv4() && !own.tentative);
        let wide = |own: &&OwnAddress| match own.address {
            IpAddr::V4(v4) => !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        };
        of_family().find(wide).or_else(|| of_family().next()).map(|own| own.address).ok_or_else(|| {
            let family = if group.is_ipv4() { "IPv4" } else { "IPv6" };
            SendError::NoOwnAddress { interface: self.name.clone(), family }
        })
    }

    fn read(name: &str, answer: &RouteNetlinkMessage) -> Option<Self> {
        let RouteNetlinkMessage::NewLink(message) = answer else { return None };
        let (mut mtu, mut mac) = (0, None);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Mtu(bytes) => mtu = *bytes as usize,
                LinkAttribute::Address(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
                _ => {}
            }
        }
        // The loopback interface has Ethernet headers too.
        let ethernet = matches!(message.header.link_layer_type, LinkLayerType::Ether | LinkLayerType::Loopback);
        Some(Self {
            name: name.to_owned(),
            index: message.header.index,
            mtu,
            mac: mac.filter(|_| ethernet),
            up: message.header.flags.contains(LinkFlags::Up),
            carrier: message.header.flags.contains(LinkFlags::LowerUp),
            addresses: Vec::new(),
        })
    }
}

fn own_address(index: u32, answer: &RouteNetlinkMessage) -> Option<OwnAddress> {
    let RouteNetlinkMessage::NewAddress(message) = answer else { return None };
    if message.header.index != index {
        return None;
    }
    let (mut local, mut plain, mut flags) = (None, None, AddressFlags::empty());
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link, `Address` is the other end.
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => plain = Some(*address),
            AddressAttribute::Flags(told) => flags = *told,
            _ => {}
        }
    }
    let failed = flags.contains(AddressFlags::Dadfailed);
    let tentative = failed || (flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic));
    Some(OwnAddress { address: local.or(plain)?, tentative })
}

/// Sends one request and collects its answers.
fn request(message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut request = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
    request.header.flags = NLM_F_REQUEST | flags;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                _ => return Ok(answers),
            }
            if flags & NLM_F_DUMP == 0 {
                return Ok(answers);
            }
            // Messages are aligned to 4 bytes.
            let length = (answer.header.length as usize).next_multiple_of(4).max(16);
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}
