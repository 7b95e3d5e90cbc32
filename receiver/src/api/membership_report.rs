//! The memberships of a receiver as the kernel has them, and what keeps them from being signalled.

use std::time::SystemTime;

use receiver_membership::tables::IgmpVersion;

/// The memberships of a receiver. The kernel's tables are read about once a second, less often if they are long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MembershipReport {
    /// The interface on which the groups are joined.
    pub interface: String,
    /// Pairs of group and port that have subscriptions.
    pub joined: u64,
    /// Groups that have subscriptions.
    pub groups: u64,
    /// Sockets that hold the memberships.
    pub sockets: u64,
    /// Of `groups`: the kernel has fewer memberships or sources than were joined. `None` before the tables were read.
    pub missing: Option<u64>,
    /// The version of IGMP that the kernel speaks on the interface; `None` if unknown, or without IPv4.
    pub igmp: Option<IgmpVersion>,
    /// True if the kernel sends IGMPv1 or IGMPv2 reports, because of an older querier or `force_igmp_version`. Joins of
    /// sources are then not signalled.
    pub older_igmp: bool,
    /// True if the kernel is forced to MLDv1, or has sent an MLDv1 report in the last 260 s, as an older querier has it
    /// do. Joins of sources are then not signalled.
    pub older_mld: bool,
    /// When the tables were last read.
    pub checked: Option<SystemTime>,
}
