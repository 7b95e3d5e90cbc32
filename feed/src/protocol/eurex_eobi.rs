//! Eurex T7 EOBI packet header: little-endian, the sequence counts packets of a market segment and partition.
//!
//! ```text
//! offset  bytes  releases with a 32-bit sequence    offset  bytes  releases with a 64-bit sequence
//!      0      2  header length, 32                       0      2  header length, 32
//!      2      2  template, 13003 and its neighbours      2      2  template
//!      4      4  0xffffffff                              4      4  0xffffffff
//!      8      4  ApplSeqNum                              8      8  ApplSeqNum
//!     12      4  MarketSegmentID                        16      4  MarketSegmentID
//!     16      1  PartitionID                            20      1  PartitionID
//!     17      1  completion indicator                   21      1  completion indicator
//!     18      1  ApplSeqResetIndicator                  22      1  ApplSeqResetIndicator
//!     24      8  TransactTime, nanoseconds since 1970   24      8  TransactTime
//! ```
//!
//! No market segment has the number 0, so a zero at offset 12 is the upper half of a 64-bit sequence.

use super::error::ParseError;
use super::field::{check_length, header, le16, le32, le64};
use super::framing::Framing;
use super::packet::{Kind, Packet, StreamKey};
use super::traits::{Protocol, SequenceWidth};

const HEADER: usize = 32;
/// Template of the heartbeat message.
const HEARTBEAT: u16 = 13001;

/// Eurex T7 EOBI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EurexEobi;

impl Protocol for EurexEobi {
    #[inline]
    fn parse(&self, datagram: &[u8]) -> Result<Packet, ParseError> {
        let h: &[u8; HEADER] = header(datagram)?;
        if usize::from(le16(h, 0)) != HEADER {
            return Err(ParseError::Value { field: "HeaderLength", value: le16(h, 0).into() });
        }
        if le32(h, 4) != u32::MAX {
            return Err(ParseError::Value { field: "MsgSeqNum", value: le32(h, 4).into() });
        }
        let wide = le32(h, 12) == 0;
        let (first, segment, partition, reset) = if wide {
            (le64(h, 8), le32(h, 16), h[20], h[22])
        } else {
            (u64::from(le32(h, 8)), le32(h, 12), h[16], h[18])
        };
        let body = &datagram[HEADER..];
        if let Some(size) = body.first_chunk().map(|size| u16::from_le_bytes(*size)) {
            check_length(HEADER + usize::from(size), datagram, HEADER)?;
        }
        let kind = match body.get(2..4).map(|template| le16(template, 0)) {
            _ if reset == 1 => Kind::Reset,
            Some(HEARTBEAT) => Kind::Heartbeat,
            _ => Kind::Data,
        };
        let stream = StreamKey { channel: u64::from(segment) << 8 | u64::from(partition), session: 0 };
        let packet = Packet::new(kind, stream, first, 1).sent_at(le64(h, 24));
        Ok(packet.with_messages(HEADER as u32, u32::MAX, Framing::Le16Inclusive))
    }

    fn name(&self) -> &'static str {
        "eurex-eobi"
    }

    fn width(&self) -> SequenceWidth {
        SequenceWidth::Bits64
    }

    fn stream_name(&self, stream: StreamKey) -> String {
        format!("{}/{}", stream.channel >> 8, stream.channel & 0xff)
    }
}
