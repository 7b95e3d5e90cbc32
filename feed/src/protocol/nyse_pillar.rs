//! NYSE Pillar, formerly XDP ("Packet Header" of the common client specification): little-endian, the sequence counts
//! messages.
//!
//! ```text
//! offset  bytes  field
//!      0      2  packet size, this header included
//!      2      1  delivery flag
//!      3      1  number of messages
//!      4      4  sequence number of the first message
//!      8      4  send time, seconds since 1970
//!     12      4  send time, nanoseconds
//!     16         messages: u16 size that counts itself
//! ```

use super::error::ParseError;
use super::field::{check_length, header, le16, le32, time};
use super::framing::Framing;
use super::packet::{Kind, Packet, StreamKey};
use super::traits::Protocol;

const HEADER: usize = 16;

/// NYSE Pillar. A group carries one channel, which the header does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NysePillar;

impl Protocol for NysePillar {
    #[inline]
    fn parse(&self, datagram: &[u8]) -> Result<Packet, ParseError> {
        let h: &[u8; HEADER] = header(datagram)?;
        check_length(usize::from(le16(h, 0)), datagram, HEADER)?;
        let (first, messages) = (u64::from(le32(h, 4)), u32::from(h[3]));
        let (kind, count) = match h[2] {
            1 => (Kind::Heartbeat, 0),
            // 10: failover, 11: original message.
            10 | 11 => (Kind::Data, messages),
            12 => (Kind::Reset, messages),
            13 | 15 => (Kind::Retransmission, messages),
            // Refreshes have a sequence of their own; 21: message unavailable.
            17..=21 => (Kind::Unsequenced, messages),
            flag => return Err(ParseError::Value { field: "DeliveryFlag", value: flag.into() }),
        };
        let packet = Packet::new(kind, StreamKey::default(), first, count).sent_at(time(le32(h, 8), le32(h, 12)));
        Ok(packet.with_messages(HEADER as u32, messages, Framing::Le16Inclusive))
    }

    fn name(&self) -> &'static str {
        "nyse-pillar"
    }
}
