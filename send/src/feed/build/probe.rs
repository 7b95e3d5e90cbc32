//! The probe of `receiver send`: one datagram is one message.

use receiver_feed::protocol::StreamKey;

use super::super::span::Span;
use super::draft::Draft;
use super::traits::{Builder, Counts, Limits};
use crate::probe::{PROBE_LEN, ProbePayload};

#[derive(Debug)]
pub(super) struct Probe;

impl Builder for Probe {
    fn limits(&self) -> Limits {
        Limits {
            counts: Counts::Packets,
            streams: u32::MAX,
            messages: 1,
            default_messages: 1,
            size: Span::new(PROBE_LEN as u32, u16::MAX.into()),
            overhead: (0, 0),
            sequence: (0, u64::MAX),
            least_rate: 0,
        }
    }

    fn key(&self, number: u32, session: u32) -> StreamKey {
        StreamKey { channel: 0, session: session.wrapping_add(number).into() }
    }

    fn data(&self, out: &mut Vec<u8>, draft: &Draft<'_>) {
        let begin = out.len();
        out.resize(begin + draft.sizes.of(draft.stream, draft.position), 0);
        let probe = ProbePayload { stream: draft.key.session as u32, sequence: draft.first, sent_ns: draft.tai_ns };
        let is_written = probe.write_into(&mut out[begin..]);
        debug_assert!(is_written, "the least size has room for the header");
    }
}
