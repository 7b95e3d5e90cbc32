//! NYSE Pillar packets.

use receiver_feed::protocol::StreamKey;

use super::super::span::Span;
use super::draft::Draft;
use super::shared::{TYPED_HEADER, set_size, typed_messages};
use super::traits::{Builder, Counts, Limits};

/// Delivery flags.
const HEARTBEAT: u8 = 1;
const ORIGINAL: u8 = 11;
/// Symbol Clear, whose content is not filled in.
const MESSAGE_TYPE: u16 = 32;

#[derive(Debug)]
pub(super) struct Pillar;

fn header(out: &mut Vec<u8>, draft: &Draft<'_>, flag: u8, count: u32) {
    // The size, written once it is known.
    out.extend_from_slice(&[0, 0, flag, count as u8]);
    let [seconds, nanoseconds] = draft.utc_seconds();
    for field in [draft.first as u32, seconds, nanoseconds] {
        out.extend_from_slice(&field.to_le_bytes());
    }
}

impl Builder for Pillar {
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
        header(out, draft, ORIGINAL, draft.count);
        typed_messages(out, draft, MESSAGE_TYPE);
        set_size(&mut out[begin..]);
    }

    fn heartbeat(&self, out: &mut Vec<u8>, draft: &Draft<'_>) -> bool {
        let begin = out.len();
        header(out, draft, HEARTBEAT, 0);
        set_size(&mut out[begin..]);
        true
    }
}
