//! The headers of complete Ethernet frames around payloads of any length. Pure.

use std::net::IpAddr;

use receiver_common::wire::{ETHERNET_LEN, PROTOCOL_UDP, UDP_LEN, VLAN_TAG_LEN};

use crate::frame::{FrameSpec, ethernet_header, fold, ip_udp_len, ipv4_header, ipv6_header, sum};

/// What the frames of one leg begin with.
#[derive(Clone, Debug)]
pub(super) struct Headers {
    ethernet: Vec<u8>,
    source: IpAddr,
    group: IpAddr,
    ports: [u16; 2],
    ttl: u8,
}

impl Headers {
    pub(super) fn new(spec: &FrameSpec<'_>) -> Self {
        let mut ethernet = Vec::with_capacity(ETHERNET_LEN + 2 * VLAN_TAG_LEN);
        ethernet_header(&mut ethernet, spec);
        let ports = [spec.source_port, spec.port];
        Self { ethernet, source: spec.source, group: spec.group, ports, ttl: spec.ttl }
    }

    /// Bytes before the payload.
    pub(super) fn len(&self) -> usize {
        self.ethernet.len() + ip_udp_len(self.group)
    }

    /// Writes the headers in front of the payload, where `frame` has room for them.
    pub(super) fn write(&self, frame: &mut [u8]) {
        let (head, payload) = frame.split_at_mut(self.len());
        // The length was checked against UDP's before anything was sent.
        let udp_len = (UDP_LEN + payload.len()) as u16;
        let (ethernet, head) = head.split_at_mut(self.ethernet.len());
        ethernet.copy_from_slice(&self.ethernet);
        let (ip, udp) = head.split_at_mut(head.len() - UDP_LEN);
        let addresses = match (self.source, self.group) {
            (IpAddr::V4(source), IpAddr::V4(group)) => {
                ip.copy_from_slice(&ipv4_header(source, group, self.ttl, udp_len).unwrap_or_default());
                sum(&source.octets()) + sum(&group.octets())
            }
            (IpAddr::V6(source), IpAddr::V6(group)) => {
                ip.copy_from_slice(&ipv6_header(source, group, self.ttl, udp_len));
                sum(&source.octets()) + sum(&group.octets())
            }
            // The families were checked before.
            _ => 0,
        };
        for (field, word) in udp.chunks_exact_mut(2).zip([self.ports[0], self.ports[1], udp_len, 0]) {
            field.copy_from_slice(&word.to_be_bytes());
        }
        // The pseudo header: addresses, protocol, length (RFC 768; RFC 8200, section 8.1).
        let all = addresses + u32::from(PROTOCOL_UDP) + u32::from(udp_len) + sum(udp) + sum(payload);
        let checksum = match fold(all) {
            // 0 would mean that there is no checksum (RFC 768).
            0 => 0xffff,
            checksum => checksum,
        };
        udp[6..].copy_from_slice(&checksum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FrameTemplate;
    use crate::probe::{PROBE_LEN, ProbePayload};

    /// The frames of the probe sender, which are tested against a parser, are the reference.
    #[test]
    fn frames_are_those_of_the_probe_sender() {
        for (source, group) in [("10.0.0.77", "232.1.1.1"), ("2001:db8::77", "ff3e::1")] {
            let vlans: [&[u16]; 3] = [&[], &[100], &[100, 200]];
            for (vlan, size) in vlans.into_iter().zip([PROBE_LEN, 100, 1001]) {
                let (source, group) = (source.parse().expect(source), group.parse().expect(group));
                let source_mac = [2, 0, 0, 0, 0, 1];
                let spec = FrameSpec { source_mac, source, group, source_port: 4000, port: 5000, ttl: 16, vlan, size };
                let probe = ProbePayload { stream: 1, sequence: 2, sent_ns: 3 };
                let template = FrameTemplate::new(&spec).expect("a frame");
                let mut expected = vec![0; template.len()];
                template.write(&mut expected, probe);
                expected.resize(template.len() + size - PROBE_LEN, 0);

                let headers = Headers::new(&spec);
                let mut frame = vec![0xff; headers.len()];
                frame.resize(headers.len() + size, 0);
                assert!(probe.write_into(&mut frame[headers.len()..]));
                headers.write(&mut frame);
                assert_eq!(frame, expected);
            }
        }
    }
}
