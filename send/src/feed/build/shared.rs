//! What several protocols write in the same way.

use super::draft::{Draft, content};

/// Bytes of a message before its content: length and type.
pub(super) const TYPED_HEADER: u32 = 4;

/// Appends the draft's messages: length and type, both little-endian, then content.
pub(super) fn typed_messages(out: &mut Vec<u8>, draft: &Draft<'_>, message_type: u16) {
    for (number, length) in draft.messages() {
        out.extend_from_slice(&(length as u16).to_le_bytes());
        out.extend_from_slice(&message_type.to_le_bytes());
        content(out, number, length - TYPED_HEADER as usize);
    }
}

/// Writes the size of a packet that begins with it, little-endian.
pub(super) fn set_size(packet: &mut [u8]) {
    let size = packet.len() as u16;
    packet[..2].copy_from_slice(&size.to_le_bytes());
}

/// Appends the header of a block of SIAC or OPRA, which begins with `start`. [`finish_block`] writes size and checksum.
pub(super) fn block_header(out: &mut Vec<u8>, draft: &Draft<'_>, start: &[u8], sequence: u64, messages: usize) {
    out.extend_from_slice(start);
    out.extend_from_slice(&(sequence as u32).to_be_bytes());
    out.push(messages as u8);
    for field in draft.utc_seconds() {
        out.extend_from_slice(&field.to_be_bytes());
    }
    out.extend_from_slice(&[0; 2]);
}

/// Completes a block of SIAC or OPRA: the size at offset 1, and at `checksum` the sum of all other bytes.
pub(super) fn finish_block(block: &mut [u8], checksum: usize) {
    let size = block.len() as u16;
    block[1..3].copy_from_slice(&size.to_be_bytes());
    let sum = block.iter().fold(0u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
    block[checksum..checksum + 2].copy_from_slice(&sum.to_be_bytes());
}
