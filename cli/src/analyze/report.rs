//! What `receiver analyze` found, for people and as JSON. The JSON names are part of the interface and do not change.

use std::fmt::Write;
use std::net::IpAddr;

use receiver_feed::protocol::Protocol;
use serde::Serialize;
use serde_json::Value;

use super::flow::{Flow, Phase, Sequenced};
use crate::feeds::StreamReport;
use crate::units;
use crate::view::media_lines;
use receiver_capture::FrameCounts;

/// The whole analysis.
#[derive(Debug, Serialize)]
pub struct Analysis {
    pub r#type: &'static str,
    pub files: Vec<String>,
    /// Seconds from the first packet to the last.
    pub seconds: f64,
    pub frames: FrameCounts,
    /// Datagrams to addresses that are no groups, or that `--only` leaves out.
    pub left_out: u64,
    /// Frames of recordings that were not delivered, unless `--undelivered` takes them.
    pub undelivered: u64,
    pub streams: Vec<Stream>,
    /// What is wrong with the files.
    pub problems: Vec<String>,
}

/// One stream.
#[derive(Clone, Debug, Serialize)]
pub struct Stream {
    /// The protocol; `null` if it was neither named nor recognized.
    pub feed: Option<&'static str>,
    pub source: IpAddr,
    pub group: IpAddr,
    pub port: u16,
    /// Session, unit, channel or SSRC; empty where the protocol has none.
    pub stream: String,
    pub packets: u64,
    /// Messages in all packets, repeated ones included.
    pub messages: u64,
    pub heartbeats: u64,
    /// Packets of the flow that are not of the protocol; in the flow's first stream.
    pub malformed: u64,
    /// `null` where nothing was sequenced, as is `next_sequence`.
    pub first_sequence: Option<u64>,
    pub next_sequence: Option<u64>,
    /// Missing ranges that were not filled within the window.
    pub gaps: u64,
    /// Sequence numbers that never came.
    pub missing: u64,
    pub longest_gap: u64,
    /// Sequence numbers that came after their gap was declared.
    pub recovered: u64,
    /// Packets with nothing new.
    pub duplicates: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    pub resets: u64,
    /// Bytes of UDP payload of the flow, in its first stream, as all that follows.
    pub bytes: u64,
    /// The flow's highest rates over 100 µs, 1 ms and 10 ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_bits_per_second: Option<[u64; 3]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtp: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport_stream: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_index: Option<Value>,
}

/// The streams of a flow, in the order in which they appeared; one without sequence where there is none.
pub fn streams(source: IpAddr, group: IpAddr, port: u16, flow: &Flow) -> Vec<Stream> {
    let empty = Stream {
        feed: None,
        source,
        group,
        port,
        stream: String::new(),
        packets: 0,
        messages: 0,
        heartbeats: 0,
        malformed: 0,
        first_sequence: None,
        next_sequence: None,
        gaps: 0,
        missing: 0,
        longest_gap: 0,
        recovered: 0,
        duplicates: 0,
        reordered: 0,
        resets: 0,
        bytes: 0,
        peak_bits_per_second: None,
        rtp: None,
        transport_stream: None,
        delivery_index: None,
    };
    let mut all: Vec<Stream> = match &flow.phase {
        Phase::Known(known) => sequenced(known, &empty),
        _ => Vec::new(),
    };
    if all.is_empty() {
        let feed = match &flow.phase {
            Phase::Known(known) => Some(known.protocol.name()),
            _ => None,
        };
        all.push(Stream { feed, packets: flow.packets, ..empty });
    }
    let first = &mut all[0];
    first.bytes = flow.bytes;
    first.peak_bits_per_second = Some(flow.bursts.peak_bit_rates());
    if let Phase::Known(known) = &flow.phase {
        first.malformed = known.malformed();
        if let Some(media) = &known.media {
            first.rtp = media.rtp();
            first.transport_stream = media.transport_stream();
            first.delivery_index = media.delivery_index();
        }
    }
    all
}

fn sequenced(known: &Sequenced, empty: &Stream) -> Vec<Stream> {
    let streams = known.arbiter.streams().map(|view| {
        let key = view.key();
        let found = StreamReport::new(known.protocol.stream_name(key), view.state(), &view.statistics());
        Stream {
            feed: Some(known.protocol.name()),
            stream: found.stream,
            packets: found.packets,
            messages: known.messages.get(&key).copied().unwrap_or_default(),
            heartbeats: found.heartbeats,
            first_sequence: found.first_sequence,
            next_sequence: found.next_sequence,
            gaps: found.gaps,
            missing: found.missing,
            longest_gap: found.longest_gap,
            recovered: found.recovered,
            duplicates: found.duplicates,
            reordered: found.reordered,
            resets: found.resets,
            ..empty.clone()
        }
    });
    streams.collect()
}

impl Analysis {
    /// The analysis in words: a line for each stream, and one for the whole.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for stream in &self.streams {
            // Writing to memory does not fail.
            let _ = writeln!(text, "{}", stream.to_line());
            let media = (&stream.rtp, &stream.transport_stream, &stream.delivery_index);
            for line in media_lines(media.0.as_ref(), media.1.as_ref(), media.2.as_ref()) {
                let _ = writeln!(text, "  {line}");
            }
        }
        let total = |of: fn(&Stream) -> u64| self.streams.iter().map(of).sum::<u64>();
        let _ = writeln!(
            text,
            "{} in {}: {} of {}, {} missing in {}",
            units::count(self.frames.packets, "packet"),
            units::age(self.seconds),
            units::count(self.streams.len() as u64, "stream"),
            units::count(total(|stream| stream.packets), "datagram"),
            total(|stream| stream.missing),
            units::count(total(|stream| stream.gaps), "gap"),
        );
        let frames = &self.frames;
        for (count, what) in [
            (frames.lost_while_capturing, "lost while the files were written"),
            (frames.not_udp, "no UDP"),
            (self.left_out, "left out: no multicast, or not asked for"),
            (self.undelivered, "left out: recorded, but not delivered (--undelivered takes them)"),
            (frames.fragments, "fragments"),
            (frames.malformed, "malformed packets"),
            (frames.cut_off, "cut off when they were captured"),
        ] {
            if count > 0 {
                let _ = writeln!(text, "  {count} {what}");
            }
        }
        text
    }
}

impl Stream {
    fn to_line(&self) -> String {
        let group = std::net::SocketAddr::new(self.group, self.port);
        let mut line = format!("{} {} > {group}", self.feed.unwrap_or("unknown"), self.source);
        if !self.stream.is_empty() {
            let _ = write!(line, ", {}", self.stream);
        }
        let _ = write!(line, ": {}", units::count(self.packets, "packet"));
        if self.messages > 0 {
            let _ = write!(line, ", {}", units::count(self.messages, "message"));
        }
        if let (Some(first), Some(next)) = (self.first_sequence, self.next_sequence) {
            let _ = write!(line, ", sequence {first} to {}", next.saturating_sub(1).max(first));
        }
        if self.first_sequence.is_some() {
            let _ = write!(line, ", {} missing", self.missing);
        }
        for (count, what) in [(self.gaps, "gap"), (self.duplicates, "duplicate"), (self.resets, "reset")] {
            if count > 0 {
                let _ = write!(line, ", {}", units::count(count, what));
            }
        }
        for (count, what) in [(self.recovered, "late"), (self.reordered, "reordered"), (self.malformed, "malformed")] {
            if count > 0 {
                let _ = write!(line, ", {count} {what}");
            }
        }
        line
    }
}
