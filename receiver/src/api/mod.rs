//! What users of the library see: builder, handle, datagrams, reports, errors.

pub(crate) mod builder;
pub(crate) mod config;
mod config_text;
pub(crate) mod datagram;
mod debug;
pub(crate) mod error;
pub(crate) mod evidence;
pub(crate) mod handle;
pub mod inspect;
pub(crate) mod membership_report;
pub(crate) mod mode;
pub(crate) mod origin;
pub(crate) mod parse;
pub(crate) mod queue_report;
pub(crate) mod queues;
pub(crate) mod receiver;
#[cfg(feature = "recording")]
pub(crate) mod recording;
pub(crate) mod report;
pub(crate) mod source;
#[cfg(feature = "tokio")]
pub(crate) mod stream;
pub(crate) mod tap;
pub(crate) mod tap_config;
pub(crate) mod text;
pub(crate) mod verdict_set;
pub(crate) mod vlan;
