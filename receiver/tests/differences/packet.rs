//! Frames made field by field, so that one field at a time can be wrong and the rest of the frame right.

use std::net::IpAddr;

const UDP: u8 = 17;
const FRAGMENT: u8 = 44;

/// What the UDP checksum field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    Good,
    Wrong,
    Absent,
    /// The sum of the pseudo header alone, as a sender leaves it to its NIC.
    Partial,
}

/// A UDP datagram and what carries it. Fields that are `None` get the right value.
#[derive(Clone)]
pub struct Packet {
    pub mac: Option<[u8; 6]>,
    pub source_mac: [u8; 6],
    /// VLAN tags, outer first: TPID and tag control information.
    pub tags: Vec<(u16, u16)>,
    pub ethertype: Option<u16>,
    pub source: IpAddr,
    pub group: IpAddr,
    pub source_port: u16,
    /// IPv4's identification and that of IPv6's fragments, if it is not the source port.
    pub id: Option<u32>,
    pub port: u16,
    pub payload: Vec<u8>,
    pub checksum: Checksum,
    pub udp_len: Option<u16>,
    /// IPv4's total length, IPv6's payload length.
    pub ip_len: Option<u16>,
    pub protocol: u8,
    pub hops: u8,
    /// IPv4's DSCP and ECN, IPv6's traffic class.
    pub class: u8,
    pub flow_label: u32,
    /// IPv4's version and header length, or IPv6's version in the upper half.
    pub version: Option<u8>,
    /// IPv4's flags and fragment offset.
    pub fragment: u16,
    /// IPv4's options, a multiple of four bytes.
    pub options: Vec<u8>,
    pub header_checksum_is_wrong: bool,
    /// IPv6's extension headers: type, and all bytes but for the first.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// Zeros behind the packet.
    pub padding: usize,
    /// Bytes that are missing at the end.
    pub missing: usize,
}

impl Packet {
    pub fn new(source: &str, group: &str, port: u16) -> Self {
        Self {
            mac: None,
            source_mac: [2, 0, 0, 0, 0, 1],
            tags: Vec::new(),
            ethertype: None,
            source: source.parse().expect(source),
            group: group.parse().expect(group),
            source_port: 0,
            id: None,
            port,
            payload: (0..40).collect(),
            checksum: Checksum::Good,
            udp_len: None,
            ip_len: None,
            protocol: UDP,
            hops: 16,
            class: 0,
            flow_label: 0,
            version: None,
            fragment: 0,
            options: Vec::new(),
            header_checksum_is_wrong: false,
            extensions: Vec::new(),
            padding: 0,
            missing: 0,
        }
    }

    /// The whole packet in one frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = self.wrap(&self.datagram(), self.fragment, &self.extensions);
        frame.truncate(frame.len() - self.missing);
        frame.resize(frame.len() + self.padding, 0);
        frame
    }

    /// The packet in fragments: each is a range of the UDP datagram's bytes, and "more fragments".
    pub fn fragments(&self, ranges: &[(std::ops::Range<usize>, bool)]) -> Vec<Vec<u8>> {
        let datagram = self.datagram();
        let fragment = |(range, more): &(std::ops::Range<usize>, bool)| {
            let body = &datagram[range.clone()];
            if self.source.is_ipv4() {
                let more = if *more { 0x2000 } else { 0 };
                return self.wrap(body, more | (range.start / 8) as u16, &[]);
            }
            let mut rest = vec![0];
            rest.extend((range.start as u16 | u16::from(*more)).to_be_bytes());
            rest.extend(self.id.unwrap_or(self.source_port.into()).to_be_bytes());
            self.wrap(body, 0, &[(FRAGMENT, rest)])
        };
        ranges.iter().map(fragment).collect()
    }

    /// Bytes of the UDP datagram.
    pub fn len(&self) -> usize {
        8 + self.payload.len()
    }

    /// The UDP header and the payload.
    pub fn datagram(&self) -> Vec<u8> {
        let length = self.udp_len.unwrap_or(self.len() as u16);
        let mut datagram = Vec::new();
        for word in [self.source_port, self.port, length, 0] {
            datagram.extend(word.to_be_bytes());
        }
        datagram.extend(&self.payload);
        let summed = match usize::from(length) {
            0 => self.len(),
            length => length.min(self.len()),
        };
        let mut pseudo = vec![0, UDP];
        pseudo.extend((summed as u16).to_be_bytes());
        for address in [self.source, self.group] {
            match address {
                IpAddr::V4(address) => pseudo.extend(address.octets()),
                IpAddr::V6(address) => pseudo.extend(address.octets()),
            }
        }
        let partial = !sum(&pseudo);
        pseudo.extend(&datagram[..summed.max(8)]);
        let good = match sum(&pseudo) {
            0 => 0xffff,
            good => good,
        };
        let field = match self.checksum {
            Checksum::Good => good,
            Checksum::Wrong => good ^ 0x0100,
            Checksum::Absent => 0,
            Checksum::Partial => partial,
        };
        datagram[6..8].copy_from_slice(&field.to_be_bytes());
        datagram
    }

    /// A frame with this body behind the IP header: IPv4's flags and offset, or IPv6's extension headers.
    pub fn wrap(&self, body: &[u8], fragment: u16, extensions: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let (mac, ethertype, packet) = match (self.source, self.group) {
            (IpAddr::V4(source), IpAddr::V4(group)) => {
                let [_, b, c, d] = group.octets();
                let header_len = 20 + self.options.len();
                let mut packet = vec![self.version.unwrap_or(0x40 | (header_len / 4) as u8), self.class];
                packet.extend(self.ip_len.unwrap_or((header_len + body.len()) as u16).to_be_bytes());
                packet.extend(self.id.map_or(self.source_port, |id| id as u16).to_be_bytes());
                packet.extend(fragment.to_be_bytes());
                packet.extend([self.hops, self.protocol, 0, 0]);
                packet.extend(source.octets());
                packet.extend(group.octets());
                packet.extend(&self.options);
                let checksum = sum(&packet) ^ u16::from(self.header_checksum_is_wrong);
                packet[10..12].copy_from_slice(&checksum.to_be_bytes());
                packet.extend(body);
                ([1, 0, 0x5e, b & 0x7f, c, d], 0x0800, packet)
            }
            (IpAddr::V6(source), IpAddr::V6(group)) => {
                let [.., a, b, c, d] = group.octets();
                let (mut next, mut rest) = (self.protocol, body.to_vec());
                for (kind, bytes) in extensions.iter().rev() {
                    rest = [&[next], bytes.as_slice(), &rest].concat();
                    next = *kind;
                }
                let version = u32::from(self.version.unwrap_or(0x60)) << 24;
                let mut packet = (version | u32::from(self.class) << 20 | self.flow_label).to_be_bytes().to_vec();
                packet.extend(self.ip_len.unwrap_or(rest.len() as u16).to_be_bytes());
                packet.extend([next, self.hops]);
                packet.extend(source.octets());
                packet.extend(group.octets());
                packet.extend(rest);
                ([0x33, 0x33, a, b, c, d], 0x86dd, packet)
            }
            _ => panic!("{} and {} are of two families", self.source, self.group),
        };
        let mut frame = self.mac.unwrap_or(mac).to_vec();
        frame.extend(self.source_mac);
        for (protocol, control) in &self.tags {
            frame.extend(protocol.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        frame.extend(self.ethertype.unwrap_or(ethertype).to_be_bytes());
        frame.extend(packet);
        frame
    }
}

/// The Internet checksum (RFC 1071).
pub fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&b| b.into())).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
