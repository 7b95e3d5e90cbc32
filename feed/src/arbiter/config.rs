//! Bounds of sequencing: how long, how many, how far.

/// Path differential classes of SMPTE ST 2022-7:2019, section 6: how far the legs may be apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathClass {
    /// Low skew: 10 ms.
    A,
    /// Moderate skew: 50 ms.
    B,
    /// High skew, up to 270 Mbit/s: 450 ms.
    C,
    /// High skew, above 270 Mbit/s: 150 ms.
    CHighRate,
    /// Ultra-low skew: 150 µs.
    D,
}

impl PathClass {
    /// The largest path differential, in nanoseconds.
    #[must_use]
    pub const fn nanoseconds(self) -> u64 {
        match self {
            Self::A => 10_000_000,
            Self::B => 50_000_000,
            Self::C => 450_000_000,
            Self::CHighRate => 150_000_000,
            Self::D => 150_000,
        }
    }
}

/// How an [`Arbiter`](super::Arbiter) sequences. All times are in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Config {
    pub(super) legs: usize,
    pub(super) window_ns: u64,
    pub(super) reorder: u64,
    pub(super) held: usize,
    pub(super) recovery_ns: u64,
    pub(super) leg_timeout_ns: u64,
    pub(super) stale_ns: u64,
    pub(super) max_jump: u64,
    pub(super) max_streams: usize,
    pub(super) old_ns: u64,
}

impl Config {
    /// For `legs` legs, from 1 to 64; other numbers are brought into that range. Window 10 ms, reorder 0, 4,096
    /// datagrams held per stream, recovery 1 s, leg timeout 1 s, stale after 5 s, 16,384 streams.
    pub fn new(legs: usize) -> Self {
        Self {
            legs: legs.clamp(1, 64),
            window_ns: 10_000_000,
            reorder: 0,
            held: 4096,
            recovery_ns: 1_000_000_000,
            leg_timeout_ns: 1_000_000_000,
            stale_ns: 5_000_000_000,
            max_jump: 1 << 20,
            max_streams: 16_384,
            old_ns: 60_000_000_000,
        }
    }

    /// Seamless protection switching of `legs` legs by ST 2022-7: the window is the class's path differential, and as
    /// many datagrams are held as 10 Gbit/s of 1,400-byte packets take.
    pub fn st2022_7(legs: usize, class: PathClass) -> Self {
        let held = (class.nanoseconds() / 1_000).clamp(4096, 262_144) as usize;
        Self::new(legs).window_ns(class.nanoseconds()).held(held).recovery_ns(0)
    }

    /// How long a missing range is waited for, counted from the arrival of the first datagram beyond it.
    pub fn window_ns(self, window_ns: u64) -> Self {
        Self { window_ns, ..self }
    }

    /// How many sequence numbers beyond a missing range a leg must be before it has passed the range. 0 if legs do not
    /// reorder.
    pub fn reorder(self, reorder: u64) -> Self {
        Self { reorder, ..self }
    }

    /// How many datagrams one stream may hold. One more, and the gap in front of them is declared.
    pub fn held(self, held: usize) -> Self {
        Self { held: held.max(1), ..self }
    }

    /// How long a declared gap stays open to a late fill.
    pub fn recovery_ns(self, recovery_ns: u64) -> Self {
        Self { recovery_ns, ..self }
    }

    /// After how long without a datagram a leg is lost.
    pub fn leg_timeout_ns(self, leg_timeout_ns: u64) -> Self {
        Self { leg_timeout_ns, ..self }
    }

    /// After how long without a datagram on any leg a stream is stale.
    pub fn stale_ns(self, stale_ns: u64) -> Self {
        Self { stale_ns, ..self }
    }

    /// How far ahead a leg may jump before that must be confirmed by further datagrams.
    pub fn max_jump(self, max_jump: u64) -> Self {
        Self { max_jump, ..self }
    }

    /// How many streams are tracked. Datagrams of others are counted as untracked.
    pub fn max_streams(self, max_streams: usize) -> Self {
        Self { max_streams, ..self }
    }

    /// Datagrams that were sent this much before the newest one are of an old session, and are dropped.
    pub fn old_ns(self, old_ns: u64) -> Self {
        Self { old_ns, ..self }
    }

    /// How often silent legs and streams are looked for.
    pub(super) fn sweep_ns(&self) -> u64 {
        (self.leg_timeout_ns.min(self.stale_ns) / 4).max(self.window_ns).max(1)
    }
}
