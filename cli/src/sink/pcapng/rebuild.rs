//! Headers for a payload that came without them: a UDP socket receives the payload alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::PacketBuilder;

/// The time to live, which the kernel does not report.
const TTL: u8 = 64;

/// Appends an Ethernet frame with the addresses and ports of a datagram, and checksums that are right. A datagram that
/// came in fragments is one packet here. Returns false if the addresses are of two families.
pub fn write(out: &mut Vec<u8>, source: SocketAddr, group: IpAddr, port: u16, payload: &[u8]) -> bool {
    let ethernet = PacketBuilder::ethernet2([0; 6], mac(group));
    let ip = match (source.ip(), group) {
        (IpAddr::V4(source), IpAddr::V4(group)) => ethernet.ipv4(source.octets(), group.octets(), TTL),
        (IpAddr::V6(source), IpAddr::V6(group)) => ethernet.ipv6(source.octets(), group.octets(), TTL),
        _ => return false,
    };
    // A datagram is not longer than IP can have it, and memory takes each write.
    ip.udp(source.port(), port).write(out, payload).is_ok()
}

/// The Ethernet address of a group (RFC 1112, section 6.4; RFC 2464, section 7).
fn mac(group: IpAddr) -> [u8; 6] {
    match group {
        IpAddr::V4(group) => of_ipv4(group),
        IpAddr::V6(group) => of_ipv6(group),
    }
}

fn of_ipv4(group: Ipv4Addr) -> [u8; 6] {
    let [_, second, third, fourth] = group.octets();
    [0x01, 0x00, 0x5e, second & 0x7f, third, fourth]
}

fn of_ipv6(group: Ipv6Addr) -> [u8; 6] {
    let [.., third, second, first, last] = group.octets();
    [0x33, 0x33, third, second, first, last]
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
            prop_assert_eq!(&frame[..6], &mac(group)[..]);
        }
    }

    #[test]
    fn groups_have_their_ethernet_addresses() {
        assert_eq!(mac("239.129.2.3".parse().expect("a group")), [0x01, 0x00, 0x5e, 0x01, 0x02, 0x03]);
        assert_eq!(mac("ff3e::8001:203".parse().expect("a group")), [0x33, 0x33, 0x80, 0x01, 0x02, 0x03]);
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
