//! Feed protocols: one file each, one trait. A new protocol is a file here and a variant in `registry.rs`.
//!
//! | name | sequence counts | stream |
//! | --- | --- | --- |
//! | `moldudp64` | messages | session |
//! | `cme-mdp3` | packets | none: one group is one channel |
//! | `cboe-pitch` | messages | unit |
//! | `nyse-pillar` | messages | none |
//! | `iex-tp` | messages | channel and session |
//! | `eurex-eobi` | packets | market segment and partition |
//! | `opra` | blocks | none |
//! | `siac` | blocks | feed |
//! | `memx` | messages | session |
//! | `hkex-omd` | messages | none |
//! | `rtp` | packets | SSRC |
//! | `mpeg-ts` | packets where it comes in RTP | SSRC |
//! | `probe` | packets | stream id |

mod cboe_pitch;
mod cme_mdp3;
mod detect;
mod error;
mod eurex_eobi;
mod field;
mod framing;
mod hkex_omd;
mod iex_tp;
mod memx;
mod moldudp64;
mod mpeg_ts;
mod nyse_pillar;
mod opra;
mod packet;
mod probe;
mod registry;
mod rtp;
mod siac;
#[cfg(test)]
mod tests;
mod traits;

pub use cboe_pitch::CboePitch;
pub use cme_mdp3::CmeMdp3;
pub use detect::{Detected, Detector};
pub use error::ParseError;
pub use eurex_eobi::EurexEobi;
pub use framing::{Framing, Messages};
pub use hkex_omd::HkexOmd;
pub use iex_tp::IexTp;
pub use memx::Memx;
pub use moldudp64::{MoldUdp64, Rerequest};
pub use mpeg_ts::{MpegTs, TS_PACKET_LEN, is_transport_stream};
pub use nyse_pillar::NysePillar;
pub use opra::Opra;
pub use packet::{Kind, Packet, StreamKey};
pub use probe::Probe;
pub use registry::{AnyProtocol, UnknownProtocol};
pub use rtp::{Rtp, RtpHeader};
pub use siac::Siac;
pub use traits::{Protocol, SequenceWidth};
