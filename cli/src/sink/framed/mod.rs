//! `framed:PATH`, `framed:-`: packets with their metadata as records, each behind its length, for a reader in any
//! language. docs/framed.md describes the bytes.
//!
//! Each datagram is a unit of its own, which is written or dropped whole. The record of what was dropped before
//! a datagram, and those of subscriptions, are in the same unit if they do not fit before it.

mod format;
mod stream;

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::anyhow;
use clap::ValueEnum;
use receiver::{Datagram, Path, Subscription, SubscriptionId};

use super::content::Format;
use super::file;
use super::grammar::FileTarget;
use super::traits::{Context, Sink, SinkReport};
use super::watch::Watch;
use crate::outlet::{CHUNK, DropReason, Outlet, OutletError, Units};
use format::{Loss, Packet};
use stream::{Ends, Stream};

/// The room for other records beyond that for packets, in bytes.
const RECORDS_LIMIT: usize = 1 << 20;

/// What is written to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// The payloads, one after the other
    #[default]
    Raw,
    /// Records with metadata
    Framed,
}

impl OutputFormat {
    /// The outputs in this form: what goes to standard output is framed, and is added if nothing goes there.
    pub fn apply(self, mut outputs: Vec<OsString>) -> Vec<OsString> {
        if self == Self::Raw {
            return outputs;
        }
        let options = |text: &OsStr| {
            let text = text.to_str()?.strip_prefix('-')?;
            (text.is_empty() || text.starts_with('?')).then(|| OsString::from(format!("framed:-{text}")))
        };
        let mut is_there = false;
        for output in &mut outputs {
            if let Some(framed) = options(output) {
                *output = framed;
            }
            is_there |= output.to_str().is_some_and(|text| text == "framed:-" || text.starts_with("framed:-?"));
        }
        if !is_there {
            outputs.push("framed:-".into());
        }
        outputs
    }
}

/// Opens the sink.
///
/// # Errors
/// The file cannot be created, or is a FIFO.
pub fn open(target: &FileTarget, name: &str, limit: usize, context: &Context<'_>) -> anyhow::Result<Box<dyn Sink>> {
    let handle = context.handle.ok_or_else(|| anyhow!("there is no receiver whose packets could be written"))?;
    let stream = Arc::new(Stream::new(handle));
    let is_pipe = target.is_standard_output();
    let format = || {
        let content = Some(Box::new(Ends(Arc::clone(&stream))) as _);
        Ok(Format { content, frames: None, group: Some(CHUNK) })
    };
    let instead = "write framed:-, and from there to the FIFO";
    let outlet = file::outlet_of_wholes(target, name, instead, format, context)?;
    outlet.start();
    let records = || Units::new(&outlet, limit.saturating_add(RECORDS_LIMIT), &Arc::default());
    let mut others = records();
    if is_pipe {
        others.put(|out| out.extend(stream.header()));
        others.hand_on()?;
    }
    let (watched, losses) = (Arc::clone(&stream), records());
    Ok(Box::new(Framed {
        units: Units::new(&outlet, limit, &stream.counts),
        watch: Watch::start("framed", move |ticks| stream::watch(&watched, losses, is_pipe, &ticks)),
        others,
        pending: Vec::new(),
        unwritten: 0,
        reason: None,
        outlet,
        stream,
    }))
}

/// Writes each datagram as a record.
struct Framed {
    stream: Arc<Stream>,
    outlet: Outlet,
    /// Packets.
    units: Units,
    /// Subscriptions.
    others: Units,
    watch: Watch,
    /// Records of subscriptions for which there was no room, and which the next packet brings along.
    pending: Vec<u8>,
    /// Packets that were dropped since the last one that was written.
    unwritten: u64,
    /// Why.
    reason: Option<DropReason>,
}

impl Sink for Framed {
    #[inline]
    fn take(&mut self, datagram: &Datagram<'_>) {
        let number = self.stream.received.fetch_add(1, Relaxed);
        let packet = Packet {
            time: self.stream.utc(datagram.time().nanoseconds),
            number,
            source: datagram.source(),
            group: std::net::SocketAddr::new(datagram.group(), datagram.port()),
            subscription: datagram.subscription().number(),
            by_xdp: datagram.path() == Path::Xdp,
            payload: datagram.payload(),
        };
        let (pending, unwritten, reason) = (&self.pending, self.unwritten, self.reason);
        let is_kept = self.units.put(|out| {
            out.extend_from_slice(pending);
            if unwritten > 0 {
                let loss = Loss { time: packet.time, number: number - unwritten, lost: 0, unwritten };
                format::write_loss(out, &loss, &format!("{unwritten} {}", reason.map_or("", DropReason::name)));
            }
            format::write_packet(out, &packet);
        });
        if is_kept {
            self.pending.clear();
            self.unwritten = 0;
        } else {
            self.unwritten += 1;
            self.reason = Some(self.outlet.reason());
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
        let text = subscription.to_string();
        if !self.others.put(|out| format::write_subscription(out, id.number(), &text)) {
            format::write_subscription(&mut self.pending, id.number(), &text);
        }
        // The sink reports a failure at the end of the batch.
        let _ = self.others.hand_on();
    }

    fn report(&self) -> SinkReport {
        SinkReport::new(&self.stream.counts, &self.outlet.condition(), self.outlet.last_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_output_is_framed_and_files_stay() {
        let apply = |texts: &[&str]| {
            let outputs = texts.iter().map(OsString::from).collect();
            let framed = OutputFormat::Framed.apply(outputs);
            framed.iter().map(|text| text.to_str().expect("text").to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(apply(&[]), "framed:-");
        assert_eq!(apply(&["a.raw", "-?limit=1M"]), "a.raw framed:-?limit=1M");
        assert_eq!(apply(&["-", "udp://h:1"]), "framed:- udp://h:1");
        assert_eq!(apply(&["framed:-?limit=1k"]), "framed:-?limit=1k");
        assert_eq!(apply(&["-x"]), "-x framed:-");
        assert_eq!(OutputFormat::Raw.apply(vec!["-".into()]), [OsString::from("-")]);
    }
}
