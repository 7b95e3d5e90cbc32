//! A source-specific multicast (SSM) receiver for Linux.

mod checksum;
mod clock;
mod control;
mod datagram;
pub mod driver;
mod error;
mod evidence;
mod filter;
mod grace_period;
mod guard;
mod handle;
mod host_counters;
mod interface;
mod kernel_path;
mod ladder;
mod ledger;
mod link;
mod lock;
mod mode;
mod netlink;
mod others;
pub mod program;
mod queues;
mod receiver;
mod report;
mod shared;
#[cfg(feature = "tokio")]
mod stream;
mod text;
mod vlan;
mod worker;

pub use datagram::{Datagram, OwnedDatagram, Path, ReceiveTime, TimeOrigin};
pub use error::Error;
pub use evidence::{Evidence, Finding, Silence};
pub use filter::SubscriptionId;
pub use handle::Handle;
pub use host_counters::HostLedger;
pub use interface::Interface;
pub use ledger::{KernelLedger, Ledger, XskLedger};
pub use link::LinkLedger;
pub use mode::{ModeRequest, ReceiveMode, Refused};
pub use others::{DropUnwanted, Holder, Process};
pub use queues::Queues;
pub use receiver::{Builder, Receiver};
pub use receiver_common::Verdict;
pub use receiver_host::{Capability, Lack};
pub use receiver_membership as membership;
pub use receiver_membership::{Channel, SourceFilter, Subscription, SubscriptionError, is_ssm_range};
pub use receiver_xsk as xsk;
pub use report::SubscriptionReport;
#[cfg(feature = "tokio")]
pub use stream::AsyncReceiver;
pub use text::printable;
pub use vlan::Vlan;
pub use worker::{Wait, Worker};
