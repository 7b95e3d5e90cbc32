//! Frames for the parser and the XDP program: whole ones first, then the ways to spoil them.
#![allow(dead_code, reason = "each test program takes what it needs")]

/// Where the network header of an untagged frame begins.
pub const NETWORK: usize = 14;

/// IP protocol numbers.
pub const UDP: u8 = 17;

/// A UDP datagram in IPv4, untagged, to the group's own MAC address; without a UDP checksum.
pub fn v4(source: [u8; 4], destination: [u8; 4], port: u16, payload: usize) -> Vec<u8> {
    ipv4(source, destination, UDP, &udp(port, payload))
}

/// A packet in IPv4 without options.
pub fn ipv4(source: [u8; 4], destination: [u8; 4], protocol: u8, body: &[u8]) -> Vec<u8> {
    ipv4_options(source, destination, protocol, &[], body)
}

/// A packet in IPv4 with options: up to 40 bytes, a multiple of 4.
pub fn ipv4_options(source: [u8; 4], destination: [u8; 4], protocol: u8, options: &[u8], body: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let mut frame = ethernet([0x01, 0, 0x5e, destination[1] & 0x7f, destination[2], destination[3]], 0x0800);
    frame.extend([0x40 | (header_len / 4) as u8, 0]);
    frame.extend(((header_len + body.len()) as u16).to_be_bytes());
    frame.extend([0, 0, 0, 0, 16, protocol, 0, 0]);
    frame.extend(source);
    frame.extend(destination);
    frame.extend(options);
    let checksum = checksum(&frame[NETWORK..]).to_be_bytes();
    frame[NETWORK + 10..NETWORK + 12].copy_from_slice(&checksum);
    frame.extend(body);
    frame
}

/// A UDP datagram in IPv6, untagged, to the group's own MAC address.
pub fn v6(source: [u8; 16], destination: [u8; 16], port: u16, payload: usize) -> Vec<u8> {
    ipv6(source, destination, UDP, &udp(port, payload))
}

/// A packet in IPv6: `body` begins with the header that `next` names.
pub fn ipv6(source: [u8; 16], destination: [u8; 16], next: u8, body: &[u8]) -> Vec<u8> {
    let [.., a, b, c, d] = destination;
    let mut frame = ethernet([0x33, 0x33, a, b, c, d], 0x86dd);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend((body.len() as u16).to_be_bytes());
    frame.extend([next, 16]);
    frame.extend(source);
    frame.extend(destination);
    frame.extend(body);
    frame
}

/// A UDP header and its payload.
pub fn udp(port: u16, payload: usize) -> Vec<u8> {
    let mut bytes = 40_000_u16.to_be_bytes().to_vec();
    bytes.extend(port.to_be_bytes());
    bytes.extend(((8 + payload) as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend((0..payload).map(|i| i as u8));
    bytes
}

/// A frame with any other Ethernet type, 60 bytes long.
pub fn other(ethertype: u16) -> Vec<u8> {
    padded(ethernet([0xff; 6], ethertype), 60)
}

fn ethernet(destination: [u8; 6], ethertype: u16) -> Vec<u8> {
    let mut frame = destination.to_vec();
    frame.extend([2, 0, 0, 0, 0, 1]);
    frame.extend(ethertype.to_be_bytes());
    frame
}

/// The frame with VLAN tags put in, outer first: (TPID, tag control information).
pub fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let mut result = frame[..12].to_vec();
    for (protocol, control) in tags {
        result.extend(protocol.to_be_bytes());
        result.extend(control.to_be_bytes());
    }
    result.extend(&frame[12..]);
    result
}

/// The frame with zeros behind it, up to a length.
pub fn padded(mut frame: Vec<u8>, length: usize) -> Vec<u8> {
    frame.resize(frame.len().max(length), 0);
    frame
}

/// The frame with other bytes at an offset.
pub fn with(mut frame: Vec<u8>, offset: usize, bytes: &[u8]) -> Vec<u8> {
    frame[offset..offset + bytes.len()].copy_from_slice(bytes);
    frame
}

/// An untagged frame with its UDP checksum partial, or off from that by `off`.
pub fn partial(frame: Vec<u8>, off: u16) -> Vec<u8> {
    let (addresses, udp) = if frame[12] == 8 { (NETWORK + 12, NETWORK + 20) } else { (NETWORK + 8, NETWORK + 40) };
    let length = u16::from_be_bytes([frame[udp + 4], frame[udp + 5]]);
    let sum = pseudo(&frame[addresses..udp], length).wrapping_add(off);
    with(frame, udp + 6, &sum.to_be_bytes())
}

/// The sum of the pseudo header, by RFC 768 and RFC 8200, section 8.1: of `addresses`, the protocol and the length.
pub fn pseudo(addresses: &[u8], length: u16) -> u16 {
    let words = addresses.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum = words.sum::<u32>() + u32::from(UDP) + u32::from(length);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The ones' complement sum of RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
