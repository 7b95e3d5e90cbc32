//! A source-specific multicast (SSM) receiver for Linux.

mod checksum;
mod error;
mod filter;
mod interface;
mod ledger;
pub mod membership;
mod mode;
pub mod probe;
pub mod program;
mod quiesce;
pub mod send;
mod subscription;
pub mod udp;
mod vlan;
pub mod xsk;

pub use error::Error;
pub use filter::SubscriptionId;
pub use interface::Interface;
pub use ledger::{KernelLedger, Ledger, XskLedger};
pub use mode::{ModeRequest, ReceiveMode, Refused};
pub use subscription::{Channel, SourceFilter, Subscription, SubscriptionError, is_ssm_range};
pub use vlan::Vlan;
