//! The Internet checksum (RFC 1071) of received headers and payloads. Pure.

use receiver_common::wire::{IPV4_LEN, IPV6_LEN, PROTOCOL_UDP};

/// The result of a check of a datagram's UDP checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpChecksum {
    /// It matches.
    Good,
    /// It covers the pseudo header alone: a sender on this machine left the rest to a NIC that the frame never passed.
    Partial,
    /// The sender sent none, which only IPv4 allows (RFC 768; RFC 8200, section 8.1).
    Absent,
    /// It does not match.
    Bad,
}

/// Returns true if the checksum of an IPv4 header without options is right.
pub fn ipv4_header_is_good(header: &[u8; IPV4_LEN]) -> bool {
    fold(sum(header)) == 0xffff
}

/// Checks a UDP datagram in IPv4. `datagram` is the UDP header and the payload, of the length in the UDP header.
pub fn udp_v4(header: &[u8; IPV4_LEN], datagram: &[u8]) -> UdpChecksum {
    let Some(&field) = datagram.get(6..8).and_then(<[u8]>::first_chunk::<2>) else {
        return UdpChecksum::Bad;
    };
    if field == [0, 0] {
        return UdpChecksum::Absent;
    }
    judge(sum(&header[12..20]), field, datagram)
}

/// Checks a UDP datagram in IPv6, as [`udp_v4`].
pub fn udp_v6(header: &[u8; IPV6_LEN], datagram: &[u8]) -> UdpChecksum {
    let Some(&field) = datagram.get(6..8).and_then(<[u8]>::first_chunk::<2>) else {
        return UdpChecksum::Bad;
    };
    if field == [0, 0] {
        return UdpChecksum::Bad;
    }
    judge(sum(&header[8..40]), field, datagram)
}

fn judge(addresses: u64, field: [u8; 2], datagram: &[u8]) -> UdpChecksum {
    // Sums are kept in memory order, so constants are converted to it (RFC 1071, section 2 (B)).
    let pseudo = addresses + u64::from(u16::from(PROTOCOL_UDP).to_be()) + u64::from((datagram.len() as u16).to_be());
    if u16::from_ne_bytes(field) == fold(pseudo) {
        return UdpChecksum::Partial;
    }
    if fold(pseudo + sum(datagram)) == 0xffff { UdpChecksum::Good } else { UdpChecksum::Bad }
}

/// The sum of the 16-bit words in memory order, not yet folded. For up to 64 KiB there is no overflow.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let (halves, last) = rest.as_chunks::<2>();
    for half in halves {
        sum += u64::from(u16::from_ne_bytes(*half));
    }
    if let [last] = last {
        sum += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    sum
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 by the letter: big-endian words, carries added at the end.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    fn pseudo_v4(header: &[u8; IPV4_LEN], len: u16) -> Vec<u8> {
        let mut bytes = header[12..20].to_vec();
        bytes.extend([0, PROTOCOL_UDP]);
        bytes.extend(len.to_be_bytes());
        bytes
    }

    proptest! {
        #[test]
        fn agrees_with_the_rfc(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(fold(sum(&bytes)).to_be(), naive(&bytes));
        }

        #[test]
        fn accepts_the_right_one_and_no_flipped_bit(
            header: [u8; IPV4_LEN], payload in prop::collection::vec(any::<u8>(), 0..100), flip in 0usize..800,
        ) {
            let mut datagram = vec![1, 2, 3, 4, 0, 0, 0, 0];
            datagram.extend(&payload);
            let len = datagram.len() as u16;
            datagram[4..6].copy_from_slice(&len.to_be_bytes());
            let mut all = pseudo_v4(&header, len);
            all.extend(&datagram);
            let checksum = match !naive(&all) { 0 => 0xffff, other => other };
            datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
            let partial = naive(&pseudo_v4(&header, len)) == checksum;
            prop_assert_eq!(udp_v4(&header, &datagram), if partial { UdpChecksum::Partial } else { UdpChecksum::Good });
            let bit = 64 + flip % 800;
            if !partial && bit / 8 < datagram.len() {
                datagram[bit / 8] ^= 1 << (bit % 8);
                prop_assert_eq!(udp_v4(&header, &datagram), UdpChecksum::Bad);
            }
        }

        #[test]
        fn partial_is_the_pseudo_header_alone(
            header: [u8; IPV4_LEN], payload in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let mut datagram = vec![1, 2, 3, 4, 0, 0, 0, 0];
            datagram.extend(&payload);
            let sum = naive(&pseudo_v4(&header, datagram.len() as u16));
            datagram[6..8].copy_from_slice(&sum.to_be_bytes());
            let expected = if sum == 0 { UdpChecksum::Absent } else { UdpChecksum::Partial };
            prop_assert_eq!(udp_v4(&header, &datagram), expected);
        }
    }

    #[test]
    fn ipv6_must_have_one() {
        let header = [0; IPV6_LEN];
        assert_eq!(udp_v6(&header, &[0, 1, 0, 2, 0, 8, 0, 0]), UdpChecksum::Bad);
        // Zero addresses: the sum is 17 + 8 + 1 + 2 + 8.
        let checksum = !(17u16 + 8 + 1 + 2 + 8);
        let mut datagram = [0, 1, 0, 2, 0, 8, 0, 0];
        datagram[6..].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(udp_v6(&header, &datagram), UdpChecksum::Good);
    }

    #[test]
    fn header() {
        // RFC 1071's way, worked out by hand: 45 00 00 1c, id 0, ttl 1, UDP, 10.0.0.1 to 232.1.1.1.
        let mut header = [0x45, 0, 0, 28, 0, 0, 0, 0, 1, 17, 0, 0, 10, 0, 0, 1, 232, 1, 1, 1];
        assert!(!ipv4_header_is_good(&header));
        let sum = !naive(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        assert!(ipv4_header_is_good(&header));
    }
}
