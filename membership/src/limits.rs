//! The kernel's limits on memberships, for planning and for error messages. The kernel's answer decides (ENOBUFS,
//! ENOMEM), so that a limit that cannot be read costs some attempts and nothing else.

use std::fs;
use std::net::IpAddr;

/// The limits of a network namespace; `None` if a file cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// `net.ipv4.igmp_max_memberships`: IPv4 groups per socket (20 on a stock kernel).
    pub igmp_max_memberships: Option<usize>,
    /// `net.ipv4.igmp_max_msf`: IPv4 sources per group and socket (10 on a stock kernel).
    pub igmp_max_msf: Option<usize>,
    /// `net.ipv6.mld_max_msf`: IPv6 sources per group and socket (64 on a stock kernel). One limit for all network
    /// namespaces, which can only be read in the initial one.
    pub mld_max_msf: Option<usize>,
    /// `net.core.optmem_max`: bytes of option memory per socket, which memberships and source lists take.
    pub optmem_max: Option<usize>,
}

impl Limits {
    /// Reads the limits of the calling thread's network namespace.
    pub fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
        Self {
            igmp_max_memberships: read("/proc/sys/net/ipv4/igmp_max_memberships"),
            igmp_max_msf: read("/proc/sys/net/ipv4/igmp_max_msf"),
            mld_max_msf: read("/proc/sys/net/ipv6/mld_max_msf"),
            optmem_max: read("/proc/sys/net/core/optmem_max"),
        }
    }

    /// The number of sources of one group that one socket can name, for the family of `group`.
    pub fn sources_per_group(&self, group: IpAddr) -> Option<usize> {
        if group.is_ipv4() { self.igmp_max_msf } else { self.mld_max_msf }
    }

    /// The sysctl that sets [`Limits::sources_per_group`].
    pub fn sources_sysctl(group: IpAddr) -> &'static str {
        if group.is_ipv4() { "net.ipv4.igmp_max_msf" } else { "net.ipv6.mld_max_msf" }
    }
}
