//! Random cases: packets that are right, then spoiled field by field or byte by byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::fragments;
use super::random::Random;
use super::sender::Offload;
use crate::cases::OWN_MAC;
use crate::packet::{Checksum, Packet};

/// Bytes of an Ethernet header: no frame that is sent is shorter.
const ETHERNET: usize = 14;

/// How a case differs from a plain datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Plain,
    Lengths,
    Options,
    Extensions,
    Tags,
    Ethernet,
    Checksums,
    Header,
    Fragments,
    Offload,
    Bytes,
    Noise,
}

impl Kind {
    pub const ALL: [Self; 12] = [
        Self::Plain,
        Self::Lengths,
        Self::Options,
        Self::Extensions,
        Self::Tags,
        Self::Ethernet,
        Self::Checksums,
        Self::Header,
        Self::Fragments,
        Self::Offload,
        Self::Bytes,
        Self::Noise,
    ];
    /// Those that change fields of a packet, and go together.
    const FIELDS: [Self; 7] =
        [Self::Lengths, Self::Options, Self::Extensions, Self::Tags, Self::Ethernet, Self::Checksums, Self::Header];
}

/// One datagram, or what is left of it, in frames.
pub struct Case {
    pub number: u64,
    pub kind: Kind,
    pub source_port: u16,
    pub frames: Vec<Vec<u8>>,
    /// For each of the frames.
    pub offload: Offload,
}

impl Case {
    /// The case of a seed with this number. `id` is the packet's identification, which counts in fragments alone.
    pub fn new(seed: u64, number: u64, source_port: u16, id: u32, mtu: usize) -> Self {
        let random = &Random::new(seed, number);
        let kind = random.pick(&Kind::ALL);
        let mut packet = packet(random, mtu);
        (packet.source_port, packet.id) = (source_port, Some(id));
        let mut offload = Offload::default();
        change(random, kind, &mut packet);
        if kind != Kind::Offload && random.once_in(4) {
            let other = random.pick(&Kind::FIELDS);
            change(random, other, &mut packet);
        }
        let mut frames = match kind {
            Kind::Fragments => fragments::of(random, &mut packet, mtu),
            Kind::Noise => vec![noise(random, &packet, mtu)],
            Kind::Offload => {
                offload = offloaded(random, &mut packet, mtu);
                vec![packet.frame()]
            }
            _ => vec![packet.frame()],
        };
        if kind == Kind::Bytes || (kind != Kind::Offload && random.once_in(12)) {
            let at = random.below(frames.len());
            mutate(random, &mut frames[at]);
        }
        for frame in &mut frames {
            frame.resize(frame.len().max(ETHERNET), 0);
            if offload == Offload::default() {
                frame.truncate(ETHERNET + mtu);
            }
        }
        Self { number, kind, source_port, frames, offload }
    }

    /// The upper bound of the number of frames that the receiving side sees.
    pub fn packets(&self) -> usize {
        match usize::from(self.offload.segment) {
            0 => self.frames.len(),
            segment => self.frames.iter().map(|frame| frame.len().div_ceil(segment)).sum(),
        }
    }
}

/// A datagram without faults, of which the receivers may want the source and the group, or not.
fn packet(random: &Random, mtu: usize) -> Packet {
    let v6 = random.once_in(2);
    let mut packet = if v6 {
        let mut packet = Packet::new("2001:db8::1", "ff3e::1", 5000);
        packet.source = source_v6(random).into();
        (packet.group, packet.port) = destination_v6(random);
        packet
    } else {
        let mut packet = Packet::new("10.0.0.1", "232.1.1.1", 5000);
        packet.source = source_v4(random).into();
        (packet.group, packet.port) = destination_v4(random);
        packet
    };
    if random.once_in(30) {
        packet.port = random.pick(&[0, 1, 5000, 5001, 5002, 5003, 65_535]);
    }
    let longest = mtu - if v6 { 48 } else { 28 };
    let length = match random.below(16) {
        0 => 0,
        1 => random.within(longest - 8, longest),
        2 => random.within(1, longest),
        _ => random.within(1, 64),
    };
    let first = random.byte();
    packet.payload = (0..length).map(|at| first.wrapping_add((at + (at >> 8)) as u8)).collect();
    packet
}

fn source_v4(random: &Random) -> Ipv4Addr {
    const OTHER: [[u8; 4]; 15] = [
        [10, 0, 0, 2],
        [10, 0, 0, 9],
        [10, 0, 0, 100],
        [10, 0, 0, 255],
        [0, 0, 0, 0],
        [0, 0, 0, 1],
        [127, 0, 0, 1],
        [127, 255, 255, 255],
        [169, 254, 1, 1],
        [224, 0, 0, 1],
        [239, 1, 1, 1],
        [240, 0, 0, 1],
        [255, 255, 255, 255],
        [203, 0, 113, 5],
        [192, 88, 99, 1],
    ];
    match random.below(8) {
        0 => Ipv4Addr::from(random.next() as u32),
        1..=3 => random.pick(&OTHER).into(),
        _ => [10, 0, 0, 1].into(),
    }
}

fn source_v6(random: &Random) -> Ipv6Addr {
    const OTHER: [[u16; 8]; 14] = [
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, 2],
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, 9],
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x64],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 0, 2],
        [0, 0, 0, 0, 0, 0xffff, 0x0a00, 1],
        [0, 0, 0, 0, 0, 0, 0x0a00, 1],
        [0x64, 0xff9b, 0, 0, 0, 0, 0x0a00, 1],
        [0xfe80, 0, 0, 0, 0, 0, 0, 1],
        [0xfc00, 0, 0, 0, 0, 0, 0, 1],
        [0xff02, 0, 0, 0, 0, 0, 0, 1],
        [0xff0e, 0, 0, 0, 0, 0, 0, 1],
        [0x2002, 0x7f00, 1, 0, 0, 0, 0, 1],
    ];
    match random.below(8) {
        0 => Ipv6Addr::from(u128::from(random.next()) << 64 | u128::from(random.next())),
        1..=3 => random.pick(&OTHER).into(),
        _ => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
    }
}

fn destination_v4(random: &Random) -> (IpAddr, u16) {
    const SUBSCRIBED: [([u8; 4], u16); 4] =
        [([232, 1, 1, 1], 5000), ([239, 1, 1, 1], 5001), ([239, 1, 1, 2], 5002), ([224, 0, 0, 200], 5003)];
    const OTHER: [[u8; 4]; 6] =
        [[232, 1, 1, 2], [224, 0, 0, 1], [10, 0, 0, 100], [10, 0, 0, 255], [255, 255, 255, 255], [127, 0, 0, 1]];
    let (group, port) = random.pick(&SUBSCRIBED);
    let group = match random.below(40) {
        0 => Ipv4Addr::from(0xe000_0000 | random.next() as u32 & 0x0fff_ffff),
        1 | 2 => random.pick(&OTHER).into(),
        _ => group.into(),
    };
    (group.into(), port)
}

fn destination_v6(random: &Random) -> (IpAddr, u16) {
    const SUBSCRIBED: [([u16; 8], u16); 4] = [
        ([0xff3e, 0, 0, 0, 0, 0, 0, 1], 5000),
        ([0xff0e, 0, 0, 0, 0, 0, 0, 1], 5001),
        ([0xff0e, 0, 0, 0, 0, 0, 0, 2], 5002),
        ([0xff02, 0, 0, 0, 0, 0, 0, 0x99], 5003),
    ];
    const OTHER: [[u16; 8]; 6] = [
        [0xff3e, 0, 0, 0, 0, 0, 0, 2],
        [0xff35, 0, 0, 0, 0, 0, 0, 1],
        [0xff01, 0, 0, 0, 0, 0, 0, 1],
        [0xff02, 0, 0, 0, 0, 0, 0, 1],
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x64],
        [0, 0, 0, 0, 0, 0, 0, 1],
    ];
    let (group, port) = random.pick(&SUBSCRIBED);
    let group = match random.below(40) {
        0 => Ipv6Addr::from(0xff_u128 << 120 | u128::from(random.next()) << 56 | u128::from(random.next() >> 8)),
        1 | 2 => random.pick(&OTHER).into(),
        _ => group.into(),
    };
    (group.into(), port)
}

fn change(random: &Random, kind: Kind, packet: &mut Packet) {
    match kind {
        Kind::Lengths => lengths(random, packet),
        Kind::Options if packet.source.is_ipv4() => packet.options = options(random),
        // The other family's.
        Kind::Options | Kind::Extensions if packet.source.is_ipv6() => {
            packet.extensions = extensions(random, packet.id)
        }
        Kind::Extensions => packet.options = options(random),
        Kind::Tags => packet.tags = tags(random),
        Kind::Ethernet => ethernet(random, packet),
        Kind::Checksums => checksums(random, packet),
        Kind::Header => header(random, packet),
        _ => {}
    }
}

/// Lengths that lie, and frames that are longer or shorter than they should be.
fn lengths(random: &Random, packet: &mut Packet) {
    let lie = |random: &Random, right: usize| {
        let lie = match random.below(6) {
            0 => random.pick(&[0, 1, 7, 8, 19, 20, 27, 28, 40, 48, 0x7fff, 0xffff]),
            1 => random.below(0x1_0000),
            2 => random.below(right + 1),
            3 => right + random.within(1, 40),
            4 => right.saturating_sub(1),
            _ => right + 1,
        };
        Some(lie as u16)
    };
    let udp = packet.len();
    let ip = udp + if packet.source.is_ipv4() { 20 + packet.options.len() } else { extension_bytes(packet) };
    let what = random.below(16);
    if what & 1 != 0 {
        packet.udp_len = lie(random, udp);
    }
    if what & 2 != 0 {
        packet.ip_len = lie(random, ip);
    }
    if what & 4 != 0 {
        packet.padding = random.within(1, 60);
    }
    if what & 8 != 0 {
        packet.missing = random.within(1, udp.min(60));
    }
}

fn extension_bytes(packet: &Packet) -> usize {
    packet.extensions.iter().map(|(_, rest)| 1 + rest.len()).sum()
}

/// IPv4 options: end, no operation, record route, timestamp, security, source routes, router alert, and unknown ones,
/// some with a length that lies.
fn options(random: &Random) -> Vec<u8> {
    let longest = 4 * random.within(1, 10);
    let mut options = Vec::new();
    while options.len() < longest {
        let kind = match random.below(12) {
            0 => random.byte(),
            1 => random.pick(&[131, 137, 0]),
            2 => random.pick(&[130, 136, 149, 0x5e]),
            3 | 4 => random.pick(&[7, 68]),
            5 | 6 => 148,
            _ => 1,
        };
        options.push(kind);
        if kind <= 1 {
            continue;
        }
        let rest = match kind {
            148 => 2,
            7 | 131 | 137 => 1 + 4 * random.within(1, 3),
            68 => 2 + 4 * random.within(1, 2),
            _ => random.below(8),
        };
        let length = if random.once_in(24) { random.byte() } else { rest as u8 + 2 };
        options.push(length);
        let mut data = if random.once_in(4) { random.bytes(rest) } else { vec![0; rest] };
        if matches!(kind, 7 | 68 | 131 | 137) && !data.is_empty() {
            // The pointer to the next free place.
            let first = if kind == 68 { 5 } else { 4 };
            data[0] = if random.once_in(4) { random.pick(&[0, 4, 8, length, random.byte()]) } else { first };
        }
        options.extend(data);
    }
    options.truncate(longest);
    options
}

/// A chain of IPv6 extension headers.
fn extensions(random: &Random, id: Option<u32>) -> Vec<(u8, Vec<u8>)> {
    let count = random.pick(&[1, 1, 1, 2, 2, 3, 4, 9]);
    (0..count)
        .map(|at| {
            let kind = match random.below(8) {
                0 if at == 0 => 0,
                0 => random.pick(&[0, 43, 44, 50, 51, 59, 135, 139, 140, 253, random.byte()]),
                1 => 43,
                2 if at == 0 => 0,
                2 | 3 => 44,
                _ => 60,
            };
            (kind, extension(random, kind, id.unwrap_or(0)))
        })
        .collect()
}

/// A header without its first byte.
fn extension(random: &Random, kind: u8, id: u32) -> Vec<u8> {
    match kind {
        // A packet that is whole, most times.
        44 => {
            let mut rest = vec![0, 0, 0];
            if random.once_in(4) {
                rest[1..].copy_from_slice(&random.pick(&[1_u16, 8, 9, 2, 0xfff8, 0xffff]).to_be_bytes());
            }
            rest.extend(id.to_be_bytes());
            rest
        }
        43 => {
            let units = random.below(3);
            let mut rest =
                vec![units as u8, random.pick(&[0, 2, 3, 4, random.byte()]), random.pick(&[0, 0, 1, 2, 255])];
            rest.extend(vec![0; 4 + 8 * units]);
            rest
        }
        51 => vec![random.pick(&[1, 4]), 0, 0, 0, 0, 0, 0],
        _ => {
            let units = random.below(3);
            let length = if random.once_in(20) { random.byte() } else { units as u8 };
            let mut rest = vec![length];
            let whole = 7 + 8 * units;
            while rest.len() < whole {
                let left = whole - rest.len();
                let option = match random.below(10) {
                    0 => random.pick(&[0x5e, 0x9e, 0xc2, 0xc9, random.byte()]),
                    1 | 2 => random.pick(&[5, 0x1e, 0x3e]),
                    3 => 0,
                    _ => 1,
                };
                rest.push(option);
                if option == 0 || left == 1 {
                    continue;
                }
                let bytes = match option {
                    5 => 2,
                    0xc2 => 4,
                    _ => random.below(left),
                }
                .min(left.saturating_sub(2));
                rest.push(if random.once_in(12) { random.byte() } else { bytes as u8 });
                rest.extend(if random.once_in(6) { random.bytes(bytes) } else { vec![0; bytes] });
            }
            rest
        }
    }
}

fn tags(random: &Random) -> Vec<(u16, u16)> {
    let count = random.pick(&[1, 1, 1, 2, 2, 3, 4]);
    let tag = |_| {
        let protocol = random.pick(&[0x8100, 0x8100, 0x8100, 0x88a8, 0x88a8, 0x9100]);
        let vlan = random.pick(&[0, 0, 0, 0, 0x2000, 0xe000, 0x1000, 1, 7, 0x0fff, random.next() as u16]);
        (protocol, vlan)
    };
    (0..count).map(tag).collect()
}

fn ethernet(random: &Random, packet: &mut Packet) {
    const MACS: [[u8; 6]; 12] = [
        OWN_MAC,
        OWN_MAC,
        OWN_MAC,
        [0xff; 6],
        [1, 0, 0x5e, 1, 1, 1],
        [1, 0, 0x5e, 9, 9, 9],
        [0x33, 0x33, 0, 9, 9, 9],
        [1, 0x80, 0xc2, 0, 0, 0],
        [1, 0x80, 0xc2, 0, 0, 0x20],
        [2, 0, 0, 0, 0, 0x98],
        [2, 0, 0, 0, 0, 0x77],
        [0; 6],
    ];
    if !random.once_in(4) {
        packet.mac = Some(random.pick(&MACS));
    }
    if random.once_in(4) {
        packet.source_mac = random.pick(&MACS);
    }
    if random.once_in(8) {
        packet.ethertype = Some(random.pick(&[0x0800, 0x86dd, 0x0806, 0x8847, 0x0028, 0x05dc, 0x0600, 0x88e5]));
    }
}

fn checksums(random: &Random, packet: &mut Packet) {
    packet.checksum = random.pick(&[Checksum::Good, Checksum::Wrong, Checksum::Absent, Checksum::Partial]);
    packet.header_checksum_is_wrong = random.once_in(4);
    if random.once_in(3) {
        packet.payload.push(random.byte());
    }
}

fn header(random: &Random, packet: &mut Packet) {
    let v4 = packet.source.is_ipv4();
    match random.below(7) {
        0 => packet.hops = random.pick(&[0, 1, 2, 255]),
        1 => packet.class = random.byte(),
        2 => packet.flow_label = random.next() as u32 & 0xf_ffff,
        3 => packet.protocol = random.pick(&[0, 1, 2, 6, 17, 33, 41, 58, 59, 103, 132, 136, 255, random.byte()]),
        4 if v4 => packet.version = Some(random.pick(&[0x45, 0x40, 0x44, 0x46, 0x4f, 0x55, 0x65, 0x05, random.byte()])),
        4 => packet.version = Some(random.pick(&[0x60, 0x00, 0x40, 0x50, 0x70, 0xf0])),
        5 => packet.fragment = random.pick(&[0x4000, 0x8000, 0xc000, 0x2000, 1, 0x1fff, random.next() as u16]),
        // A jumbogram, or what claims to be one (RFC 2675).
        _ if !v4 => {
            packet.udp_len = random.pick(&[Some(0), Some(0), None]);
            packet.ip_len = random.pick(&[Some(0), None]);
            if random.once_in(2) {
                let length = (packet.len() + 8) as u32;
                let option = [&[0, 0xc2, 4][..], &length.to_be_bytes()].concat();
                packet.extensions.insert(0, (0, option));
            }
        }
        _ => packet.header_checksum_is_wrong = true,
    }
}

/// Leaves the checksum to the NIC, and perhaps the cut into several datagrams. The faults of this kind are the sender's
/// alone, so all fields but the addresses are right.
fn offloaded(random: &Random, packet: &mut Packet, mtu: usize) -> Offload {
    packet.checksum = Checksum::Partial;
    let start = ETHERNET + if packet.source.is_ipv4() { 20 } else { 40 };
    let mut segment = 0;
    if random.once_in(2) {
        segment = random.within(1, 200);
        let length = random.within(1, 8 * segment);
        let first = random.byte();
        packet.payload = (0..length).map(|at| first.wrapping_add((at ^ (at >> 7)) as u8)).collect();
        if length <= segment {
            segment = 0;
        }
    }
    debug_assert!(segment + 60 < mtu);
    Offload { checksum_start: Some(start as u16), segment: segment as u16 }
}

/// Random bytes, behind as many of the packet's headers as make them interesting.
fn noise(random: &Random, packet: &Packet, mtu: usize) -> Vec<u8> {
    let mut frame = packet.frame();
    frame.truncate(random.pick(&[12, 14, 23, 34, 38, 42, 54, 62]));
    let rest = random.below(if random.once_in(8) { mtu } else { 120 });
    frame.extend(random.bytes(rest));
    frame
}

/// One or two changes, most of them where the headers are.
fn mutate(random: &Random, frame: &mut Vec<u8>) {
    for _ in 0..random.within(1, 2) {
        if frame.len() < ETHERNET {
            return;
        }
        let reach = if random.once_in(6) { frame.len() } else { frame.len().min(90) };
        let at = random.below(reach);
        match random.below(8) {
            0 => frame[at] = random.byte(),
            1 | 2 => frame[at] ^= 1 << random.below(8),
            3 => frame[at] = random.pick(&[0, 1, 4, 5, 6, 8, 17, 44, 60, 0x45, 0x46, 0x60, 0x7f, 0x80, 0xff]),
            4 => frame.truncate(at.max(ETHERNET)),
            5 => drop(frame.splice(at..at, [0; 4])),
            6 => drop(frame.drain(at..(at + 4).min(reach))),
            _ => {
                let length = frame.len() + random.below(30);
                frame.resize(length, random.pick(&[0, 0xff]));
            }
        }
    }
}
