//! Test streams: the payload that `receiver send` puts into each datagram, and the checker that tells loss, reorder,
//! duplicates and latency from it. No I/O: the caller hands in payloads and receive times.
//!
//! # Clock
//! All times are nanoseconds of `CLOCK_TAI`, the clock that `bpf_ktime_get_tai_ns` reads in XDP. It does not jump at
//! leap seconds. On one host it is the same clock in every namespace, so a latency is exact there; between hosts it is
//! as good as their synchronisation. Where the kernel's TAI offset was never set (it is 0 until an NTP or PTP daemon
//! sets it), `CLOCK_TAI` equals `CLOCK_REALTIME`. Times of `SO_TIMESTAMPNS` are `CLOCK_REALTIME`: add the offset.

mod checker;
mod payload;
mod report;
mod window;

pub use checker::{DEFAULT_MAX_FLOWS, LATENCY_MAX_NS, Observation, ProbeChecker};
pub use payload::{PROBE_LEN, ProbePayload};
pub use report::{FlowReport, LatencyReport, ProbeReport};
pub use window::WINDOW;

/// `CLOCK_TAI` now, in nanoseconds since 1970-01-01 TAI.
///
/// Read through the vDSO: no system call.
#[inline]
pub fn now_ns() -> u64 {
    receiver_host::clock::tai()
}
