//! Group membership: which sources of which groups the kernel is asked for, on one interface, for both families.
//!
//! - [`state`]: the pure state machine. It decides what a request returns.
//! - [`socket`]: one socket. It executes what the state machine allowed, and reads back what the kernel then holds.
//! - [`set`]: many memberships over as many sockets as the kernel's limits ask.
//! - [`conformance`]: the required table as data, put to this library and to the bare kernel.
//! - [`tables`]: what the kernel's own tables say is joined.
//! - [`querier`]: whether an older querier on the link keeps source joins from being signalled.
//!
//! Linux judges some requests in another way than the table that this room keeps, and switches the filter mode in
//! silence (RFC 3678, section 4.1.3 wants an error); hence the decision is made here, and the kernel is only told.

pub mod conformance;
pub mod error;
mod limits;
pub mod querier;
mod serialize;
pub mod set;
pub mod socket;
mod sockopt;
pub mod state;
mod subscription;
pub mod tables;
pub mod udp;

use std::fmt;

pub use error::{MembershipError, MembershipError as Error, Operation, Reason, SocketError};
pub use limits::Limits;
pub use set::{Layout, MembershipSet, Options, SocketEvent};
pub use socket::{MembershipSocket, OptionStyle};
pub use state::{Refusal, Request, State};
pub use subscription::{
    Channel, SourceFilter, Subscription, SubscriptionError, is_ssm_range, validate_group, validate_source,
};

/// The interface that groups are joined on: the index that the kernel goes by, and the name for people.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceRef {
    /// The interface index, as in `ip link`; never 0.
    pub index: u32,
    /// The interface name, for error messages and for looking up its IPv4 address.
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
