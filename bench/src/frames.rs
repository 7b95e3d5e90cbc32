//! Frames for BPF_PROG_TEST_RUN: UDP over IPv4 and IPv6, 64 bytes or slightly more.

use std::net::{Ipv4Addr, Ipv6Addr};

const SOURCE_PORT: u16 = 40_000;
const PAYLOAD: usize = 22;
/// Bytes of the headers of Ethernet, IPv4 and UDP.
const IP_AND_UDP_END: usize = 42;

/// A datagram in IPv4, without a UDP checksum.
pub fn v4(source: Ipv4Addr, group: Ipv4Addr, port: u16) -> Vec<u8> {
    let [_, b, c, d] = group.octets();
    let mut frame = ethernet([0x01, 0, 0x5e, b & 0x7f, c, d], 0x0800);
    frame.extend([0x45, 0]);
    frame.extend(((20 + 8 + PAYLOAD) as u16).to_be_bytes());
    frame.extend([0, 0, 0, 0, 16, 17, 0, 0]);
    frame.extend(source.octets());
    frame.extend(group.octets());
    let checksum = checksum(&frame[14..]).to_be_bytes();
    frame[24..26].copy_from_slice(&checksum);
    udp(frame, port)
}

/// A datagram in IPv4 with a payload of this many bytes, and with a whole UDP checksum.
pub fn v4_with_payload(source: Ipv4Addr, group: Ipv4Addr, port: u16, payload: usize) -> Vec<u8> {
    let mut frame = v4(source, group, port);
    frame.truncate(IP_AND_UDP_END);
    frame.extend((0..payload).map(|at| at as u8));
    let (ip, udp) = ((20 + 8 + payload) as u16, (8 + payload) as u16);
    frame[16..18].copy_from_slice(&ip.to_be_bytes());
    frame[24..26].fill(0);
    let header = checksum(&frame[14..34]).to_be_bytes();
    frame[24..26].copy_from_slice(&header);
    frame[38..40].copy_from_slice(&udp.to_be_bytes());
    // The pseudo header: addresses, protocol, length.
    let mut summed = frame[26..34].to_vec();
    summed.extend([0, 17]);
    summed.extend(udp.to_be_bytes());
    summed.extend(&frame[34..]);
    summed.resize(summed.len().next_multiple_of(2), 0);
    // 0 means no checksum.
    let whole = match checksum(&summed) {
        0 => u16::MAX,
        sum => sum,
    };
    frame[40..42].copy_from_slice(&whole.to_be_bytes());
    frame
}

/// A datagram in IPv6.
pub fn v6(source: Ipv6Addr, group: Ipv6Addr, port: u16) -> Vec<u8> {
    let [.., a, b, c, d] = group.octets();
    let mut frame = ethernet([0x33, 0x33, a, b, c, d], 0x86dd);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(((8 + PAYLOAD) as u16).to_be_bytes());
    frame.extend([17, 16]);
    frame.extend(source.octets());
    frame.extend(group.octets());
    udp(frame, port)
}

fn ethernet(to: [u8; 6], protocol: u16) -> Vec<u8> {
    let mut frame = to.to_vec();
    frame.extend([2, 0, 0, 0, 0, 1]);
    frame.extend(protocol.to_be_bytes());
    frame
}

fn udp(mut frame: Vec<u8>, port: u16) -> Vec<u8> {
    frame.extend(SOURCE_PORT.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend(((8 + PAYLOAD) as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend([0; PAYLOAD]);
    frame
}

/// RFC 1071, over an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_header_checksum() {
        let frame = v4([10, 0, 0, 1].into(), [232, 1, 1, 1].into(), 5000);
        assert_eq!((frame.len(), checksum(&frame[14..34])), (64, 0));
        for payload in [22, 23, 300, 1316] {
            let frame = v4_with_payload([10, 0, 0, 1].into(), [232, 1, 1, 1].into(), 5000, payload);
            assert_eq!((frame.len(), checksum(&frame[14..34])), (42 + payload, 0));
            let mut summed = frame[26..34].to_vec();
            summed.extend([0, 17, frame[38], frame[39]]);
            summed.extend(&frame[34..]);
            summed.resize(summed.len().next_multiple_of(2), 0);
            assert_eq!(checksum(&summed), 0, "{payload} bytes");
        }
        let frame = v6("2001:db8::1".parse().expect("one"), "ff3e::1".parse().expect("one"), 5000);
        assert_eq!((frame.len(), &frame[0..6]), (84, &[0x33, 0x33, 0, 0, 0, 1][..]));
    }
}
