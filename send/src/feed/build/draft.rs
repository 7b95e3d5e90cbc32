//! One packet before it is bytes.

use receiver_feed::protocol::StreamKey;

use super::super::span::Span;
use crate::random::Random;

/// One packet before it is bytes.
pub(in super::super) struct Draft<'a> {
    pub(in super::super) key: StreamKey,
    /// The stream's number from 0.
    pub(in super::super) stream: u32,
    /// The sequence number of the first message; of the next one in a heartbeat.
    pub(in super::super) first: u64,
    /// The same, counted from 0.
    pub(in super::super) position: u64,
    /// Messages.
    pub(in super::super) count: u32,
    /// Bytes of all messages before, where the protocol counts them.
    pub(in super::super) offset: u64,
    /// Now, in nanoseconds since 1970 UTC, and TAI.
    pub(in super::super) utc_ns: u64,
    pub(in super::super) tai_ns: u64,
    pub(in super::super) sizes: &'a Sizes,
}

/// The lengths of messages: a function of stream and number, so that all legs carry the same messages.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Sizes {
    pub(in super::super) random: Random,
    pub(in super::super) span: Span,
    /// Messages of a packet, where the protocol counts packets.
    pub(in super::super) packing: Span,
}

impl Sizes {
    #[inline]
    pub(in super::super) fn of(&self, stream: u32, message: u64) -> usize {
        let Span { least, most } = self.span;
        if least == most {
            return least as usize;
        }
        let at = message.wrapping_mul(0x1_0000).wrapping_add(stream.into());
        least as usize + self.random.below(at, u64::from(most - least) + 1) as usize
    }

    /// Bytes of all messages of a range.
    pub(in super::super) fn of_all(&self, stream: u32, (from, to): (u64, u64)) -> u64 {
        if self.span.least == self.span.most {
            return (to - from) * u64::from(self.span.least);
        }
        (from..to).map(|message| self.of(stream, message) as u64).sum()
    }
}

impl Draft<'_> {
    /// Now, as whole seconds since 1970 UTC and the nanoseconds after them.
    pub(super) fn utc_seconds(&self) -> [u32; 2] {
        [self.utc_ns / 1_000_000_000, self.utc_ns % 1_000_000_000].map(|field| field as u32)
    }

    /// Where packets are counted: number and length of each message of this one. The number is the packet's.
    pub(super) fn packet_messages(&self) -> impl Iterator<Item = (u64, usize)> {
        let Span { least, most } = self.sizes.packing;
        // Positions of messages of one packet are far from those of the next.
        let at = self.position << 16;
        let more = if least == most { 0 } else { self.sizes.random.below(!at, u64::from(most - least) + 1) };
        (0..u64::from(least) + more).map(move |nth| (self.first, self.sizes.of(self.stream, at + nth)))
    }

    /// Number and length of each message, in order.
    pub(in super::super) fn messages(&self) -> impl Iterator<Item = (u64, usize)> {
        let ahead = 0..u64::from(self.count);
        ahead.map(|ahead| (self.first.wrapping_add(ahead), self.sizes.of(self.stream, self.position + ahead)))
    }
}

/// The content of a message: its number, and then as many bytes of the number's last one.
pub(super) fn content(out: &mut Vec<u8>, number: u64, length: usize) {
    let bytes = number.to_be_bytes();
    let end = out.len() + length;
    out.extend_from_slice(&bytes[..length.min(8)]);
    out.resize(end, bytes[7]);
}
