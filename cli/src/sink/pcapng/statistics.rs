//! What a recording knows beyond its packets: what was lost, and when that was noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use receiver::{Handle, Ledger, ReceiveMode, Verdict};
use receiver_host::clock;

use super::block::{Interface, Section, Statistics};
use super::filter;
use super::tap_counts::{self, TapCounts};
use crate::capture::Capture;
use crate::outlet::{Counts, DropReason, Units};
use crate::sink::content::Content;
use crate::sink::watch::{Ticks, WRITE_EVERY, listed, losses_since};

const SECOND: i64 = 1_000_000_000;

/// A recording, as its sink, its files and its counters share it.
pub struct Recording {
    handle: Handle,
    interface: String,
    has_frames: bool,
    /// Counts packets by what became of them.
    pub counts: Arc<Counts>,
    /// Packets that came to the sink.
    pub taken: AtomicU64,
    /// Packets that were lost before they came to the sink, and that no packet in the file has with it yet.
    pub noticed: AtomicU64,
    /// Files that were begun.
    pub files: AtomicU64,
    /// What it holds.
    pub capture: Capture,
    /// The frames that were not delivered.
    pub tap: TapCounts,
    start: u64,
    /// CLOCK_TAI less UTC, in nanoseconds.
    offset: AtomicU64,
}

impl Recording {
    /// Of a receiver.
    pub fn new(handle: &Handle, capture: Capture) -> Self {
        Self {
            interface: handle.interface().name.clone(),
            has_frames: handle.mode() != ReceiveMode::Socket,
            handle: handle.clone(),
            counts: Arc::default(),
            taken: AtomicU64::new(0),
            noticed: AtomicU64::new(0),
            files: AtomicU64::new(0),
            capture,
            tap: TapCounts::default(),
            start: clock::real_time(),
            offset: AtomicU64::new(clock::tai_offset()),
        }
    }

    /// A time of the receiver, in nanoseconds since 1970 in UTC.
    #[inline]
    pub fn utc(&self, tai: u64) -> u64 {
        tai.wrapping_sub(self.offset.load(Relaxed))
    }

    /// The interface of packets whose headers are rebuilt.
    pub fn rebuilt(&self) -> u32 {
        u32::from(self.has_frames)
    }

    /// The interface of frames that were not delivered, if there is one.
    pub fn undelivered(&self) -> u32 {
        self.rebuilt() + 1
    }

    fn has_undelivered(&self) -> bool {
        !self.capture.verdicts.is_empty()
    }

    /// The statistics of that interface, if there is one. `earlier` is the count of a cause in the statistics before.
    fn of_undelivered(
        &self,
        base: &Statistics,
        ledger: &Ledger,
        what: &str,
        earlier: impl Fn(&str) -> u64,
    ) -> Option<Statistics> {
        let lost = tap_counts::LOSSES.map(|name| (name, ledger.count(name).unwrap_or(0).saturating_sub(earlier(name))));
        let comment = words(what, lost.into_iter());
        self.has_undelivered().then(|| self.tap.statistics(self.undelivered(), base, ledger, comment))
    }

    /// The blocks that begin a file.
    pub fn header(&self) -> Vec<u8> {
        let offset = clock::tai_offset();
        self.offset.store(offset, Relaxed);
        self.files.fetch_add(1, Relaxed);
        let mut out = Vec::new();
        let os = format!("Linux {}", release());
        let section = Section {
            hardware: std::env::consts::ARCH.to_owned(),
            os: os.clone(),
            application: format!("receiver {}", env!("CARGO_PKG_VERSION")),
            comment: format!(
                "Times are UTC: those of CLOCK_TAI less {} s. epb_dropcount counts the packets that were lost before a \
                 packet, in rings and socket buffers or for a slow or full disk. isb_osdrop counts all of them, \
                 isb_usrdeliv the packets that were written.",
                offset as i64 / SECOND
            ),
        };
        section.write(&mut out);
        let subscriptions = self.handle.subscriptions().unwrap_or_default();
        let filter = filter::of(subscriptions.iter().map(|report| &report.subscription));
        let interface = |description: &str, comment: &str| Interface {
            name: self.interface.clone(),
            description: description.to_owned(),
            filter: filter.clone(),
            os: os.clone(),
            comment: comment.to_owned(),
        };
        if self.has_frames {
            interface("frames as they came, by XDP", "The XDP program took the times.").write(&mut out);
        }
        let rebuilt = "The kernel took the times. A UDP socket receives the payload alone: Ethernet, IP and UDP \
                       headers are rebuilt. Addresses, ports and lengths are those of the datagram; MAC source, TTL, \
                       identification and traffic class are not.";
        interface("payloads of UDP sockets, with rebuilt headers", rebuilt).write(&mut out);
        if self.has_undelivered() {
            tap_counts::interface(&self.interface, &os, &self.capture.verdicts.to_string()).write(&mut out);
        }
        out
    }

    /// The counts now.
    fn read(&self) -> Option<(Statistics, Ledger)> {
        // Taken and written first: what is lost in between is in the next statistics.
        let (taken, written, unwritten) = (self.taken.load(Relaxed), self.counts.written(), self.counts.dropped());
        let ledger = self.handle.ledger().ok()?;
        let lost = if self.capture.wanted { ledger.lost() } else { 0 };
        let frames: u64 = Verdict::ALL.into_iter().map(|verdict| ledger.verdict(verdict)).sum();
        let kernel = ledger.kernel();
        let statistics = Statistics {
            interface: 0,
            time: clock::real_time(),
            start: self.start,
            received: frames.max(kernel.received + kernel.dropped),
            interface_dropped: ledger.host().map_or(0, |host| host.interface_dropped),
            accepted: taken + lost,
            dropped: lost + unwritten,
            delivered: written,
            comment: String::new(),
        };
        Some((statistics, ledger))
    }

    /// The packets that were not written, by reason.
    fn unwritten(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        DropReason::ALL.into_iter().map(|reason| (reason.name(), self.counts.dropped_for(reason)))
    }
}

/// The blocks around those of the packets.
pub struct Blocks(pub Arc<Recording>);

impl Content for Blocks {
    fn header(&mut self) -> Vec<u8> {
        self.0.header()
    }

    fn trailer(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some((mut statistics, ledger)) = self.0.read() {
            let of_tap = self.0.of_undelivered(&statistics, &ledger, "lost since the recording began", |_| 0);
            let lost = ledger.losses().filter(|_| self.0.capture.wanted);
            statistics.comment = words("lost since the recording began", lost.chain(self.0.unwritten()));
            statistics.write(&mut out);
            if let Some(of_tap) = of_tap {
                of_tap.write(&mut out);
            }
        }
        out
    }
}

/// `WHAT: 3 NAME, 4 NAME`; empty if there is nothing to list.
fn words(what: &str, counts: impl Iterator<Item = (&'static str, u64)>) -> String {
    let list = listed(counts);
    if list.is_empty() { list } else { format!("{what}: {list}") }
}

/// Reads the counters, and writes to these units what was lost where that is noticed; the last statistics as well if
/// `has_no_trailer`. A recording that is not watched lacks all statistics but those of its trailer.
pub fn watch(recording: &Recording, mut units: Units, has_no_trailer: bool, ticks: &Ticks) {
    let mut before = recording.read();
    let mut written = Instant::now();
    loop {
        let goes_on = ticks.wait();
        let Some((mut statistics, ledger)) = recording.read() else { if goes_on { continue } else { return } };
        let earlier = |name: &str| before.as_ref().and_then(|(_, ledger)| ledger.count(name)).unwrap_or(0);
        let lost = losses_since(&ledger, before.as_ref().map(|(_, ledger)| ledger));
        let total: u64 = if recording.capture.wanted { lost.iter().map(|(_, count)| count).sum() } else { 0 };
        let of_tap = recording.of_undelivered(&statistics, &ledger, "lost since the statistics before", earlier);
        let tap_before = before.as_ref().map_or(0, |(_, ledger)| ledger.tap().lost());
        let tap_lost = ledger.tap().lost().saturating_sub(tap_before);
        recording.tap.noticed.fetch_add(tap_lost, Relaxed);
        let has_changed = before.as_ref().is_none_or(|(before, earlier)| {
            before.accepted != statistics.accepted || earlier.tap().taken != ledger.tap().taken
        });
        if total > 0 {
            recording.noticed.fetch_add(total, Relaxed);
            statistics.comment = words("lost since the statistics before", lost.into_iter());
        }
        let is_due = has_changed && written.elapsed() >= WRITE_EVERY || !goes_on && has_no_trailer;
        if total + tap_lost > 0 || is_due {
            units.put(|out| statistics.write(out));
            if let Some(of_tap) = of_tap {
                units.put(|out| of_tap.write(out));
            }
            // The sink reports a failure.
            let _ = units.hand_on();
            (before, written) = (Some((statistics, ledger)), Instant::now());
        }
        if !goes_on {
            return;
        }
    }
}

fn release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_there_is_is_listed() {
        assert_eq!(words("lost", [("a", 0), ("b", 2), ("c", 1)].into_iter()), "lost: 2 b, 1 c");
        assert_eq!(words("lost", [("a", 0)].into_iter()), "");
    }
}
