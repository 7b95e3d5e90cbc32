//! Datagrams of each protocol: the inverse of its parser in `receiver-feed`. A new protocol is a file here and a line in
//! `registry.rs`.

mod draft;
mod iex_tp;
mod moldudp64;
mod probe;
mod registry;
mod traits;

pub(super) use draft::{Draft, Sizes};
pub(super) use registry::builder;
pub(super) use traits::{Builder, Counts, Limits};
