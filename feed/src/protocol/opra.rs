//! OPRA binary blocks ("Block Header" of the data recipient interface specification): big-endian, the sequence counts
//! blocks.
//!
//! ```text
//! offset  bytes  field
//!      0      1  version
//!      1      2  block size, this header included
//!      3      1  data feed indicator, 'O'
//!      4      1  retransmission indicator: ' ' or 'V'
//!      5      1  session indicator
//!      6      4  block sequence number
//!     10      1  messages in block
//!     11      4  block time, seconds since 1970
//!     15      4  block time, nanoseconds
//!     19      2  checksum: the sum of all other bytes, modulo 65,536
//!     21         messages: participant, category, type, …
//! ```

use super::error::ParseError;
use super::field::{be16, be32, check_length, header, time};
use super::framing::Framing;
use super::packet::{Kind, Packet, StreamKey};
use super::traits::Protocol;

const HEADER: usize = 21;
const CHECKSUM: usize = 19;

/// OPRA. A group carries one line, which the header does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opra;

impl Protocol for Opra {
    #[inline]
    fn parse(&self, datagram: &[u8]) -> Result<Packet, ParseError> {
        let h: &[u8; HEADER] = header(datagram)?;
        if h[3] != b'O' {
            return Err(ParseError::Value { field: "Data Feed Indicator", value: h[3].into() });
        }
        let size = usize::from(be16(h, 1));
        check_length(size, datagram, HEADER)?;
        check_sum(&datagram[..size], CHECKSUM)?;
        let control = |message_type| datagram.get(HEADER + 1..HEADER + 3) == Some(&[b'H', message_type]);
        let kind = match h[4] {
            b'V' => Kind::Retransmission,
            b' ' if control(b'K') => Kind::Reset,
            b' ' if control(b'N') => Kind::Heartbeat,
            b' ' => Kind::Data,
            other => return Err(ParseError::Value { field: "Retransmission Indicator", value: other.into() }),
        };
        let packet = Packet::new(kind, StreamKey::default(), u64::from(be32(h, 6)), 1);
        let packet = packet.sent_at(time(be32(h, 11), be32(h, 15)));
        // A message's length follows from its category and type, which are beyond this parser.
        Ok(packet.with_messages(HEADER as u32, u32::from(h[10]), Framing::None))
    }

    fn name(&self) -> &'static str {
        "opra"
    }
}

/// Checks a block's checksum at `offset`: the sum of all other bytes, modulo 65,536.
#[inline]
pub(super) fn check_sum(block: &[u8], offset: usize) -> Result<(), ParseError> {
    let sum = |bytes: &[u8]| bytes.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    let computed = sum(&block[..offset]).wrapping_add(sum(&block[offset + 2..])) as u16;
    let stated = be16(block, offset);
    if computed != stated {
        return Err(ParseError::Checksum { stated, computed });
    }
    Ok(())
}
