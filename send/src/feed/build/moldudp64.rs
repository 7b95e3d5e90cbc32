//! MoldUDP64 downstream packets.

use receiver_feed::protocol::StreamKey;

use super::super::span::Span;
use super::draft::{Draft, content};
use super::traits::{Builder, Counts, Limits};

/// The count that ends a session.
const END: u16 = 0xffff;

#[derive(Debug)]
pub(super) struct Mold;

fn header(out: &mut Vec<u8>, draft: &Draft<'_>, count: u16) {
    out.extend_from_slice(&draft.key.session.to_be_bytes()[6..]);
    out.extend_from_slice(&draft.first.to_be_bytes());
    out.extend_from_slice(&count.to_be_bytes());
}

impl Builder for Mold {
    fn limits(&self) -> Limits {
        Limits {
            counts: Counts::Messages,
            streams: u32::MAX,
            messages: u32::from(END) - 1,
            default_messages: 1,
            size: Span::new(1, u16::MAX.into()),
            overhead: (20, 2),
            sequence: (1, u64::MAX),
            least_rate: 0,
        }
    }

    /// Ten digits.
    fn key(&self, number: u32, session: u32) -> StreamKey {
        let text = format!("{:010}", u64::from(session) + u64::from(number));
        let session = text.bytes().fold(0, |session: u128, byte| session << 8 | u128::from(byte));
        StreamKey { channel: 0, session }
    }

    fn data(&self, out: &mut Vec<u8>, draft: &Draft<'_>) {
        header(out, draft, draft.count as u16);
        for (number, length) in draft.messages() {
            out.extend_from_slice(&(length as u16).to_be_bytes());
            content(out, number, length);
        }
    }

    fn heartbeat(&self, out: &mut Vec<u8>, draft: &Draft<'_>) -> bool {
        header(out, draft, 0);
        true
    }

    fn end(&self, out: &mut Vec<u8>, draft: &Draft<'_>) -> bool {
        header(out, draft, END);
        true
    }
}
