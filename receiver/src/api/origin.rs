//! Which way a datagram came, and when.

/// The path by which a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// XDP, and an AF_XDP socket or a mapped ring.
    Xdp,
    /// The kernel's network stack and a UDP socket.
    Kernel,
}

/// Who measured a [`ReceiveTime`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeOrigin {
    /// The XDP program, in the driver (`bpf_ktime_get_tai_ns`).
    Xdp,
    /// The kernel, for a UDP socket (`SO_TIMESTAMPNS`).
    Kernel,
    /// The file that a recording was read from, whose clock is most often UTC.
    Recording,
    /// This library, when it took the batch out of the ring or the socket.
    UserSpace,
}

/// When a datagram came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReceiveTime {
    /// Nanoseconds since 1970 on CLOCK_TAI, which never steps back for a leap second. It equals CLOCK_REALTIME on
    /// machines whose kernel does not know the difference between TAI and UTC.
    pub nanoseconds: u64,
    /// Who measured it.
    pub origin: TimeOrigin,
}
