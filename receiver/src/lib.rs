//! A source-specific multicast (SSM) receiver for Linux.

pub mod membership;
pub mod probe;
mod subscription;
pub mod udp;
pub mod xsk;

pub use subscription::{Channel, SourceFilter, Subscription, SubscriptionError, is_ssm_range};
