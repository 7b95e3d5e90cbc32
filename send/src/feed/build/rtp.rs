//! RTP packets with timestamps of 90 kHz.

use receiver_feed::protocol::StreamKey;

use super::super::span::Span;
use super::draft::{Draft, content};
use super::timing::Timing;
use super::traits::{Builder, Counts, Limits};

/// Bytes of a header without contributing sources.
pub(super) const HEADER: usize = 12;
/// The first payload type without a fixed meaning (RFC 3551, section 6).
const DYNAMIC: u8 = 96;
const CLOCK_HZ: u64 = 90_000;

/// RTP with a payload that means nothing.
#[derive(Debug)]
pub(super) struct Rtp {
    pub(super) timing: Timing,
}

/// Appends an RTP header. The timestamp follows from the packet's position, so that all legs have the same.
pub(super) fn header(out: &mut Vec<u8>, draft: &Draft<'_>, timing: &Timing, payload_type: u8) {
    out.extend_from_slice(&[0x80, payload_type]);
    out.extend_from_slice(&(draft.first as u16).to_be_bytes());
    out.extend_from_slice(&(timing.ticks(draft.position, CLOCK_HZ) as u32).to_be_bytes());
    out.extend_from_slice(&(draft.key.session as u32).to_be_bytes());
}

impl Builder for Rtp {
    fn limits(&self) -> Limits {
        Limits {
            counts: Counts::Packets,
            streams: u32::MAX,
            messages: 1,
            default_messages: 1,
            size: Span::new(0, u16::MAX as u32),
            overhead: (HEADER, 0),
            sequence: (1, u64::MAX),
            least_rate: 1,
        }
    }

    fn key(&self, number: u32, session: u32) -> StreamKey {
        StreamKey { channel: 0, session: session.wrapping_add(number).into() }
    }

    fn data(&self, out: &mut Vec<u8>, draft: &Draft<'_>) {
        header(out, draft, &self.timing, DYNAMIC);
        for (number, length) in draft.packet_messages() {
            content(out, number, length);
        }
    }
}
