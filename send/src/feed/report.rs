//! What a feed's sender did. Field names are part of the JSON output: they stay, and are those of a receiver's report
//! where they count the same.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::report::Way;

/// Streams in the text form; JSON has all.
const SHOWN_STREAMS: usize = 16;

/// What was sent in all.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FeedSent {
    /// The interface.
    pub interface: String,
    /// The protocol.
    pub feed: &'static str,
    /// The seed.
    pub seed: u64,
    /// Sequence numbers that were made, over all streams.
    pub messages: u64,
    /// Sequence numbers that no leg sent.
    pub missing: u64,
    /// How many gaps they are.
    pub gaps: u64,
    /// The time from the start to the last packet.
    pub elapsed_seconds: f64,
    /// Sequence numbers by elapsed time.
    pub messages_per_second: f64,
    /// The requested rate in sequence numbers per second; 0: as fast as possible.
    pub rate: u64,
    /// By how many sequence numbers the sender was too far behind: the rate was not kept. All were sent.
    pub slipped: u64,
    /// How often the kernel's queue was full (ENOBUFS, EAGAIN), so that a batch was retried.
    pub retries: u64,
    /// True if the stop flag ended it, not the count or the duration.
    pub stopped: bool,
    /// True if the kernel's queue was full when it was stopped, so that the last packets were not sent: the counts of
    /// legs and streams include them.
    pub incomplete: bool,
    /// Each leg.
    pub legs: Vec<LegSent>,
    /// Each stream.
    pub streams: Vec<StreamSent>,
}

/// What one leg sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LegSent {
    /// Source address and port.
    pub source: SocketAddr,
    /// The group.
    pub group: IpAddr,
    /// Its UDP port.
    pub port: u16,
    /// How it was sent.
    pub way: Way,
    /// Datagrams that the kernel accepted, heartbeats and duplicates included.
    pub packets: u64,
    /// Bytes of UDP payload in them.
    pub bytes: u64,
    /// Heartbeats and ends of sessions among them.
    pub heartbeats: u64,
    /// Datagrams that were lost.
    pub lost: u64,
    /// Sequence numbers that were lost.
    pub missing: u64,
    /// How many gaps they are.
    pub gaps: u64,
    /// Sequence numbers of the longest gap.
    pub longest_gap: u64,
    /// Datagrams that were held back, so that later ones overtook them.
    pub reordered: u64,
    /// Datagrams that were sent twice.
    pub duplicates: u64,
}

/// What was made of one stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StreamSent {
    /// The stream as a receiver names it.
    pub stream: String,
    /// Sequence numbers that were made.
    pub messages: u64,
    /// The first one.
    pub first_sequence: u64,
    /// One above the last one.
    pub next_sequence: u64,
    /// Sequence numbers that no leg sent.
    pub missing: u64,
    /// How many gaps they are.
    pub gaps: u64,
    /// Sequence numbers of the longest gap.
    pub longest_gap: u64,
    /// The gaps: the first and the last missing sequence number of each, up to 1,000 of them.
    pub missing_ranges: Vec<(u64, u64)>,
}

impl fmt::Display for FeedSent {
    /// A line for all, one for each leg, and one for each of the first streams.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { feed, messages, interface, elapsed_seconds, messages_per_second, seed, .. } = self;
        write!(f, "{feed}: {messages} sequence numbers on {interface} in {elapsed_seconds:.3} s")?;
        write!(f, ", {messages_per_second:.0} per second")?;
        if self.rate > 0 {
            write!(f, " of {}", self.rate)?;
        }
        for (count, what) in [(self.slipped, "behind schedule"), (self.retries, "retries on a full queue")] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        write!(f, "; seed {seed}; lost on all legs: {} in {} gaps", self.missing, self.gaps)?;
        if self.incomplete {
            write!(f, "; the last packets were not sent")?;
        }
        for leg in &self.legs {
            let (LegSent { source, group, port, .. }, way) = (leg, way(leg.way));
            write!(f, "\n  {source} ({way}) to {}: {} packets", SocketAddr::new(*group, *port), leg.packets)?;
            write!(f, ", {} bytes, lost {} packets with {} sequence numbers", leg.bytes, leg.lost, leg.missing)?;
            write!(f, " in {} gaps", leg.gaps)?;
            for (count, what) in
                [(leg.reordered, "reordered"), (leg.duplicates, "duplicated"), (leg.heartbeats, "heartbeats")]
            {
                if count > 0 {
                    write!(f, ", {count} {what}")?;
                }
            }
        }
        for stream in self.streams.iter().take(SHOWN_STREAMS) {
            let StreamSent { stream: name, first_sequence, messages, missing, gaps, .. } = stream;
            let name = if name.is_empty() { String::new() } else { format!(" {name}") };
            match messages.checked_sub(1) {
                Some(more) => write!(f, "\n  stream{name}: sequence {first_sequence} to {}", first_sequence + more)?,
                None => write!(f, "\n  stream{name}: nothing")?,
            }
            write!(f, ", lost on all legs: {missing} in {gaps} gaps")?;
        }
        if let Some(more @ 1..) = self.streams.len().checked_sub(SHOWN_STREAMS) {
            write!(f, "\n  and {more} more streams")?;
        }
        Ok(())
    }
}

fn way(way: Way) -> &'static str {
    match way {
        Way::Socket => "own",
        Way::Raw => "frames",
        Way::Xdp => "generator",
    }
}
