//! Partial UDP checksums: a sender on this host left the rest to its NIC, so the field holds the sum of the pseudo
//! header.
//!
//! In generic mode XDP runs after the point where the kernel merges datagrams into one large packet (UDP GRO), and
//! before the point where it splits a packet that a sender merged (`UDP_SEGMENT`). A frame does not show that it holds
//! several datagrams, but every frame that does has a partial checksum.

use crate::wire::{PROTOCOL_UDP, UdpV4, UdpV6};

/// Returns true if the datagram's checksum covers the pseudo header alone.
#[inline(always)]
pub const fn is_partial_v4(datagram: &UdpV4) -> bool {
    is_sum(halves(datagram.source) + halves(datagram.group), datagram.udp.len, datagram.udp.checksum)
}

/// Returns true if the datagram's checksum covers the pseudo header alone.
#[inline(always)]
pub const fn is_partial_v6(datagram: &UdpV6) -> bool {
    let ([a, b], [c, d]) = (datagram.source, datagram.group);
    is_sum(quarters(a) + quarters(b) + quarters(c) + quarters(d), datagram.udp.len, datagram.udp.checksum)
}

/// The sum of a long word's 16-bit words.
#[inline(always)]
const fn quarters(word: u64) -> u32 {
    halves(word as u32) + halves((word >> 32) as u32)
}

/// The sum of a word's halves. The Internet checksum may be computed in any byte order (RFC 1071, section 2 (B)).
#[inline(always)]
const fn halves(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}

#[inline(always)]
const fn is_sum(addresses: u32, length: u16, checksum: u16) -> bool {
    let sum = addresses + (PROTOCOL_UDP as u16).to_be() as u32 + length.to_be() as u32;
    halves(halves(sum)) == checksum as u32
}
