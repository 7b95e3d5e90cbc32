//! One network interface: what the kernel reports of it, and whether multicast can be received on it.
//!
//! The kernel is asked by netlink and by one ethtool ioctl, not by sysfs: a process that entered a network namespace
//! can still see the sysfs of another one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
    LinkXdp,
};

use crate::ethtool::receive_queues;
use crate::excerpt::excerpt;
use crate::netlink::Netlink;

/// The longest interface name, in bytes (IFNAMSIZ less the final zero).
const MAX_NAME: usize = 15;

/// A network interface as it was when it was looked up.
///
/// ```no_run
/// let interface = receiver_host::Interface::lookup("eth1")?;
/// interface.require_multicast()?;
/// println!("{} has an MTU of {} and {} receive queues", interface.name, interface.mtu, interface.queues);
/// # Ok::<(), receiver_host::InterfaceError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Interface {
    /// The name.
    pub name: String,
    /// The index, by which sockets join groups and bind.
    pub index: u32,
    /// The largest IP packet in bytes.
    pub mtu: u32,
    /// True if the interface is administratively up (IFF_UP).
    pub up: bool,
    /// True if the other end is there, too (IFF_LOWER_UP).
    pub carrier: bool,
    /// True if the interface does multicast (IFF_MULTICAST).
    pub multicast: bool,
    /// True for the loopback interface.
    pub loopback: bool,
    /// True if frames have an Ethernet header; those of the loopback interface have one.
    pub ethernet: bool,
    /// Receive queues in use, from 1.
    pub queues: u32,
    /// The kernel driver, where the kernel reports it: `veth`, `virtio_net`, `mlx5_core`.
    pub driver: Option<String>,
    /// True for a NIC on a bus of the machine. Packets of senders on the same host do not reach it except by a network,
    /// so that no UDP checksum of what it receives is partial.
    pub physical: bool,
    /// The MAC address, if the interface has one.
    pub mac: Option<[u8; 6]>,
    /// The id of the XDP program that is attached, if there is one.
    pub xdp_program: Option<u32>,
}

/// Why an interface cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterfaceError {
    /// There is no interface of this name.
    #[error(
        "interface `{}` does not exist in this network namespace; name one that exists (there are: {})",
        excerpt(name),
        list(known)
    )]
    Unknown {
        /// The name that was given.
        name: String,
        /// The interfaces that exist, without the loopback interface.
        known: Vec<String>,
    },
    /// The interface is down.
    #[error("interface {name} is down; bring it up with `ip link set {name} up`")]
    Down {
        /// The interface.
        name: String,
    },
    /// The interface does not do multicast.
    #[error("interface {name} does not do multicast; allow it with `ip link set {name} multicast on`, or take another")]
    NotMulticast {
        /// The interface.
        name: String,
    },
    /// The loopback interface, on which nothing arrives from a network.
    #[error(
        "interface {name} is the loopback interface, on which multicast from a network never arrives; name the \
         interface that the streams come in on (there are: {}). To try senders of this host, join two network \
         namespaces by a veth pair",
        list(others)
    )]
    Loopback {
        /// The interface.
        name: String,
        /// The other interfaces.
        others: Vec<String>,
    },
    /// The kernel refused an operation on the interface.
    #[error("interface {name}: could not {operation}: {source}")]
    Kernel {
        /// The interface.
        name: String,
        /// What was tried, as in "read the link's state".
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A link at one moment: the interface, and what else can change while it is used.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkState {
    /// The interface.
    pub interface: Interface,
    /// The ids of all XDP programs on it: the driver's and the generic one can be two.
    pub xdp_programs: Vec<u32>,
    /// The IP versions that the link has.
    pub families: Families,
    /// How often the link has lost its carrier since it was made, modulo 2³² (Linux 4.16).
    pub carrier_downs: Option<u32>,
}

/// The IP versions that a link has. The kernel removes a version if the MTU falls below what it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    /// True if the link has IPv4.
    pub ipv4: bool,
    /// True if the link has IPv6.
    pub ipv6: bool,
    /// True if the sysctl `disable_ipv6` is set: memberships stay, but nothing is sent or received.
    pub ipv6_disabled: bool,
}

impl Interface {
    /// Looks an interface up by name, in the calling thread's network namespace. Needs no privilege.
    ///
    /// # Errors
    /// [`InterfaceError::Unknown`], or [`InterfaceError::Kernel`] if the kernel refuses to answer.
    pub fn lookup(name: &str) -> Result<Self, InterfaceError> {
        let failed = |source| kernel_error(name, "read the link's state", source);
        let netlink = Netlink::open().map_err(failed)?;
        let unknown = || InterfaceError::Unknown { name: name.to_owned(), known: names(&netlink) };
        // The kernel answers a name that cannot be one with other errors.
        if name.is_empty() || name.len() > MAX_NAME || name.contains(['/', '\0']) {
            return Err(unknown());
        }
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match netlink.link(request) {
            Ok(link) => Ok(Self::from_link(name, &link)),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Err(unknown()),
            Err(error) => Err(failed(error)),
        }
    }

    /// All interfaces of the calling thread's network namespace, the loopback interface among them, by index. Needs no
    /// privilege.
    ///
    /// # Errors
    /// As a netlink socket.
    pub fn all() -> io::Result<Vec<Self>> {
        let mut links = Netlink::open()?.links()?;
        links.sort_unstable_by_key(|link| link.header.index);
        Ok(links.iter().filter_map(|link| Some(Self::from_link(name_of(link)?, link))).collect())
    }

    /// Checks that the interface is up.
    ///
    /// # Errors
    /// [`InterfaceError::Down`].
    pub fn require_up(&self) -> Result<(), InterfaceError> {
        if self.up { Ok(()) } else { Err(InterfaceError::Down { name: self.name.clone() }) }
    }

    /// Checks that multicast can be received on the interface.
    ///
    /// # Errors
    /// [`InterfaceError::Loopback`], [`InterfaceError::Down`], [`InterfaceError::NotMulticast`].
    pub fn require_multicast(&self) -> Result<(), InterfaceError> {
        if self.loopback {
            let all = Netlink::open().map(|netlink| names(&netlink)).unwrap_or_default();
            let others = all.into_iter().filter(|name| *name != self.name).collect();
            return Err(InterfaceError::Loopback { name: self.name.clone(), others });
        }
        self.require_up()?;
        if !self.multicast {
            return Err(InterfaceError::NotMulticast { name: self.name.clone() });
        }
        Ok(())
    }

    /// The VLAN interface (`ip link add link IFACE type vlan id ID`) that takes this interface's frames with these
    /// tags, outermost first: its index and name. `None` if there is none.
    ///
    /// # Errors
    /// [`InterfaceError::Kernel`].
    pub fn vlan_interface(&self, tags: impl IntoIterator<Item = u16>) -> Result<Option<(u32, String)>, InterfaceError> {
        let links = Netlink::open().and_then(|netlink| netlink.links());
        let links = links.map_err(|source| kernel_error(&self.name, "list the VLAN interfaces", source))?;
        let mut found = (self.index, self.name.clone());
        for id in tags {
            match links.iter().find_map(|link| vlan_on(link, found.0, id)) {
                Some(next) => found = next,
                None => return Ok(None),
            }
        }
        Ok((found.0 != self.index).then_some(found))
    }

    /// Returns true if packets can come in.
    pub fn is_usable(&self) -> bool {
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
            ethernet: matches!(link.header.link_layer_type, LinkLayerType::Ether | LinkLayerType::Loopback),
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
        // The queues in use; the attribute above is what the device could have.
        this.queues = receive_queues(name).filter(|&n| n > 0).unwrap_or(this.queues);
        if let (None, Some(bus), Some(device)) = (&this.driver, bus, device) {
            let link = fs::read_link(device_folder(bus, device).join("driver"));
            this.driver = link.ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
            this.physical = is_physical(bus, this.driver.as_deref());
        }
        this
    }
}

impl LinkState {
    /// Reads the state of a link by its index, in the calling thread's network namespace; `None` if there is no such
    /// link.
    ///
    /// # Errors
    /// [`InterfaceError::Kernel`].
    pub fn read(index: u32) -> Result<Option<Self>, InterfaceError> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        match Netlink::open().and_then(|netlink| netlink.link(request)) {
            Ok(link) => Ok(Some(Self::from_link(&link))),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(source) => Err(kernel_error(&format!("number {index}"), "read the link's state", source)),
        }
    }

    fn from_link(link: &LinkMessage) -> Self {
        let mut state = Self {
            interface: Interface::from_link(name_of(link).unwrap_or_default(), link),
            xdp_programs: Vec::new(),
            families: Families::default(),
            carrier_downs: carrier_downs(link),
        };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Xdp(xdp) => state.xdp_programs = attached_programs(xdp).collect(),
                LinkAttribute::AfSpecUnspec(families) => state.families = Families::of(families),
                _ => {}
            }
        }
        state
    }
}

impl Families {
    /// Returns true if the link has IPv6 (`ipv6`) or IPv4.
    pub fn has(self, ipv6: bool) -> bool {
        if ipv6 { self.ipv6 } else { self.ipv4 }
    }

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

/// How often a link has lost its carrier, by one message of netlink.
pub(crate) fn carrier_downs(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::CarrierDownCount(count) => Some(*count),
        _ => None,
    })
}

/// Returns true if a link is up and its other end is there, by one message of netlink.
pub(crate) fn is_usable(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up) && link.header.flags.contains(LinkFlags::LowerUp)
}

/// Returns true if packets of senders on the same host reach the device only by a network. A hypervisor's device hands
/// over packets as the host's senders left them: virtio has a bus of its own, vmxnet3 is on PCI.
fn is_physical(bus: &str, driver: Option<&str>) -> bool {
    matches!(bus, "pci" | "usb") && driver.is_some_and(|driver| driver != "vmxnet3")
}

/// The interfaces of the network namespace without the loopback interface, for errors that name what could be meant.
fn names(netlink: &Netlink) -> Vec<String> {
    let mut links = netlink.links().unwrap_or_default();
    links.sort_unstable_by_key(|link| link.header.index);
    let others = links.iter().filter(|link| !link.header.flags.contains(LinkFlags::Loopback));
    others.filter_map(name_of).map(ToOwned::to_owned).collect()
}

pub(crate) fn name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn attached_programs(xdp: &[LinkXdp]) -> impl Iterator<Item = u32> {
    xdp.iter().filter_map(|attribute| match attribute {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) if *id != 0 => {
            Some(*id)
        }
        _ => None,
    })
}

/// The folder of a device on a bus.
pub(crate) fn device_folder(bus: &str, device: &str) -> PathBuf {
    Path::new("/sys/bus").join(bus).join("devices").join(device)
}

/// The kind of a link, as `ip link add type` writes it.
pub(crate) fn kind(infos: &[LinkInfo]) -> Option<String> {
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
    (on_parent && is_vlan).then(|| name_of(link).map(|name| (link.header.index, name.to_owned()))).flatten()
}

fn kernel_error(name: &str, operation: &'static str, source: io::Error) -> InterfaceError {
    InterfaceError::Kernel { name: name.to_owned(), operation, source }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
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

    #[test]
    fn a_name_that_is_none_is_refused_without_harm_to_a_terminal() {
        for name in ["", "a/b", "a-name-that-is-too-long", "\u{1b}[2J", "no-such-if0"] {
            let error = Interface::lookup(name).expect_err(name);
            assert!(matches!(error, InterfaceError::Unknown { .. }), "{error:?}");
            assert!(!error.to_string().contains('\u{1b}'), "{error}");
        }
    }

    /// One of each variant. A new variant breaks the match, and then needs a sample here.
    fn samples() -> Vec<InterfaceError> {
        use InterfaceError as E;
        let name = || "eth1".to_owned();
        let all = vec![
            E::Unknown { name: name(), known: vec!["eth0".into(), "eth2".into()] },
            E::Down { name: name() },
            E::NotMulticast { name: name() },
            E::Loopback { name: "lo".into(), others: Vec::new() },
            E::Kernel { name: name(), operation: "read the link's state", source: io::ErrorKind::OutOfMemory.into() },
        ];
        let indices = all.iter().map(|error| match error {
            E::Unknown { .. } => 0,
            E::Down { .. } => 1,
            E::NotMulticast { .. } => 2,
            E::Loopback { .. } => 3,
            E::Kernel { .. } => 4,
        });
        assert!(indices.eq(0..5));
        all
    }

    #[test]
    fn every_error_reads_as_a_sentence() {
        for text in samples().iter().map(ToString::to_string) {
            assert!(text.starts_with("interface ") && !text.ends_with('.') && !text.contains('\n'), "{text}");
            for flaw in ["  ", "of:", "--", "can not", " ,", "( "] {
                assert!(!text.contains(flaw), "`{flaw}` in: {text}");
            }
        }
    }
}
