//! Datagrams in fragments: in order or not, with overlaps, gaps, repetitions and flags that lie.

use super::random::Random;
use crate::packet::Packet;

/// IP protocol number of IPv6's fragment header.
const FRAGMENT: u8 = 44;

/// One fragment: its bytes of the datagram, and what it claims.
#[derive(Clone, Copy)]
struct Piece {
    start: usize,
    end: usize,
    /// Where it claims to begin, in units of 8 bytes.
    offset: usize,
    more: bool,
}

/// The packet in fragments.
pub fn of(random: &Random, packet: &mut Packet, mtu: usize) -> Vec<Vec<u8>> {
    if random.once_in(8) {
        packet.payload.resize(random.within(1, 2 * mtu), 0x5a);
    }
    let mut datagram = packet.datagram();
    let mut pieces = cut(random, datagram.len(), mtu);
    // Half of the datagrams are whole.
    if random.once_in(2) {
        spoil(random, &mut pieces);
    }
    if random.once_in(4) {
        shuffle(random, &mut pieces);
    }
    // For pieces that reach beyond the datagram.
    datagram.resize(datagram.len() + 64, 0xa5);
    pieces.iter().map(|piece| frame(packet, &datagram[piece.start..piece.end], piece)).collect()
}

/// Pieces of which each but for the last has a multiple of 8 bytes.
fn cut(random: &Random, length: usize, mtu: usize) -> Vec<Piece> {
    // IPv6's header, its fragment header, and some extension headers.
    let longest = (mtu - 160) / 8;
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < length {
        let units = length.div_ceil(8) - start / 8;
        let most = if units > 16 { longest } else { units };
        let take = if pieces.len() >= 3 { most.min(longest) } else { random.within(1, most.min(longest)) };
        let end = (start + 8 * take).min(length);
        pieces.push(Piece { start, end, offset: start / 8, more: end < length });
        start = end;
    }
    pieces
}

fn spoil(random: &Random, pieces: &mut Vec<Piece>) {
    let at = random.below(pieces.len());
    let piece = pieces[at];
    match random.below(10) {
        // A gap.
        0 if pieces.len() > 1 => drop(pieces.remove(at)),
        // One twice, at once or at the end.
        0 | 1 => pieces.insert(at, piece),
        2 => pieces.push(piece),
        // Overlaps: the beginning, the end, both, a part within.
        3 => pieces.push(Piece { end: (piece.start + 8).min(piece.end), more: true, ..piece }),
        4 => pieces[at].end += 8,
        5 if piece.start >= 8 => {
            pieces[at] = Piece { start: piece.start - 8, offset: piece.offset.saturating_sub(1), ..piece };
        }
        5 => pieces.insert(0, Piece { start: 0, end: 16.min(piece.end), offset: 1, more: true }),
        // Flags and offsets that lie.
        6 => pieces[at].more = !piece.more,
        7 => pieces[at].offset = random.pick(&[0, piece.offset + 1, 0x1fff, 0x1ff0, random.below(0x2000)]),
        // A length that is no multiple of 8, or 0.
        8 => pieces[at].end = piece.end - random.below((piece.end - piece.start).min(8)),
        _ => pieces[at].end = piece.start,
    }
}

fn shuffle(random: &Random, pieces: &mut [Piece]) {
    for at in (1..pieces.len()).rev() {
        pieces.swap(at, random.below(at + 1));
    }
}

fn frame(packet: &Packet, body: &[u8], piece: &Piece) -> Vec<u8> {
    if packet.source.is_ipv4() {
        let more = if piece.more { 0x2000 } else { 0 };
        return packet.wrap(body, more | (piece.offset & 0x1fff) as u16 | packet.fragment & 0xc000, &[]);
    }
    let mut rest = vec![0];
    rest.extend(((piece.offset << 3) as u16 | u16::from(piece.more)).to_be_bytes());
    rest.extend(packet.id.unwrap_or(packet.source_port.into()).to_be_bytes());
    let mut extensions = packet.extensions.clone();
    extensions.push((FRAGMENT, rest));
    packet.wrap(body, 0, &extensions)
}
