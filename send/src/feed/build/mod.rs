//! Datagrams of each protocol: the inverse of its parser in `receiver-feed`. A new protocol is a file here and a line
//! in `registry.rs`.

mod cboe_pitch;
mod cme_mdp3;
mod draft;
mod eurex_eobi;
mod hkex_omd;
mod iex_tp;
mod memx;
mod moldudp64;
mod mpeg_ts;
mod nyse_pillar;
mod opra;
mod probe;
mod registry;
mod rtp;
mod shared;
mod siac;
mod tables;
#[cfg(test)]
mod tests;
mod timing;
mod traits;

pub(super) use draft::{Draft, Sizes};
pub(super) use registry::builder;
pub(super) use timing::Timing;
pub(super) use traits::{Builder, Counts, Limits};
