//! CME MDP 3.0 packets.

use receiver_feed::protocol::StreamKey;

use super::super::span::Span;
use super::draft::{Draft, content};
use super::traits::{Builder, Counts, Limits};

/// Bytes of a message before its content: size and SBE header.
const MESSAGE_HEADER: u32 = 10;
/// Templates: an incremental refresh, and the heartbeat.
const REFRESH: u16 = 46;
const HEARTBEAT: u16 = 12;

#[derive(Debug)]
pub(super) struct Cme;

fn header(out: &mut Vec<u8>, draft: &Draft<'_>, sequence: u64) {
    out.extend_from_slice(&(sequence as u32).to_le_bytes());
    out.extend_from_slice(&draft.utc_ns.to_le_bytes());
}

fn message_header(out: &mut Vec<u8>, length: usize, template: u16) {
    let block = length - MESSAGE_HEADER as usize;
    // Size, block length, template, schema, version.
    for field in [length as u16, block as u16, template, 1, 9] {
        out.extend_from_slice(&field.to_le_bytes());
    }
}

impl Builder for Cme {
    fn limits(&self) -> Limits {
        Limits {
            counts: Counts::Packets,
            streams: 1,
            messages: 1000,
            default_messages: 1,
            size: Span::new(MESSAGE_HEADER, u16::MAX as u32),
            overhead: (12, 0),
            sequence: (1, u32::MAX as u64),
            least_rate: 0,
        }
    }

    /// A group carries one channel, which the header does not name.
    fn key(&self, _number: u32, _session: u32) -> StreamKey {
        StreamKey::default()
    }

    fn data(&self, out: &mut Vec<u8>, draft: &Draft<'_>) {
        header(out, draft, draft.first);
        for (number, length) in draft.packet_messages() {
            message_header(out, length, REFRESH);
            content(out, number, length - MESSAGE_HEADER as usize);
        }
    }

    /// Repeats the last sequence number.
    fn heartbeat(&self, out: &mut Vec<u8>, draft: &Draft<'_>) -> bool {
        header(out, draft, draft.first.wrapping_sub(1));
        message_header(out, MESSAGE_HEADER as usize, HEARTBEAT);
        true
    }
}
