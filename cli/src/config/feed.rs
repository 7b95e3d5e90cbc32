//! `[[feed]]` in a configuration file.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::time::Duration;

use receiver_feed::protocol::{AnyProtocol, Protocol};
use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use crate::feeds::{Fec, FeedOptions, FeedRequest, Legs, path_class};
use crate::suggest::closest;
use crate::values::{count, duration, name, positive_count};

/// A feed in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// What is asked for.
    pub request: FeedRequest,
    /// Counted from 1.
    pub line: usize,
}

/// A feed: subscriptions that carry the same sequenced streams. Each one has its own `[[feed]]`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeedTable {
    /// A name for messages and figures. Default: that of the protocol.
    #[schemars(with = "Option<String>")]
    name: Option<Spanned<String>>,
    /// The protocol, as `--feed` has it.
    #[schemars(with = "String")]
    protocol: Spanned<String>,
    /// The names of the subscriptions that are its legs. Without this key all subscriptions are.
    #[schemars(with = "Option<Vec<String>>")]
    legs: Option<Vec<Spanned<String>>>,
    /// How long a missing range is waited for. Default: 10ms, or that of the class.
    #[schemars(with = "Option<Word>")]
    window: Option<Spanned<Word>>,
    /// How many sequence numbers beyond a missing range a leg must be before it has passed the range. Default: 0.
    #[schemars(with = "Option<Word>")]
    reorder: Option<Spanned<Word>>,
    /// Datagrams that a stream may hold. Default: 4096, or what the class takes.
    #[schemars(with = "Option<Word>")]
    held: Option<Spanned<Word>>,
    /// How long a declared gap is open to a late fill. Default: 1s, or 0 with a class.
    #[schemars(with = "Option<Word>")]
    recovery: Option<Spanned<Word>>,
    /// After how long without a datagram a stream is stale. Default: 5s.
    #[schemars(with = "Option<Word>")]
    stale: Option<Spanned<Word>>,
    /// After how long without a datagram a leg is lost while another goes on. Default: 1s.
    #[schemars(with = "Option<Word>")]
    leg_timeout: Option<Spanned<Word>>,
    /// Streams that are tracked. Default: 16384.
    #[schemars(with = "Option<Word>")]
    streams: Option<Spanned<Word>>,
    /// The class of SMPTE ST 2022-7, as `--feed-class` has it.
    #[schemars(with = "Option<String>")]
    class: Option<Spanned<String>>,
    /// ADDRESS:PORT of a server that is asked for what is missing. Only for moldudp64.
    #[schemars(with = "Option<String>")]
    rerequest: Option<Spanned<String>>,
    /// `true` for parity by ST 2022-1 on the ports of each leg plus 2 and plus 4, which are joined too; or the names of
    /// the subscriptions that carry it. Only for rtp and mpeg-ts in RTP.
    #[schemars(with = "Option<FecWord>")]
    fec: Option<Spanned<FecWord>>,
}

/// The keys of the table.
pub const KEYS: [&str; 13] = [
    "name",
    "protocol",
    "legs",
    "window",
    "reorder",
    "held",
    "recovery",
    "stale",
    "leg_timeout",
    "streams",
    "class",
    "rerequest",
    "fec",
];

/// Whether there is parity, or which subscriptions carry it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum FecWord {
    Ports(bool),
    Names(Vec<String>),
}

impl From<FecWord> for Fec {
    fn from(word: FecWord) -> Self {
        match word {
            FecWord::Ports(true) => Self::NextPorts,
            FecWord::Ports(false) => Self::None,
            FecWord::Names(names) if names.is_empty() => Self::None,
            FecWord::Names(names) => Self::Named(names),
        }
    }
}

/// A text or a number.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Word {
    Text(String),
    Integer(i64),
    Float(f64),
}

impl Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
        }
    }
}

/// Where a fault is in the file, and what it is.
type Fault = (std::ops::Range<usize>, String);

impl FeedTable {
    /// What is asked for. `add` takes the faults.
    pub fn request(self, add: &mut impl FnMut(Fault)) -> Option<FeedRequest> {
        let protocol = protocol(self.protocol.get_ref()).map_err(|error| add((self.protocol.span(), error))).ok()?;
        let name = match self.name {
            None => protocol.name().to_owned(),
            Some(given) => {
                if let Err(reason) = name(given.get_ref()) {
                    let shown = receiver::printable(given.get_ref(), 100);
                    add((given.span(), format!("the name `{shown}` of a feed is not valid: {reason}")));
                }
                given.into_inner()
            }
        };
        let options = FeedOptions {
            window: parsed("window", &self.window, positive_time, add),
            reorder: parsed("reorder", &self.reorder, count, add),
            held: parsed("held", &self.held, |text| positive_count::<u64>(text).map(|held| held as usize), add),
            recovery: parsed("recovery", &self.recovery, duration, add),
            stale: parsed("stale", &self.stale, positive_time, add),
            leg_timeout: parsed("leg_timeout", &self.leg_timeout, positive_time, add),
            streams: parsed("streams", &self.streams, |text| positive_count::<u32>(text).map(|n| n as usize), add),
            class: parsed("class", &self.class, path_class, add),
        };
        let rerequest = parsed("rerequest", &self.rerequest, server, add);
        if let (Some(place), false) = (&self.rerequest, matches!(protocol, AnyProtocol::MoldUdp64(_))) {
            let message = format!("`rerequest` is for moldudp64, not for {protocol}; remove it");
            add((place.span(), message));
        }
        if let (Some(place), false) = (&self.fec, FeedRequest::can_have_parity(&protocol)) {
            let message = format!("`fec` is for rtp and mpeg-ts, not for {protocol}; remove it");
            add((place.span(), message));
        }
        let fec = self.fec.map(|fec| fec.into_inner().into()).unwrap_or_default();
        let legs = self.legs.map_or(Legs::All, |legs| Legs::Named(legs.into_iter().map(Spanned::into_inner).collect()));
        Some(FeedRequest { name, protocol, legs, options, rerequest, fec })
    }
}

fn server(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(server) if server.port() != 0 && !server.ip().is_unspecified() && !server.ip().is_multicast() => Ok(server),
        _ => Err("it is a unicast address and a port, such as 10.0.0.9:5100 or [2001:db8::9]:5100".to_owned()),
    }
}

fn protocol(text: &str) -> Result<AnyProtocol, String> {
    text.parse().map_err(|error: receiver_feed::protocol::UnknownProtocol| {
        let text = receiver::printable(text, 100);
        match closest(&text, AnyProtocol::names()) {
            Some(meant) => format!("there is no feed protocol `{text}`; did you mean `{meant}`?"),
            None => receiver::printable(&error.to_string(), 400),
        }
    })
}

fn parsed<W: Display, T>(
    key: &str,
    word: &Option<Spanned<W>>,
    parse: impl Fn(&str) -> Result<T, String>,
    add: &mut impl FnMut(Fault),
) -> Option<T> {
    let word = word.as_ref()?;
    let text = word.get_ref().to_string();
    let refused = |reason| format!("`{key}` cannot be `{}`: {reason}", receiver::printable(&text, 100));
    parse(&text).map_err(|reason| add((word.span(), refused(reason)))).ok()
}

/// A length of time that is not 0.
pub fn positive_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("`{text}` is no time; write a length of time such as 10ms")),
        time => Ok(time),
    }
}
