//! What the load generator's XDP program and user space share: map names and values.

/// Names of the maps in the compiled generator.
pub mod names {
    /// The program's entry.
    pub const PROGRAM: &str = "generator";
    /// Array of [`Flow`](super::Flow).
    pub const FLOWS: &str = "GENERATED";
    /// Array of `u32`: the cycle in which flows take turns, an index into the flows for each step.
    pub const TURNS: &str = "TURNS";
    /// Array of one [`Run`](super::Run).
    pub const RUN: &str = "RUN";
    /// Array of one `u32`: a value other than 0 ends the run.
    pub const STOP: &str = "STOP";
    /// DEVMAP with one entry: the interface to send on.
    pub const LINK: &str = "LINK";
}

/// Upper bound of the number of flows, and of the steps of the cycle.
pub const MAX_ENTRIES: u32 = 1 << 16;

/// Bytes of the probe header at the start of each payload.
pub const PROBE_LEN: usize = 22;
/// Ethernet, IPv4, UDP and probe header: 64 bytes in 8-byte words.
pub const HEAD_V4: usize = 8;
/// Ethernet, IPv6, UDP and probe header: 84 bytes in 4-byte words.
pub const HEAD_V6: usize = 21;
/// Offset of the UDP checksum in an IPv4 frame.
pub const CHECKSUM_V4: usize = 40;
/// Offset of the UDP checksum in an IPv6 frame.
pub const CHECKSUM_V6: usize = 60;

/// One flow of frames, and its progress.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Sequence number of the next frame, which is also the number of redirected frames. The program increments it.
    pub next: u64,
    /// One's complement sum, in memory order, of everything that the UDP checksum covers except sequence and time.
    pub sum: u32,
    /// Length of the whole frame in bytes.
    pub length: u32,
    /// 1 for IPv6, 0 for IPv4.
    pub v6: u32,
    /// Difference to the frame length of the longest flow, in bytes.
    pub trim: u32,
    /// The frame up to the end of the probe header; UDP checksum, sequence and time are zero. Aligned to 8 bytes.
    pub head: [u32; 22],
}

/// What one thread sends, and its progress. Times are nanoseconds of CLOCK_TAI.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// The next step of the cycle.
    pub turn: u32,
    /// Number of steps of the cycle, at most [`MAX_ENTRIES`].
    pub turns: u32,
    /// Frames left to send.
    pub left: u64,
    /// Duration of the run, from the first frame on.
    pub duration: u64,
    /// Time between two bursts, or 0 to send as fast as possible.
    pub step: u64,
    /// The fraction of `step` below a nanosecond, in units of 2^-32.
    pub step_fraction: u32,
    /// The fraction of `due` below a nanosecond, in units of 2^-32.
    pub due_fraction: u32,
    /// Frames in a burst.
    pub burst: u32,
    /// Frames left to send in the current burst.
    pub burst_left: u32,
    /// Time at which the next burst is due.
    pub due: u64,
    /// Time of the first frame, or 0 before it.
    pub first: u64,
    /// Time of the last frame.
    pub last: u64,
    /// Frames skipped because they were overdue by more than [`MAX_BEHIND`].
    pub slipped: u64,
    /// Frames that could not be redirected, because the interface is gone. They used no sequence number.
    pub refused: u64,
    /// The time with which frames are stamped.
    pub now: u64,
    /// Frames left to stamp with `now`.
    pub same_time: u64,
}

/// Number of frames that share one clock reading when the generator sends as fast as possible. At a given rate each
/// frame has its own.
pub const SAME_TIME: u64 = 16;

/// Upper bound of the delay after which the generator still catches up, in nanoseconds.
pub const MAX_BEHIND: u64 = 50_000_000;

const _: () = {
    assert!(size_of::<Flow>() == 112);
    assert!(size_of::<Run>() == 104);
    assert!(core::mem::offset_of!(Flow, head) % 8 == 0);
};
