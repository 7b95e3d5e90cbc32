//! What a framed stream knows beyond its packets: what was lost, and when that was noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use receiver::{Handle, Ledger};
use receiver_host::clock;

use super::format::{self, Loss, PREAMBLE, Statistics};
use crate::outlet::{Counts, Units};
use crate::sink::content::Content;
use crate::sink::watch::{Ticks, WRITE_EVERY, listed, losses_since};

/// A stream, as its sink, its files and its counters share it.
pub struct Stream {
    handle: Handle,
    /// Counts packets by what became of them.
    pub counts: Arc<Counts>,
    /// Packets that came to the sink.
    pub received: AtomicU64,
    /// The sum of the losses when the stream began.
    lost_before: u64,
    /// CLOCK_TAI less UTC, in nanoseconds.
    offset: AtomicU64,
}

impl Stream {
    /// Of a receiver.
    pub fn new(handle: &Handle) -> Self {
        Self {
            counts: Arc::default(),
            received: AtomicU64::new(0),
            lost_before: handle.ledger().map_or(0, |ledger| ledger.lost()),
            offset: AtomicU64::new(clock::tai_offset()),
            handle: handle.clone(),
        }
    }

    /// A time of the receiver, in nanoseconds since 1970 in UTC.
    #[inline]
    pub fn utc(&self, tai: u64) -> u64 {
        tai.wrapping_sub(self.offset.load(Relaxed))
    }

    /// The preamble, and the subscriptions as they are now.
    pub fn header(&self) -> Vec<u8> {
        let mut out = PREAMBLE.to_vec();
        for report in self.handle.subscriptions().unwrap_or_default() {
            format::write_subscription(&mut out, report.id.number(), &report.subscription.to_string());
        }
        out
    }

    /// The sums now.
    fn read(&self) -> Option<(Statistics, Ledger)> {
        let ledger = self.handle.ledger().ok()?;
        let statistics = Statistics {
            time: clock::real_time(),
            received: self.received.load(Relaxed),
            lost: ledger.lost().saturating_sub(self.lost_before),
            unwritten: self.counts.dropped(),
        };
        Some((statistics, ledger))
    }
}

/// The bytes around those of the packets, in a file.
pub struct Ends(pub Arc<Stream>);

impl Content for Ends {
    fn header(&mut self) -> Vec<u8> {
        self.0.header()
    }

    fn trailer(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some((statistics, _)) = self.0.read() {
            format::write_end(&mut out, &statistics);
        }
        out
    }
}

/// Reads the counters, and writes to these units what was lost once that is noticed; the end of the stream as well if
/// `has_no_trailer`. A stream that is not watched lacks losses, sums and its end.
pub fn watch(stream: &Stream, mut units: Units, has_no_trailer: bool, ticks: &Ticks) {
    let mut before = stream.read();
    let mut written = Instant::now();
    loop {
        let goes_on = ticks.wait();
        stream.offset.store(clock::tai_offset(), Relaxed);
        let Some((statistics, ledger)) = stream.read() else { if goes_on { continue } else { return } };
        let (sums_before, losses_before) = match &before {
            Some((sums, ledger)) => (*sums, Some(ledger)),
            None => (Statistics::default(), None),
        };
        let lost = statistics.lost.saturating_sub(sums_before.lost);
        let has_changed = Statistics { time: 0, ..statistics } != Statistics { time: 0, ..sums_before };
        let is_due = has_changed && written.elapsed() >= WRITE_EVERY;
        if lost > 0 {
            let loss = Loss { time: statistics.time, number: statistics.received, lost, unwritten: 0 };
            let causes = listed(losses_since(&ledger, losses_before).into_iter());
            units.put(|out| format::write_loss(out, &loss, &causes));
        }
        if lost > 0 || is_due {
            units.put(|out| format::write_statistics(out, &statistics));
            (before, written) = (Some((statistics, ledger)), Instant::now());
        }
        if !goes_on && has_no_trailer {
            units.put(|out| format::write_end(out, &statistics));
        }
        // The sink reports a failure.
        let _ = units.hand_on();
        if !goes_on {
            return;
        }
    }
}
