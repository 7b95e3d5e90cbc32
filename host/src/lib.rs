//! What a Linux host reports and allows, for a receiver and a sender of multicast: interfaces and their changes (netlink,
//! ethtool), capabilities and the remedy where one is missing, clocks, and the reasons in a loader's error.

mod channels;
pub mod clock;
mod interface;
mod link_events;
mod netlink;
mod privilege;
mod reason;

pub use interface::{Families, Interface, InterfaceError, LinkState};
pub use link_events::{LinkEvent, LinkEvents};
pub use netlink::{InterfaceAddress, LinkCounters, Netlink};
pub use privilege::{Capability, GENERATOR, Lack, XDP, is_full_speed, lock_limit};
pub use reason::{is_permission_error, os_error, reasons};
