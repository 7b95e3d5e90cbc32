//! What the sender must know of its interface, in the network namespace of the calling thread.

use std::net::IpAddr;

use receiver_host::{Interface, InterfaceAddress, InterfaceError, LinkCounters, Netlink};

use super::error::SendError;

/// An interface as it was when it was looked up.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) index: u32,
    /// Bytes of the largest IP packet.
    pub(crate) mtu: usize,
    /// The MAC address, if frames have an Ethernet header.
    pub(crate) mac: Option<[u8; 6]>,
    carrier: bool,
    addresses: Vec<InterfaceAddress>,
    netlink: Netlink,
}

impl Link {
    /// Looks up the interface, which must be up, and its addresses. Needs no privilege.
    pub(crate) fn find(name: &str) -> Result<Self, SendError> {
        let interface = Interface::lookup(name)?;
        interface.require_up()?;
        let failed = |source| kernel_error(name, "read the addresses", source);
        let netlink = Netlink::open().map_err(failed)?;
        let addresses = netlink.addresses(interface.index).map_err(failed)?;
        Ok(Self {
            index: interface.index,
            mtu: interface.mtu as usize,
            mac: interface.mac.filter(|_| interface.ethernet),
            carrier: interface.carrier,
            name: interface.name,
            addresses,
            netlink,
        })
    }

    /// The interface's counters now (`ip -s link`).
    pub(super) fn counters(&self) -> Result<LinkCounters, SendError> {
        let counters = self.netlink.link_counters(self.index);
        Ok(counters.map_err(|source| kernel_error(&self.name, "read the counters", source))?)
    }

    /// Checks that packets can leave through the interface.
    pub(crate) fn require_carrier(&self) -> Result<(), SendError> {
        if self.carrier { Ok(()) } else { Err(SendError::NoCarrier(self.name.clone())) }
    }

    /// Returns true if the interface owns the address.
    pub(crate) fn owns(&self, address: IpAddr) -> Result<bool, SendError> {
        match self.addresses.iter().find(|own| own.address == address) {
            Some(own) if own.tentative => Err(SendError::Tentative { address, interface: self.name.clone() }),
            own => Ok(own.is_some()),
        }
    }

    /// The address to send from if none is named: the first of the group's family, one with a wider scope than the
    /// link rather than a link-local one.
    pub(crate) fn default_source(&self, group: IpAddr) -> Result<IpAddr, SendError> {
        let of_family =
            || self.addresses.iter().filter(|own| own.address.is_ipv4() == group.is_ipv4() && !own.tentative);
        let wide = |own: &&InterfaceAddress| match own.address {
            IpAddr::V4(v4) => !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        };
        of_family().find(wide).or_else(|| of_family().next()).map(|own| own.address).ok_or_else(|| {
            let family = if group.is_ipv4() { "IPv4" } else { "IPv6" };
            SendError::NoOwnAddress { interface: self.name.clone(), family }
        })
    }
}

fn kernel_error(name: &str, operation: &'static str, source: std::io::Error) -> InterfaceError {
    InterfaceError::Kernel { name: name.to_owned(), operation, source }
}
