//! The UDP datagrams in captured packets: Ethernet with VLAN tags, Linux cooked captures, plain IP; whole or in
//! fragments.

use std::net::{IpAddr, SocketAddr};

use etherparse::defrag::IpDefragPool;
use etherparse::{IpNumber, LaxSlicedPacket, SlicedPacket, TransportSlice, UdpSlice};

use super::capture::Captured;

/// The link type of Ethernet frames.
pub const ETHERNET: i32 = 1;
const NULL: i32 = 0;
const RAW_BSD: i32 = 12;
/// The link type of IP packets without a link header.
pub const RAW: i32 = 101;
const LOOP: i32 = 108;
const COOKED: i32 = 113;
const IPV4: i32 = 228;
const IPV6: i32 = 229;
const COOKED_2: i32 = 276;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q, 802.1ad, and the tag type that came before it.
const VLAN_TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// How long the fragments of a datagram may be apart, in nanoseconds, as RFC 8200, section 4.5 has it.
const FRAGMENTS_NS: u64 = 60_000_000_000;
/// Packets between two checks for fragments that have waited too long.
const LOOK_EVERY: u64 = 4096;

/// Finds datagrams in packets, and counts the packets in which there are none.
#[derive(Debug, Default)]
pub struct Frames {
    fragments: IpDefragPool<u64>,
    last_ns: u64,
    /// The packets by what became of them.
    pub counts: FrameCounts,
}

/// Packets of the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct FrameCounts {
    /// All of them.
    pub packets: u64,
    /// Packets that were lost while the files were written, as far as they have their number.
    pub lost_while_capturing: u64,
    /// Packets that are no UDP over IP, or of a link type that is not known.
    pub not_udp: u64,
    /// Fragments of datagrams; a datagram that is whole counts once more, as such.
    pub fragments: u64,
    /// Packets with a wrong or missing length or header.
    pub malformed: u64,
    /// Packets that were cut off when they were captured. What there is of their payload is analyzed.
    pub cut_off: u64,
}

/// One datagram.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The sender's address and UDP port.
    pub source: SocketAddr,
    /// The address and UDP port that it was sent to.
    pub destination: SocketAddr,
    /// The UDP payload.
    pub payload: &'a [u8],
}

impl Frames {
    /// Hands the packet's datagram to `each`, or, with the last fragment, the one that is whole then.
    pub fn take(&mut self, packet: &Captured<'_>, each: impl FnOnce(Found<'_>)) {
        self.counts.packets += 1;
        self.counts.lost_while_capturing += packet.lost_before;
        self.last_ns = packet.time_ns.unwrap_or_default().max(self.last_ns);
        if self.counts.packets.is_multiple_of(LOOK_EVERY) {
            let oldest = self.last_ns.saturating_sub(FRAGMENTS_NS);
            self.fragments.retain(|&since| since >= oldest);
        }
        let Some(ip) = network(packet.link_type, packet.bytes) else {
            self.counts.not_udp += 1;
            return;
        };
        match SlicedPacket::from_ip(ip) {
            Ok(sliced) => self.sliced(ip, &sliced, each),
            Err(_) => self.cut_off(ip, each),
        }
    }

    fn sliced(&mut self, ip: &[u8], sliced: &SlicedPacket<'_>, each: impl FnOnce(Found<'_>)) {
        let Some((source, destination)) = addresses(ip) else {
            self.counts.not_udp += 1;
            return;
        };
        if sliced.is_ip_payload_fragmented() {
            self.counts.fragments += 1;
            match self.fragments.process_sliced_packet(sliced, self.last_ns, ()) {
                Ok(Some(whole)) => {
                    match UdpSlice::from_slice(&whole.payload) {
                        Ok(udp) if whole.ip_number == IpNumber::UDP => each(found(source, destination, &udp)),
                        Ok(_) => self.counts.not_udp += 1,
                        Err(_) => self.counts.malformed += 1,
                    }
                    self.fragments.return_buf(whole);
                }
                Ok(None) => {}
                Err(_) => self.counts.malformed += 1,
            }
            return;
        }
        match &sliced.transport {
            Some(TransportSlice::Udp(udp)) => each(found(source, destination, udp)),
            _ => self.counts.not_udp += 1,
        }
    }

    /// A packet that is shorter than the lengths in its headers: as much of it as there is.
    fn cut_off(&mut self, ip: &[u8], each: impl FnOnce(Found<'_>)) {
        let Ok(sliced) = LaxSlicedPacket::from_ip(ip) else {
            self.counts.malformed += 1;
            return;
        };
        let ends = sliced.ip_payload().is_some_and(|payload| payload.incomplete);
        match (addresses(ip), &sliced.transport) {
            (Some((source, destination)), Some(TransportSlice::Udp(udp))) if ends => {
                self.counts.cut_off += 1;
                each(found(source, destination, udp));
            }
            _ => self.counts.malformed += 1,
        }
    }
}

fn found<'a>(source: IpAddr, destination: IpAddr, udp: &UdpSlice<'a>) -> Found<'a> {
    Found {
        source: SocketAddr::new(source, udp.source_port()),
        destination: SocketAddr::new(destination, udp.destination_port()),
        payload: udp.payload(),
    }
}

/// Source and destination of a packet that begins with its IP header.
pub fn addresses(ip: &[u8]) -> Option<(IpAddr, IpAddr)> {
    fn pair<const N: usize>(ip: &[u8], at: usize) -> Option<(IpAddr, IpAddr)>
    where
        IpAddr: From<[u8; N]>,
    {
        let address = |at: usize| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<N>()?));
        Some((address(at)?, address(at + N)?))
    }
    match ip.first()? >> 4 {
        4 => pair::<4>(ip, 12),
        _ => pair::<16>(ip, 8),
    }
}

/// The packet from its IP header on.
pub fn network(link_type: i32, bytes: &[u8]) -> Option<&[u8]> {
    let (ethertype, rest) = match link_type {
        ETHERNET => (number(bytes, 12)?, bytes.get(14..)?),
        COOKED => (number(bytes, 14)?, bytes.get(16..)?),
        COOKED_2 => (number(bytes, 0)?, bytes.get(20..)?),
        // The family of these differs between systems; the IP header has the version.
        NULL | LOOP => return bytes.get(4..).filter(|rest| is_ip(rest)),
        RAW | RAW_BSD | IPV4 | IPV6 => return Some(bytes).filter(|rest| is_ip(rest)),
        _ => return None,
    };
    let (mut ethertype, mut rest) = (ethertype, rest);
    while VLAN_TAGS.contains(&ethertype) {
        (ethertype, rest) = (number(rest, 2)?, rest.get(4..)?);
    }
    matches!(ethertype, ETHERTYPE_IPV4 | ETHERTYPE_IPV6).then_some(rest)
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn is_ip(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| matches!(first >> 4, 4 | 6))
}
