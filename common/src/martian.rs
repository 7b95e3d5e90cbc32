//! Sources from which Linux takes no multicast datagram; its log calls them martian. Pure.
//!
//! Only a group whose filter is EXCLUDE needs the question: an INCLUDE filter names its sources, and names none of these.
//! The host's own IPv4 addresses are martian too, but not known here (docs/differences.md).

/// Returns true if the kernel drops a datagram of this source (`ip_mc_validate_source`). Both addresses are in wire order.
#[inline(always)]
pub const fn is_martian_v4(source: u32, group: u32) -> bool {
    let source = u32::from_be(source);
    // A host without an address may speak to the groups of its link, 224.0.0.0/24.
    let is_unspecified = source == 0 && u32::from_be(group) >> 8 != 0xe0_0000;
    is_unspecified || source >> 24 == 127 || source >> 28 == 0xe || source == u32::MAX
}

/// As [`is_martian_v4`] (`ip6_rcv_core`): the loopback address, and groups.
#[inline(always)]
pub const fn is_martian_v6(source: [u32; 4]) -> bool {
    let [a, b, c, d] = source;
    u32::from_be(a) >> 24 == 0xff || a | b | c | (d ^ 1_u32.to_be()) == 0
}
