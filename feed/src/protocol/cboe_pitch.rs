//! Cboe multicast PITCH, sequenced unit header ("Sequenced Unit Header" of the specification): little-endian, the
//! sequence counts messages of a unit.
//!
//! ```text
//! offset  bytes  field
//!      0      2  length, this header included
//!      2      1  count; 0: heartbeat, with the next sequence
//!      3      1  unit
//!      4      4  sequence of the first message; 0: unsequenced
//!      8         messages: u8 length that counts itself
//! ```

use super::error::ParseError;
use super::field::{check_length, header, le16, le32};
use super::framing::Framing;
use super::packet::{Kind, Packet, StreamKey};
use super::traits::Protocol;

const HEADER: usize = 8;

/// Cboe multicast PITCH.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CboePitch;

impl Protocol for CboePitch {
    #[inline]
    fn parse(&self, datagram: &[u8]) -> Result<Packet, ParseError> {
        let h: &[u8; HEADER] = header(datagram)?;
        check_length(usize::from(le16(h, 0)), datagram, HEADER)?;
        let stream = StreamKey { channel: u64::from(h[3]), session: 0 };
        let (first, count) = (u64::from(le32(h, 4)), u32::from(h[2]));
        let kind = match (first, count) {
            (0, _) => Kind::Unsequenced,
            (_, 0) => Kind::Heartbeat,
            _ => Kind::Data,
        };
        Ok(Packet::new(kind, stream, first, count).with_messages(HEADER as u32, count, Framing::U8Inclusive))
    }

    fn name(&self) -> &'static str {
        "cboe-pitch"
    }

    fn stream_name(&self, stream: StreamKey) -> String {
        stream.channel.to_string()
    }
}
