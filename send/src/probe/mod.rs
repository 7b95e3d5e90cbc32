//! Test streams: the header at the start of each datagram's payload, and the checker that finds loss, reordering,
//! duplicates and latency from it. No I/O: the caller passes payloads and receive times.
//!
//! ```
//! use receiver_send::probe::{Observation, PROBE_LEN, ProbeChecker, ProbePayload, now_ns};
//!
//! let mut payload = [0; PROBE_LEN];
//! assert!(ProbePayload { stream: 1, sequence: 0, sent_ns: now_ns() }.write_into(&mut payload));
//! let mut checker = ProbeChecker::new();
//! let source = "10.0.0.1:4000".parse()?;
//! let seen = checker.observe(source, "232.1.1.1".parse()?, 5000, &payload, now_ns());
//! assert_eq!(seen, Observation::NewFlow);
//! assert!(checker.report().is_clean());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Clock
//! All times are nanoseconds of `CLOCK_TAI`, the clock that `bpf_ktime_get_tai_ns` reads in XDP. It does not jump at
//! leap seconds. On one host it is the same clock in every namespace, so that a latency is exact there; between hosts
//! it is as exact as their synchronization. Until an NTP or PTP daemon has set the kernel's TAI offset, `CLOCK_TAI`
//! equals `CLOCK_REALTIME`. Times of `SO_TIMESTAMPNS` are `CLOCK_REALTIME`: add the offset.

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
