//! The UDP sockets of a network namespace, as `/proc/net/udp` and `/proc/net/udp6` list them. Parsing is pure; lines
//! that are not understood are skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A UDP socket that is bound to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpSocket {
    /// The local address: unspecified if the socket receives datagrams to any address.
    pub address: IpAddr,
    /// The local port.
    pub port: u16,
    /// The id of the user that made it.
    pub user: u32,
    /// Its inode, by which `/proc/PID/fd` names it.
    pub inode: u64,
}

/// The sockets of one of the two files.
pub fn parse(text: &str) -> impl Iterator<Item = UdpSocket> + '_ {
    text.lines().skip(1).filter_map(line)
}

/// `  12: 010101E8:1388 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 34567 2 ...`: slot,
/// local address, peer, state, queues, timer, retransmits, user, timeout, inode.
fn line(line: &str) -> Option<UdpSocket> {
    let mut words = line.split_ascii_whitespace();
    let (address, port) = words.nth(1)?.split_once(':')?;
    let socket = UdpSocket {
        address: address_of_hex(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        user: words.nth(5)?.parse().ok()?,
        inode: words.nth(1)?.parse().ok()?,
    };
    // A socket without an inode belongs to no process any more.
    (socket.inode != 0).then_some(socket)
}

/// One or four words of 32 bits, each in the host's byte order.
fn address_of_hex(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, bytes) in bytes.chunks_exact_mut(4).enumerate() {
                bytes.copy_from_slice(&word(8 * at)?);
            }
            Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UDP: &str =
        "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref \
                       pointer drops
  312: 010101E8:1388 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 34567 2 0000000000000000 0
  313: 00000000:1389 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 34568 2 0000000000000000 0
  314: 00000000:138A 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 0 2 0000000000000000 0
";
    const UDP6: &str = "  sl  local_address                         remote_address                        st tx_queue
  312: 00003EFF000000000000000001000000:1388 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 \
00000000     7        0 34569 2 0000000000000000 0
  313: 0000000000000000FFFF0000010101E8:1388 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 \
00000000     0        0 34570 2 0000000000000000 0
";

    // Addresses are words as the machine reads them.
    #[cfg(target_endian = "little")]
    #[test]
    fn samples() {
        let socket = |address: &str, port, user, inode| UdpSocket {
            address: address.parse().expect(address),
            port,
            user,
            inode,
        };
        let v4 = [socket("232.1.1.1", 5000, 0, 34567), socket("0.0.0.0", 5001, 1000, 34568)];
        assert_eq!(parse(UDP).collect::<Vec<_>>(), v4, "the socket without an inode is left out");
        let v6 = [socket("ff3e::1", 5000, 7, 34569), socket("232.1.1.1", 5000, 0, 34570)];
        assert_eq!(parse(UDP6).collect::<Vec<_>>(), v6);
    }

    proptest! {
        #[test]
        fn damage_never_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20)) {
            for sample in [UDP, UDP6] {
                let mut bytes = sample.as_bytes().to_vec();
                for (at, byte) in &changes {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
                prop_assert!(parse(&String::from_utf8_lossy(&bytes)).count() <= bytes.len());
            }
        }

        #[test]
        fn noise_never_panics(text in "[\\s0-9a-fA-F:\u{00e9}]{0,200}", word in "[0-9a-f\u{00e9}]{0,40}") {
            let _ = parse(&text).count();
            let _ = parse(&format!("\n 1: {word}:1388 0 7 0 0 0 0 0 1")).count();
        }
    }
}
