//! What a target is, and its text.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use receiver_send::impair::{Impairment, Share};

use super::super::nats::server::{Dedup, NatsTarget, SCHEME};

/// A target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it is.
    pub kind: Kind,
    /// The most bytes that wait to be written.
    pub limit: Option<u64>,
    /// The subscriptions that it takes, as they are written; all if there is none.
    pub only: Vec<String>,
}

/// The kinds of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Standard output.
    StandardOutput,
    /// Nowhere.
    Discard,
    /// A file or a FIFO.
    File(FileTarget),
    /// A recording as pcapng.
    Recording(RecordingTarget),
    /// Records behind their length. The path `-` is standard output.
    Framed(FileTarget),
    /// A stream of NATS JetStream.
    Nats(Box<NatsTarget>),
    /// UDP to another host or group.
    Udp(UdpTarget),
    /// The path of a Unix datagram socket.
    Unix(String),
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTarget {
    /// Its path. If `timed`, `%Y` and the like stand in its name for the time at which a file begins.
    pub path: String,
    /// True if the path was written with `file:`.
    pub timed: bool,
    /// Bytes after which a new file begins.
    pub rotate: Option<u64>,
    /// The period whose boundaries, counted from 1970 in UTC, begin a new file.
    pub every: Option<Duration>,
    /// Finished files that stay; older ones are deleted.
    pub keep: Option<u32>,
}

/// A recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingTarget {
    /// Its files. The path `-` is standard output.
    pub file: FileTarget,
    /// True if `compress=zstd` stands there.
    pub zstd: bool,
    /// True if each packet gets a comment.
    pub comments: bool,
}

/// A UDP relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpTarget {
    /// An address or a host's name, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The interface by which a group is reached.
    pub interface: Option<String>,
    /// The time to live, or the hop limit.
    pub ttl: Option<u8>,
    /// The address to send from.
    pub source: Option<IpAddr>,
    /// How long after its arrival a datagram leaves.
    pub delay: Duration,
    /// What happens to datagrams on purpose, without its delay and jitter.
    pub impairment: Impairment,
    /// What it follows from.
    pub seed: u64,
    /// True if sockets of this host get what is sent to a group.
    pub looped: bool,
}

/// Returns true if `%Y` or the like stands in a file's name.
pub fn has_times(name: &str) -> bool {
    name.replace("%%", "").contains('%')
}

impl FileTarget {
    /// A path alone, which is taken as it is.
    pub fn plain(path: &str) -> Self {
        Self { path: path.to_owned(), timed: false, rotate: None, every: None, keep: None }
    }

    /// Returns true if what would be in the file goes to standard output, for the kinds that take `-`.
    pub fn is_standard_output(&self) -> bool {
        self.path == "-"
    }

    fn options(&self, mut add: impl FnMut(&str, Option<String>)) {
        add("rotate", self.rotate.map(|bytes| bytes.to_string()));
        add("every", self.every.map(shown));
        add("keep", self.keep.map(|files| files.to_string()));
    }
}

impl RecordingTarget {
    /// Returns true if the packets go to standard output.
    pub fn is_standard_output(&self) -> bool {
        self.file.is_standard_output()
    }

    /// Returns true if the files are compressed: on request, or because their name ends with `.zst`.
    pub fn compresses(&self) -> bool {
        self.zstd || self.file.path.ends_with(".zst")
    }
}

impl Kind {
    /// The target without its options, as messages name it.
    pub fn name(&self) -> String {
        match self {
            Self::StandardOutput => "standard output".to_owned(),
            Self::Discard => "discard:".to_owned(),
            Self::Recording(RecordingTarget { file, .. }) | Self::Framed(file) if file.is_standard_output() => {
                "standard output".to_owned()
            }
            Self::File(file) | Self::Recording(RecordingTarget { file, .. }) | Self::Framed(file) => file.path.clone(),
            Self::Nats(target) => format!("{}{}/{}", SCHEME, target.server.address(), target.stream),
            Self::Udp(udp) => format!("udp://{}", udp.address()),
            Self::Unix(path) => format!("unix:{path}"),
        }
    }
}

impl UdpTarget {
    /// Host and port.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// As it is parsed.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options: Vec<String> = Vec::new();
        let mut add = |key: &str, value: Option<String>| options.extend(value.map(|value| format!("{key}={value}")));
        match &self.kind {
            Kind::StandardOutput => f.write_str("-")?,
            Kind::Discard => f.write_str("discard:")?,
            Kind::Unix(path) => write!(f, "unix:{path}")?,
            Kind::File(file) => {
                write!(f, "{}{}", if file.timed { "file:" } else { "" }, file.path)?;
                file.options(&mut add);
            }
            Kind::Recording(target) => {
                write!(f, "pcapng:{}", target.file.path)?;
                target.file.options(&mut add);
                add("compress", target.zstd.then(|| "zstd".to_owned()));
                add("comments", target.comments.then(|| "yes".to_owned()));
            }
            Kind::Framed(file) => {
                write!(f, "framed:{}", file.path)?;
                file.options(&mut add);
            }
            Kind::Nats(target) => {
                f.write_str(&self.kind.name())?;
                nats_options(target, &mut add);
            }
            Kind::Udp(udp) => {
                write!(f, "udp://{}", udp.address())?;
                add("interface", udp.interface.clone());
                add("ttl", udp.ttl.map(|ttl| ttl.to_string()));
                add("source", udp.source.map(|source| source.to_string()));
                add("delay", Some(shown(udp.delay)));
                let is_group = udp.interface.is_some();
                let Impairment { loss, reorder, reorder_by, duplicate, .. } = udp.impairment;
                for (key, share) in [("loss", loss), ("reorder", reorder), ("duplicate", duplicate)] {
                    add(key, (share > Share::ZERO).then(|| share.to_string()));
                }
                if udp.impairment.changes_packets() {
                    add("reorder-by", Some(reorder_by.to_string()));
                    add("seed", Some(udp.seed.to_string()));
                }
                add("loop", is_group.then(|| if udp.looped { "yes" } else { "no" }.to_owned()));
            }
        }
        for only in &self.only {
            add("only", Some(only.clone()));
        }
        add("limit", self.limit.map(|bytes| bytes.to_string()));
        if options.is_empty() { Ok(()) } else { write!(f, "?{}", options.join("&")) }
    }
}

/// The options of a stream.
fn nats_options(target: &NatsTarget, mut add: impl FnMut(&str, Option<String>)) {
    add("subject", Some(target.subject.clone()));
    add("window", Some(target.window.to_string()));
    add("on_full", Some(if target.blocks { "block" } else { "drop" }.to_owned()));
    add(
        "dedup",
        Some(match target.dedup {
            Dedup::Auto => "auto".to_owned(),
            Dedup::Content => "content".to_owned(),
            Dedup::Protocol(protocol) => protocol.to_string(),
        }),
    );
    add("create", target.create.then(|| "yes".to_owned()));
    add("dedup_window", target.create.then(|| shown(target.dedup_window)));
    add("timeout", Some(shown(target.timeout)));
    add("flush", Some(shown(target.flush)));
    add("order", target.strict.then(|| "strict".to_owned()));
    target.server.options(add);
}

/// A length of time as [`time`](super::options::time) reads it, in its longest whole unit.
fn shown(time: Duration) -> String {
    const UNITS: [(&str, u128); 6] = [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    let nanoseconds = time.as_nanos();
    let fits = |(_, factor): &(&str, u128)| nanoseconds > 0 && nanoseconds.is_multiple_of(*factor);
    UNITS
        .into_iter()
        .find(fits)
        .map_or_else(|| "0s".to_owned(), |(unit, factor)| format!("{}{unit}", nanoseconds / factor))
}
