//! HKEX OMD packets.

use receiver_feed::protocol::StreamKey;

use super::super::span::Span;
use super::draft::Draft;
use super::shared::{TYPED_HEADER, set_size, typed_messages};
use super::traits::{Builder, Counts, Limits};

/// Add Order, whose content is not filled in.
const MESSAGE_TYPE: u16 = 30;

#[derive(Debug)]
pub(super) struct Omd;

fn header(out: &mut Vec<u8>, draft: &Draft<'_>, count: u32) {
    // The size, written once it is known.
    out.extend_from_slice(&[0, 0, count as u8, 0]);
    out.extend_from_slice(&(draft.first as u32).to_le_bytes());
    out.extend_from_slice(&draft.utc_ns.to_le_bytes());
}

impl Builder for Omd {
    fn limits(&self) -> Limits {
        Limits {
            counts: Counts::Messages,
            streams: 1,
            messages: u8::MAX.into(),
            default_messages: 1,
            size: Span::new(TYPED_HEADER, u16::MAX as u32),
            overhead: (16, 0),
            sequence: (1, u32::MAX as u64),
            least_rate: 0,
        }
    }

    /// A group carries one channel, which the header does not name.
    fn key(&self, _number: u32, _session: u32) -> StreamKey {
        StreamKey::default()
    }

    fn data(&self, out: &mut Vec<u8>, draft: &Draft<'_>) {
        let begin = out.len();
        header(out, draft, draft.count);
        typed_messages(out, draft, MESSAGE_TYPE);
        set_size(&mut out[begin..]);
    }

    /// Carries the next sequence number, as the parser takes it.
    fn heartbeat(&self, out: &mut Vec<u8>, draft: &Draft<'_>) -> bool {
        let begin = out.len();
        header(out, draft, 0);
        set_size(&mut out[begin..]);
        true
    }
}
