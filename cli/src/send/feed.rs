//! `receiver send --feed`: the options of a feed.

use std::time::Duration;

use clap::Args;
use receiver_feed::protocol::AnyProtocol;
use receiver_send::SendError;
use receiver_send::feed::{FeedConfig, Span};
use receiver_send::impair::Share;

use super::leg::{LegSpec, Overrides, parse};
use crate::values::{duration, one_of, whole};

/// Options of a feed
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Feeds")]
pub struct FeedArgs {
    /// Send a feed of this protocol. --rate and --count are then in sequence numbers over all streams: messages, or
    /// packets where the protocol counts packets
    #[arg(
        long = "feed",
        value_name = "PROTOCOL",
        value_parser = one_of::<AnyProtocol>(AnyProtocol::names()),
        requires = "legs",
        conflicts_with_all = ["group", "port", "streams", "sources", "source_ports", "size", "threads", "burst", "every"]
    )]
    protocol: Option<AnyProtocol>,
    /// Leg of the feed; repeat it for each. Its own impairments follow: S@G:PORT?loss=1%&delay=2ms
    #[arg(long = "leg", value_name = "[S@]G:PORT[?KEY=VALUE&...]", requires = "protocol", value_parser = parse)]
    legs: Vec<LegSpec>,
    /// Number of streams on each leg: sessions, units or SSRCs
    #[arg(long = "streams", id = "feed_streams", value_name = "N", default_value_t = 1, requires = "protocol", value_parser = whole::<u32>)]
    streams: u32,
    /// Messages per packet, such as 8, or 1..8 for a number that varies. Default: 1, or 7 transport stream packets
    #[arg(long, value_name = "N[..M]", requires = "protocol")]
    messages: Option<Span>,
    /// Bytes per message, such as 40, or 20..60 for a length that varies. Default: 40, or what the protocol needs
    #[arg(long, value_name = "N[..M]", requires = "protocol")]
    message_size: Option<Span>,
    /// Send MPEG-TS without RTP around it
    #[arg(long, requires = "protocol")]
    plain_ts: bool,
    /// Give each leg other numbers of messages per packet, as IEX does
    #[arg(long, requires = "protocol")]
    repack: bool,
    /// Packets that are lost on each leg, such as 1%. Legs lose packets independently
    #[arg(long, value_name = "SHARE", requires = "protocol")]
    loss: Option<Share>,
    /// Never lose the same message on all legs, so that a receiver of all legs misses nothing
    #[arg(long, requires = "protocol")]
    exclusive_loss: bool,
    /// Packets that are held back until later ones have left, such as 0.1%
    #[arg(long, value_name = "SHARE", requires = "protocol")]
    reorder: Option<Share>,
    /// How many later packets of its stream overtake one that is held back. Default: 3
    #[arg(long, value_name = "N", requires = "protocol", value_parser = whole::<u32>)]
    reorder_by: Option<u32>,
    /// Packets that are sent twice, such as 0.1%
    #[arg(long, value_name = "SHARE", requires = "protocol")]
    duplicate: Option<Share>,
    /// How much later each packet leaves, such as 2ms
    #[arg(long, value_name = "TIME", requires = "protocol", value_parser = duration)]
    delay: Option<Duration>,
    /// How much later than --delay a packet may leave. The order stays
    #[arg(long, value_name = "TIME", requires = "protocol", value_parser = duration)]
    jitter: Option<Duration>,
    /// What losses, reordering and packing follow from: the same seed gives the same ones
    #[arg(long, value_name = "N", default_value_t = 1, requires = "protocol", value_parser = whole::<u64>)]
    seed: u64,
    /// Number of the first session or SSRC. Default: another one for each run
    #[arg(long, value_name = "N", requires = "protocol", value_parser = whole::<u32>)]
    session: Option<u32>,
    /// First sequence number of each stream. Default: the protocol's
    #[arg(long, value_name = "N", requires = "protocol", value_parser = whole::<u64>)]
    first_sequence: Option<u64>,
    /// Send a heartbeat on each stream that pauses for this long, such as 1s
    #[arg(long, value_name = "TIME", requires = "protocol", value_parser = duration)]
    heartbeat: Option<Duration>,
}

impl FeedArgs {
    /// Returns true if a feed is asked for.
    pub fn is_asked_for(&self) -> bool {
        self.protocol.is_some()
    }

    /// The configuration of the feed, except for what every kind of sending has.
    pub fn config(self, interface: String) -> Result<FeedConfig, SendError> {
        let other = || SendError::OtherEngine { what: "a feed", engine: "socket" };
        let protocol = self.protocol.ok_or_else(other)?;
        let all = Overrides {
            loss: self.loss,
            reorder: self.reorder,
            reorder_by: self.reorder_by,
            duplicate: self.duplicate,
            delay: self.delay,
            jitter: self.jitter,
        };
        let legs = self.legs.into_iter().map(|leg| leg.leg(all)).collect();
        let mut config = FeedConfig::new(interface, protocol, legs);
        config.streams = self.streams;
        (config.messages, config.message_size, config.repack) = (self.messages, self.message_size, self.repack);
        config.plain_ts = self.plain_ts;
        (config.exclusive_loss, config.seed, config.session) = (self.exclusive_loss, self.seed, self.session);
        (config.first_sequence, config.heartbeat) = (self.first_sequence, self.heartbeat);
        Ok(config)
    }
}
