//! A feed as it was asked for: its protocol, its legs, and how it is sequenced.

use std::net::SocketAddr;
use std::time::Duration;

use receiver_feed::arbiter::{Config, PathClass};
use receiver_feed::protocol::{AnyProtocol, Protocol};

/// The most legs of a feed.
pub const MOST_LEGS: usize = 64;

/// How long a feed waits for a missing range, if that is not set.
const WINDOW_NS: u64 = 10_000_000;
/// How long a feed with parity waits for a missing packet, in time and in packets, if that is not set.
const FEC_WINDOW_NS: u64 = 500_000_000;
const FEC_REORDER: u64 = 200;

/// The classes of SMPTE ST 2022-7 by their names in options.
const CLASSES: [(&str, PathClass); 5] = [
    ("A", PathClass::A),
    ("B", PathClass::B),
    ("C", PathClass::C),
    ("C-high-rate", PathClass::CHighRate),
    ("D", PathClass::D),
];

/// A feed that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRequest {
    /// Its name, which no other feed of the run has.
    pub name: String,
    /// The protocol.
    pub protocol: AnyProtocol,
    /// Its legs.
    pub legs: Legs,
    /// How it is sequenced.
    pub options: FeedOptions,
    /// The server that is asked for what is missing.
    pub rerequest: Option<SocketAddr>,
    /// What carries its parity.
    pub fec: Fec,
}

/// The subscriptions that carry the parity of a feed (ST 2022-1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fec {
    /// There is none.
    #[default]
    None,
    /// Those of these names.
    Named(Vec<String>),
    /// Those on the ports of each leg plus 2 (columns) and plus 4 (rows), which the run joins itself.
    NextPorts,
}

impl Fec {
    /// From the port of the media to those of its columns and rows (ST 2022-1, 8.1).
    pub const PORTS: [u16; 2] = [2, 4];

    /// The names of the subscriptions, if they are named.
    pub fn names(&self) -> &[String] {
        if let Self::Named(names) = self { names } else { &[] }
    }
}

/// The legs of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Legs {
    /// All subscriptions that the run starts with, but for those that carry parity.
    All,
    /// The subscriptions of these names.
    Named(Vec<String>),
}

/// How a feed is sequenced. What is not set has the default of [`Config`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedOptions {
    /// How long a missing range is waited for.
    pub window: Option<Duration>,
    /// How many sequence numbers a leg may be ahead of a missing range before it has passed it.
    pub reorder: Option<u64>,
    /// Datagrams that a stream may hold.
    pub held: Option<usize>,
    /// How long a declared gap is open to a late fill.
    pub recovery: Option<Duration>,
    /// After how long without a datagram a stream is stale.
    pub stale: Option<Duration>,
    /// After how long without a datagram a leg is lost while another goes on.
    pub leg_timeout: Option<Duration>,
    /// Streams that are tracked.
    pub streams: Option<usize>,
    /// The class of SMPTE ST 2022-7.
    pub class: Option<PathClass>,
}

impl FeedRequest {
    /// Returns true if the protocol has parity: its datagrams are RTP packets.
    pub fn can_have_parity(protocol: &AnyProtocol) -> bool {
        matches!(protocol, AnyProtocol::Rtp(_) | AnyProtocol::MpegTs(_))
    }

    /// The arbiter's configuration for a number of legs.
    pub fn config(&self, legs: usize) -> Config {
        let config = self.options.config(legs).window_ns(self.window_ns());
        // Parity comes up to a matrix of 100 packets after what it repairs.
        let waits = self.fec != Fec::None && self.options.reorder.is_none();
        if waits { config.reorder(FEC_REORDER) } else { config }
    }

    /// How long a missing range is waited for.
    pub fn window_ns(&self) -> u64 {
        let FeedOptions { window, class, .. } = &self.options;
        let window = window.map(|window| u64::try_from(window.as_nanos()).unwrap_or(u64::MAX));
        let default = if self.fec == Fec::None { WINDOW_NS } else { FEC_WINDOW_NS };
        window.or(class.map(PathClass::nanoseconds)).unwrap_or(default)
    }

    /// A feed of all subscriptions, with the name of its protocol.
    pub fn of_all(protocol: AnyProtocol, options: FeedOptions, fec: Fec) -> Self {
        Self { name: protocol.name().to_owned(), protocol, legs: Legs::All, options, rerequest: None, fec }
    }
}

impl FeedOptions {
    /// These options, and those of `defaults` where these have none.
    #[must_use]
    pub fn or(self, defaults: &Self) -> Self {
        Self {
            window: self.window.or(defaults.window),
            reorder: self.reorder.or(defaults.reorder),
            held: self.held.or(defaults.held),
            recovery: self.recovery.or(defaults.recovery),
            stale: self.stale.or(defaults.stale),
            leg_timeout: self.leg_timeout.or(defaults.leg_timeout),
            streams: self.streams.or(defaults.streams),
            class: self.class.or(defaults.class),
        }
    }

    /// The arbiter's configuration for a number of legs.
    fn config(&self, legs: usize) -> Config {
        let mut config = match self.class {
            Some(class) => Config::st2022_7(legs, class),
            None => Config::new(legs),
        };
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(recovery) = self.recovery {
            config = config.recovery_ns(nanoseconds(recovery));
        }
        if let Some(stale) = self.stale {
            config = config.stale_ns(nanoseconds(stale));
        }
        if let Some(timeout) = self.leg_timeout {
            config = config.leg_timeout_ns(nanoseconds(timeout));
        }
        if let Some(reorder) = self.reorder {
            config = config.reorder(reorder);
        }
        if let Some(held) = self.held {
            config = config.held(held);
        }
        if let Some(streams) = self.streams {
            config = config.max_streams(streams);
        }
        config
    }
}

/// Parses a class of SMPTE ST 2022-7.
///
/// # Errors
/// The text names no class.
pub fn path_class(text: &str) -> Result<PathClass, String> {
    let found = CLASSES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, class)| *class).ok_or_else(|| {
        let known = "A (10 ms), B (50 ms), C (450 ms), C-high-rate (150 ms) or D (150 µs)";
        format!("`{text}` is no class of ST 2022-7; write {known}")
    })
}
