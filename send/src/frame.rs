//! Complete Ethernet frames, for sources that this machine does not own: headers, checksums, VLAN tags. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use receiver_common::wire::{ETHERNET_LEN, IPV4_LEN, IPV6_LEN, PROTOCOL_UDP, UDP_LEN, VLAN_TAG_LEN};

use crate::probe::{PROBE_LEN, ProbePayload};

pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
pub(crate) const ETHERTYPE_VLAN: u16 = 0x8100;
pub(crate) const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;

/// The MAC address of a group: RFC 1112, section 6.4, and RFC 2464, section 7.
pub(super) fn group_mac(group: IpAddr) -> [u8; 6] {
    match group {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            [0x01, 0x00, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            [0x33, 0x33, a, b, c, d]
        }
    }
}

/// Bytes of IP and UDP header before the payload.
pub(crate) fn ip_udp_len(group: IpAddr) -> usize {
    UDP_LEN + if group.is_ipv4() { IPV4_LEN } else { IPV6_LEN }
}

/// What the frames of one flow have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameSpec<'a> {
    pub(crate) source_mac: [u8; 6],
    pub(crate) source: IpAddr,
    /// Of the same family as `source`.
    pub(crate) group: IpAddr,
    pub(crate) source_port: u16,
    pub(crate) port: u16,
    pub(crate) ttl: u8,
    /// Outermost first.
    pub(crate) vlan: &'a [u16],
    /// UDP payload, at least [`PROBE_LEN`], and such that the lengths fit.
    pub(crate) size: usize,
}

/// The frames of one flow, up to the end of the probe header. Zeros follow on the wire, which change no checksum.
#[derive(Clone, Debug)]
pub(crate) struct FrameTemplate {
    head: Box<[u8]>,
    /// The sum of all that the UDP checksum covers, except the probe header.
    constant_sum: u32,
}

impl FrameTemplate {
    /// `None` if the families are mixed or a length does not fit its field.
    pub(crate) fn new(spec: &FrameSpec<'_>) -> Option<Self> {
        let udp_len = u16::try_from(spec.size.checked_add(UDP_LEN)?).ok()?;
        let mut head = Vec::with_capacity(ETHERNET_LEN + 2 * VLAN_TAG_LEN + IPV6_LEN + UDP_LEN + PROBE_LEN);
        ethernet_header(&mut head, spec);
        let addresses = match (spec.source, spec.group) {
            (IpAddr::V4(source), IpAddr::V4(group)) => {
                head.extend(ipv4_header(source, group, spec.ttl, udp_len)?);
                sum(&source.octets()) + sum(&group.octets())
            }
            (IpAddr::V6(source), IpAddr::V6(group)) => {
                head.extend(ipv6_header(source, group, spec.ttl, udp_len));
                sum(&source.octets()) + sum(&group.octets())
            }
            _ => return None,
        };
        let udp = head.len();
        for word in [spec.source_port, spec.port, udp_len, 0] {
            head.extend(word.to_be_bytes());
        }
        // The pseudo header: addresses, protocol, length (RFC 768; RFC 8200, section 8.1).
        let constant_sum = addresses + u32::from(PROTOCOL_UDP) + u32::from(udp_len) + sum(&head[udp..]);
        head.resize(udp + UDP_LEN + PROBE_LEN, 0);
        Some(Self { head: head.into(), constant_sum })
    }

    /// What the generator in the kernel needs: the frame up to the end of the probe header, with sequence, send time
    /// and UDP checksum zero, and the sum, in memory order and folded, of all that the checksum covers in it.
    pub(super) fn constant(&self, stream: u32) -> (Vec<u8>, u32) {
        let mut bytes = self.head.to_vec();
        let at = bytes.len() - PROBE_LEN;
        let written = ProbePayload { stream, sequence: 0, sent_ns: 0 }.write_into(&mut bytes[at..]);
        debug_assert!(written, "the template ends with room for the probe header");
        let sum = !fold(self.constant_sum + sum(&bytes[at..]));
        (bytes, u32::from(sum.to_be()))
    }

    /// Length of what [`FrameTemplate::write`] writes, bytes.
    pub(crate) fn len(&self) -> usize {
        self.head.len()
    }

    /// Writes the frame up to the end of the probe header into `out`, of exactly that length.
    #[inline]
    pub(crate) fn write(&self, out: &mut [u8], probe: ProbePayload) {
        out.copy_from_slice(&self.head);
        let (before, payload) = out.split_at_mut(self.head.len() - PROBE_LEN);
        let written = probe.write_into(payload);
        debug_assert!(written, "the template ends with room for the probe header");
        let checksum = match fold(self.constant_sum + sum(payload)) {
            // 0 would mean that there is no checksum (RFC 768).
            0 => 0xffff,
            checksum => checksum,
        };
        let at = before.len() - 2;
        before[at..].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Appends the Ethernet header and the VLAN tags.
pub(crate) fn ethernet_header(head: &mut Vec<u8>, spec: &FrameSpec<'_>) {
    head.extend(group_mac(spec.group));
    head.extend(spec.source_mac);
    for (at, id) in spec.vlan.iter().enumerate() {
        let outer = at + 1 < spec.vlan.len();
        head.extend(if outer { ETHERTYPE_SERVICE_VLAN } else { ETHERTYPE_VLAN }.to_be_bytes());
        head.extend((id & 0x0fff).to_be_bytes());
    }
    head.extend(if spec.group.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 }.to_be_bytes());
}

/// `Don't fragment` and id 0: an atomic datagram (RFC 6864, section 4.1).
pub(crate) fn ipv4_header(source: Ipv4Addr, group: Ipv4Addr, ttl: u8, udp_len: u16) -> Option<[u8; IPV4_LEN]> {
    let total = udp_len.checked_add(IPV4_LEN as u16)?;
    let mut header = [0; IPV4_LEN];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[6] = 0x40;
    header[8] = ttl;
    header[9] = PROTOCOL_UDP;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&group.octets());
    let checksum = fold(sum(&header));
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    Some(header)
}

pub(crate) fn ipv6_header(source: Ipv6Addr, group: Ipv6Addr, hop_limit: u8, udp_len: u16) -> [u8; IPV6_LEN] {
    let mut header = [0; IPV6_LEN];
    header[0] = 0x60;
    header[4..6].copy_from_slice(&udp_len.to_be_bytes());
    header[6] = PROTOCOL_UDP;
    header[7] = hop_limit;
    header[8..24].copy_from_slice(&source.octets());
    header[24..40].copy_from_slice(&group.octets());
    header
}

/// Sum of the 16-bit words (RFC 1071); does not overflow for what fits a packet.
#[inline]
pub(crate) fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let odd = rest.first().map_or(0, |&byte| u32::from(byte) << 8);
    words.iter().map(|&word| u32::from(u16::from_be_bytes(word))).sum::<u32>() + odd
}

/// The one's complement of the sum, carries folded in.
#[inline]
pub(crate) fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use receiver_common::wire::{self, Network};

    fn spec<'a>(source: &str, group: &str, vlan: &'a [u16], size: usize) -> FrameSpec<'a> {
        FrameSpec {
            source_mac: [2, 0, 0, 0, 0, 1],
            source: source.parse().expect(source),
            group: group.parse().expect(group),
            source_port: 4000,
            port: 5000,
            ttl: 16,
            vlan,
            size,
        }
    }

    fn frame(spec: &FrameSpec<'_>, probe: ProbePayload) -> Vec<u8> {
        let template = FrameTemplate::new(spec).expect("valid");
        let mut frame = vec![0; template.len()];
        template.write(&mut frame, probe);
        frame.resize(template.len() + spec.size - PROBE_LEN, 0);
        frame
    }

    #[test]
    fn macs() {
        let mac = |group: &str| group_mac(group.parse().expect(group));
        assert_eq!(mac("232.129.2.3"), [0x01, 0x00, 0x5e, 0x01, 2, 3], "the 24th bit is not carried");
        assert_eq!(mac("ff3e::8000:1"), [0x33, 0x33, 0x80, 0, 0, 1]);
    }

    #[test]
    fn bytes_of_a_tagged_frame() {
        let probe = ProbePayload { stream: 1, sequence: 2, sent_ns: 3 };
        let frame = frame(&spec("10.0.0.9", "232.1.1.1", &[100, 200], PROBE_LEN), probe);
        assert_eq!(frame.len(), 72);
        assert_eq!(frame[..6], [0x01, 0x00, 0x5e, 1, 1, 1]);
        assert_eq!(frame[12..22], [0x88, 0xa8, 0, 100, 0x81, 0, 0, 200, 8, 0]);
        assert_eq!(ProbePayload::parse(&frame[50..]), Some(probe));
        assert_eq!(super::tests::frame(&spec("10.0.0.9", "232.1.1.1", &[], PROBE_LEN), probe).len(), 64);
    }

    #[test]
    fn refusals() {
        assert!(FrameTemplate::new(&spec("10.0.0.9", "ff3e::1", &[], 100)).is_none());
        assert!(FrameTemplate::new(&spec("10.0.0.9", "232.1.1.1", &[], 65_508)).is_none());
        assert!(FrameTemplate::new(&spec("fe80::1", "ff3e::1", &[], 65_528)).is_none());
    }

    /// The checksum of a UDP packet with its checksum in place comes to 0.
    fn verifies(frame: &[u8], ip: usize, v6: bool) -> bool {
        let (addresses, udp) = if v6 { (ip + 8..ip + 40, ip + 40) } else { (ip + 12..ip + 20, ip + 20) };
        let pseudo = 17 + (frame.len() - udp) as u32;
        fold(sum(&frame[addresses]) + pseudo + sum(&frame[udp..])) == 0 && frame[udp + 6..udp + 8] != [0, 0]
    }

    proptest! {
        #[test]
        fn frames_parse_and_verify(
            v6: bool, vlan in prop::collection::vec(1u16..4095, 0..3), size in PROBE_LEN..2000, source: u32, group: u32,
            ports: (u16, u16), stream: u32, sequence: u64, sent_ns in 0..1u64 << 63,
        ) {
            let (source, group): (IpAddr, IpAddr) = if v6 {
                let low = |high: u16, low: u32| Ipv6Addr::new(high, 0, 0, 0, 0, 0, (low >> 16) as u16, low as u16);
                (low(0xfe80, source).into(), low(0xff3e, group).into())
            } else {
                (Ipv4Addr::from(source).into(), Ipv4Addr::from(0xe000_0000 | group >> 4).into())
            };
            let spec = FrameSpec {
                source_mac: [2; 6], source, group, source_port: ports.0, port: ports.1, ttl: 7, vlan: &vlan, size,
            };
            let probe = ProbePayload { stream, sequence, sent_ns };
            let frame = frame(&spec, probe);
            let ip = ETHERNET_LEN + VLAN_TAG_LEN * vlan.len();
            prop_assert!(verifies(&frame, ip, v6));
            let tags = wire::VlanTags {
                count: vlan.len() as u32,
                outer: vlan.first().copied().unwrap_or(0),
                inner: vlan.get(1).copied().unwrap_or(0),
            };
            let udp = match wire::network(frame.as_slice(), tags) {
                Ok(Network::V4(at)) => {
                    prop_assert_eq!(fold(sum(&frame[ip..ip + 20])), 0);
                    wire::udp_v4(frame.as_slice(), at).map(|v4| v4.udp)
                }
                Ok(Network::V6(at)) => wire::udp_v6(frame.as_slice(), at).map(|v6| v6.udp),
                Err(verdict) => Err(verdict),
            };
            let udp = udp.map_err(|verdict| TestCaseError::fail(format!("{verdict:?}")))?;
            let length = usize::from(udp.len) - UDP_LEN;
            let found = (u16::from_be(udp.source_port), u16::from_be(udp.destination_port), length);
            prop_assert_eq!(found, (ports.0, ports.1, size));
            prop_assert!(udp.lengths_agree);
            prop_assert_eq!(ProbePayload::parse(&frame[udp.offset + UDP_LEN..]), Some(probe));
        }
    }
}
