//! What consumers examine, and where they record it. Generic, so that a consumer that only counts has no further cost.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use receiver_send::probe::{ProbePayload, now_ns};

use super::{Counts, Latency};

/// Shared by the consumer and the thread that answers.
#[derive(Debug)]
pub struct Shared {
    packets: AtomicU64,
    others: AtomicU64,
    messages: AtomicU64,
    missing: AtomicU64,
    latency: Mutex<Histogram<u64>>,
    /// The count of packets at which the consumer pauses once. `u64::MAX`: never.
    pause_at: AtomicU64,
    pause_nanoseconds: AtomicU64,
    /// True when the consumer must end.
    pub stop: AtomicBool,
}

/// Latencies above this, one second, count as this.
const MOST: u64 = 1_000_000_000;

impl Shared {
    pub fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, MOST, 3).expect("the bounds are constants that fit");
        Self {
            packets: AtomicU64::new(0),
            others: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            missing: AtomicU64::new(0),
            latency: Mutex::new(latency),
            pause_at: AtomicU64::new(u64::MAX),
            pause_nanoseconds: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// Records delivered datagrams. Only the consumer's thread calls it.
    #[inline]
    pub fn add(&self, packets: u64) {
        let sum = self.packets.load(Ordering::Relaxed) + packets;
        self.packets.store(sum, Ordering::Relaxed);
        if sum >= self.pause_at.load(Ordering::Acquire) {
            self.pause();
        }
    }

    /// Records what the arbiter of a feed has delivered and declared missing. Only the consumer's thread calls it.
    #[inline]
    pub fn set_sequenced(&self, messages: u64, missing: u64) {
        self.messages.store(messages, Ordering::Relaxed);
        self.missing.store(missing, Ordering::Relaxed);
    }

    /// Lets the consumer pause once it has delivered this number of further packets.
    pub fn pause_after(&self, packets: u64, length: Duration) {
        self.pause_nanoseconds.store(length.as_nanos() as u64, Ordering::Relaxed);
        self.pause_at.store(self.packets.load(Ordering::Relaxed) + packets, Ordering::Release);
    }

    /// Spins, since the end of a sleep is late by the time that an idle virtual CPU needs to wake.
    #[cold]
    fn pause(&self) {
        self.pause_at.store(u64::MAX, Ordering::Relaxed);
        let length = Duration::from_nanos(self.pause_nanoseconds.load(Ordering::Relaxed));
        let start = Instant::now();
        while start.elapsed() < length {
            std::hint::spin_loop();
        }
    }

    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (packets, others) = (read(&self.packets), read(&self.others));
        let (messages, missing) = (read(&self.messages), read(&self.missing));
        Counts { packets, at: now_ns(), others, messages, missing, ..Counts::default() }
    }

    /// Returns the latencies since the last call; `None` if none was measured.
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

/// An observer of datagrams.
pub trait Observer: Send {
    /// True if the observer needs the source.
    const SOURCES: bool;
    fn observe(&mut self, shared: &Shared, source: impl FnOnce() -> IpAddr, payload: &[u8]);
}

/// Counts bytes, so that the payload is accessed.
#[derive(Default)]
pub struct Counting(usize);

impl Observer for Counting {
    const SOURCES: bool = false;

    #[inline]
    fn observe(&mut self, _: &Shared, _: impl FnOnce() -> IpAddr, payload: &[u8]) {
        self.0 = std::hint::black_box(self.0.wrapping_add(payload.len()));
    }
}

/// Compares the source.
pub struct Sources(pub IpAddr);

impl Observer for Sources {
    const SOURCES: bool = true;

    #[inline]
    fn observe(&mut self, shared: &Shared, source: impl FnOnce() -> IpAddr, _: &[u8]) {
        if source() != self.0 {
            shared.others.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reads the clock for each datagram.
pub struct Timing;

impl Observer for Timing {
    const SOURCES: bool = false;

    #[inline]
    fn observe(&mut self, shared: &Shared, _: impl FnOnce() -> IpAddr, payload: &[u8]) {
        let now = now_ns();
        if let Some(probe) = ProbePayload::parse(payload) {
            let latency = now.saturating_sub(probe.sent_ns).clamp(1, MOST);
            shared.latency.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(latency);
        }
    }
}

/// Runs `$consume` with the observer that the arguments select.
macro_rules! with_observer {
    ($arguments:expr, |$observer:ident| $consume:expr) => {
        match $arguments.observation {
            $crate::child::Observation::Count => {
                let $observer = $crate::child::observer::Counting::default();
                $consume
            }
            $crate::child::Observation::Source => {
                let $observer = $crate::child::observer::Sources($arguments.source());
                $consume
            }
            $crate::child::Observation::Latency => {
                let $observer = $crate::child::observer::Timing;
                $consume
            }
        }
    };
}
pub(crate) use with_observer;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_pauses_once_after_the_packets() {
        let shared = Shared::new();
        let length = Duration::from_millis(20);
        shared.add(5);
        shared.pause_after(10, length);
        let timed = |packets| {
            let start = Instant::now();
            shared.add(packets);
            start.elapsed()
        };
        assert!(timed(9) < length);
        assert!(timed(1) >= length);
        assert!(timed(100) < length);
        assert_eq!(shared.counts().packets, 115);
    }
}
