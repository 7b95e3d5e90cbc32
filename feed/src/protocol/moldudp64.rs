//! MoldUDP64 1.00 (Nasdaq, also ASX and Japannext): big-endian, the sequence counts messages.
//!
//! ```text
//! offset  bytes  downstream packet ("Downstream Packet" and "Request Packet" of the specification)
//!      0     10  session, ASCII
//!     10      8  sequence number of the first message
//!     18      2  message count; 0: heartbeat, 0xffff: end of session
//!     20         messages: u16 length, data
//! ```
//!
//! Heartbeats and the end carry the next sequence number. A request has the same 20 bytes.

use super::error::ParseError;
use super::field::{be16, be64, header};
use super::framing::Framing;
use super::packet::{Kind, Packet, StreamKey};
use super::traits::{Protocol, SequenceWidth};

const HEADER: usize = 20;
const END_OF_SESSION: u16 = 0xffff;

/// MoldUDP64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MoldUdp64;

impl Protocol for MoldUdp64 {
    #[inline]
    fn parse(&self, datagram: &[u8]) -> Result<Packet, ParseError> {
        let h: &[u8; HEADER] = header(datagram)?;
        let (high, low) = (be64(h, 0), be16(h, 8));
        let stream = StreamKey { channel: 0, session: u128::from(high) << 16 | u128::from(low) };
        let (first, count) = (be64(h, 10), be16(h, 18));
        Ok(match count {
            0 => Packet::new(Kind::Heartbeat, stream, first, 0),
            END_OF_SESSION => Packet::new(Kind::End, stream, first, 0),
            // Each message takes at least its length.
            _ if datagram.len() < HEADER + 2 * usize::from(count) => {
                return Err(ParseError::Length { stated: HEADER + 2 * usize::from(count), actual: datagram.len() });
            }
            _ => {
                let count = u32::from(count);
                Packet::new(Kind::Data, stream, first, count).with_messages(HEADER as u32, count, Framing::Be16)
            }
        })
    }

    fn name(&self) -> &'static str {
        "moldudp64"
    }

    fn width(&self) -> SequenceWidth {
        SequenceWidth::Bits64
    }

    fn sessions_succeed(&self) -> bool {
        true
    }

    fn stream_name(&self, stream: StreamKey) -> String {
        let bytes = session_bytes(stream);
        match std::str::from_utf8(&bytes) {
            Ok(text) if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => text.trim().to_owned(),
            _ => format!("0x{:020x}", stream.session),
        }
    }
}

fn session_bytes(stream: StreamKey) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&stream.session.to_be_bytes()[6..]);
    bytes
}

/// A request to send messages again: a unicast datagram to the re-request server, answered by unicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rerequest {
    /// The session, as parsed.
    pub stream: StreamKey,
    /// First sequence number asked for.
    pub first: u64,
    /// How many messages.
    pub count: u16,
}

impl Rerequest {
    /// The datagram.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..10].copy_from_slice(&session_bytes(self.stream));
        bytes[10..18].copy_from_slice(&self.first.to_be_bytes());
        bytes[18..].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender chooses the session, and its name is printed to terminals.
    #[test]
    fn a_session_that_is_no_text_is_a_number() {
        let mut datagram = [0; HEADER];
        datagram[..10].copy_from_slice(b"\x1b[2J\x07     ");
        let stream = MoldUdp64.parse(&datagram).expect("a heartbeat").stream;
        assert_eq!(MoldUdp64.stream_name(stream), "0x1b5b324a072020202020");
    }
}
