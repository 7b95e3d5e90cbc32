//! MPEG-TS over UDP: 188-byte packets, plain or in RTP (RFC 2250, payload type 33). Plain datagrams have no sequence
//! number: their loss shows in the continuity counters.

use super::error::ParseError;
use super::framing::Framing;
use super::packet::{Kind, Packet, StreamKey};
use super::rtp::{Rtp, RtpHeader};
use super::traits::{Protocol, SequenceWidth};

/// Length of a transport stream packet in bytes.
pub const TS_PACKET_LEN: usize = 188;

const SYNC_BYTE: u8 = 0x47;
/// The key of a plain transport stream: that of RTP has channel 0, and any SSRC.
const PLAIN: StreamKey = StreamKey { channel: 1, session: 0 };

/// MPEG-TS, plain or in RTP: each datagram tells which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MpegTs;

/// Returns true if `payload` is one or more whole transport stream packets: each begins with the sync byte.
#[inline]
#[must_use]
pub fn is_transport_stream(payload: &[u8]) -> bool {
    !payload.is_empty()
        && payload.len().is_multiple_of(TS_PACKET_LEN)
        && payload.iter().step_by(TS_PACKET_LEN).all(|byte| *byte == SYNC_BYTE)
}

impl Protocol for MpegTs {
    #[inline]
    fn parse(&self, datagram: &[u8]) -> Result<Packet, ParseError> {
        let framing = Framing::Fixed(TS_PACKET_LEN as u16);
        if datagram.first() == Some(&SYNC_BYTE) {
            if !datagram.len().is_multiple_of(TS_PACKET_LEN) {
                let stated = datagram.len().next_multiple_of(TS_PACKET_LEN);
                return Err(ParseError::Length { stated, actual: datagram.len() });
            }
            // A later sync byte that is wrong is the health report's to count.
            let packets = (datagram.len() / TS_PACKET_LEN) as u32;
            let packet = Packet::new(Kind::Unsequenced, PLAIN, 0, packets);
            return Ok(packet.with_messages(0, packets, framing));
        }
        let rtp = RtpHeader::parse(datagram)?;
        let payload = &datagram[rtp.payload..rtp.end];
        match payload.first() {
            Some(&SYNC_BYTE) if payload.len().is_multiple_of(TS_PACKET_LEN) => {
                let packets = (payload.len() / TS_PACKET_LEN) as u32;
                Ok(rtp.packet().with_messages(rtp.payload as u32, packets, framing))
            }
            Some(&SYNC_BYTE) => {
                let stated = payload.len().next_multiple_of(TS_PACKET_LEN);
                Err(ParseError::Length { stated, actual: payload.len() })
            }
            other => Err(ParseError::Value { field: "sync_byte", value: other.copied().unwrap_or_default().into() }),
        }
    }

    fn name(&self) -> &'static str {
        "mpeg-ts"
    }

    fn width(&self) -> SequenceWidth {
        SequenceWidth::Bits16
    }

    fn sessions_succeed(&self) -> bool {
        true
    }

    fn stream_name(&self, stream: StreamKey) -> String {
        if stream == PLAIN { String::new() } else { Rtp.stream_name(stream) }
    }
}
