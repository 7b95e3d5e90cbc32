//! CME MDP 3.0 binary packet header: little-endian, the sequence counts packets of a channel and restarts weekly.
//!
//! ```text
//! offset  bytes  field
//!      0      4  MsgSeqNum
//!      4      8  SendingTime, nanoseconds since 1970
//!     12         messages: u16 size that counts itself, then the SBE header (u16 block length, u16 template, …)
//! ```

use super::error::ParseError;
use super::field::{header, le16, le32, le64};
use super::framing::Framing;
use super::packet::{Kind, Packet, StreamKey};
use super::traits::Protocol;

const HEADER: usize = 12;
/// Size, SBE header.
const MESSAGE_HEADER: usize = 10;
/// The template AdminHeartbeat12.
const HEARTBEAT: u16 = 12;

/// CME MDP 3.0. A group carries one channel, which the header does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CmeMdp3;

impl Protocol for CmeMdp3 {
    #[inline]
    fn parse(&self, datagram: &[u8]) -> Result<Packet, ParseError> {
        let h: &[u8; HEADER] = header(datagram)?;
        let body = &datagram[HEADER..];
        let lone = |message: &&[u8; MESSAGE_HEADER]| body.len() <= usize::from(le16(&message[..], 0));
        let heartbeat = body.first_chunk().filter(lone).is_some_and(|message| le16(message, 4) == HEARTBEAT);
        let kind = if heartbeat { Kind::Heartbeat } else { Kind::Data };
        let packet = Packet::new(kind, StreamKey::default(), u64::from(le32(h, 0)), 1).sent_at(le64(h, 4));
        // The header does not count the messages: they fill the datagram.
        Ok(packet.with_messages(HEADER as u32, u32::MAX, Framing::Le16Inclusive))
    }

    fn name(&self) -> &'static str {
        "cme-mdp3"
    }
}
