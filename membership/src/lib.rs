//! Source-specific multicast memberships on Linux: joins (S,G) channels and any-source groups by the standard socket
//! options (RFC 3678), for IGMPv3 (RFC 3376) and MLDv2 (RFC 3810), and receives their datagrams by UDP sockets.
//!
//! # Join a channel and receive
//!
//! ```no_run
//! use receiver_membership::udp::KernelPath;
//! use receiver_membership::{InterfaceRef, MembershipSet, Options, SocketEvent, Subscription};
//!
//! let feed: Subscription = "10.0.0.1@232.1.1.1:5000".parse()?;
//! // The index is that of `ip link`.
//! let mut set = MembershipSet::new(InterfaceRef::new(2, "eth1"), Options::default());
//! set.join(feed.group(), feed.port(), feed.filter())?;
//!
//! let mut path = KernelPath::new()?;
//! for event in set.take_events() {
//!     match event {
//!         SocketEvent::Added { socket, .. } => path.add(socket)?,
//!         SocketEvent::Removed { id } => path.remove(id),
//!     }
//! }
//! loop {
//!     path.poll(None, |datagram| println!("{} bytes from {}", datagram.payload.len(), datagram.source))?;
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Contents
//!
//! - [`Subscription`], [`Channel`], [`SourceFilter`]: what to receive, checked before anything is opened.
//! - [`State`], [`Request`]: the pure state machine of one membership. It decides what a request returns.
//! - [`MembershipSocket`]: the memberships of one socket. It makes the changes that the state machine allows, and reads
//!   back what the kernel then holds.
//! - [`MembershipSet`]: many memberships over as many sockets as the kernel's limits require.
//! - [`udp`]: the sockets, and a receive loop over all of them.
//! - [`tables`]: what the kernel's own tables show as joined. [`querier`]: whether an older querier on the link keeps
//!   source joins from being signalled.
//! - [`conformance`]: the required table of requests and answers, tried with this library and with the bare kernel.
//!
//! Linux answers some requests differently from the required table, and silently switches the filter mode where RFC
//! 3678, section 4.1.3, requires an error. Therefore this crate decides, and the kernel only gets legal requests.
//!
//! # Requirements
//!
//! Linux 4.20 or later (`IPV6_MULTICAST_ALL`). No privilege is needed to join and to receive. `CAP_NET_ADMIN` allows
//! receive buffers above `net.core.rmem_max`; Linux before 5.7 needs `CAP_NET_RAW` to bind a socket to an interface;
//! ports below `net.ipv4.ip_unprivileged_port_start` need `CAP_NET_BIND_SERVICE`. Sockets belong to the network
//! namespace of the thread that calls [`MembershipSet::join`].

pub mod conformance;
mod errno;
mod error;
#[cfg(test)]
mod error_texts;
mod limits;
pub mod querier;
mod serialize;
mod set;
mod socket;
mod sockopt;
mod state;
mod subscription;
pub mod tables;
pub mod udp;

use std::fmt;

pub use errno::Errno;
pub use error::{MembershipError, Operation, Reason, SocketError};
pub use limits::Limits;
pub use set::{Layout, MembershipSet, Options, SocketEvent};
pub use socket::{MembershipSocket, OptionStyle};
pub use state::{Refusal, Request, State};
pub use subscription::{
    Channel, SourceFilter, Subscription, SubscriptionError, is_ssm_range, validate_group, validate_source,
};

/// An interface's name as a part of a sysctl's name: sysctl(8) writes a dot in a name as a slash.
pub fn in_sysctl(interface: &str) -> String {
    interface.replace('.', "/")
}

/// The interface on which groups are joined.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceRef {
    /// The interface's index, as in `ip link`; never 0.
    pub index: u32,
    /// The interface's name, for error messages and files of `/proc`.
    pub name: String,
}

impl InterfaceRef {
    /// An interface by index and name.
    pub fn new(index: u32, name: impl Into<String>) -> Self {
        Self { index, name: name.into() }
    }
}

impl fmt::Display for InterfaceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (index {})", self.name, self.index)
    }
}
