//! What a Linux host reports and allows to receivers and senders of multicast: interfaces and their changes (netlink,
//! ethtool), capabilities, how to grant a missing one and how to give up the others, clocks, real-time priority, and
//! the reasons in a loader's error.
//!
//! ```no_run
//! use receiver_host::{Interface, Lack, LinkEvents, XDP};
//!
//! let interface = Interface::lookup("eth1")?;
//! interface.require_multicast()?;
//! println!("{} has {} receive queues and an MTU of {}", interface.name, interface.queues, interface.mtu);
//! if let lack @ Lack::Capabilities(_) = Lack::of(&XDP) {
//!     println!("{lack}. {}", lack.remedy(&XDP));
//! }
//! let mut events = LinkEvents::subscribe()?;
//! for event in events.take()? {
//!     println!("{event:?}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Requirements
//!
//! Nothing here needs a privilege. Linux 4.16 counts lost carriers; older kernels leave
//! [`LinkState::carrier_downs`] at `None`. Sockets belong to the network namespace of the thread that opens them.

pub mod clock;
pub mod ethtool;
mod excerpt;
mod interface;
mod link_events;
mod netlink;
mod privilege;
pub mod realtime;
mod reason;
mod relations;
pub mod restrict;
mod xdp_features;

pub use excerpt::excerpt;
pub use interface::{Families, Interface, InterfaceError, LinkState};
pub use link_events::{LinkEvent, LinkEvents};
pub use netlink::{InterfaceAddress, LinkCounters, Netlink};
pub use privilege::{Capability, GENERATOR, Lack, XDP, XDP_PROGRAM, is_full_speed, lock_limit};
pub use reason::{is_permission_error, os_error, reasons};
pub use relations::{Related, Relations};
pub use xdp_features::XdpFeatures;

/// The parsers of what the kernel answers, for the fuzz targets. Not part of the public API.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub use crate::link_events::events_of;
    pub use crate::netlink::answers;
}
