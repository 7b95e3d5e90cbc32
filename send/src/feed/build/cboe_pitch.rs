//! Cboe sequenced units.

use receiver_feed::protocol::StreamKey;

use super::super::span::Span;
use super::draft::{Draft, content};
use super::shared::set_size;
use super::traits::{Builder, Counts, Limits};

/// Add Order, whose content is not filled in.
const MESSAGE_TYPE: u8 = 0x37;

#[derive(Debug)]
pub(super) struct Pitch;

fn header(out: &mut Vec<u8>, draft: &Draft<'_>, count: u32) {
    // The length, written once it is known.
    out.extend_from_slice(&[0, 0, count as u8, draft.key.channel as u8]);
    out.extend_from_slice(&(draft.first as u32).to_le_bytes());
}

impl Builder for Pitch {
    fn limits(&self) -> Limits {
        Limits {
            counts: Counts::Messages,
            streams: u8::MAX.into(),
            messages: u8::MAX.into(),
            default_messages: 1,
            size: Span::new(2, u8::MAX as u32),
            overhead: (8, 0),
            sequence: (1, u32::MAX as u64),
            least_rate: 0,
        }
    }

    /// Unit 1 and following.
    fn key(&self, number: u32, _session: u32) -> StreamKey {
        StreamKey { channel: u64::from(number) + 1, session: 0 }
    }

    fn data(&self, out: &mut Vec<u8>, draft: &Draft<'_>) {
        let begin = out.len();
        header(out, draft, draft.count);
        for (number, length) in draft.messages() {
            out.extend_from_slice(&[length as u8, MESSAGE_TYPE]);
            content(out, number, length - 2);
        }
        set_size(&mut out[begin..]);
    }

    fn heartbeat(&self, out: &mut Vec<u8>, draft: &Draft<'_>) -> bool {
        let begin = out.len();
        header(out, draft, 0);
        set_size(&mut out[begin..]);
        true
    }
}
