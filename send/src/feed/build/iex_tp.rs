//! IEX-TP outbound segments.

use receiver_feed::protocol::StreamKey;

use super::super::span::Span;
use super::draft::{Draft, content};
use super::traits::{Builder, Counts, Limits};

const VERSION: u8 = 1;
/// DEEP 1.0.
const MESSAGE_PROTOCOL: u16 = 0x8004;

#[derive(Debug)]
pub(super) struct Iex;

fn header(out: &mut Vec<u8>, draft: &Draft<'_>, count: u32) {
    out.extend_from_slice(&[VERSION, 0]);
    out.extend_from_slice(&MESSAGE_PROTOCOL.to_le_bytes());
    out.extend_from_slice(&(draft.key.channel as u32).to_le_bytes());
    out.extend_from_slice(&(draft.key.session as u32).to_le_bytes());
    // The payload's length, written once it is known.
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&(count as u16).to_le_bytes());
    out.extend_from_slice(&(draft.offset + 2 * draft.position).to_le_bytes());
    out.extend_from_slice(&draft.first.to_le_bytes());
    out.extend_from_slice(&draft.utc_ns.to_le_bytes());
}

impl Builder for Iex {
    fn limits(&self) -> Limits {
        Limits {
            counts: Counts::Messages,
            streams: u32::MAX,
            messages: u16::MAX.into(),
            default_messages: 1,
            size: Span::new(1, u16::MAX.into()),
            overhead: (40, 2),
            sequence: (1, u64::MAX),
            least_rate: 0,
        }
    }

    /// Channel 1 and following.
    fn key(&self, number: u32, session: u32) -> StreamKey {
        StreamKey { channel: u64::from(number) + 1, session: session.into() }
    }

    fn data(&self, out: &mut Vec<u8>, draft: &Draft<'_>) {
        let begin = out.len();
        header(out, draft, draft.count);
        for (number, length) in draft.messages() {
            out.extend_from_slice(&(length as u16).to_le_bytes());
            content(out, number, length);
        }
        let length = (out.len() - begin - 40) as u16;
        out[begin + 12..begin + 14].copy_from_slice(&length.to_le_bytes());
    }

    fn heartbeat(&self, out: &mut Vec<u8>, draft: &Draft<'_>) -> bool {
        header(out, draft, 0);
        true
    }
}
