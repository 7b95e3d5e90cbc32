//! SIAC CQS and CTS blocks.

use receiver_feed::protocol::StreamKey;

use super::super::span::Span;
use super::draft::{Draft, content};
use super::shared::{block_header, finish_block};
use super::traits::{Builder, Counts, Limits};

const HEADER: usize = 20;
const VERSION: u8 = 2;
/// Bytes of a message before its content: length, category, type.
const MESSAGE_HEADER: u32 = 4;
const LETTERS: u32 = 26;

#[derive(Debug)]
pub(super) struct Siac;

fn header(out: &mut Vec<u8>, draft: &Draft<'_>, sequence: u64, messages: usize) {
    // Version, the size that is written later, feed, original.
    block_header(out, draft, &[VERSION, 0, 0, draft.key.channel as u8, b'O'], sequence, messages);
}

fn message_header(out: &mut Vec<u8>, length: usize, category_and_type: [u8; 2]) {
    out.extend_from_slice(&(length as u16).to_be_bytes());
    out.extend_from_slice(&category_and_type);
}

impl Builder for Siac {
    fn limits(&self) -> Limits {
        Limits {
            counts: Counts::Packets,
            streams: LETTERS,
            messages: u8::MAX.into(),
            default_messages: 1,
            size: Span::new(MESSAGE_HEADER, u16::MAX as u32),
            overhead: (HEADER, 0),
            sequence: (1, u32::MAX as u64),
            least_rate: 0,
        }
    }

    /// `Q` for quotes, and the letters after it.
    fn key(&self, number: u32, _session: u32) -> StreamKey {
        let letter = (u32::from(b'Q' - b'A') + number) % LETTERS;
        StreamKey { channel: u64::from(b'A') + u64::from(letter), session: 0 }
    }

    fn data(&self, out: &mut Vec<u8>, draft: &Draft<'_>) {
        let begin = out.len();
        header(out, draft, draft.first, draft.packet_messages().count());
        for (number, length) in draft.packet_messages() {
            // A long quote of an equity.
            message_header(out, length, *b"EL");
            content(out, number, length - MESSAGE_HEADER as usize);
        }
        finish_block(&mut out[begin..], HEADER - 2);
    }

    /// A line integrity message, which repeats the last sequence number.
    fn heartbeat(&self, out: &mut Vec<u8>, draft: &Draft<'_>) -> bool {
        let begin = out.len();
        header(out, draft, draft.first.wrapping_sub(1), 1);
        message_header(out, MESSAGE_HEADER as usize, *b"CT");
        finish_block(&mut out[begin..], HEADER - 2);
        true
    }
}
