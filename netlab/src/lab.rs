//! The lab that most tests use: a receiving and a sending namespace, one veth pair, known addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::error::{Error, Result};
use crate::link::{End, LinkOptions, bring_up, connect, move_interface};
use crate::namespace::Namespace;

/// Upper bound of a lab's source addresses: their last byte stays below that of the receiving end.
const MAX_SOURCES: u8 = 99;
/// Last byte of the receiving end's addresses.
const RX_HOST: u8 = 100;

/// Two namespaces joined by veth.
///
/// | end | interface | IPv4 | IPv6 | IPv6, link-local |
/// | --- | --- | --- | --- | --- |
/// | `tx` | `veth-tx` | 10.0.0.1, .2, … .9 | 2001:db8::1, … ::9 | fe80::1, … fe80::9 |
/// | `rx` | `veth-rx` | 10.0.0.100 | 2001:db8::64 | fe80::64 |
///
/// The prefixes are /24 and /64. IPv4 multicast is routed to the veth on both ends (IPv6 does so by itself; its senders
/// still name the interface for a link-local group). Packets with other, spoofed source addresses arrive as well.
#[derive(Debug)]
pub struct Lab {
    rx: Namespace,
    tx: Namespace,
    more: Vec<Namespace>,
    rx_interface: String,
    tx_interface: String,
    sources: u8,
}

impl Lab {
    /// Makes a lab as in the table, with one queue and an MTU of 1500.
    ///
    /// # Errors
    ///
    /// Those of [`LabBuilder::build`].
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Starts a lab with other queues, names, MTU, or more sources.
    pub fn builder() -> LabBuilder {
        LabBuilder {
            rx_interface: "veth-rx".to_owned(),
            tx_interface: "veth-tx".to_owned(),
            link: LinkOptions::default(),
            sources: 9,
            existing: false,
        }
    }

    /// For a lab over two interfaces that are there already, joined by something else. They move from the calling
    /// thread's namespace into the lab's; a hardware (or virtual machine's) interface comes back when the lab ends.
    /// Queues and MTU stay as they are.
    pub fn over(rx_interface: &str, tx_interface: &str) -> LabBuilder {
        LabBuilder { existing: true, ..Self::builder().rx_interface(rx_interface).tx_interface(tx_interface) }
    }

    /// Returns the receiver's namespace.
    pub fn rx(&self) -> &Namespace {
        &self.rx
    }

    /// Returns the senders' namespace.
    pub fn tx(&self) -> &Namespace {
        &self.tx
    }

    /// Returns the receiving end's interface, in [`Lab::rx`].
    pub fn rx_interface(&self) -> &str {
        &self.rx_interface
    }

    /// Returns the sending end's interface, in [`Lab::tx`].
    pub fn tx_interface(&self) -> &str {
        &self.tx_interface
    }

    /// Returns the receiving end's IPv4 address.
    pub fn rx_v4(&self) -> Ipv4Addr {
        v4(RX_HOST)
    }

    /// Returns the receiving end's global IPv6 address.
    pub fn rx_v6(&self) -> Ipv6Addr {
        global(RX_HOST)
    }

    /// Returns the receiving end's link-local IPv6 address.
    pub fn rx_link_local(&self) -> Ipv6Addr {
        link_local(RX_HOST)
    }

    /// Returns the sending end's IPv4 addresses, 10.0.0.1 first.
    pub fn sources_v4(&self) -> Vec<Ipv4Addr> {
        (1..=self.sources).map(v4).collect()
    }

    /// Returns the sending end's global IPv6 addresses, 2001:db8::1 first.
    pub fn sources_v6(&self) -> Vec<Ipv6Addr> {
        (1..=self.sources).map(global).collect()
    }

    /// Returns the sending end's link-local IPv6 addresses, fe80::1 first.
    pub fn sources_link_local(&self) -> Vec<Ipv6Addr> {
        (1..=self.sources).map(link_local).collect()
    }

    /// Adds a namespace without links, which [`connect`] makes. The namespace lives as long as the lab.
    ///
    /// # Errors
    ///
    /// Those of [`Namespace::new`].
    pub fn add_namespace(&mut self, name: &str) -> Result<Namespace> {
        let namespace = Namespace::new(name)?;
        self.more.push(namespace.clone());
        Ok(namespace)
    }
}

/// The configuration of a [`Lab`].
#[derive(Debug, Clone)]
pub struct LabBuilder {
    rx_interface: String,
    tx_interface: String,
    link: LinkOptions,
    sources: u8,
    existing: bool,
}

impl LabBuilder {
    /// Sets the name of the receiving interface (default `veth-rx`), at most 15 bytes.
    pub fn rx_interface(mut self, name: &str) -> Self {
        name.clone_into(&mut self.rx_interface);
        self
    }

    /// Sets the name of the sending interface (default `veth-tx`), at most 15 bytes.
    pub fn tx_interface(mut self, name: &str) -> Self {
        name.clone_into(&mut self.tx_interface);
        self
    }

    /// Receive and transmit queues of both ends (1). Senders choose the queue: the socket's CPU by XPS, else a hash of
    /// the flow.
    pub fn queues(self, count: u32) -> Self {
        self.rx_queues(count).tx_queues(count)
    }

    /// Sets the number of receive queues of both ends (default 1).
    pub fn rx_queues(mut self, count: u32) -> Self {
        self.link.rx_queues = count;
        self
    }

    /// Transmit queues of both ends (1). XDP asks for no more of them than there are receive queues.
    pub fn tx_queues(mut self, count: u32) -> Self {
        self.link.tx_queues = count;
        self
    }

    /// Sets the MTU of both ends (default 1500).
    pub fn mtu(mut self, bytes: u32) -> Self {
        self.link.mtu = bytes;
        self
    }

    /// Sets the number of source addresses of each kind at the sending end: 1 to 99 (default 9).
    pub fn sources(mut self, count: u8) -> Self {
        self.sources = count;
        self
    }

    /// Makes the lab.
    ///
    /// # Errors
    ///
    /// [`Error::Namespace`] without privilege, [`Error::NoIpCommand`] without iproute2, [`Error::Range`], and what `ip`
    /// and the sysctls complain about.
    pub fn build(self) -> Result<Lab> {
        if !(1..=MAX_SOURCES).contains(&self.sources) {
            return Err(Error::Range {
                what: "the number of sources",
                range: "1 to 99",
                value: u32::from(self.sources),
            });
        }
        let rx = Namespace::new("rx")?;
        let tx = Namespace::new("tx")?;
        let ends = [
            End { namespace: &rx, interface: &self.rx_interface },
            End { namespace: &tx, interface: &self.tx_interface },
        ];
        if self.existing {
            let here = Namespace::current("here")?;
            for end in ends {
                move_interface(&here, end)?;
            }
            bring_up(ends[0], ends[1])?;
        } else {
            connect(ends[0], ends[1], self.link)?;
        }
        address(ends[0], RX_HOST..=RX_HOST)?;
        address(ends[1], 1..=self.sources)?;
        let Self { rx_interface, tx_interface, sources, .. } = self;
        Ok(Lab { rx, tx, more: Vec::new(), rx_interface, tx_interface, sources })
    }
}

/// Sets an end's addresses, and the route for IPv4 multicast.
fn address(end: End<'_>, hosts: std::ops::RangeInclusive<u8>) -> Result<()> {
    let device = end.interface;
    let mut lines: String = hosts
        .map(|host| {
            format!(
                "address add {}/24 dev {device}\naddress add {}/64 dev {device} nodad\naddress add {}/64 dev {device} \
                 nodad\n",
                v4(host),
                global(host),
                link_local(host)
            )
        })
        .collect();
    lines += &format!("route add 224.0.0.0/4 dev {device}\n");
    end.namespace.ip_batch(&lines)
}

fn v4(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host)
}

fn global(host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host))
}

fn link_local(host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::from(host))
}
