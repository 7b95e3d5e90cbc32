//! Headers for a payload that came without them: a UDP socket receives the payload alone.

use std::net::{IpAddr, SocketAddr};

use etherparse::PacketBuilder;

use crate::ethernet::group_mac;

/// The time to live, which the kernel does not report.
const TTL: u8 = 64;

/// Appends an Ethernet frame with the addresses and ports of a datagram, and checksums that are right. A datagram that
/// came in fragments is one packet here. Returns false if the addresses are of two families.
pub fn write(out: &mut Vec<u8>, source: SocketAddr, group: IpAddr, port: u16, payload: &[u8]) -> bool {
    let ethernet = PacketBuilder::ethernet2([0; 6], group_mac(group));
    let ip = match (source.ip(), group) {
        (IpAddr::V4(source), IpAddr::V4(group)) => ethernet.ipv4(source.octets(), group.octets(), TTL),
        (IpAddr::V6(source), IpAddr::V6(group)) => ethernet.ipv6(source.octets(), group.octets(), TTL),
        _ => return false,
    };
    // A datagram is not longer than IP can have it, and memory takes each write.
    ip.udp(source.port(), port).write(out, payload).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
        prop_oneof![
            any::<([u8; 4], [u8; 3])>()
                .prop_map(|(source, [a, b, c])| (IpAddr::from(source), IpAddr::from([232, a, b, c]))),
            any::<([u8; 16], [u8; 14])>().prop_map(|(source, rest)| {
                let mut group = [0xff; 16];
                group[2..].copy_from_slice(&rest);
                (IpAddr::from(source), IpAddr::from(group))
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_rebuilt_frame_has_the_addresses_and_the_payload(
            (source, group) in addresses(),
            ports in any::<(u16, u16)>(),
            payload in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            let mut frame = Vec::new();
            prop_assert!(write(&mut frame, SocketAddr::new(source, ports.0), group, ports.1, &payload));
            let sliced = SlicedPacket::from_ethernet(&frame).expect("a frame");
            let Some(TransportSlice::Udp(udp)) = &sliced.transport else { panic!("no UDP") };
            prop_assert_eq!((udp.source_port(), udp.destination_port()), ports);
            prop_assert_eq!(udp.payload(), &payload[..]);
            let header = udp.to_header();
            let checksum = match (source, group) {
                (IpAddr::V4(source), IpAddr::V4(group)) => {
                    header.calc_checksum_ipv4_raw(source.octets(), group.octets(), &payload)
                }
                (IpAddr::V6(source), IpAddr::V6(group)) => {
                    header.calc_checksum_ipv6_raw(source.octets(), group.octets(), &payload)
                }
                _ => unreachable!("one family"),
            };
            prop_assert_eq!(checksum.expect("it fits"), udp.checksum());
            prop_assert_eq!(&frame[..6], &group_mac(group)[..]);
        }
    }

    #[test]
    fn the_longest_datagrams_fit() {
        let v4 = |length: usize| {
            let source = SocketAddr::from(([10, 0, 0, 1], 1));
            write(&mut Vec::new(), source, IpAddr::from([232, 1, 1, 1]), 2, &vec![0; length])
        };
        assert!(v4(65_507) && !v4(65_508));
        let source = SocketAddr::from(([1_u16; 8], 1));
        assert!(write(&mut Vec::new(), source, IpAddr::from([0xff3e_u16; 8]), 2, &vec![0; 65_527]));
    }
}
