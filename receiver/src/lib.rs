//! A source-specific multicast (SSM) receiver for Linux.

mod checksum;
mod clock;
mod control;
mod datagram;
mod error;
mod filter;
mod interface;
mod kernel_path;
mod ladder;
mod ledger;
pub mod membership;
mod mode;
pub mod probe;
pub mod program;
mod quiesce;
mod receiver;
pub mod send;
mod shared;
mod stream;
mod subscription;
pub mod udp;
mod vlan;
mod worker;
pub mod xsk;

pub use control::SubscriptionReport;
pub use datagram::{Datagram, OwnedDatagram, Path, ReceiveTime, TimeOrigin};
pub use error::Error;
pub use filter::SubscriptionId;
pub use interface::Interface;
pub use ledger::{KernelLedger, Ledger, XskLedger};
pub use mode::{ModeRequest, ReceiveMode, Refused};
pub use receiver::{Builder, Handle, Queues, Receiver};
pub use stream::AsyncReceiver;
pub use subscription::{Channel, SourceFilter, Subscription, SubscriptionError, is_ssm_range};
pub use vlan::Vlan;
pub use worker::{Wait, Worker};
