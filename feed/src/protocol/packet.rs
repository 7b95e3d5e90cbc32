//! What every parser yields: one datagram's place in its stream.

use std::hash::{Hash, Hasher};

use super::framing::{Framing, Messages};

/// Tells streams of one feed apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamKey {
    /// What stays when the sender starts anew: unit, channel, partition; 0 where the header has none.
    pub channel: u64,
    /// What changes when the sender starts anew: session, SSRC; 0 where the header has none.
    pub session: u128,
}

impl Hash for StreamKey {
    /// Mixes the bits first: a multiplying hasher alone spreads keys badly that differ in their high bits, as sessions
    /// of text do.
    #[inline]
    fn hash<S: Hasher>(&self, state: &mut S) {
        let (low, high) = (self.session as u64, (self.session >> 64) as u64);
        let mixed = (low ^ low >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ (high ^ high >> 32).wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
            ^ (self.channel ^ self.channel >> 32).wrapping_mul(0x1656_67b1_9e37_79f9);
        state.write_u64(mixed ^ mixed >> 32);
    }
}

/// What a datagram is to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Sequenced messages.
    Data,
    /// Nothing new. With count 0, `first` is the sequence number that comes next. With a count, the datagram may
    /// repeat the last sequence number or take one of its own.
    Heartbeat,
    /// The session is over; `first` is one above its last sequence number.
    End,
    /// The sequence starts anew at `first`.
    Reset,
    /// Sequenced messages, sent again on request.
    Retransmission,
    /// Messages without a place in the sequence: refreshes, unsequenced units, plain MPEG-TS.
    Unsequenced,
}

/// One datagram's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Packet {
    /// The stream.
    pub stream: StreamKey,
    /// What the datagram is.
    pub kind: Kind,
    /// Sequence number of the first message, as on the wire.
    pub first: u64,
    /// How many sequence numbers the datagram covers.
    pub count: u32,
    /// When the sender sent it, nanoseconds since 1970, where the header has it.
    pub sent_ns: Option<u64>,
    /// RTP timestamp, where the protocol is RTP.
    pub media_time: Option<u32>,
    /// Offset of the first message in the datagram.
    pub body: u32,
    /// How many messages the datagram holds, which differs from `count` where packets are counted. 0 where unknown;
    /// `u32::MAX` where the header does not count them, since they fill the datagram: [`Packet::message_count`].
    pub messages: u32,
    /// How the messages are delimited.
    pub framing: Framing,
}

impl Packet {
    /// A packet of `kind`, with no messages.
    #[must_use]
    pub fn new(kind: Kind, stream: StreamKey, first: u64, count: u32) -> Self {
        let (sent_ns, media_time) = (None, None);
        Self { stream, kind, first, count, sent_ns, media_time, body: 0, messages: 0, framing: Framing::None }
    }

    /// The same packet with its messages.
    #[must_use]
    pub fn with_messages(self, body: u32, messages: u32, framing: Framing) -> Self {
        Self { body, messages, framing, ..self }
    }

    /// The same packet with its sending time.
    #[must_use]
    pub fn sent_at(self, nanoseconds: u64) -> Self {
        Self { sent_ns: Some(nanoseconds), ..self }
    }

    /// The messages in the datagram that this header was parsed from. Ends early where a message does not fit.
    pub fn messages<'a>(&self, datagram: &'a [u8]) -> Messages<'a> {
        Messages::new(datagram.get(self.body as usize..).unwrap_or_default(), self.messages, self.framing)
    }

    /// How many messages are in the datagram that this header was parsed from: as the header says, or counted if it
    /// does not say. Where messages are unknown, the sequence numbers count.
    #[must_use]
    pub fn message_count(&self, datagram: &[u8]) -> u64 {
        match self.messages {
            0 => self.count.into(),
            u32::MAX => self.messages(datagram).count() as u64,
            stated => stated.into(),
        }
    }
}
