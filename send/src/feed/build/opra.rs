//! OPRA binary blocks.

use receiver_feed::protocol::StreamKey;

use super::super::span::Span;
use super::draft::{Draft, content};
use super::shared::{block_header, finish_block};
use super::traits::{Builder, Counts, Limits};

const HEADER: usize = 21;
const VERSION: u8 = 6;
/// Bytes of a message before its content: participant, category, type.
const MESSAGE_HEADER: u32 = 3;

#[derive(Debug)]
pub(super) struct Opra;

fn header(out: &mut Vec<u8>, draft: &Draft<'_>, sequence: u64, messages: usize) {
    // Version, the size that is written later, feed, original, session.
    block_header(out, draft, &[VERSION, 0, 0, b'O', b' ', b' '], sequence, messages);
}

impl Builder for Opra {
    fn limits(&self) -> Limits {
        Limits {
            counts: Counts::Packets,
            streams: 1,
            messages: u8::MAX.into(),
            default_messages: 1,
            size: Span::new(MESSAGE_HEADER, u16::MAX as u32),
            overhead: (HEADER, 0),
            sequence: (1, u32::MAX as u64),
            least_rate: 0,
        }
    }

    /// A group carries one line, which the header does not name.
    fn key(&self, _number: u32, _session: u32) -> StreamKey {
        StreamKey::default()
    }

    fn data(&self, out: &mut Vec<u8>, draft: &Draft<'_>) {
        let begin = out.len();
        header(out, draft, draft.first, draft.packet_messages().count());
        for (number, length) in draft.packet_messages() {
            // A short quote.
            out.extend_from_slice(b"Cq ");
            content(out, number, length - MESSAGE_HEADER as usize);
        }
        finish_block(&mut out[begin..], HEADER - 2);
    }

    /// A line integrity message, which repeats the last sequence number.
    fn heartbeat(&self, out: &mut Vec<u8>, draft: &Draft<'_>) -> bool {
        let begin = out.len();
        header(out, draft, draft.first.wrapping_sub(1), 1);
        out.extend_from_slice(b"OHN");
        finish_block(&mut out[begin..], HEADER - 2);
        true
    }
}
