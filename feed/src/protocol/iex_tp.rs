//! IEX-TP 1 outbound segments: little-endian, the sequence counts messages.
//!
//! ```text
//! offset  bytes  field ("Outbound Segment Format" of the transport specification)
//!      0      1  version, 1
//!      2      2  message protocol
//!      4      4  channel
//!      8      4  session
//!     12      2  payload length
//!     14      2  message count; 0: heartbeat, with the next sequence
//!     16      8  stream offset
//!     24      8  first message sequence number
//!     32      8  send time, nanoseconds since 1970
//!     40         messages: u16 length, data
//! ```
//!
//! The A and B lines carry the same messages in other segments: only message ranges can be arbitrated.

use super::error::ParseError;
use super::field::{check_length, header, le16, le32, le64};
use super::framing::Framing;
use super::packet::{Kind, Packet, StreamKey};
use super::traits::{Protocol, SequenceWidth};

const HEADER: usize = 40;

/// IEX-TP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IexTp;

impl Protocol for IexTp {
    #[inline]
    fn parse(&self, datagram: &[u8]) -> Result<Packet, ParseError> {
        let h: &[u8; HEADER] = header(datagram)?;
        if h[0] != 1 {
            return Err(ParseError::Value { field: "Version", value: h[0].into() });
        }
        check_length(HEADER + usize::from(le16(h, 12)), datagram, HEADER)?;
        let stream = StreamKey { channel: u64::from(le32(h, 4)), session: u128::from(le32(h, 8)) };
        let count = u32::from(le16(h, 14));
        let kind = if count == 0 { Kind::Heartbeat } else { Kind::Data };
        let packet = Packet::new(kind, stream, le64(h, 24), count).sent_at(le64(h, 32));
        Ok(packet.with_messages(HEADER as u32, count, Framing::Le16))
    }

    fn name(&self) -> &'static str {
        "iex-tp"
    }

    fn width(&self) -> SequenceWidth {
        SequenceWidth::Bits64
    }

    fn sessions_succeed(&self) -> bool {
        true
    }

    fn stream_name(&self, stream: StreamKey) -> String {
        format!("{}/{}", stream.channel, stream.session)
    }
}
