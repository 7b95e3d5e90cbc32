//! A source-specific multicast (SSM) receiver for Linux.

mod api;
mod engine;
mod paths;
pub mod program;
mod stats;

pub use api::datagram::{Datagram, OwnedDatagram, Path, ReceiveTime, TimeOrigin};
pub use api::error::Error;
pub use api::evidence::{Evidence, Finding, Silence};
pub use api::handle::Handle;
pub use api::mode::{ModeRequest, ReceiveMode, Refused};
pub use api::queues::Queues;
pub use api::receiver::{Builder, Receiver};
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
pub use receiver_membership as membership;
pub use receiver_membership::{Channel, SourceFilter, Subscription, SubscriptionError, is_ssm_range};
pub use receiver_xsk as xsk;
pub use stats::host_counters::HostLedger;
pub use stats::ledger::{KernelLedger, Ledger, XskLedger};
