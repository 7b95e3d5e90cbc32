//! The text of a target: one grammar for the command line and the configuration. Nothing here opens anything.
//!
//! | text | where datagrams go |
//! | --- | --- |
//! | `-` | standard output |
//! | `discard:` | nowhere |
//! | `PATH`, `file:PATH` | a file, or a FIFO |
//! | `udp://HOST:PORT`, `udp://GROUP:PORT?interface=NAME` | a UDP relay |
//! | `unix:PATH` | a Unix datagram socket |
//!
//! `?KEY=VALUE&KEY=VALUE` follows each of them, other than a path alone. No value contains `&`.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::values;

/// The longest time that a relay may hold a datagram.
pub const LONGEST_DELAY: Duration = Duration::from_secs(1);
/// The time that a relay holds each datagram if the target names none.
pub const DEFAULT_DELAY: Duration = Duration::from_millis(5);
/// The longest period of `every`.
const LONGEST_PERIOD: Duration = Duration::from_secs(366 * 86_400);
/// The longest path of a Unix socket, in bytes.
const LONGEST_UNIX_PATH: usize = 107;

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
    /// Returns true if the path was written with `file:`.
    pub timed: bool,
    /// Bytes after which a new file begins.
    pub rotate: Option<u64>,
    /// The period whose boundaries, counted from 1970 in UTC, begin a new file.
    pub every: Option<Duration>,
    /// Finished files that stay; older ones are deleted.
    pub keep: Option<u32>,
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
    /// Returns true if sockets of this host get what is sent to a group.
    pub looped: bool,
}

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the target {target} is refused: {problem}")]
pub struct TargetError {
    /// The text.
    pub target: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It has no text.
    #[error("it is empty; write a path, -, discard:, udp://HOST:PORT or unix:PATH")]
    Empty,
    /// It has no path.
    #[error("it has no path; write {0}PATH")]
    NoPath(&'static str),
    /// A byte of value 0 cannot be part of a path.
    #[error("a path cannot contain a byte of value 0; remove it")]
    Nul,
    /// No kind of target begins in this way.
    #[error("{0} is no kind of target; write {1}")]
    UnknownKind(String, String),
    /// Options behind a path alone.
    #[error("a path alone takes no options; write file:{0}")]
    OptionsOfPath(String),
    /// A part without `=`.
    #[error("`{0}` is no option; write KEY=VALUE")]
    NoValue(String),
    /// A key that the kind does not have.
    #[error("the key `{key}` is unknown; {remedy}")]
    UnknownKey {
        /// The key.
        key: String,
        /// The nearest key, or all.
        remedy: String,
    },
    /// A key that stands there twice.
    #[error("the key `{0}` has two values; keep one of them")]
    Twice(String),
    /// A value that the key does not take.
    #[error("the value of `{key}` is `{value}`; write {remedy}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What to write.
        remedy: &'static str,
    },
    /// `keep` without anything that finishes a file.
    #[error("`keep` has nothing to count, since no file is ever finished; add rotate=SIZE or every=TIME")]
    KeepAlone,
    /// A conversion that the name of a file cannot have.
    #[error("`{0}` in the name is unknown; write %Y, %m, %d, %H, %M, %S, or %% for a percent sign")]
    Conversion(String),
    /// A conversion in a folder's name.
    #[error("a folder of the path contains `%`; write times in the file's name alone, and %% for a percent sign there")]
    TimedFolder,
    /// No host and port.
    #[error("`{0}` is no host and port; write HOST:PORT, with an IPv6 address in brackets")]
    HostPort(String),
    /// A group without an interface.
    #[error("{0} is a group; add interface=NAME, the interface by which it is sent")]
    NoInterface(String),
    /// An option for groups alone.
    #[error("`{0}` is for groups, and {1} is none; remove it")]
    GroupsOnly(&'static str, String),
    /// Source and destination of two families.
    #[error("the source {0} and {1} are of different IP versions; write a source of the same version")]
    Version(IpAddr, String),
    /// The path of a Unix socket is too long.
    #[error("its path has {0} bytes, and a Unix socket's has up to 107; write a shorter one")]
    LongUnixPath(usize),
}

/// The keys of each kind.
const COMMON_KEYS: [&str; 2] = ["only", "limit"];
const FILE_KEYS: [&str; 5] = ["rotate", "every", "keep", "only", "limit"];
const UDP_KEYS: [&str; 7] = ["interface", "ttl", "source", "delay", "loop", "only", "limit"];

/// How the kinds are written, for suggestions.
const SCHEMES: [&str; 4] = ["discard:", "file:", "udp://", "unix:"];

/// Parses a target.
///
/// # Errors
/// The text is no target.
pub fn parse(text: &str) -> Result<Target, TargetError> {
    target(text).map_err(|problem| TargetError { target: text.to_owned(), problem })
}

fn target(text: &str) -> Result<Target, Problem> {
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    if text.contains('\0') {
        return Err(Problem::Nul);
    }
    let (head, options) = text.split_once('?').map_or((text, None), |(head, options)| (head, Some(options)));
    if head == "-" {
        let mut options = Options::new(options, &COMMON_KEYS)?;
        return options.target(Kind::StandardOutput);
    }
    if let Some(rest) = head.strip_prefix("discard:") {
        if !rest.is_empty() {
            return Err(Problem::UnknownKind(head.to_owned(), "discard: with nothing behind it".to_owned()));
        }
        return Options::new(options, &COMMON_KEYS)?.target(Kind::Discard);
    }
    if let Some(path) = head.strip_prefix("file:") {
        return file(path, Options::new(options, &FILE_KEYS)?);
    }
    if let Some(address) = head.strip_prefix("udp://") {
        return udp(address, Options::new(options, &UDP_KEYS)?);
    }
    if let Some(path) = head.strip_prefix("unix:") {
        return unix(path, Options::new(options, &COMMON_KEYS)?);
    }
    if let Some(kind) = scheme(head) {
        let near = nearest(kind, &SCHEMES).map_or_else(
            || format!("{}, or ./{kind}... for a path", SCHEMES.join(", ")),
            |near| format!("{near}, or ./{kind}... for a path"),
        );
        return Err(Problem::UnknownKind(kind.to_owned(), near));
    }
    // A path may contain a question mark, unless an option seems to be meant.
    let key = options.and_then(|options| options.split_once('=')).map(|(key, _)| key);
    if key.is_some_and(|key| FILE_KEYS.contains(&key)) {
        return Err(Problem::OptionsOfPath(text.to_owned()));
    }
    Ok(Target { kind: Kind::File(FileTarget::plain(text)), limit: None, only: Vec::new() })
}

/// A word, a colon and two slashes, and what is one letter away from a known kind.
fn scheme(head: &str) -> Option<&str> {
    let colon = head.find(':')?;
    let word = &head[..colon];
    let is_word = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric());
    let slashes = head[colon + 1..].starts_with("//");
    let end = if slashes { colon + 3 } else { colon + 1 };
    let known = SCHEMES.map(|scheme| scheme.trim_end_matches('/'));
    let is_near = known.iter().any(|scheme| strsim::damerau_levenshtein(&head[..=colon], scheme) <= 1);
    (is_word && (slashes || is_near)).then_some(&head[..end])
}

/// The known word that is nearest to a mistyped one.
fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let distance = |known: &str| strsim::damerau_levenshtein(word, known);
    known.iter().copied().min_by_key(|known| distance(known)).filter(|known| distance(known) <= 1 + word.len() / 3)
}

fn file(path: &str, mut options: Options<'_>) -> Result<Target, Problem> {
    if path.is_empty() {
        return Err(Problem::NoPath("file:"));
    }
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.is_empty() {
        return Err(Problem::NoPath("file:"));
    }
    if folder.contains('%') {
        return Err(Problem::TimedFolder);
    }
    let mut characters = name.chars();
    while let Some(c) = characters.next() {
        if c == '%' {
            match characters.next() {
                Some('Y' | 'm' | 'd' | 'H' | 'M' | 'S' | '%') => {}
                other => return Err(Problem::Conversion(other.map_or("%".to_owned(), |c| format!("%{c}")))),
            }
        }
    }
    let rotate =
        options.parsed("rotate", "a size such as 1GiB or 500M", |text| size(text).filter(|&bytes| bytes > 0))?;
    let every = options.parsed("every", "a whole number of seconds, minutes, hours or days, such as 1h", |text| {
        time(text).filter(|time| time.subsec_nanos() == 0 && !time.is_zero() && *time <= LONGEST_PERIOD)
    })?;
    let keep = options
        .parsed("keep", "a number of files from 1 on", |text| text.parse::<u32>().ok().filter(|&files| files > 0))?;
    let is_timed = name.replace("%%", "").contains('%');
    if keep.is_some() && rotate.is_none() && every.is_none() && !is_timed {
        return Err(Problem::KeepAlone);
    }
    let path = path.to_owned();
    options.target(Kind::File(FileTarget { path, timed: true, rotate, every, keep }))
}

fn udp(address: &str, mut options: Options<'_>) -> Result<Target, Problem> {
    let (host, port) = host_port(address).ok_or_else(|| Problem::HostPort(address.to_owned()))?;
    let interface = options.parsed("interface", "the name of an interface, such as eth1", |text| {
        let is_name = (1..16).contains(&text.len()) && !text.contains(['/', ' ']);
        is_name.then(|| text.to_owned())
    })?;
    let ttl = options.parsed("ttl", "a number from 1 to 255", |text| text.parse::<u8>().ok().filter(|&ttl| ttl > 0))?;
    let source =
        options.parsed("source", "an address of this host, without a port", |text| text.parse::<IpAddr>().ok())?;
    let delay = options.parsed("delay", "a time up to 1s, such as 20ms; 0 sends each datagram at once", |text| {
        time(text).filter(|&time| time <= LONGEST_DELAY)
    })?;
    let looped = options.parsed("loop", "yes or no", |text| match text {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    })?;
    let literal = host.parse::<IpAddr>().ok();
    let shown = host.to_owned();
    if literal.is_some_and(|address| address.is_multicast()) {
        if interface.is_none() {
            return Err(Problem::NoInterface(shown));
        }
    } else if interface.is_some() {
        return Err(Problem::GroupsOnly("interface", shown));
    } else if looped.is_some() {
        return Err(Problem::GroupsOnly("loop", shown));
    }
    let differs = |source: &IpAddr| literal.is_some_and(|address| address.is_ipv4() != source.is_ipv4());
    if let Some(source) = source.filter(differs) {
        return Err(Problem::Version(source, shown));
    }
    options.target(Kind::Udp(UdpTarget {
        host: host.to_owned(),
        port,
        interface,
        ttl,
        source,
        delay: delay.unwrap_or(DEFAULT_DELAY),
        looped: looped.unwrap_or(false),
    }))
}

fn host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|&port| port != 0)?;
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']')?;
        return inner.parse::<std::net::Ipv6Addr>().ok().map(|_| (inner, port));
    }
    let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    is_host.then_some((host, port))
}

fn unix(path: &str, mut options: Options<'_>) -> Result<Target, Problem> {
    match path.len() {
        0 => Err(Problem::NoPath("unix:")),
        length if length > LONGEST_UNIX_PATH => Err(Problem::LongUnixPath(length)),
        _ => options.target(Kind::Unix(path.to_owned())),
    }
}

fn size(text: &str) -> Option<u64> {
    values::size(text).ok()
}

fn time(text: &str) -> Option<Duration> {
    values::duration(text).ok()
}

/// A length of time as [`time`] reads it, in its longest whole unit.
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

/// The options of a target, which are taken out one by one.
struct Options<'a> {
    values: Vec<(&'a str, &'a str)>,
}

impl<'a> Options<'a> {
    fn new(text: Option<&'a str>, keys: &[&'static str]) -> Result<Self, Problem> {
        let mut values: Vec<(&str, &str)> = Vec::new();
        for part in text.into_iter().flat_map(|text| text.split('&')) {
            let (key, value) = part.split_once('=').ok_or_else(|| Problem::NoValue(part.to_owned()))?;
            if !keys.contains(&key) {
                let remedy = nearest(key, keys).map_or_else(
                    || format!("the keys are {}", keys.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                return Err(Problem::UnknownKey { key: key.to_owned(), remedy });
            }
            if key != "only" && values.iter().any(|(other, _)| *other == key) {
                return Err(Problem::Twice(key.to_owned()));
            }
            values.push((key, value));
        }
        Ok(Self { values })
    }

    /// The value of a key, if it has one.
    fn parsed<T>(
        &mut self,
        key: &'static str,
        remedy: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some((_, text)) = self.values.iter().find(|(other, _)| *other == key) else { return Ok(None) };
        match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(Problem::Value { key, value: (*text).to_owned(), remedy }),
        }
    }

    /// With the options that all kinds have.
    fn target(&mut self, kind: Kind) -> Result<Target, Problem> {
        let limit = self.parsed("limit", "a size such as 64MiB", |text| size(text).filter(|&bytes| bytes > 0))?;
        let only: Vec<String> =
            self.values.iter().filter(|(key, _)| *key == "only").map(|(_, text)| (*text).to_owned()).collect();
        if only.iter().any(String::is_empty) {
            return Err(Problem::Value { key: "only", value: String::new(), remedy: "a subscription, or GROUP:PORT" });
        }
        Ok(Target { kind, limit, only })
    }
}

impl FileTarget {
    /// A path alone, which is taken as it is.
    pub fn plain(path: &str) -> Self {
        Self { path: path.to_owned(), timed: false, rotate: None, every: None, keep: None }
    }
}

impl Kind {
    /// The target without its options, as messages name it.
    pub fn name(&self) -> String {
        match self {
            Self::StandardOutput => "standard output".to_owned(),
            Self::Discard => "discard:".to_owned(),
            Self::File(file) => file.path.clone(),
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
                add("rotate", file.rotate.map(|bytes| bytes.to_string()));
                add("every", file.every.map(shown));
                add("keep", file.keep.map(|files| files.to_string()));
            }
            Kind::Udp(udp) => {
                write!(f, "udp://{}", udp.address())?;
                add("interface", udp.interface.clone());
                add("ttl", udp.ttl.map(|ttl| ttl.to_string()));
                add("source", udp.source.map(|source| source.to_string()));
                add("delay", Some(shown(udp.delay)));
                let is_group = udp.interface.is_some();
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn the_kinds() {
        let kind = |text| parse(text).expect(text).kind;
        assert_eq!(kind("-"), Kind::StandardOutput);
        assert_eq!(kind("-?limit=1MiB"), Kind::StandardOutput);
        assert_eq!(kind("discard:"), Kind::Discard);
        assert_eq!(kind("unix:/run/reader"), Kind::Unix("/run/reader".to_owned()));
        for path in ["file", "./-", "./discard:", "/dev/null", "a?b", "a%Hb", "C:file", "a:b"] {
            assert_eq!(kind(path), Kind::File(FileTarget::plain(path)), "{path}");
        }
        let file = FileTarget {
            path: "/data/%Y%m%d-%H%M%S.raw".to_owned(),
            timed: true,
            rotate: Some(1 << 30),
            every: Some(Duration::from_secs(3600)),
            keep: Some(24),
        };
        assert_eq!(kind("file:/data/%Y%m%d-%H%M%S.raw?rotate=1GiB&every=1h&keep=24"), Kind::File(file));
        let relay = UdpTarget {
            host: "239.1.1.1".to_owned(),
            port: 5000,
            interface: Some("veth1".to_owned()),
            ttl: Some(16),
            source: Some(IpAddr::from([10, 0, 0, 9])),
            delay: Duration::from_millis(20),
            looped: false,
        };
        assert_eq!(
            kind("udp://239.1.1.1:5000?interface=veth1&ttl=16&source=10.0.0.9&delay=20ms&loop=no"),
            Kind::Udp(relay)
        );
        let target =
            parse("udp://[2001:db8::1]:5000?only=232.1.1.1:5000&only=232.1.1.2:5000&limit=64MiB").expect("two");
        assert_eq!((target.only.len(), target.limit), (2, Some(64 << 20)));
    }

    #[test]
    fn each_refusal_names_key_reason_and_remedy() {
        for (text, problem) in [
            ("", "it is empty; write a path, -, discard:, udp://HOST:PORT or unix:PATH"),
            ("file:", "it has no path; write file:PATH"),
            ("file:/data/", "it has no path; write file:PATH"),
            ("unix:", "it has no path; write unix:PATH"),
            ("a\0b", "a path cannot contain a byte of value 0; remove it"),
            ("upd://10.0.0.1:1", "upd:// is no kind of target; write udp://, or ./upd://... for a path"),
            ("udp:10.0.0.1:1", "udp: is no kind of target; write udp://, or ./udp:... for a path"),
            ("discard:x", "discard:x is no kind of target; write discard: with nothing behind it"),
            ("a.raw?rotate=1GiB", "a path alone takes no options; write file:a.raw?rotate=1GiB"),
            ("file:a?rotate", "`rotate` is no option; write KEY=VALUE"),
            ("file:a?rotat=1", "the key `rotat` is unknown; did you mean `rotate`?"),
            ("unix:a?colour=1", "the key `colour` is unknown; the keys are only, limit"),
            ("file:a?rotate=1&rotate=2", "the key `rotate` has two values; keep one of them"),
            ("file:a?rotate=x", "the value of `rotate` is `x`; write a size such as 1GiB or 500M"),
            (
                "file:a?every=1ms",
                "the value of `every` is `1ms`; write a whole number of seconds, minutes, hours or days, such as 1h",
            ),
            (
                "file:a?keep=2",
                "`keep` has nothing to count, since no file is ever finished; add rotate=SIZE or every=TIME",
            ),
            ("file:a%q", "`%q` in the name is unknown; write %Y, %m, %d, %H, %M, %S, or %% for a percent sign"),
            (
                "file:%Y/a",
                "a folder of the path contains `%`; write times in the file's name alone, and %% for a percent sign \
                 there",
            ),
            ("udp://x", "`x` is no host and port; write HOST:PORT, with an IPv6 address in brackets"),
            (
                "udp://2001:db8::1:1",
                "`2001:db8::1:1` is no host and port; write HOST:PORT, with an IPv6 address in brackets",
            ),
            ("udp://h:0", "`h:0` is no host and port; write HOST:PORT, with an IPv6 address in brackets"),
            ("udp://239.1.1.1:1", "239.1.1.1 is a group; add interface=NAME, the interface by which it is sent"),
            ("udp://10.0.0.1:1?interface=e", "`interface` is for groups, and 10.0.0.1 is none; remove it"),
            (
                "udp://10.0.0.1:1?source=::1",
                "the source ::1 and 10.0.0.1 are of different IP versions; write a source of the same version",
            ),
            (
                "udp://10.0.0.1:1?delay=2s",
                "the value of `delay` is `2s`; write a time up to 1s, such as 20ms; 0 sends each datagram at once",
            ),
        ] {
            assert_eq!(refused(text), format!("the target {text} is refused: {problem}"));
        }
        let long = format!("unix:{}", "x".repeat(108));
        assert!(
            refused(&long).ends_with("its path has 108 bytes, and a Unix socket's has up to 107; write a shorter one")
        );
    }

    fn texts() -> impl Strategy<Value = String> {
        let head = prop_oneof![
            Just("-".to_owned()),
            Just("discard:".to_owned()),
            "file:[a-z/%YmdHMS.]{1,12}",
            "udp://(10\\.0\\.0\\.1|239\\.1\\.1\\.1|\\[ff3e::1\\]|host):[0-9]{1,5}",
            "unix:[a-z/]{1,20}",
            "[a-z:/?%.-]{1,12}",
        ];
        let option = "(rotate|every|keep|limit|interface|ttl|source|delay|loop|only)=[0-9]{0,3}[a-zA-Z.:]{0,4}";
        (head, proptest::collection::vec(option, 0..4))
            .prop_map(|(head, options)| if options.is_empty() { head } else { format!("{head}?{}", options.join("&")) })
    }

    proptest! {
        #[test]
        fn a_target_is_written_as_it_is_parsed(text in texts()) {
            if let Ok(target) = parse(&text) {
                prop_assert_eq!(parse(&target.to_string()), Ok(target));
            }
        }

        #[test]
        fn any_text_is_a_target_or_refused(text in ".*") {
            match parse(&text) {
                Ok(target) => prop_assert_eq!(parse(&target.to_string()), Ok(target)),
                Err(error) => prop_assert!(error.to_string().contains(&text)),
            }
        }
    }
}
