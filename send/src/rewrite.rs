//! Frames of a recording with other addresses, ports and VLAN tags. Checksums are adjusted by what changes (RFC 1624):
//! a right one stays right, a wrong one stays wrong, and the first fragment has the one of the whole datagram.

mod rule;

use std::collections::HashMap;
use std::net::IpAddr;

use receiver_common::wire::{IPV4_LEN, IPV6_LEN, PROTOCOL_UDP, UDP_LEN};

use crate::frame::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, fold, group_mac};

use rule::{Change, Tag};
pub use rule::{RewriteError, RewriteRule};

/// The tag protocols of IEEE 802.1Q, 802.1ad, and the one that came before it.
const VLAN_TAGS: [u16; 3] = [ETHERTYPE_VLAN, ETHERTYPE_SERVICE_VLAN, 0x9100];
/// Datagrams in fragments whose ports are remembered.
const MOST_FRAGMENTED: usize = 4096;

/// Rewrites frames by rules. Of each kind of rule the first one that fits a frame as it was recorded applies.
#[derive(Debug, Default)]
pub struct Rewrite {
    rules: Vec<Change>,
    /// The ports of datagrams whose first fragment has passed.
    fragmented: HashMap<(IpAddr, IpAddr, u16), (u16, u16)>,
}

/// A frame as it was recorded.
struct Recorded {
    /// Where the IP header begins.
    ip: usize,
    source: IpAddr,
    group: IpAddr,
    /// Where the UDP header begins, if the packet has it.
    udp: Option<usize>,
    /// The ports of source and group, if they are known.
    ports: Option<(u16, u16)>,
}

impl Rewrite {
    /// Of these rules.
    ///
    /// # Errors
    /// Two rules of one kind begin with the same value.
    pub fn new(rules: Vec<RewriteRule>) -> Result<Self, RewriteError> {
        for (at, rule) in rules.iter().enumerate() {
            if let Some(earlier) = rules[..at].iter().find(|earlier| earlier.change.covers(&rule.change)) {
                return Err(rule.never_applies(earlier));
            }
        }
        Ok(Self { rules: rules.into_iter().map(|rule| rule.change).collect(), fragmented: HashMap::new() })
    }

    /// Returns true if there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Rewrites the frame from `start` to the end of the bytes: Ethernet, with VLAN tags or without, IPv4 or IPv6, UDP.
    /// Returns true if a rule applied. Other frames stay as they are.
    pub fn apply(&mut self, bytes: &mut Vec<u8>, start: usize) -> bool {
        let Some(recorded) = self.parse(&bytes[start..]) else { return false };
        let frame = &mut bytes[start..];
        let group = self.rules.iter().find_map(|rule| rule.group(recorded.group, recorded.ports));
        let source = self.rules.iter().find_map(|rule| rule.source(recorded.source, recorded.ports));
        let port = recorded.ports.and_then(|(_, port)| self.rules.iter().find_map(|rule| rule.port(port)));
        let mac = self.rules.iter().find_map(|rule| rule.mac(&frame[6..12]));
        let present = tag(frame);
        let vlan = self.rules.iter().find_map(|rule| rule.vlan(present));
        let applied = group.is_some() || source.is_some() || port.is_some() || mac.is_some() || vlan.is_some();
        if let Some((address, _)) = source {
            recorded.set_address(frame, 0, address);
        }
        if let Some((address, _)) = group {
            recorded.set_address(frame, 1, address);
            // A frame that was recorded behind a unicast address goes there again.
            if frame[0] & 1 == 1 {
                frame[..6].copy_from_slice(&group_mac(address));
            }
        }
        if let Some(port) = source.and_then(|(_, port)| port) {
            recorded.set_port(frame, 0, port);
        }
        // The port of a rule for the group goes before one for all ports.
        if let Some(port) = group.and_then(|(_, port)| port).or(port) {
            recorded.set_port(frame, 2, port);
        }
        if let Some(mac) = mac {
            frame[6..12].copy_from_slice(&mac);
        }
        if let Some(tag) = vlan {
            set_tag(bytes, start, present, tag);
        }
        applied
    }

    fn parse(&mut self, frame: &[u8]) -> Option<Recorded> {
        let mut at = 12;
        while VLAN_TAGS.contains(&number(frame, at)?) {
            at += 4;
        }
        let (version, ip) = (number(frame, at)?, at + 2);
        let packet = frame.get(ip..)?;
        match version {
            ETHERTYPE_IPV4 if packet.len() >= IPV4_LEN && packet[0] >> 4 == 4 && packet[9] == PROTOCOL_UDP => {
                let header = 4 * usize::from(packet[0] & 15);
                let fragment = number(packet, 6)?;
                let (is_first, is_whole) = (fragment & 0x1fff == 0, fragment & 0x3fff == 0);
                let (source, group) = (ipv4(packet, 12)?, ipv4(packet, 16)?);
                let has_udp = is_first && header >= IPV4_LEN && packet.len() >= header + UDP_LEN;
                let udp = has_udp.then_some(ip + header);
                let mut ports = udp.and_then(|udp| Some((number(frame, udp)?, number(frame, udp + 2)?)));
                if !is_whole {
                    let datagram = (source, group, number(packet, 4)?);
                    match ports {
                        Some(ports) => {
                            if self.fragmented.len() >= MOST_FRAGMENTED {
                                self.fragmented.clear();
                            }
                            self.fragmented.insert(datagram, ports);
                        }
                        None => ports = self.fragmented.get(&datagram).copied(),
                    }
                }
                Some(Recorded { ip, source, group, udp, ports })
            }
            ETHERTYPE_IPV6 if packet.len() >= IPV6_LEN && packet[0] >> 4 == 6 && packet[6] == PROTOCOL_UDP => {
                let udp = (packet.len() >= IPV6_LEN + UDP_LEN).then_some(ip + IPV6_LEN);
                let ports = udp.and_then(|udp| Some((number(frame, udp)?, number(frame, udp + 2)?)));
                Some(Recorded { ip, source: ipv6(packet, 8)?, group: ipv6(packet, 24)?, udp, ports })
            }
            _ => None,
        }
    }
}

impl Recorded {
    /// Writes the source (0) or the group (1), which is of the packet's IP version.
    fn set_address(&self, frame: &mut [u8], which: usize, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                let place = self.ip + 12 + 4 * which;
                for (word, new) in address.octets().chunks_exact(2).enumerate() {
                    self.set_word(frame, place + 2 * word, [new[0], new[1]], true);
                }
            }
            IpAddr::V6(address) => {
                let place = self.ip + 8 + 16 * which;
                for (word, new) in address.octets().chunks_exact(2).enumerate() {
                    self.set_word(frame, place + 2 * word, [new[0], new[1]], false);
                }
            }
        }
    }

    /// Writes a port, at this place of the UDP header.
    fn set_port(&self, frame: &mut [u8], place: usize, port: u16) {
        if let Some(udp) = self.udp {
            self.set_word(frame, udp + place, port.to_be_bytes(), false);
        }
    }

    /// Writes a word that the UDP checksum covers, and the checksum of the IPv4 header if `in_ipv4_header`.
    fn set_word(&self, frame: &mut [u8], place: usize, new: [u8; 2], in_ipv4_header: bool) {
        let old = [frame[place], frame[place + 1]];
        frame[place..place + 2].copy_from_slice(&new);
        if in_ipv4_header {
            adjust(&mut frame[self.ip + 10..self.ip + 12], old, new);
        }
        if let Some(udp) = self.udp {
            let checksum = &mut frame[udp + 6..udp + 8];
            // 0 is the checksum of a datagram that has none.
            if checksum != [0, 0] {
                adjust(checksum, old, new);
                if checksum == [0, 0] {
                    checksum.fill(0xff);
                }
            }
        }
    }
}

/// Adjusts a checksum to a word that has changed (RFC 1624, equation 3).
fn adjust(checksum: &mut [u8], old: [u8; 2], new: [u8; 2]) {
    let word = |bytes: [u8; 2]| u32::from(u16::from_be_bytes(bytes));
    let before = word([checksum[0], checksum[1]]);
    let after = fold((before ^ 0xffff) + (word(old) ^ 0xffff) + word(new));
    checksum.copy_from_slice(&after.to_be_bytes());
}

/// The id in the outermost tag of a frame.
fn tag(frame: &[u8]) -> Tag {
    let is_tagged = number(frame, 12).is_some_and(|protocol| VLAN_TAGS.contains(&protocol));
    let id = number(frame, 14).filter(|_| is_tagged).map(|tag| tag & 0xfff);
    id.map_or(Tag::None, Tag::Id)
}

/// Changes, removes or adds the outermost tag. Its priority stays.
fn set_tag(bytes: &mut Vec<u8>, start: usize, present: Tag, tag: Tag) {
    match (present, tag) {
        (Tag::Id(_), Tag::Id(id)) => {
            let [high, low] = id.to_be_bytes();
            bytes[start + 14] = bytes[start + 14] & 0xf0 | high;
            bytes[start + 15] = low;
        }
        (Tag::Id(_), Tag::None) => drop(bytes.drain(start + 12..start + 16)),
        (Tag::None, Tag::Id(id)) => {
            let [high, low] = id.to_be_bytes();
            bytes.splice(start + 12..start + 12, [0x81, 0x00, high, low]);
        }
        (Tag::None, Tag::None) => {}
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn ipv4(packet: &[u8], at: usize) -> Option<IpAddr> {
    Some(IpAddr::from(*packet.get(at..)?.first_chunk::<4>()?))
}

fn ipv6(packet: &[u8], at: usize) -> Option<IpAddr> {
    Some(IpAddr::from(*packet.get(at..)?.first_chunk::<16>()?))
}

#[cfg(test)]
mod tests;
