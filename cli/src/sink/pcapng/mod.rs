//! `pcapng:PATH`: a recording of the packets, with what was lost between them.
//!
//! Each datagram is a block of its own, and blocks are written and dropped whole. A packet that comes after lost ones
//! has their number with it. [`statistics`] writes counters between the packets. Each file begins with its own section
//! ([`Blocks`]), so that it can be read alone.

mod block;
mod filter;
mod gap;
mod rebuild;
mod statistics;
mod tap_counts;
#[cfg(test)]
mod tests;
mod undelivered;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::anyhow;
use receiver::{Datagram, Subscription, SubscriptionId};

use super::content::{Format, Frames};
use super::file;
use super::grammar::RecordingTarget;
use super::traits::{Context, FrameSink, RecordingReport, Sink, SinkReport};
use super::watch::Watch;
use crate::outlet::{CHUNK, Outlet, OutletError, Units};
use block::Packet;
use gap::Gap;
use statistics::{Blocks, Recording};
use undelivered::Undelivered;

/// The room for statistics beyond that for packets, in bytes.
const STATISTICS_LIMIT: usize = 1 << 20;

/// Opens the sink.
///
/// # Errors
/// The file cannot be created, or is a FIFO.
pub fn open(
    target: &RecordingTarget,
    name: &str,
    limit: usize,
    context: &Context<'_>,
) -> anyhow::Result<Box<dyn Sink>> {
    let handle = context.handle.ok_or_else(|| anyhow!("there is no receiver to record"))?;
    let recording = Arc::new(Recording::new(handle, context.capture));
    let format = || {
        let content = Some(Box::new(Blocks(Arc::clone(&recording))) as _);
        let frames = target.compresses().then(Frames::new).transpose()?;
        Ok(Format { content, frames, group: Some(CHUNK) })
    };
    let instead = "record to a file, or to - and from there to a pipe";
    let outlet = file::outlet_of_wholes(&target.file, name, instead, format, context)?;
    outlet.start();
    let mut statistics = Units::new(&outlet, limit.saturating_add(STATISTICS_LIMIT), &Arc::default());
    let is_pipe = target.is_standard_output();
    if is_pipe {
        statistics.put(|out| out.extend(recording.header()));
        statistics.hand_on()?;
    }
    let is_tapped = context.capture.tap().is_some();
    let watched = Arc::clone(&recording);
    Ok(Box::new(Recorder {
        undelivered: is_tapped.then(|| Undelivered::new(&recording, &outlet, limit)),
        units: Units::new(&outlet, limit, &recording.counts).gathering(),
        watch: Watch::start("recording", move |ticks| statistics::watch(&watched, statistics, is_pipe, &ticks)),
        outlet,
        gap: Gap::default(),
        comments: target.comments.then(Comments::default),
        text: String::new(),
        recording,
    }))
}

/// Writes each datagram as a packet.
struct Recorder {
    recording: Arc<Recording>,
    outlet: Outlet,
    units: Units,
    watch: Watch,
    gap: Gap,
    /// What writes frames that were not delivered, until the run takes it.
    undelivered: Option<Undelivered>,
    comments: Option<Comments>,
    /// The comment of a packet, kept for its memory.
    text: String,
}

/// The subscriptions as comments name them, by their numbers.
#[derive(Debug, Default)]
struct Comments(Vec<String>);

impl Comments {
    fn of(&self, id: SubscriptionId) -> &str {
        self.0.get(id.number() as usize).map_or("", String::as_str)
    }

    fn set(&mut self, id: SubscriptionId, subscription: &Subscription) {
        let number = id.number() as usize;
        if self.0.len() <= number {
            self.0.resize(number + 1, String::new());
        }
        self.0[number] = format!("wanted by {subscription}");
    }
}

impl Sink for Recorder {
    #[inline]
    fn take(&mut self, datagram: &Datagram<'_>) {
        if !self.recording.capture.wanted {
            return;
        }
        if self.recording.noticed.load(Relaxed) > 0 {
            self.gap.lost += self.recording.noticed.swap(0, Relaxed);
        }
        self.text.clear();
        if let Some(comments) = &self.comments {
            self.text.push_str(comments.of(datagram.subscription()));
        }
        self.gap.write(&mut self.text);
        let frame = datagram.frame();
        let packet = Packet {
            interface: if frame.is_some() { 0 } else { self.recording.rebuilt() },
            time: self.recording.utc(datagram.time().nanoseconds),
            drop_count: self.gap.lost + self.gap.unwritten,
            comment: &self.text,
        };
        let is_kept = self.units.put(|out| {
            packet.write(out, |out| match frame {
                Some(frame) => out.extend_from_slice(frame),
                None => {
                    let (source, group, port) = (datagram.source(), datagram.group(), datagram.port());
                    rebuild::write(out, source, group, port, datagram.payload());
                }
            });
        });
        // The one who takes is the only one who counts here.
        self.recording.taken.store(self.recording.taken.load(Relaxed) + 1, Relaxed);
        if is_kept {
            self.gap = Gap::default();
        } else {
            self.gap.unwritten += 1;
            self.gap.reason = Some(self.outlet.reason());
        }
    }

    fn end_batch(&mut self) -> Result<(), OutletError> {
        self.units.hand_on()
    }

    fn finish(&mut self) -> Result<(), OutletError> {
        self.watch.finish(&mut self.units, &self.outlet)
    }

    fn reopen(&self) {
        self.outlet.turn();
    }

    fn joined(&mut self, id: SubscriptionId, subscription: &Subscription) {
        if let Some(comments) = &mut self.comments {
            comments.set(id, subscription);
        }
    }

    fn report(&self) -> SinkReport {
        let report = SinkReport::new(&self.recording.counts, &self.outlet.condition(), self.outlet.last_error());
        let (files, queued_bytes) = (self.recording.files.load(Relaxed), self.outlet.queued() as u64);
        SinkReport {
            recording: Some(RecordingReport { files, queued_bytes }),
            ..report.and(&self.recording.tap.counts)
        }
    }

    fn undelivered(&mut self) -> Option<Box<dyn FrameSink>> {
        self.undelivered.take().map(|sink| Box::new(sink) as Box<dyn FrameSink>)
    }
}
