//! UDP checksums that a sender on this host left to its NIC: the field holds the sum of the pseudo header alone. Pure.
//!
//! In generic mode XDP runs behind the point where the kernel joins datagrams to one large packet (UDP GRO), and before the
//! point where it takes apart what a sender joined (`UDP_SEGMENT`). A frame does not tell that it holds several datagrams, but
//! of all that do, the checksum is partial.

use crate::wire::{PROTOCOL_UDP, UdpV4, UdpV6};

/// Returns true if the datagram's checksum is that of its pseudo header.
#[inline(always)]
pub const fn is_partial_v4(datagram: &UdpV4) -> bool {
    is_sum(halves(datagram.source) + halves(datagram.group), datagram.udp.len, datagram.udp.checksum)
}

/// As [`is_partial_v4`].
#[inline(always)]
pub const fn is_partial_v6(datagram: &UdpV6) -> bool {
    let ([a, b, c, d], [e, f, g, h]) = (datagram.source, datagram.group);
    let source = halves(a) + halves(b) + halves(c) + halves(d);
    let group = halves(e) + halves(f) + halves(g) + halves(h);
    is_sum(source + group, datagram.udp.len, datagram.udp.checksum)
}

/// The sum of a word's halves. The Internet checksum may be formed in any byte order (RFC 1071, section 2 (B)).
#[inline(always)]
const fn halves(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}

#[inline(always)]
const fn is_sum(addresses: u32, length: u16, checksum: u16) -> bool {
    let sum = addresses + (PROTOCOL_UDP as u16).to_be() as u32 + length.to_be() as u32;
    halves(halves(sum)) == checksum as u32
}
