//! The probe of `receiver send`: big-endian, the sequence counts datagrams.
//!
//! ```text
//! offset  bytes  field
//!      0      2  magic 0x5ac7
//!      2      4  stream id
//!      6      8  sequence number, from 0
//!     14      8  send time, nanoseconds of CLOCK_TAI, below 2^63
//! ```

use super::error::ParseError;
use super::field::{be16, be32, be64, header};
use super::packet::{Kind, Packet, StreamKey};
use super::traits::{Protocol, SequenceWidth};

const HEADER: usize = 22;
const MAGIC: u16 = 0x5ac7;

/// The probe of `receiver send`. Its sending time is of `CLOCK_TAI`, not UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe;

impl Protocol for Probe {
    #[inline]
    fn parse(&self, datagram: &[u8]) -> Result<Packet, ParseError> {
        let h: &[u8; HEADER] = header(datagram)?;
        if be16(h, 0) != MAGIC {
            return Err(ParseError::Value { field: "magic", value: be16(h, 0).into() });
        }
        let sent_ns = be64(h, 14);
        if sent_ns >> 63 != 0 {
            return Err(ParseError::Value { field: "send time", value: sent_ns });
        }
        let stream = StreamKey { channel: 0, session: be32(h, 2).into() };
        Ok(Packet::new(Kind::Data, stream, be64(h, 6), 1).sent_at(sent_ns))
    }

    fn name(&self) -> &'static str {
        "probe"
    }

    fn width(&self) -> SequenceWidth {
        SequenceWidth::Bits64
    }

    fn sessions_succeed(&self) -> bool {
        true
    }

    fn stream_name(&self, stream: StreamKey) -> String {
        format!("{:08x}", stream.session)
    }
}
