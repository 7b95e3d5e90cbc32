//! What the load generator's XDP program and user space agree on: map names, and what stands in the maps.

/// Names of the maps in the compiled generator.
pub mod names {
    /// The program's entry.
    pub const PROGRAM: &str = "generator";
    /// Array of [`Flow`](super::Flow).
    pub const FLOWS: &str = "GENERATED";
    /// Array of `u32`: whose turn it is, an index into the flows for each step of the cycle.
    pub const TURNS: &str = "TURNS";
    /// Array of one [`Run`](super::Run).
    pub const RUN: &str = "RUN";
    /// Array of one `u32`: not 0 ends the run.
    pub const STOP: &str = "STOP";
    /// DEVMAP with one entry: the interface to send on.
    pub const LINK: &str = "LINK";
}

/// Most flows, and most steps of the cycle, that the maps can be made for.
pub const MAX_ENTRIES: u32 = 1 << 16;

/// Bytes of the probe header at the start of each payload.
pub const PROBE_LEN: usize = 22;
/// Ethernet, IPv4, UDP and probe header: 64 bytes in 8-byte words.
pub const HEAD_V4: usize = 8;
/// Ethernet, IPv6, UDP and probe header: 84 bytes in 4-byte words.
pub const HEAD_V6: usize = 21;
/// Where a frame's UDP checksum is, IPv4.
pub const CHECKSUM_V4: usize = 40;
/// Where a frame's UDP checksum is, IPv6.
pub const CHECKSUM_V6: usize = 60;

/// One flow of frames, and how far it has come.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Sequence number of the next frame, which is also how many were redirected. The program counts it up.
    pub next: u64,
    /// One's complement sum, in memory order, of all that the UDP checksum covers but for sequence and time.
    pub sum: u32,
    /// Bytes of the whole frame.
    pub length: u32,
    /// 1 for IPv6.
    pub v6: u32,
    /// Bytes by which the frame is shorter than the longest flow's.
    pub trim: u32,
    /// The frame up to the end of the probe header; UDP checksum, sequence and time are zero. Begins on 8 bytes.
    pub head: [u32; 22],
}

/// What one thread is to send, and how far it has come. Times are nanoseconds of CLOCK_TAI.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// The step of the cycle whose turn it is.
    pub turn: u32,
    /// Steps of the cycle, at most [`MAX_ENTRIES`].
    pub turns: u32,
    /// Frames that are still to be sent.
    pub left: u64,
    /// How long frames are sent, from the first on.
    pub duration: u64,
    /// Time between two bursts; 0 is flat out.
    pub step: u64,
    /// The part of it below a nanosecond, in 2^-32.
    pub step_fraction: u32,
    /// As above, of `due`.
    pub due_fraction: u32,
    /// Frames of a burst.
    pub burst: u32,
    /// Frames of the burst under way that are still to be sent.
    pub burst_left: u32,
    /// When the next burst is due.
    pub due: u64,
    /// When the first frame was made; 0 before.
    pub first: u64,
    /// When the last frame was made.
    pub last: u64,
    /// Frames that were given up, as they were due more than [`MAX_BEHIND`] before.
    pub slipped: u64,
    /// Frames that could not be redirected: the interface is gone. They took no sequence number.
    pub refused: u64,
    /// The time that frames are stamped with.
    pub now: u64,
    /// Frames that are still to be stamped with it.
    pub same_time: u64,
}

/// Frames that one look at the clock serves where they are sent flat out. With a rate each has its own.
pub const SAME_TIME: u64 = 16;

/// A generator that was held up longer than this does not catch up on the rest, nanoseconds.
pub const MAX_BEHIND: u64 = 50_000_000;

const _: () = {
    assert!(size_of::<Flow>() == 112);
    assert!(size_of::<Run>() == 104);
    assert!(core::mem::offset_of!(Flow, head) % 8 == 0);
};
