//! Sources from which Linux accepts no multicast datagram; the kernel's log calls them martian.
//!
//! Only groups with an EXCLUDE filter need this check: an INCLUDE filter names its sources, and none of these is
//! allowed there. The host's own IPv4 addresses are martian too, but the XDP program does not know them
//! (docs/differences.md).

use crate::AnyAddress;

/// Returns true if the kernel drops a datagram from this source (`ip_mc_validate_source`). Both addresses are in wire
/// order.
#[inline(always)]
pub const fn is_martian_v4(source: u32, group: u32) -> bool {
    let source = u32::from_be(source);
    // A host without an address may send to the link-local groups, 224.0.0.0/24.
    let is_unspecified = source == 0 && u32::from_be(group) >> 8 != 0xe0_0000;
    is_unspecified || source >> 24 == 127 || source >> 28 == 0xe || source == u32::MAX
}

/// Returns true if the kernel drops a datagram from this source (`ip6_rcv_core`): the loopback address, or a group. The
/// address is in wire order.
#[inline(always)]
pub const fn is_martian_v6(source: AnyAddress) -> bool {
    let [first, last] = source;
    u64::from_be(first) >> 56 == 0xff || first | (last ^ 1_u64.to_be()) == 0
}
