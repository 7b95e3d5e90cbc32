//! Checks a feed's configuration before anything is opened.

use std::collections::HashSet;
use std::time::Duration;

use receiver_feed::protocol::{MpegTs, Protocol};
use receiver_membership::{validate_group, validate_source};

use super::build::{Builder, Counts, Limits, Timing, builder};
use super::config::{FeedConfig, Leg};
use super::error::FeedError;
use super::queue::CAPACITY;
use super::span::Span;
use crate::config::check_tags;
use crate::error::SendError;
use crate::schedule::due_in;
use crate::traffic::{MAX_PAYLOAD_V4, check_ends};

/// The longest delay of a leg, jitter included.
pub const MAX_DELAY: Duration = Duration::from_secs(10);

const MAX_LEGS: usize = 16;
const MAX_STREAMS: u32 = 100_000;
const MAX_REORDER_BY: u32 = 1000;
const LEAST_HEARTBEAT: Duration = Duration::from_millis(1);
/// Bytes of a message if nothing else is asked for.
const DEFAULT_SIZE: u32 = 40;

impl FeedConfig {
    /// Checks all that can be checked without asking the kernel.
    ///
    /// # Errors
    /// Those of [`SendError`] whose exit code is 2.
    pub fn validate(&self) -> Result<(), SendError> {
        self.checked().map(|_| ())
    }

    /// As [`FeedConfig::validate`]. Returns the protocol's builder.
    pub(super) fn checked(&self) -> Result<Box<dyn Builder>, SendError> {
        let name = self.protocol.name();
        if self.plain_ts && name != MpegTs.name() {
            return Err(FeedError::PlainTs(name).into());
        }
        let timing = Timing { rate: self.rate, streams: self.streams };
        let each = self.messages.map(|messages| messages.most);
        let builder = builder(self.protocol, timing, each, self.plain_ts).ok_or(FeedError::Protocol(name))?;
        let limits = builder.limits();
        self.check_legs()?;
        self.check_addressing()?;
        self.check_ends(&limits)?;
        self.check_packets(&limits)?;
        self.check_delays(&limits)?;
        Ok(builder)
    }

    /// Bytes of each message.
    pub(super) fn size(&self, limits: &Limits) -> Span {
        self.message_size.unwrap_or(Span::one(DEFAULT_SIZE.clamp(limits.size.least, limits.size.most)))
    }

    /// Messages of each packet.
    pub(super) fn packing(&self, limits: &Limits) -> Span {
        self.messages.unwrap_or(Span::one(limits.default_messages))
    }

    /// Sequence numbers over all streams, if they are limited. A duration at a rate is a number of them.
    pub(super) fn total(&self) -> Option<u64> {
        let due = self.duration.filter(|_| self.rate > 0).map(|duration| due_in(duration, self.rate));
        self.count.into_iter().chain(due).min()
    }

    fn check_legs(&self) -> Result<(), SendError> {
        if !(1..=MAX_LEGS).contains(&self.legs.len()) {
            return Err(FeedError::Legs { legs: self.legs.len(), max: MAX_LEGS }.into());
        }
        let mut seen = HashSet::new();
        for leg in &self.legs {
            validate_group(leg.group)?;
            if leg.port == 0 {
                return Err(SendError::PortZero);
            }
            if let Some(source) = leg.source {
                validate_source(source, leg.group)?;
            }
            if !seen.insert((leg.source, leg.group, leg.port)) {
                return Err(FeedError::LegTwice(leg.name()).into());
            }
            check_impairment(leg)?;
        }
        if self.exclusive_loss && self.legs.len() < 2 {
            return Err(FeedError::ExclusiveAlone.into());
        }
        Ok(())
    }

    fn check_addressing(&self) -> Result<(), SendError> {
        if self.ttl == 0 {
            return Err(SendError::TtlZero);
        }
        if self.source_port == Some(0) {
            return Err(SendError::SourcePortZero);
        }
        check_tags(&self.vlan)
    }

    fn check_ends(&self, limits: &Limits) -> Result<(), SendError> {
        let protocol = self.protocol.name();
        check_ends(self.rate, self.count, self.duration)?;
        if limits.least_rate > 0 && self.rate == 0 {
            return Err(FeedError::NoRate(protocol).into());
        }
        let max = limits.streams.min(MAX_STREAMS);
        if !(1..=max).contains(&self.streams) {
            return Err(FeedError::Streams { streams: self.streams, protocol, max }.into());
        }
        if self.rate < limits.least_rate {
            return Err(FeedError::Slow { rate: self.rate, protocol, least: limits.least_rate }.into());
        }
        let (default, max) = limits.sequence;
        let first = self.first_sequence.unwrap_or(default);
        let each = self.total().map_or(1, |total| total.div_ceil(self.streams.into()));
        let last = first.saturating_add(each - 1);
        // The number after the last one must exist as well.
        if first < default.min(1) || last >= max {
            return Err(FeedError::Sequence { first, last, protocol, max }.into());
        }
        match self.heartbeat {
            Some(every) if every < LEAST_HEARTBEAT => Err(FeedError::Heartbeat(every, LEAST_HEARTBEAT).into()),
            _ => Ok(()),
        }
    }

    fn check_packets(&self, limits: &Limits) -> Result<(), FeedError> {
        let (protocol, messages) = (self.protocol.name(), self.packing(limits));
        if !messages.is_within(Span::new(1, limits.messages)) {
            return Err(FeedError::Messages { messages, protocol, max: limits.messages });
        }
        if limits.size.least == limits.size.most && messages.least != messages.most {
            return Err(FeedError::Uneven(protocol));
        }
        let size = self.size(limits);
        if !size.is_within(limits.size) {
            return Err(FeedError::MessageSize { size, protocol, allowed: limits.size });
        }
        let longest = limits.longest(messages, size);
        if longest > MAX_PAYLOAD_V4 {
            return Err(FeedError::TooLong { size: longest, max: MAX_PAYLOAD_V4 });
        }
        if self.repack && limits.counts == Counts::Packets {
            return Err(FeedError::RepackedPackets(protocol));
        }
        if self.repack && (self.legs.len() < 2 || messages.least == messages.most) {
            return Err(FeedError::NothingToRepack);
        }
        Ok(())
    }

    fn check_delays(&self, limits: &Limits) -> Result<(), FeedError> {
        let least = if limits.counts == Counts::Messages { self.packing(limits).least } else { 1 };
        for leg in &self.legs {
            let delay = leg.impairment.delay + leg.impairment.jitter;
            let packets = delay.as_nanos() * u128::from(self.rate) / u128::from(least) / 1_000_000_000;
            // A part of the capacity stays for packets whose time has come.
            if packets > CAPACITY as u128 / 2 {
                let packets = u64::try_from(packets).unwrap_or(u64::MAX);
                return Err(FeedError::Waiting { leg: leg.name(), packets, max: CAPACITY / 2 });
            }
        }
        Ok(())
    }
}

fn check_impairment(leg: &Leg) -> Result<(), FeedError> {
    let impairment = &leg.impairment;
    if !impairment.is_possible() {
        return Err(FeedError::Shares(leg.name()));
    }
    if impairment.delay.saturating_add(impairment.jitter) > MAX_DELAY {
        return Err(FeedError::Delay(leg.name(), MAX_DELAY));
    }
    let packets = impairment.reorder_by;
    if !(1..=MAX_REORDER_BY).contains(&packets) {
        return Err(FeedError::ReorderBy { leg: leg.name(), packets, max: MAX_REORDER_BY });
    }
    Ok(())
}
