//! SIAC CQS and CTS blocks ("Block Header" of the multicast output specifications): big-endian, the sequence counts
//! blocks.
//!
//! ```text
//! offset  bytes  field
//!      0      1  version
//!      1      2  block size, this header included
//!      3      1  feed: 'Q' quotes, 'T' trades, …
//!      4      1  retransmission indicator: 'O' or 'V'
//!      5      4  block sequence number
//!      9      1  messages in block
//!     10      4  block time, seconds since 1970
//!     14      4  block time, nanoseconds
//!     18      2  checksum: the sum of all other bytes, modulo 65,536
//!     20         messages: u16 length that counts itself, category, type, …
//! ```
//!
//! Sequence 0 at the start of a day is legal. A line integrity message repeats the last sequence number.

use super::error::ParseError;
use super::field::{be16, be32, check_length, header, time};
use super::framing::Framing;
use super::opra::check_sum;
use super::packet::{Kind, Packet, StreamKey};
use super::traits::Protocol;

const HEADER: usize = 20;
const CHECKSUM: usize = 18;

/// SIAC CQS and CTS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Siac;

impl Protocol for Siac {
    #[inline]
    fn parse(&self, datagram: &[u8]) -> Result<Packet, ParseError> {
        let h: &[u8; HEADER] = header(datagram)?;
        let size = usize::from(be16(h, 1));
        check_length(size, datagram, HEADER)?;
        check_sum(&datagram[..size], CHECKSUM)?;
        let control = |message_type| datagram.get(HEADER + 2..HEADER + 4) == Some(&[b'C', message_type]);
        let kind = match h[4] {
            b'V' => Kind::Retransmission,
            // 'L' resets the sequence, 'A' starts the day.
            b'O' if control(b'L') || control(b'A') => Kind::Reset,
            b'O' if control(b'T') => Kind::Heartbeat,
            b'O' => Kind::Data,
            other => return Err(ParseError::Value { field: "Retransmission Indicator", value: other.into() }),
        };
        let stream = StreamKey { channel: h[3].into(), session: 0 };
        let packet = Packet::new(kind, stream, u64::from(be32(h, 5)), 1).sent_at(time(be32(h, 10), be32(h, 14)));
        Ok(packet.with_messages(HEADER as u32, u32::from(h[9]), Framing::Be16Inclusive))
    }

    fn name(&self) -> &'static str {
        "siac"
    }

    fn stream_name(&self, stream: StreamKey) -> String {
        match u8::try_from(stream.channel) {
            Ok(feed) if feed.is_ascii_graphic() => char::from(feed).to_string(),
            _ => format!("{:#x}", stream.channel),
        }
    }
}
