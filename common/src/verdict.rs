//! The XDP program's decision for a frame: one verdict, which has a reason and an action. The program counts it per
//! CPU.

/// The decision for one frame. The program counts each frame under exactly one verdict.
///
/// The discriminant is the index into the map of counters. The enum is exhaustive on purpose: a match that lacks a new
/// verdict does not compile.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// REDIRECT: a wanted source of a subscribed (group, port); the queue's AF_XDP socket gets the frame.
    Redirected = 0,
    /// DROP: a subscribed (group, port) in INCLUDE mode that does not name the source.
    DroppedNotIncluded = 1,
    /// DROP: a subscribed (group, port) in EXCLUDE mode that blocks the source.
    DroppedBlocked = 2,
    /// DROP: a frame with a wrong length, or too short for its headers.
    DroppedMalformed = 3,
    /// PASS: wanted, but the queue has no AF_XDP socket; the kernel path delivers it.
    PassedNoSocket = 4,
    /// PASS: a multicast UDP datagram to a (group, port) without a subscription.
    PassedOtherGroup = 5,
    /// PASS: not to a multicast address.
    PassedUnicast = 6,
    /// PASS: an IPv4 or IPv6 fragment; the kernel reassembles it.
    PassedFragment = 7,
    /// PASS: IPv4 options.
    PassedOptions = 8,
    /// PASS: IPv6 extension headers other than the fragment header.
    PassedExtensionHeader = 9,
    /// PASS: IGMP or MLD.
    PassedMembership = 10,
    /// PASS: IP, but neither UDP nor IGMP nor MLD.
    PassedOtherProtocol = 11,
    /// PASS: VLAN tags other than the configured ones.
    PassedVlan = 12,
    /// PASS: neither IPv4 nor IPv6.
    PassedNotIp = 13,
    /// PASS: a frame in several buffers whose headers reach beyond the first.
    PassedSplitHeaders = 14,
    /// PASS: a subscribed (group, port) and an unwanted source, while another program on the host is a member of the
    /// group, or while user space wants such frames passed.
    PassedShared = 15,
    /// DROP: a group in EXCLUDE mode, and a source from which Linux accepts no multicast ([`martian`](crate::martian)).
    DroppedMartian = 16,
    /// PASS: wanted, but sent to another unicast MAC address than the interface's; the kernel decides.
    PassedUnicastMac = 17,
    /// PASS: an IPv6 datagram with a UDP length of 0, as in a jumbogram; the kernel takes the length from the packet.
    PassedZeroLength = 18,
    /// PASS: wanted, but in generic mode its UDP checksum is partial. The frame may hold several datagrams, which the
    /// kernel separates.
    PassedPartialChecksum = 19,
    /// A wanted source of a subscribed (group, port), copied into the queue's mapped ring ([`mapped`](crate::mapped)).
    /// DROP, or PASS if packets are shared with the kernel.
    Mapped = 20,
    /// Wanted, but the mapped ring was full: the receiver has lost it. DROP or PASS, as [`Verdict::Mapped`].
    DroppedRingFull = 21,
    /// Wanted, but other CPUs took each slot of the mapped ring that was tried: the receiver has lost it. DROP or PASS,
    /// as [`Verdict::Mapped`].
    DroppedRingBusy = 22,
    /// PASS: wanted, but longer than a frame of the mapped ring; the kernel path delivers it.
    PassedTooLong = 23,
}

/// The program's action on a frame.
///
/// The enum is exhaustive on purpose, as [`Verdict`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The program drops the frame.
    Drop,
    /// The kernel gets the frame.
    Pass,
    /// The AF_XDP socket of the frame's queue gets it.
    Redirect,
    /// The mapped ring gets a copy if it has room. Then the program drops the frame, or passes it if packets are
    /// shared.
    Map,
}

impl Verdict {
    /// Number of verdicts.
    pub const COUNT: usize = Self::ALL.len();

    /// All verdicts in the order of their numbers.
    pub const ALL: [Self; 24] = [
        Self::Redirected,
        Self::DroppedNotIncluded,
        Self::DroppedBlocked,
        Self::DroppedMalformed,
        Self::PassedNoSocket,
        Self::PassedOtherGroup,
        Self::PassedUnicast,
        Self::PassedFragment,
        Self::PassedOptions,
        Self::PassedExtensionHeader,
        Self::PassedMembership,
        Self::PassedOtherProtocol,
        Self::PassedVlan,
        Self::PassedNotIp,
        Self::PassedSplitHeaders,
        Self::PassedShared,
        Self::DroppedMartian,
        Self::PassedUnicastMac,
        Self::PassedZeroLength,
        Self::PassedPartialChecksum,
        Self::Mapped,
        Self::DroppedRingFull,
        Self::DroppedRingBusy,
        Self::PassedTooLong,
    ];

    /// What the program does with a frame of this verdict.
    #[inline(always)]
    pub const fn action(self) -> Action {
        match self {
            Self::Redirected => Action::Redirect,
            Self::Mapped | Self::DroppedRingFull | Self::DroppedRingBusy => Action::Map,
            Self::DroppedNotIncluded | Self::DroppedBlocked | Self::DroppedMalformed | Self::DroppedMartian => {
                Action::Drop
            }
            Self::PassedNoSocket
            | Self::PassedOtherGroup
            | Self::PassedUnicast
            | Self::PassedFragment
            | Self::PassedOptions
            | Self::PassedExtensionHeader
            | Self::PassedMembership
            | Self::PassedOtherProtocol
            | Self::PassedVlan
            | Self::PassedNotIp
            | Self::PassedSplitHeaders
            | Self::PassedShared
            | Self::PassedUnicastMac
            | Self::PassedZeroLength
            | Self::PassedPartialChecksum
            | Self::PassedTooLong => Action::Pass,
        }
    }

    /// The verdict's name in the ledger and in exported counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redirected => "redirected",
            Self::DroppedNotIncluded => "dropped_not_included",
            Self::DroppedBlocked => "dropped_blocked",
            Self::DroppedMalformed => "dropped_malformed",
            Self::PassedNoSocket => "passed_no_socket",
            Self::PassedOtherGroup => "passed_other_group",
            Self::PassedUnicast => "passed_unicast",
            Self::PassedFragment => "passed_fragment",
            Self::PassedOptions => "passed_options",
            Self::PassedExtensionHeader => "passed_extension_header",
            Self::PassedMembership => "passed_membership",
            Self::PassedOtherProtocol => "passed_other_protocol",
            Self::PassedVlan => "passed_vlan",
            Self::PassedNotIp => "passed_not_ip",
            Self::PassedSplitHeaders => "passed_split_headers",
            Self::PassedShared => "passed_shared",
            Self::DroppedMartian => "dropped_martian",
            Self::PassedUnicastMac => "passed_unicast_mac",
            Self::PassedZeroLength => "passed_zero_length",
            Self::PassedPartialChecksum => "passed_partial_checksum",
            Self::Mapped => "mapped",
            Self::DroppedRingFull => "dropped_ring_full",
            Self::DroppedRingBusy => "dropped_ring_busy",
            Self::PassedTooLong => "passed_too_long",
        }
    }
}

const _: () = {
    let mut i = 0;
    while i < Verdict::COUNT {
        assert!(Verdict::ALL[i] as usize == i, "a verdict's number is its position in ALL");
        i += 1;
    }
};
