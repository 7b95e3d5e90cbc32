//! RTP (RFC 3550, section 5.1): big-endian, a 16-bit sequence of packets. RTCP on the same port is refused (RFC 5761).

use super::error::ParseError;
use super::field::{be16, be32, header};
use super::framing::Framing;
use super::packet::{Kind, Packet, StreamKey};
use super::traits::{Protocol, SequenceWidth};

const FIXED_HEADER: usize = 12;

/// RTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rtp;

/// An RTP packet's header, and where its payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtpHeader {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp, in units of the payload's clock.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
    /// Offset of the payload: after the contributing sources and the extension.
    pub payload: usize,
    /// End of the payload: before the padding.
    pub end: usize,
}

impl RtpHeader {
    /// Reads the header.
    ///
    /// # Errors
    /// It is not RTP version 2, is RTCP, or its parts do not fit the datagram.
    #[inline]
    pub fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        let h: &[u8; FIXED_HEADER] = header(datagram)?;
        if h[0] >> 6 != 2 {
            return Err(ParseError::Value { field: "version", value: (h[0] >> 6).into() });
        }
        let payload_type = h[1] & 0x7f;
        if (72..=76).contains(&payload_type) {
            return Err(ParseError::Value { field: "payload type", value: payload_type.into() });
        }
        let mut payload = FIXED_HEADER + 4 * usize::from(h[0] & 0x0f);
        if h[0] & 0x10 != 0 {
            let words = datagram.get(payload + 2..payload + 4);
            let Some(words) = words else {
                return Err(ParseError::Short { needed: payload + 4, actual: datagram.len() });
            };
            payload += 4 + 4 * usize::from(be16(words, 0));
        }
        let padding = match datagram.last() {
            Some(&padding) if h[0] & 0x20 != 0 => usize::from(padding),
            _ => 0,
        };
        if payload + padding > datagram.len() {
            return Err(ParseError::Length { stated: payload + padding, actual: datagram.len() });
        }
        Ok(Self {
            marker: h[1] & 0x80 != 0,
            payload_type,
            sequence: be16(h, 2),
            timestamp: be32(h, 4),
            ssrc: be32(h, 8),
            payload,
            end: datagram.len() - padding,
        })
    }

    /// Reads the fixed header alone: the bits for padding, extension and sources say nothing about this packet, as in
    /// parity packets of ST 2022-1.
    ///
    /// # Errors
    /// It is shorter than the fixed header, or not RTP version 2.
    pub(crate) fn parse_fixed(datagram: &[u8]) -> Result<Self, ParseError> {
        let mut fixed = *header::<FIXED_HEADER>(datagram)?;
        fixed[0] &= 0xc0;
        Ok(Self { end: datagram.len(), ..Self::parse(&fixed)? })
    }

    /// The packet's place in its stream.
    #[inline]
    pub(super) fn packet(&self) -> Packet {
        let stream = StreamKey { channel: 0, session: self.ssrc.into() };
        let packet = Packet::new(Kind::Data, stream, self.sequence.into(), 1);
        let packet = Packet { media_time: Some(self.timestamp), ..packet };
        packet.with_messages(self.payload as u32, 0, Framing::None)
    }
}

impl Protocol for Rtp {
    #[inline]
    fn parse(&self, datagram: &[u8]) -> Result<Packet, ParseError> {
        Ok(RtpHeader::parse(datagram)?.packet())
    }

    fn name(&self) -> &'static str {
        "rtp"
    }

    fn width(&self) -> SequenceWidth {
        SequenceWidth::Bits16
    }

    fn sessions_succeed(&self) -> bool {
        true
    }

    fn stream_name(&self, stream: StreamKey) -> String {
        format!("{:08x}", stream.session)
    }
}
