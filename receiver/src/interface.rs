//! One network interface: what the kernel says of it before anything is changed.
//!
//! Asked by netlink and one ethtool ioctl, not by sysfs: a process that entered a network namespace may still see the
//! sysfs of another.
#![allow(unsafe_code)] // The ethtool ioctl; nothing in the workspace's libraries offers it safely and without a runtime.

use std::fs;
use std::io;
use std::path::Path;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, InfoData, InfoVlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
    LinkXdp,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use receiver_common::wire::{ETHERNET_LEN, VLAN_TAG_LEN};

use crate::api::error::Error;
use crate::api::vlan::Vlan;

/// The longest interface name, in bytes (IFNAMSIZ less the final zero).
const MAX_NAME: usize = 15;

/// An Ethernet header and two VLAN tags, in bytes: what the MTU does not count.
pub(crate) const FRAME_AROUND_MTU: u32 = (ETHERNET_LEN + 2 * VLAN_TAG_LEN) as u32;

/// A network interface as it was when looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index: what joins and binds are made by.
    pub index: u32,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// The other end is there, too (IFF_LOWER_UP).
    pub carrier: bool,
    /// Can do multicast (IFF_MULTICAST).
    pub multicast: bool,
    /// The loopback interface.
    pub loopback: bool,
    /// Receive queues in use.
    pub queues: u32,
    /// Kernel driver, where it can be told: `veth`, `virtio_net`, `mlx5_core`.
    pub driver: Option<String>,
    /// On a bus of the machine, with no software in between that hands over the packets of senders on the same host: of
    /// what it receives, no UDP checksum is partial.
    pub physical: bool,
    /// Its MAC address, if it has one.
    pub mac: Option<[u8; 6]>,
    /// Id of the XDP program that is attached, if one is.
    pub xdp_program: Option<u32>,
}

/// One look at a link: the interface, and what changes while it is used.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub interface: Interface,
    /// Ids of all XDP programs on it: the driver's and the generic one can be two.
    pub xdp_programs: Vec<u32>,
    pub families: Families,
    /// How often it has lost its carrier since it was made, modulo 2^32 (Linux 4.16).
    pub carrier_downs: Option<u32>,
}

/// Which IP versions a link has. The kernel takes one away where the MTU falls below what it asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Families {
    pub ipv4: bool,
    pub ipv6: bool,
    /// The sysctl `disable_ipv6`: memberships stay, but nothing is sent or received.
    pub ipv6_disabled: bool,
}

impl Look {
    /// Looks a link up by its index, in the calling thread's network namespace; `None` where there is none.
    pub(crate) fn at(index: u32) -> Result<Option<Self>, Error> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        match ask(request) {
            Ok(link) => Ok(Some(Self::from_link(&link))),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(source) => {
                Err(Error::Interface { name: format!("number {index}"), doing: "ask netlink for the link", source })
            }
        }
    }

    pub(crate) fn from_link(link: &LinkMessage) -> Self {
        let name = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.as_str()),
            _ => None,
        });
        let mut look = Self {
            interface: Interface::from_link(name.unwrap_or_default(), link),
            xdp_programs: Vec::new(),
            families: Families::default(),
            carrier_downs: carrier_downs(link),
        };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Xdp(xdp) => look.xdp_programs = attached_programs(xdp).collect(),
                LinkAttribute::AfSpecUnspec(families) => look.families = Families::of(families),
                _ => {}
            }
        }
        look
    }
}

impl Families {
    fn of(specifications: &[AfSpecUnspec]) -> Self {
        let mut families = Self::default();
        for family in specifications {
            match family {
                AfSpecUnspec::Inet(_) => families.ipv4 = true,
                AfSpecUnspec::Inet6(attributes) => {
                    families.ipv6 = true;
                    families.ipv6_disabled = attributes
                        .iter()
                        .any(|attribute| matches!(attribute, AfSpecInet6::DevConf(conf) if conf.disable_ipv6 != 0));
                }
                _ => {}
            }
        }
        families
    }
}

/// How often a link has lost its carrier, as one message of netlink tells.
pub(crate) fn carrier_downs(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::CarrierDownCount(count) => Some(*count),
        _ => None,
    })
}

/// Is a link up, and its other end there, as one message of netlink tells?
pub(crate) fn is_usable(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up) && link.header.flags.contains(LinkFlags::LowerUp)
}

impl Interface {
    /// Looks an interface up by name, in the calling thread's network namespace. Needs no privilege.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`], or [`Error::Interface`] when the kernel can not be asked.
    pub fn lookup(name: &str) -> Result<Self, Error> {
        if name.is_empty() || name.len() > MAX_NAME || name.contains(['/', '\0']) {
            return Err(Error::UnknownInterface { name: name.to_owned(), known: names() });
        }
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let link = ask(request).map_err(|error| match error.raw_os_error() {
            Some(libc::ENODEV) => Error::UnknownInterface { name: name.to_owned(), known: names() },
            _ => Error::Interface { name: name.to_owned(), doing: "ask netlink for the link", source: error },
        })?;
        Ok(Self::from_link(name, &link))
    }

    /// Checks that multicast can be received here.
    ///
    /// # Errors
    /// [`Error::Loopback`], [`Error::InterfaceDown`], [`Error::NotMulticast`].
    pub fn require_multicast(&self) -> Result<(), Error> {
        if self.loopback {
            let others = names().into_iter().filter(|name| *name != self.name).collect();
            return Err(Error::Loopback { name: self.name.clone(), others });
        }
        if !self.up {
            return Err(Error::InterfaceDown { name: self.name.clone() });
        }
        if !self.multicast {
            return Err(Error::NotMulticast { name: self.name.clone() });
        }
        Ok(())
    }

    /// The VLAN interface (`ip link add link IFACE type vlan id ID`) that takes this interface's tagged frames, if there
    /// is one: index and name. With two tags, the inner one's on the outer one's.
    pub(crate) fn vlan_interface(&self, vlan: Vlan) -> Result<Option<(u32, String)>, Error> {
        let failed = |source| Error::Interface { name: self.name.clone(), doing: "list VLAN interfaces", source };
        let links = dump().map_err(failed)?;
        let on = |parent: u32, id: u16| links.iter().find_map(|link| vlan_on(link, parent, id));
        Ok(match (on(self.index, vlan.outer()), vlan.inner()) {
            (Some((outer, _)), Some(inner)) => on(outer, inner),
            (found, None) => found,
            (None, Some(_)) => None,
        })
    }

    /// Bytes of the longest frame that can come: the MTU, an Ethernet header and two VLAN tags.
    pub(crate) fn longest_frame(&self) -> u32 {
        self.mtu.saturating_add(FRAME_AROUND_MTU)
    }

    /// Can packets come?
    pub(crate) fn is_usable(&self) -> bool {
        self.up && self.carrier
    }

    fn from_link(name: &str, link: &LinkMessage) -> Self {
        let flags = link.header.flags;
        let mut this = Self {
            name: name.to_owned(),
            index: link.header.index,
            mtu: 1500,
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            multicast: flags.contains(LinkFlags::Multicast),
            loopback: flags.contains(LinkFlags::Loopback),
            queues: 1,
            driver: None,
            physical: false,
            mac: None,
            xdp_program: None,
        };
        let (mut bus, mut device) = (None, None);
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => this.mtu = *mtu,
                LinkAttribute::NumRxQueues(queues) => this.queues = (*queues).max(1),
                LinkAttribute::Xdp(xdp) => this.xdp_program = attached_programs(xdp).next(),
                LinkAttribute::Address(mac) => this.mac = mac.as_slice().try_into().ok(),
                LinkAttribute::ParentDevName(name) => device = Some(name),
                LinkAttribute::ParentDevBusName(name) => bus = Some(name),
                LinkAttribute::LinkInfo(infos) => this.driver = kind(infos),
                _ => {}
            }
        }
        // The ring count in use; the attribute above is what the device could have.
        this.queues = channels(name).filter(|&n| n > 0).unwrap_or(this.queues);
        if let (None, Some(bus), Some(device)) = (&this.driver, bus, device) {
            let link = Path::new("/sys/bus").join(bus).join("devices").join(device).join("driver");
            this.driver = fs::read_link(link).ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
            this.physical = is_physical(bus, this.driver.as_deref());
        }
        this
    }
}

/// Returns true if no sender on the same host reaches the device without a NIC in between. A hypervisor's device hands
/// over packets as the host's senders left them: virtio has a bus of its own, vmxnet3 is on PCI.
fn is_physical(bus: &str, driver: Option<&str>) -> bool {
    matches!(bus, "pci" | "usb") && driver.is_some_and(|driver| driver != "vmxnet3")
}

/// The multicast-capable interfaces of this namespace, for the error that names what could have been meant.
fn names() -> Vec<String> {
    let Ok(interfaces) = rustix_names() else { return Vec::new() };
    interfaces.into_iter().filter(|name| name != "lo").collect()
}

fn rustix_names() -> io::Result<Vec<String>> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // Indices are handed out from 1; gaps are few. /proc/net/dev would be the thread leader's namespace.
    Ok((1..256).filter_map(|index| rustix::net::netdevice::index_to_name(&socket, index).ok()).collect())
}

fn attached_programs(xdp: &[LinkXdp]) -> impl Iterator<Item = u32> {
    xdp.iter().filter_map(|attribute| match attribute {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) if *id != 0 => {
            Some(*id)
        }
        _ => None,
    })
}

fn kind(infos: &[LinkInfo]) -> Option<String> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

/// Index and name of a link if it is the VLAN `id` of the link `parent`.
fn vlan_on(link: &LinkMessage, parent: u32, id: u16) -> Option<(u32, String)> {
    let on_parent = link.attributes.contains(&LinkAttribute::Link(parent));
    let is_vlan = link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().any(|info| match info {
            LinkInfo::Data(InfoData::Vlan(data)) => data.contains(&InfoVlan::Id(id)),
            _ => false,
        }),
        _ => false,
    });
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    (on_parent && is_vlan).then(|| name.map(|name| (link.header.index, name))).flatten()
}

/// RTM_GETLINK for one interface.
fn ask(which: LinkMessage) -> io::Result<LinkMessage> {
    let socket = request(which, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    match parse(&answer)?.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(link),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        other => Err(io::Error::new(io::ErrorKind::InvalidData, format!("unexpected answer {other:?}"))),
    }
}

/// RTM_GETLINK for all interfaces.
fn dump() -> io::Result<Vec<LinkMessage>> {
    let socket = request(LinkMessage::default(), NLM_F_DUMP)?;
    let mut links = Vec::new();
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            let message = parse(rest)?;
            // Messages are padded to 4 bytes; a length of 0 would never end.
            let length = (message.header.length as usize).next_multiple_of(4);
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => links.push(link),
                NetlinkPayload::Done(_) => return Ok(links),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            rest = rest.get(length..).filter(|_| length > 0).unwrap_or(&[]);
        }
    }
}

fn parse(answer: &[u8]) -> io::Result<NetlinkMessage<RouteNetlinkMessage>> {
    NetlinkMessage::<RouteNetlinkMessage>::deserialize(answer)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

/// Sends an RTM_GETLINK request, and gives the socket on which the answer comes.
fn request(mut request: LinkMessage, flags: u16) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = 1;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::GetLink(request)));
    message.finalize();
    let mut buffer = vec![0; message.buffer_len()];
    message.serialize(&mut buffer);
    socket.send(&buffer, 0)?;
    Ok(socket)
}

/// `struct ethtool_channels` (include/uapi/linux/ethtool.h).
#[repr(C)]
#[derive(Default)]
struct EthtoolChannels {
    cmd: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx_count: u32,
    tx_count: u32,
    other_count: u32,
    combined_count: u32,
}

const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// Receive queues in use, where the driver tells.
fn channels(name: &str) -> Option<u32> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None).ok()?;
    let mut channels = EthtoolChannels { cmd: ETHTOOL_GCHANNELS, ..Default::default() };
    // SAFETY: ifreq is plain data, for which zeroes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(MAX_NAME)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    use std::os::fd::AsRawFd;
    // SAFETY: SIOCETHTOOL reads the ifreq and writes at most one ethtool_channels through its pointer; both outlive it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    (result == 0).then(|| channels.rx_count + channels.combined_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_nic_on_a_bus_is_physical() {
        assert!(is_physical("pci", Some("mlx5_core")) && is_physical("usb", Some("r8152")));
        for (bus, driver) in
            [("virtio", Some("virtio_net")), ("vmbus", Some("hv_netvsc")), ("pci", Some("vmxnet3")), ("pci", None)]
        {
            assert!(!is_physical(bus, driver), "{bus} {driver:?}");
        }
    }
}
