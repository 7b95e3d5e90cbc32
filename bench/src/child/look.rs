//! What consumers look at, and where they put what they saw. Generic, so that a consumer that only counts pays for nothing else.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;
use receiver_send::probe::{ProbePayload, now_ns};

use super::{Counts, Latency};

/// Seen by the consumer and by the thread that answers.
#[derive(Debug)]
pub struct Shared {
    packets: AtomicU64,
    others: AtomicU64,
    latency: Mutex<Histogram<u64>>,
    /// The consumer ends.
    pub stop: AtomicBool,
}

/// Latencies above this, a second, count as this.
const MOST: u64 = 1_000_000_000;

impl Shared {
    pub fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, MOST, 3).expect("the bounds are constants that fit");
        Self {
            packets: AtomicU64::new(0),
            others: AtomicU64::new(0),
            latency: Mutex::new(latency),
            stop: AtomicBool::new(false),
        }
    }

    /// Books delivered datagrams. By the consumer's thread alone.
    #[inline]
    pub fn add(&self, packets: u64) {
        self.packets.store(self.packets.load(Ordering::Relaxed) + packets, Ordering::Relaxed);
    }

    pub fn counts(&self) -> Counts {
        let packets = self.packets.load(Ordering::Relaxed);
        Counts { packets, at: now_ns(), others: self.others.load(Ordering::Relaxed), ..Counts::default() }
    }

    /// The latencies since the call before; `None` where none was taken.
    pub fn take_latency(&self) -> Option<Latency> {
        let mut histogram = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let latency = Latency {
            count: histogram.len(),
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p99_9: histogram.value_at_quantile(0.999),
        };
        histogram.reset();
        (latency.count > 0).then_some(latency)
    }
}

/// A look at one datagram.
pub trait Eye: Send {
    /// Whether the source is asked for at all.
    const SOURCES: bool;
    fn see(&mut self, shared: &Shared, source: impl FnOnce() -> IpAddr, payload: &[u8]);
}

/// Counts bytes, so that the payload is asked for.
#[derive(Default)]
pub struct Counting(usize);

impl Eye for Counting {
    const SOURCES: bool = false;

    #[inline]
    fn see(&mut self, _: &Shared, _: impl FnOnce() -> IpAddr, payload: &[u8]) {
        self.0 = std::hint::black_box(self.0.wrapping_add(payload.len()));
    }
}

/// Compares the source.
pub struct Sources(pub IpAddr);

impl Eye for Sources {
    const SOURCES: bool = true;

    #[inline]
    fn see(&mut self, shared: &Shared, source: impl FnOnce() -> IpAddr, _: &[u8]) {
        if source() != self.0 {
            shared.others.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reads the clock for each datagram.
pub struct Timing;

impl Eye for Timing {
    const SOURCES: bool = false;

    #[inline]
    fn see(&mut self, shared: &Shared, _: impl FnOnce() -> IpAddr, payload: &[u8]) {
        let now = now_ns();
        if let Some(probe) = ProbePayload::parse(payload) {
            let latency = now.saturating_sub(probe.sent_ns).clamp(1, MOST);
            shared.latency.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(latency);
        }
    }
}

/// Runs `$consume` with the eye that the arguments ask for.
macro_rules! with_eye {
    ($arguments:expr, |$eye:ident| $consume:expr) => {
        match $arguments.look {
            $crate::child::Look::Count => {
                let $eye = $crate::child::look::Counting::default();
                $consume
            }
            $crate::child::Look::Source => {
                let $eye = $crate::child::look::Sources($arguments.source());
                $consume
            }
            $crate::child::Look::Latency => {
                let $eye = $crate::child::look::Timing;
                $consume
            }
        }
    };
}
pub(crate) use with_eye;
