//! What a feed to test with is.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use receiver_feed::protocol::AnyProtocol;

use super::span::Span;
use crate::impair::Impairment;

/// What the [`FeedSender`](super::FeedSender) sends. Start from [`FeedConfig::new`] and set what differs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FeedConfig {
    /// The interface to send on.
    pub interface: String,
    /// The protocol.
    pub protocol: AnyProtocol,
    /// The legs, 1 to 16.
    pub legs: Vec<Leg>,
    /// The number of streams: sessions, units, SSRCs. Default 1.
    pub streams: u32,
    /// Sequence numbers per second over all streams; 0, the default: as fast as possible.
    pub rate: u64,
    /// Stop after exactly this many sequence numbers over all streams.
    pub count: Option<u64>,
    /// Stop after this time. With `count`, whichever comes first. With neither, sending goes on until it is stopped.
    pub duration: Option<Duration>,
    /// Messages per packet. `None`: 1, or 7 transport stream packets.
    pub messages: Option<Span>,
    /// Bytes of each message as the protocol counts them. `None`: 40, or what the protocol needs.
    pub message_size: Option<Span>,
    /// True to send MPEG-TS without RTP around it. Its packets have no sequence numbers then.
    pub plain_ts: bool,
    /// True to give the legs other numbers of messages per packet, as IEX does.
    pub repack: bool,
    /// True to lose nothing on all legs.
    pub exclusive_loss: bool,
    /// What all choices follow from. Default 1.
    pub seed: u64,
    /// The number of the first session or SSRC. `None`: another one for each run, as a restarted sender takes.
    pub session: Option<u32>,
    /// The first sequence number of each stream. `None`: the protocol's.
    pub first_sequence: Option<u64>,
    /// A stream without a packet for this long gets a heartbeat. `None`: no heartbeats.
    pub heartbeat: Option<Duration>,
    /// The IP time to live, or the hop limit, from 1. Default 16.
    pub ttl: u8,
    /// The source port. `None`: one that is free.
    pub source_port: Option<u16>,
    /// VLAN ids, outermost first, up to two. All packets are then complete frames.
    pub vlan: Vec<u16>,
    /// True to send complete frames for the interface's own addresses, too.
    pub spoof: bool,
    /// True to make complete frames skip the queueing discipline (PACKET_QDISC_BYPASS).
    pub bypass_qdisc: bool,
}

impl FeedConfig {
    /// One stream, one message per packet, as fast as possible, until stopped.
    #[must_use]
    pub fn new(interface: impl Into<String>, protocol: AnyProtocol, legs: Vec<Leg>) -> Self {
        Self {
            interface: interface.into(),
            protocol,
            legs,
            streams: 1,
            rate: 0,
            count: None,
            duration: None,
            messages: None,
            plain_ts: false,
            message_size: None,
            repack: false,
            exclusive_loss: false,
            seed: 1,
            session: None,
            first_sequence: None,
            heartbeat: None,
            ttl: 16,
            source_port: None,
            vlan: Vec::new(),
            spoof: false,
            bypass_qdisc: false,
        }
    }
}

/// One leg of a feed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Leg {
    /// The source. One that the interface does not own is spoofed. `None`: the interface's first address of the family.
    pub source: Option<IpAddr>,
    /// The group.
    pub group: IpAddr,
    /// The UDP port.
    pub port: u16,
    /// What happens to its packets.
    pub impairment: Impairment,
}

impl Leg {
    /// From the interface's own address, without impairments.
    #[must_use]
    pub fn new(group: IpAddr, port: u16) -> Self {
        Self { source: None, group, port, impairment: Impairment::default() }
    }

    /// As a user writes it: `SOURCE@GROUP:PORT`.
    #[must_use]
    pub fn name(&self) -> String {
        let to = SocketAddr::new(self.group, self.port);
        self.source.map_or_else(
            || to.to_string(),
            |source| match source {
                IpAddr::V4(source) => format!("{source}@{to}"),
                IpAddr::V6(source) => format!("[{source}]@{to}"),
            },
        )
    }
}
