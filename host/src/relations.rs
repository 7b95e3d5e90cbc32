//! How an interface relates to others: the bond or bridge that it belongs to, the interface that it is stacked on, and
//! the device behind it.

use std::io;
use std::path::PathBuf;

use netlink_packet_route::link::{LinkAttribute, LinkMessage};

use crate::interface::{device_folder, kind, name_of};
use crate::netlink::Netlink;

/// Another interface.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Related {
    /// Its name.
    pub name: String,
    /// Its kind, as `ip link add type` writes it: `bridge`, `bond`, `vlan`; empty for a NIC.
    pub kind: String,
}

impl Related {
    /// An interface by its name and kind.
    pub fn new(name: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { name: name.into(), kind: kind.into() }
    }
}

/// The other interfaces of an interface, and its device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Relations {
    /// The interface's own kind, as `ip link add type` writes it; empty for a NIC.
    pub kind: String,
    /// The bond, bridge or team that the interface belongs to.
    pub master: Option<Related>,
    /// The interfaces that belong to it.
    pub members: Vec<Related>,
    /// The interface that it is stacked on, as a VLAN or macvlan interface is.
    pub lower: Option<Related>,
    /// The interfaces that are stacked on it.
    pub uppers: Vec<Related>,
    /// The device's folder in `/sys`, for a NIC on a bus.
    pub device: Option<PathBuf>,
}

impl Relations {
    /// Reads the relations of an interface, by its index, in the calling thread's network namespace.
    ///
    /// # Errors
    /// As send(2) and recv(2).
    pub fn read(interface: u32) -> io::Result<Self> {
        let links = Netlink::open()?.links()?;
        let mut this = Self::default();
        let related = |link: &LinkMessage| Related::new(name_of(link).unwrap_or_default(), kind_of(link));
        let by_index = |index: u32| links.iter().find(|link| link.header.index == index);
        for link in &links {
            let (mut master, mut lower, mut bus, mut device) = (None, None, None, None);
            for attribute in &link.attributes {
                match attribute {
                    LinkAttribute::Controller(index) => master = Some(*index),
                    LinkAttribute::Link(index) => lower = Some(*index),
                    LinkAttribute::ParentDevName(name) => device = Some(name),
                    LinkAttribute::ParentDevBusName(name) => bus = Some(name),
                    _ => {}
                }
            }
            let kind = kind_of(link);
            let is_stacked = STACKED.contains(&kind.as_str());
            if link.header.index == interface {
                this.kind = kind;
                this.master = master.and_then(by_index).map(related);
                this.lower = lower.filter(|_| is_stacked).and_then(by_index).map(related);
                this.device = bus.zip(device).map(|(bus, device)| device_folder(bus, device));
            } else if master == Some(interface) {
                this.members.push(related(link));
            } else if is_stacked && lower == Some(interface) {
                this.uppers.push(related(link));
            }
        }
        Ok(this)
    }
}

/// Kinds whose IFLA_LINK is the interface below. That of a veth is its peer, in another namespace's numbers.
const STACKED: [&str; 4] = ["vlan", "macvlan", "macvtap", "ipvlan"];

fn kind_of(link: &LinkMessage) -> String {
    let kind = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => kind(infos),
        _ => None,
    });
    kind.unwrap_or_default()
}
