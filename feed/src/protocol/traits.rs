//! The one trait that a feed protocol implements.

use super::error::ParseError;
use super::packet::{Packet, StreamKey};

/// How many bits a sequence number has on the wire. The engine extends it to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SequenceWidth {
    /// 16 bits: RTP.
    Bits16,
    /// 32 bits.
    Bits32,
    /// 64 bits.
    Bits64,
}

impl SequenceWidth {
    /// The sequence number nearest to `reference` that has the wire value `wire`. `None` if it would be below 0 or
    /// above 2^64.
    ///
    /// ```
    /// use receiver_feed::protocol::SequenceWidth::Bits16;
    ///
    /// assert_eq!(Bits16.extend(3, 65_534), Some(65_539));
    /// assert_eq!(Bits16.extend(65_534, 65_539), Some(65_534));
    /// assert_eq!(Bits16.extend(65_534, 3), None);
    /// ```
    #[inline]
    #[must_use]
    pub fn extend(self, wire: u64, reference: u64) -> Option<u64> {
        match self {
            Self::Bits64 => Some(wire),
            Self::Bits32 => {
                reference.checked_add_signed(i64::from((wire as u32).wrapping_sub(reference as u32) as i32))
            }
            Self::Bits16 => {
                reference.checked_add_signed(i64::from((wire as u16).wrapping_sub(reference as u16) as i16))
            }
        }
    }
}

/// A feed protocol: parses one datagram's header.
///
/// A parser must not panic, whatever the bytes. It should read no more of the datagram than its header.
pub trait Protocol {
    /// Reads the header.
    ///
    /// # Errors
    /// The datagram is malformed or of another protocol.
    fn parse(&self, datagram: &[u8]) -> Result<Packet, ParseError>;

    /// Name on the command line and in the configuration.
    fn name(&self) -> &'static str;

    /// Width of a sequence number on the wire.
    fn width(&self) -> SequenceWidth {
        SequenceWidth::Bits32
    }

    /// Returns true if a new session on a channel takes the place of the one before.
    fn sessions_succeed(&self) -> bool {
        false
    }

    /// The stream as people write it: session, unit, channel or SSRC. Empty where the header names none.
    fn stream_name(&self, _stream: StreamKey) -> String {
        String::new()
    }
}
