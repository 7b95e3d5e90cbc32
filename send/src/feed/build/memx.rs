//! MEMX MEMO-UDP datagrams.

use receiver_feed::protocol::StreamKey;

use super::super::span::Span;
use super::draft::{Draft, content};
use super::traits::{Builder, Counts, Limits};

const HEARTBEAT: u8 = 0;
const SEQUENCED: u8 = 2;
/// As real datagrams of both types state it: without the count.
const HEADER_LENGTH: u8 = 18;

#[derive(Debug)]
pub(super) struct Memx;

fn header(out: &mut Vec<u8>, draft: &Draft<'_>, message_type: u8) {
    out.extend_from_slice(&[message_type, HEADER_LENGTH]);
    out.extend_from_slice(&(draft.key.session as u64).to_be_bytes());
    out.extend_from_slice(&draft.first.to_be_bytes());
}

impl Builder for Memx {
    fn limits(&self) -> Limits {
        Limits {
            counts: Counts::Messages,
            streams: u32::MAX,
            messages: u16::MAX.into(),
            default_messages: 1,
            size: Span::new(1, u16::MAX as u32),
            overhead: (20, 2),
            sequence: (1, u64::MAX),
            least_rate: 0,
        }
    }

    fn key(&self, number: u32, session: u32) -> StreamKey {
        StreamKey { channel: 0, session: (u64::from(session) + u64::from(number)).into() }
    }

    fn data(&self, out: &mut Vec<u8>, draft: &Draft<'_>) {
        header(out, draft, SEQUENCED);
        out.extend_from_slice(&(draft.count as u16).to_be_bytes());
        for (number, length) in draft.messages() {
            out.extend_from_slice(&(length as u16).to_be_bytes());
            content(out, number, length);
        }
    }

    fn heartbeat(&self, out: &mut Vec<u8>, draft: &Draft<'_>) -> bool {
        header(out, draft, HEARTBEAT);
        true
    }
}
