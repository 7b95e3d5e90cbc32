//! Frames that were not delivered, as a recording has them: an interface of their own, with the verdict of the XDP
//! program as comment, and with their own losses.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use receiver::TappedFrame;

use super::block::{Packet, Reception};
use super::gap::Gap;
use super::statistics::Recording;
use crate::outlet::{Outlet, Units};
use crate::sink::traits::FrameSink;

/// Writes frames that were not delivered to one recording.
pub struct Undelivered {
    recording: Arc<Recording>,
    outlet: Outlet,
    units: Units,
    gap: Gap,
    /// The comment of a frame, kept for its memory.
    text: String,
}

impl Undelivered {
    /// Writes to this outlet; up to `limit` bytes wait.
    pub fn new(recording: &Arc<Recording>, outlet: &Outlet, limit: usize) -> Self {
        Self {
            units: Units::new(outlet, limit, &recording.tap.counts),
            recording: Arc::clone(recording),
            outlet: outlet.clone(),
            gap: Gap::default(),
            text: String::new(),
        }
    }
}

impl FrameSink for Undelivered {
    fn take(&mut self, frame: &TappedFrame<'_>) {
        let tap = &self.recording.tap;
        self.gap.lost += tap.noticed.swap(0, Relaxed);
        self.text.clear();
        self.text.push_str(frame.verdict().name());
        self.gap.write(&mut self.text);
        let packet = Packet {
            interface: self.recording.undelivered(),
            time: self.recording.utc(frame.time().nanoseconds),
            drop_count: self.gap.lost + self.gap.unwritten,
            comment: &self.text,
        };
        let bytes = frame.bytes();
        let reception = Reception::of(bytes);
        let is_kept = self.units.put(|out| packet.write_cut(out, reception, frame.length(), bytes));
        tap.taken.fetch_add(1, Relaxed);
        if is_kept {
            self.gap = Gap::default();
        } else {
            self.gap.unwritten += 1;
            self.gap.reason = Some(self.outlet.reason());
        }
    }

    fn end_batch(&mut self) {
        // The sink reports a failure.
        let _ = self.units.hand_on();
    }
}
