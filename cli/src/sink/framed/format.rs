//! The bytes of a framed stream, as docs/framed.md has them. Numbers are little-endian.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The bytes that begin a stream: a magic number, the version 1, and 16 bits that are 0.
pub const PREAMBLE: [u8; 8] = *b"SSMF\x01\0\0\0";

/// The types of records.
const SUBSCRIPTION: u8 = 1;
const PACKET: u8 = 2;
const LOSS: u8 = 3;
const STATISTICS: u8 = 4;
const END: u8 = 5;

/// The flag of a packet that XDP received; without it a socket of the kernel did.
const BY_XDP: u8 = 1;
/// Bytes before the length counts: the length, the type, the flags, the length of the fixed fields.
const HEAD: usize = 8;

/// One datagram.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it was received, in nanoseconds since 1970 in UTC.
    pub time: u64,
    /// How many packets came to the output before it.
    pub number: u64,
    /// Who sent it.
    pub source: SocketAddr,
    /// Where it was sent.
    pub group: SocketAddr,
    /// The number of the subscription that wanted it.
    pub subscription: u32,
    /// True if XDP received it.
    pub by_xdp: bool,
    /// The UDP payload.
    pub payload: &'a [u8],
}

/// Packets that are not in the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// When that was noticed, in nanoseconds since 1970 in UTC.
    pub time: u64,
    /// The number of the first packet that was not written, or of the next packet.
    pub number: u64,
    /// Lost before they came to the output.
    pub lost: u64,
    /// Dropped by the output for want of room.
    pub unwritten: u64,
}

/// Sums since the stream began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// When they were read, in nanoseconds since 1970 in UTC.
    pub time: u64,
    /// Packets that came to the output.
    pub received: u64,
    /// Packets that were lost before they came to the output.
    pub lost: u64,
    /// Packets that the output dropped.
    pub unwritten: u64,
}

/// Writes a subscription with its number.
pub fn write_subscription(out: &mut Vec<u8>, number: u32, text: &str) {
    record(out, SUBSCRIPTION, 0, &number.to_le_bytes(), text.as_bytes());
}

/// Writes a datagram.
#[inline]
pub fn write_packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let mut fixed = [0; 56];
    fixed[..8].copy_from_slice(&packet.time.to_le_bytes());
    fixed[8..16].copy_from_slice(&packet.number.to_le_bytes());
    fixed[16..32].copy_from_slice(&in_ipv6(packet.source.ip()).octets());
    fixed[32..48].copy_from_slice(&in_ipv6(packet.group.ip()).octets());
    fixed[48..50].copy_from_slice(&packet.source.port().to_le_bytes());
    fixed[50..52].copy_from_slice(&packet.group.port().to_le_bytes());
    fixed[52..].copy_from_slice(&packet.subscription.to_le_bytes());
    let flags = if packet.by_xdp { BY_XDP } else { 0 };
    record(out, PACKET, flags, &fixed, packet.payload);
}

/// Writes a loss with its causes in words.
pub fn write_loss(out: &mut Vec<u8>, loss: &Loss, causes: &str) {
    let fixed = numbers([loss.time, loss.number, loss.lost, loss.unwritten]);
    record(out, LOSS, 0, &fixed, causes.as_bytes());
}

/// Writes statistics.
pub fn write_statistics(out: &mut Vec<u8>, statistics: &Statistics) {
    record(out, STATISTICS, 0, &sums(statistics), &[]);
}

/// Writes the end of the stream.
pub fn write_end(out: &mut Vec<u8>, statistics: &Statistics) {
    record(out, END, 0, &sums(statistics), &[]);
}

fn sums(statistics: &Statistics) -> [u8; 32] {
    numbers([statistics.time, statistics.received, statistics.lost, statistics.unwritten])
}

fn numbers(numbers: [u64; 4]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

#[inline]
fn record(out: &mut Vec<u8>, kind: u8, flags: u8, fixed: &[u8], rest: &[u8]) {
    let length = (fixed.len() + rest.len()) as u32;
    out.reserve(HEAD + fixed.len() + rest.len());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&(fixed.len() as u16).to_le_bytes());
    out.extend_from_slice(fixed);
    out.extend_from_slice(rest);
}

/// An IPv4 address is written as ::ffff:A.B.C.D.
fn in_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_document() {
        let mut out = Vec::new();
        write_subscription(&mut out, 7, "S@G");
        assert_eq!(out, b"\x07\0\0\0\x01\0\x04\0\x07\0\0\0S@G");
        out.clear();
        let packet = Packet {
            time: 0x0102,
            number: 3,
            source: "10.0.0.1:4000".parse().expect("an address"),
            group: "[ff3e::1]:5000".parse().expect("an address"),
            subscription: 9,
            by_xdp: true,
            payload: b"data",
        };
        write_packet(&mut out, &packet);
        assert_eq!(out[..8], [60, 0, 0, 0, 2, 1, 56, 0]);
        assert_eq!(out[8..24], [2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(out[24..40], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1]);
        assert_eq!(out[40..56], [0xff, 0x3e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(out[56..], *b"\xa0\x0f\x88\x13\x09\0\0\0data");
        out.clear();
        write_loss(&mut out, &Loss { time: 1, number: 2, lost: 3, unwritten: 4 }, "why");
        assert_eq!((out.len(), &out[..8]), (43, &[35, 0, 0, 0, 3, 0, 32, 0][..]));
        assert_eq!(out[40..], *b"why");
        out.clear();
        write_end(&mut out, &Statistics { time: 1, received: 2, lost: 3, unwritten: 4 });
        assert_eq!((out.len(), &out[..8]), (40, &[32, 0, 0, 0, 5, 0, 32, 0][..]));
    }
}
