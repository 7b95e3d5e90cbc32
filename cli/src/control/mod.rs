//! The control socket of a run: requests of other programs, which steer the run and read its counters.

mod client;
pub mod place;
mod protocol;

pub use client::{Client, ClientError, Selection};
pub use protocol::{Kind, Refusal, Request};
