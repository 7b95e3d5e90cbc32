//! HKEX OMD packet header: little-endian, the sequence counts messages.
//!
//! ```text
//! offset  bytes  field
//!      0      2  PktSize, this header included
//!      2      1  MsgCount; 0: heartbeat
//!      4      4  SeqNum of the first message
//!      8      8  SendTime, nanoseconds since 1970
//!     16         messages: u16 MsgSize that counts itself, u16 MsgType, …
//! ```
//!
//! A heartbeat is taken to carry the next sequence number. If it carries the last one, loss just before it is noticed
//! with the next message instead.

use super::error::ParseError;
use super::field::{check_length, header, le16, le32, le64};
use super::framing::Framing;
use super::packet::{Kind, Packet, StreamKey};
use super::traits::Protocol;

const HEADER: usize = 16;
/// MsgType of the message Sequence Reset, which holds the new sequence number.
const SEQUENCE_RESET: u16 = 100;

/// HKEX OMD. A group carries one channel, which the header does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HkexOmd;

impl Protocol for HkexOmd {
    #[inline]
    fn parse(&self, datagram: &[u8]) -> Result<Packet, ParseError> {
        let h: &[u8; HEADER] = header(datagram)?;
        check_length(usize::from(le16(h, 0)), datagram, HEADER)?;
        let (first, messages) = (u64::from(le32(h, 4)), u32::from(h[2]));
        let reset = datagram[HEADER..].first_chunk::<8>().filter(|message| le16(&message[..], 2) == SEQUENCE_RESET);
        let (kind, first, count) = match reset {
            Some(message) if messages > 0 => (Kind::Reset, u64::from(le32(message, 4)), 0),
            _ if messages == 0 => (Kind::Heartbeat, first, 0),
            _ => (Kind::Data, first, messages),
        };
        let packet = Packet::new(kind, StreamKey::default(), first, count).sent_at(le64(h, 8));
        Ok(packet.with_messages(HEADER as u32, messages, Framing::Le16Inclusive))
    }

    fn name(&self) -> &'static str {
        "hkex-omd"
    }
}
