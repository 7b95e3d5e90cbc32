//! A source-specific multicast (SSM) receiver for Linux.

mod api;
mod engine;
mod paths;
mod program;
mod stats;

pub use api::builder::Builder;
pub use api::config::ReceiverConfig;
pub use api::datagram::{Datagram, OwnedDatagram};
pub use api::error::Error;
pub use api::evidence::{Evidence, Finding, Silence};
pub use api::handle::Handle;
pub use api::mode::{ModeRequest, ReceiveMode, Refused};
pub use api::origin::{Path, ReceiveTime, TimeOrigin};
pub use api::parse::ParseError;
pub use api::queues::Queues;
pub use api::receiver::Receiver;
pub use api::report::SubscriptionReport;
#[cfg(feature = "tokio")]
pub use api::stream::AsyncReceiver;
pub use api::text::printable;
pub use api::vlan::Vlan;
pub use engine::filter::SubscriptionId;
pub use engine::link::LinkLedger;
pub use engine::others::{DropUnwanted, Holder, Process};
pub use engine::worker::{Wait, Worker};
pub use receiver_common::Verdict;
pub use receiver_host::{Capability, Interface, InterfaceError, Lack};
pub use receiver_membership::tables::IgmpVersion;
pub use receiver_membership::{MembershipError, SourceFilter, Subscription, SubscriptionError};
pub use receiver_xsk::{BusyPoll, Error as XskError, HugePages};
pub use stats::host_counters::HostLedger;
pub use stats::ledger::{KernelLedger, Ledger, XskLedger};

/// The XDP program by itself, for the tests of its verdicts and for the benchmark. Not part of the public API.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub use crate::program::{Attach, Buffers, PartialChecksums, Program, RingShape, Rings, TestVerdict};
}
