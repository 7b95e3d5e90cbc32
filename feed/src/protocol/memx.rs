//! MEMX MEMO-UDP (the common header of the UDP transport specification): big-endian, the sequence counts messages.
//!
//! ```text
//! offset  bytes  field
//!      0      1  message type; 0: heartbeat, 2: sequenced
//!      1      1  header length: 18 for a heartbeat, which has no count
//!      2      8  session
//!     10      8  sequence number of the first message; of the next one in a heartbeat
//!     18      2  message count
//!     20         messages: u16 length, data
//! ```

use super::error::ParseError;
use super::field::{be16, be64, header};
use super::framing::Framing;
use super::packet::{Kind, Packet, StreamKey};
use super::traits::{Protocol, SequenceWidth};

const COMMON: usize = 18;
const SEQUENCED: usize = 20;

/// MEMX MEMO-UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memx;

impl Protocol for Memx {
    #[inline]
    fn parse(&self, datagram: &[u8]) -> Result<Packet, ParseError> {
        let h: &[u8; COMMON] = header(datagram)?;
        // Real datagrams state 18 for both types: the common header without the count.
        if usize::from(h[1]) < COMMON {
            return Err(ParseError::Value { field: "HeaderLength", value: h[1].into() });
        }
        let stream = StreamKey { channel: 0, session: u128::from(be64(h, 2)) };
        let first = be64(h, 10);
        match h[0] {
            0 => Ok(Packet::new(Kind::Heartbeat, stream, first, 0)),
            2 => {
                let count = u32::from(be16(header::<SEQUENCED>(datagram)?, COMMON));
                let packet = Packet::new(Kind::Data, stream, first, count);
                Ok(packet.with_messages(SEQUENCED as u32, count, Framing::Be16))
            }
            other => Err(ParseError::Value { field: "MessageType", value: other.into() }),
        }
    }

    fn name(&self) -> &'static str {
        "memx"
    }

    fn width(&self) -> SequenceWidth {
        SequenceWidth::Bits64
    }

    fn sessions_succeed(&self) -> bool {
        true
    }

    fn stream_name(&self, stream: StreamKey) -> String {
        format!("{:016x}", stream.session)
    }
}
