//! Eurex T7 EOBI packets with a 32-bit sequence.

use receiver_feed::protocol::StreamKey;

use super::super::span::Span;
use super::draft::{Draft, content};
use super::traits::{Builder, Counts, Limits};

const HEADER: u16 = 32;
/// Bytes of a message before its content: length, template, sequence of the message.
const MESSAGE_HEADER: u32 = 8;
/// Templates: the packet header, Order Add, and the heartbeat.
const PACKET_HEADER: u16 = 13_003;
const ORDER_ADD: u16 = 13_100;
const HEARTBEAT: u16 = 13_001;
const PARTITION: u64 = 1;

#[derive(Debug)]
pub(super) struct Eobi;

fn header(out: &mut Vec<u8>, draft: &Draft<'_>, sequence: u64) {
    out.extend_from_slice(&HEADER.to_le_bytes());
    out.extend_from_slice(&PACKET_HEADER.to_le_bytes());
    for field in [u32::MAX, sequence as u32, (draft.key.channel >> 8) as u32] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    // Partition, complete, no reset, DSCP, padding.
    out.extend_from_slice(&[draft.key.channel as u8, 1, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&draft.utc_ns.to_le_bytes());
}

fn message_header(out: &mut Vec<u8>, length: usize, template: u16, number: u64) {
    out.extend_from_slice(&(length as u16).to_le_bytes());
    out.extend_from_slice(&template.to_le_bytes());
    out.extend_from_slice(&(number as u32).to_le_bytes());
}

impl Builder for Eobi {
    fn limits(&self) -> Limits {
        Limits {
            counts: Counts::Packets,
            streams: 1 << 24,
            messages: 1000,
            default_messages: 1,
            size: Span::new(MESSAGE_HEADER, u16::MAX as u32),
            overhead: (HEADER.into(), 0),
            sequence: (1, u32::MAX as u64),
            least_rate: 0,
        }
    }

    /// Market segment 1 and following.
    fn key(&self, number: u32, _session: u32) -> StreamKey {
        StreamKey { channel: (u64::from(number) + 1) << 8 | PARTITION, session: 0 }
    }

    fn data(&self, out: &mut Vec<u8>, draft: &Draft<'_>) {
        header(out, draft, draft.first);
        for (number, length) in draft.packet_messages() {
            message_header(out, length, ORDER_ADD, number);
            content(out, number, length - MESSAGE_HEADER as usize);
        }
    }

    /// Repeats the last sequence number.
    fn heartbeat(&self, out: &mut Vec<u8>, draft: &Draft<'_>) -> bool {
        header(out, draft, draft.first.wrapping_sub(1));
        message_header(out, MESSAGE_HEADER as usize, HEARTBEAT, u64::from(u32::MAX));
        true
    }
}
