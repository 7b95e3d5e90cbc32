//! The one parser of frames: Ethernet, up to two VLAN tags, IPv4 or IPv6, UDP.
//!
//! It reads through a [`Window`]. The XDP program's window is `data..data_end`, with checks that the kernel's verifier
//! understands; the other window is a slice. So tests and fuzzing on slices cover the code that runs in the kernel.
//! The parser does no look-ups: the caller decides whether a datagram is wanted.

use crate::{AnyAddress, Verdict};

/// Length of an Ethernet header in bytes.
pub const ETHERNET_LEN: usize = 14;
/// Length of a VLAN tag in bytes.
pub const VLAN_TAG_LEN: usize = 4;
/// Length of an IPv4 header without options in bytes.
pub const IPV4_LEN: usize = 20;
/// Length of the fixed IPv6 header in bytes.
pub const IPV6_LEN: usize = 40;
/// Length of a UDP header in bytes.
pub const UDP_LEN: usize = 8;
/// Upper bound of the length of the parsed headers in bytes: two VLAN tags, IPv6, UDP.
pub const MAX_HEADERS_LEN: usize = ETHERNET_LEN + 2 * VLAN_TAG_LEN + IPV6_LEN + UDP_LEN;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

const PROTOCOL_HOP_BY_HOP: u8 = 0;
const PROTOCOL_IGMP: u8 = 2;
const PROTOCOL_ROUTING: u8 = 43;
const PROTOCOL_FRAGMENT: u8 = 44;
const PROTOCOL_AUTHENTICATION: u8 = 51;
const PROTOCOL_ICMPV6: u8 = 58;
const PROTOCOL_DESTINATION: u8 = 60;
const PROTOCOL_MOBILITY: u8 = 135;
const PROTOCOL_HIP: u8 = 139;
const PROTOCOL_SHIM6: u8 = 140;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

/// A frame that can be read in checked pieces.
pub trait Window {
    /// Returns the `N` bytes at `offset`, or `None` if the frame, or its first buffer, ends before.
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]>;

    /// Returns true if the frame, in all its buffers, has at least `len` bytes.
    ///
    /// This trait has no method for the length itself, since the XDP program cannot compute it without CAP_PERFMON.
    fn has(&self, len: usize) -> bool;
}

impl Window for [u8] {
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.get(offset..)?.first_chunk()
    }

    #[inline(always)]
    fn has(&self, len: usize) -> bool {
        len <= self.len()
    }
}

/// The VLAN tags that a frame must carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VlanTags {
    /// Number of tags: 0, 1 or 2.
    pub count: u32,
    /// VLAN id (12 bits) of the outer tag, or 0 without tags.
    pub outer: u16,
    /// VLAN id (12 bits) of the inner tag, or 0 unless there are two tags.
    pub inner: u16,
}

/// The offset of the network header, and its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4 at this offset.
    V4(usize),
    /// IPv6 at this offset.
    V6(usize),
}

/// A UDP datagram in an IPv4 packet that has no options and is not fragmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpV4 {
    /// Source address, wire order.
    pub source: u32,
    /// Destination address, wire order; always multicast.
    pub group: u32,
    /// The eight bytes from the destination address to the destination port, in memory order.
    pub destination: u64,
    /// The UDP header.
    pub udp: Udp,
}

/// A UDP datagram in an IPv6 packet without extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpV6 {
    /// Source address, wire order.
    pub source: AnyAddress,
    /// Destination address, wire order; always multicast.
    pub group: AnyAddress,
    /// The UDP header.
    pub udp: Udp,
}

/// The fields of a UDP header, its offset, and the check of all lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Source port, wire order.
    pub source_port: u16,
    /// Destination port, wire order.
    pub destination_port: u16,
    /// UDP length in bytes, header included, host order.
    pub len: u16,
    /// Checksum field, wire order.
    pub checksum: u16,
    /// Offset of the UDP header in the frame.
    pub offset: usize,
    /// True if the IP packet fits the frame, the UDP datagram fits the IP packet, and both have room for their headers.
    pub lengths_agree: bool,
}

/// Converts a MAC address to a number whose lowest byte is the first of the address.
pub const fn mac([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// Returns true if the kernel accepts the frame for this host, whose MAC address is `own` ([`mac`]): its destination is
/// a multicast address, the broadcast address, or `own`. Linux does not compare the address with that of the IP group.
#[inline(always)]
pub fn is_for_host<W: Window + ?Sized>(window: &W, own: u64) -> bool {
    let Some(ethernet) = window.bytes::<ETHERNET_LEN>(0) else {
        return false;
    };
    ethernet[0] & 1 != 0 || u64::from_le_bytes(piece(ethernet, 0)) << 16 == own << 16
}

/// Parses the Ethernet header and the VLAN tags.
///
/// # Errors
///
/// The verdict for a frame that has other tags, is not IP, or is too short.
#[inline(always)]
pub fn network<W: Window + ?Sized>(window: &W, tags: VlanTags) -> Result<Network, Verdict> {
    let Some(ethernet) = window.bytes::<ETHERNET_LEN>(0) else {
        return Err(Verdict::DroppedMalformed);
    };
    let ethertype = be16(ethernet, 12);
    if tags.count == 0 {
        return select(ethertype, ETHERNET_LEN);
    }
    tagged(window, tags, ethertype)
}

#[inline(always)]
fn tagged<W: Window + ?Sized>(window: &W, tags: VlanTags, ethertype: u16) -> Result<Network, Verdict> {
    if !is_tag(ethertype) {
        // An untagged IP frame where a tag is required belongs to another VLAN.
        return Err(select(ethertype, 0).map_or_else(|not_ip| not_ip, |_| Verdict::PassedVlan));
    }
    let Some(outer) = window.bytes::<VLAN_TAG_LEN>(ETHERNET_LEN) else {
        return Err(Verdict::DroppedMalformed);
    };
    if be16(outer, 0) & 0x0fff != tags.outer {
        return Err(Verdict::PassedVlan);
    }
    if tags.count == 1 {
        return select(be16(outer, 2), ETHERNET_LEN + VLAN_TAG_LEN);
    }
    if !is_tag(be16(outer, 2)) {
        return Err(Verdict::PassedVlan);
    }
    let Some(inner) = window.bytes::<VLAN_TAG_LEN>(ETHERNET_LEN + VLAN_TAG_LEN) else {
        return Err(Verdict::DroppedMalformed);
    };
    if be16(inner, 0) & 0x0fff != tags.inner {
        return Err(Verdict::PassedVlan);
    }
    select(be16(inner, 2), ETHERNET_LEN + 2 * VLAN_TAG_LEN)
}

#[inline(always)]
fn select(ethertype: u16, offset: usize) -> Result<Network, Verdict> {
    match ethertype {
        ETHERTYPE_IPV4 => Ok(Network::V4(offset)),
        ETHERTYPE_IPV6 => Ok(Network::V6(offset)),
        ETHERTYPE_VLAN | ETHERTYPE_QINQ => Err(Verdict::PassedVlan),
        _ => Err(Verdict::PassedNotIp),
    }
}

#[inline(always)]
fn is_tag(ethertype: u16) -> bool {
    ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ
}

/// Parses an IPv4 and a UDP header at `offset`.
///
/// Lengths that contradict each other are no error but reported in [`Udp::lengths_agree`], since a frame of a group
/// without a subscription has to pass whatever its lengths.
///
/// # Errors
///
/// The verdict for a frame that XDP must leave to the kernel, or whose headers do not fit the frame.
#[inline(always)]
pub fn udp_v4<W: Window + ?Sized>(window: &W, offset: usize) -> Result<UdpV4, Verdict> {
    // One check for both headers suffices for most frames.
    let Some(header) = window.bytes::<{ IPV4_LEN + UDP_LEN }>(offset) else {
        return Err(short_v4(window, offset));
    };
    let (fragment, group) = (ne16(header, 6), ne32(header, 16));
    if header[0] != 0x45
        || header[9] != PROTOCOL_UDP
        || group & 0xf000_0000_u32.to_be() != 0xe000_0000_u32.to_be()
        || fragment & 0x3fff_u16.to_be() != 0
    {
        return Err(other_v4(header[0], header[9], u32::from_be(group), u16::from_be(fragment)));
    }
    let (total_len, udp_len) = (be16(header, 2), be16(header, 24));
    Ok(UdpV4 {
        source: ne32(header, 12),
        group,
        destination: ne64(header, 16),
        udp: Udp {
            source_port: ne16(header, 20),
            destination_port: ne16(header, 22),
            len: udp_len,
            checksum: ne16(header, 26),
            offset: offset + IPV4_LEN,
            lengths_agree: usize::from(udp_len) >= UDP_LEN
                && usize::from(udp_len) + IPV4_LEN <= usize::from(total_len)
                && window.has(usize::from(total_len) + offset),
        },
    })
}

/// The verdict for an IPv4 packet that is too short for a UDP header behind a plain IPv4 header.
#[inline(always)]
fn short_v4<W: Window + ?Sized>(window: &W, offset: usize) -> Verdict {
    let Some(header) = window.bytes::<IPV4_LEN>(offset) else {
        return Verdict::DroppedMalformed;
    };
    other_v4(header[0], header[9], u32::from_be(ne32(header, 16)), be16(header, 6))
}

/// The verdict for an IPv4 packet that is not a whole UDP datagram to a group behind a plain header.
#[inline(always)]
fn other_v4(version_ihl: u8, protocol: u8, destination: u32, fragment: u16) -> Verdict {
    if version_ihl >> 4 != 4 || version_ihl & 0x0f < 5 {
        Verdict::DroppedMalformed
    } else if protocol == PROTOCOL_IGMP {
        Verdict::PassedMembership
    } else if destination >> 28 != 0xe {
        Verdict::PassedUnicast
    } else if protocol != PROTOCOL_UDP {
        Verdict::PassedOtherProtocol
    } else if fragment & 0x3fff != 0 {
        Verdict::PassedFragment
    } else if version_ihl & 0x0f > 5 {
        Verdict::PassedOptions
    } else {
        // A UDP datagram to a group, without a UDP header.
        Verdict::DroppedMalformed
    }
}

/// Parses an IPv6 and a UDP header at `offset`, as [`udp_v4`] does.
///
/// # Errors
///
/// As [`udp_v4`], and the verdict for a UDP length of 0.
#[inline(always)]
pub fn udp_v6<W: Window + ?Sized>(window: &W, offset: usize) -> Result<UdpV6, Verdict> {
    // One check for both headers suffices for most frames.
    let Some(header) = window.bytes::<{ IPV6_LEN + UDP_LEN }>(offset) else {
        return Err(short_v6(window, offset));
    };
    if header[0] >> 4 != 6 || header[6] != PROTOCOL_UDP || header[24] != 0xff {
        return Err(other_v6(window, offset, header[0], header[6], header[24]));
    }
    let (payload_len, udp_len) = (be16(header, 4), be16(header, 44));
    let lengths_agree = usize::from(udp_len) >= UDP_LEN
        && udp_len <= payload_len
        && window.has(usize::from(payload_len) + IPV6_LEN + offset);
    if !lengths_agree && udp_len == 0 {
        return Err(Verdict::PassedZeroLength);
    }
    Ok(UdpV6 {
        source: [ne64(header, 8), ne64(header, 16)],
        group: [ne64(header, 24), ne64(header, 32)],
        udp: Udp {
            source_port: ne16(header, 40),
            destination_port: ne16(header, 42),
            len: udp_len,
            checksum: ne16(header, 46),
            offset: offset + IPV6_LEN,
            lengths_agree,
        },
    })
}

/// The verdict for an IPv6 packet that is too short for a UDP header behind its fixed header.
#[inline(always)]
fn short_v6<W: Window + ?Sized>(window: &W, offset: usize) -> Verdict {
    match window.bytes::<IPV6_LEN>(offset) {
        Some(header) => other_v6(window, offset, header[0], header[6], header[24]),
        None => Verdict::DroppedMalformed,
    }
}

/// The verdict for an IPv6 packet that is not a UDP datagram to a group directly behind the fixed header.
#[inline(always)]
fn other_v6<W: Window + ?Sized>(window: &W, offset: usize, version: u8, next_header: u8, destination: u8) -> Verdict {
    if version >> 4 != 6 {
        return Verdict::DroppedMalformed;
    }
    if next_header == PROTOCOL_ICMPV6 {
        return icmp_v6(window.bytes::<1>(offset + IPV6_LEN), destination);
    }
    if next_header == PROTOCOL_HOP_BY_HOP {
        // MLD follows a router alert of eight bytes (RFC 9777, section 5).
        if let Some(options) = window.bytes::<9>(offset + IPV6_LEN)
            && options[0] == PROTOCOL_ICMPV6
            && options[1] == 0
            && is_mld(options[8])
        {
            return Verdict::PassedMembership;
        }
    }
    if destination != 0xff {
        return Verdict::PassedUnicast;
    }
    match next_header {
        // Without a UDP header.
        PROTOCOL_UDP => Verdict::DroppedMalformed,
        PROTOCOL_FRAGMENT => Verdict::PassedFragment,
        PROTOCOL_HOP_BY_HOP
        | PROTOCOL_ROUTING
        | PROTOCOL_AUTHENTICATION
        | PROTOCOL_DESTINATION
        | PROTOCOL_MOBILITY
        | PROTOCOL_HIP
        | PROTOCOL_SHIM6 => Verdict::PassedExtensionHeader,
        _ => Verdict::PassedOtherProtocol,
    }
}

#[inline(always)]
fn icmp_v6(kind: Option<&[u8; 1]>, destination: u8) -> Verdict {
    match kind {
        Some(kind) if is_mld(kind[0]) => Verdict::PassedMembership,
        _ if destination != 0xff => Verdict::PassedUnicast,
        _ => Verdict::PassedOtherProtocol,
    }
}

/// ICMPv6 types of MLD: query, v1 report, done (RFC 2710), v2 report (RFC 9777).
#[inline(always)]
fn is_mld(kind: u8) -> bool {
    matches!(kind, 130..=132 | 143)
}

#[inline(always)]
fn be16<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes(piece(bytes, at))
}

#[inline(always)]
fn ne16<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_ne_bytes(piece(bytes, at))
}

#[inline(always)]
fn ne32<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_ne_bytes(piece(bytes, at))
}

#[inline(always)]
fn ne64<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from_ne_bytes(piece(bytes, at))
}

/// Reads the bytes at once, since the compiler for BPF does not combine loads of single bytes.
#[inline(always)]
fn piece<const N: usize, const M: usize>(bytes: &[u8; N], at: usize) -> [u8; M] {
    let mut piece = [0; M];
    piece.copy_from_slice(&bytes[at..at + M]);
    piece
}
