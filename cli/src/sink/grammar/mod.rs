//! The text of a target: one grammar for the command line and the configuration. Nothing here opens anything.
//!
//! | text | where datagrams go |
//! | --- | --- |
//! | `-` | standard output |
//! | `discard:` | nowhere |
//! | `PATH`, `file:PATH` | a file, or a FIFO |
//! | `pcapng:PATH`, `pcapng:-` | a recording, in a file or to standard output |
//! | `framed:PATH`, `framed:-` | records behind their length, in a file or to standard output |
//! | `nats://HOST:PORT/STREAM` | a stream of NATS JetStream |
//! | `udp://HOST:PORT`, `udp://GROUP:PORT?interface=NAME` | a UDP relay |
//! | `unix:PATH` | a Unix datagram socket |
//!
//! `?KEY=VALUE&KEY=VALUE` follows each of them, other than a path alone. No value contains `&`.

pub mod nats;
mod options;
mod problem;
mod target;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use receiver_send::impair::{Impairment, Share};

use super::nats::server::SCHEME;
use crate::suggest::closest;
use options::{host_port, size, time, yes_or_no};

pub use options::Options;
pub use problem::{Problem, TargetError};
pub use target::{FileTarget, Kind, RecordingTarget, Target, UdpTarget, has_times};

/// The longest time that a relay may hold a datagram.
const LONGEST_DELAY: Duration = Duration::from_secs(1);
/// The time that a relay holds each datagram if the target names none.
const DEFAULT_DELAY: Duration = Duration::from_millis(5);
/// The longest period of `every`.
const LONGEST_PERIOD: Duration = Duration::from_secs(366 * 86_400);
/// The seed of what happens to datagrams on purpose.
const DEFAULT_SEED: u64 = 1;
/// The longest path of a Unix socket, in bytes.
const LONGEST_UNIX_PATH: usize = 107;

/// The keys of each kind.
const COMMON_KEYS: [&str; 2] = ["only", "limit"];
const FILE_KEYS: [&str; 5] = ["rotate", "every", "keep", "only", "limit"];
const RECORDING_KEYS: [&str; 7] = ["rotate", "every", "keep", "compress", "comments", "only", "limit"];
const UDP_KEYS: [&str; 12] = [
    "interface",
    "ttl",
    "source",
    "delay",
    "loop",
    "loss",
    "reorder",
    "reorder-by",
    "duplicate",
    "seed",
    "only",
    "limit",
];
/// The most packets that overtake one that is held back.
const MOST_REORDER_BY: u32 = 1000;

/// How the kinds are written, for suggestions.
const SCHEMES: [&str; 7] = ["discard:", "file:", "framed:", "nats://", "pcapng:", "udp://", "unix:"];

/// Parses a target.
///
/// # Errors
/// The text is no target.
pub fn parse(text: &str) -> Result<Target, TargetError> {
    target(text).map_err(|problem| TargetError { target: without_secret(text, &problem), problem })
}

/// The text as a message may repeat it.
fn without_secret(text: &str, problem: &Problem) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) if *problem == Problem::SecretInText => format!("{SCHEME}...@{rest}"),
        _ => text.to_owned(),
    }
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
        return Options::new(options, &COMMON_KEYS)?.target(Kind::StandardOutput);
    }
    if let Some(rest) = head.strip_prefix("discard:") {
        if !rest.is_empty() {
            return Err(Problem::UnknownKind(head.to_owned(), "discard: with nothing behind it".to_owned()));
        }
        return Options::new(options, &COMMON_KEYS)?.target(Kind::Discard);
    }
    if let Some(path) = head.strip_prefix("file:") {
        let options = Options::new(options, &FILE_KEYS)?;
        let file = file("file:", path, &options)?;
        return options.target(Kind::File(file));
    }
    if let Some(path) = head.strip_prefix("pcapng:") {
        return recording(path, Options::new(options, &RECORDING_KEYS)?);
    }
    if let Some(path) = head.strip_prefix("framed:") {
        let options = Options::new(options, &FILE_KEYS)?;
        let file = file("framed:", path, &options)?;
        if file.is_standard_output() {
            files_only(&file, None, "framed:")?;
        }
        return options.target(Kind::Framed(file));
    }
    if let Some(address) = head.strip_prefix(SCHEME) {
        let options = Options::new(options, &nats::SINK_KEYS)?;
        let target = nats::target(address, &options)?;
        return options.target(Kind::Nats(Box::new(target)));
    }
    if let Some(address) = head.strip_prefix("udp://") {
        return udp(address, Options::new(options, &UDP_KEYS)?);
    }
    if let Some(path) = head.strip_prefix("unix:") {
        return unix(path, Options::new(options, &COMMON_KEYS)?);
    }
    if let Some(kind) = scheme(head) {
        let kinds = closest(kind, SCHEMES).map_or_else(|| SCHEMES.join(", "), str::to_owned);
        return Err(Problem::UnknownKind(kind.to_owned(), format!("{kinds}, or ./{kind}... for a path")));
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

fn file(scheme: &'static str, path: &str, options: &Options<'_>) -> Result<FileTarget, Problem> {
    if path.is_empty() {
        return Err(Problem::NoPath(scheme));
    }
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.is_empty() {
        return Err(Problem::NoPath(scheme));
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
    if keep.is_some() && rotate.is_none() && every.is_none() && !has_times(name) && scheme == "file:" {
        return Err(Problem::KeepAlone);
    }
    Ok(FileTarget { path: path.to_owned(), timed: true, rotate, every, keep })
}

fn recording(path: &str, options: Options<'_>) -> Result<Target, Problem> {
    let file = file("pcapng:", path, &options)?;
    let zstd =
        options.parsed("compress", "zstd, the only form of compression", |text| (text == "zstd").then_some(()))?;
    let comments = options.parsed("comments", "yes or no", yes_or_no)?.unwrap_or(false);
    let target = RecordingTarget { file, zstd: zstd.is_some(), comments };
    if target.is_standard_output() {
        files_only(&target.file, zstd.map(|()| "compress"), "pcapng:")?;
    }
    options.target(Kind::Recording(target))
}

/// Refuses options that make sense for files alone. `more` is another one that was given.
fn files_only(file: &FileTarget, more: Option<&'static str>, scheme: &'static str) -> Result<(), Problem> {
    let &FileTarget { rotate, every, keep, .. } = file;
    let given = [("rotate", rotate.is_some()), ("every", every.is_some()), ("keep", keep.is_some())];
    let first = given.into_iter().find(|(_, given)| *given).map(|(key, _)| key);
    first.or(more).map_or(Ok(()), |key| Err(Problem::FilesOnly(key, scheme)))
}

fn udp(address: &str, options: Options<'_>) -> Result<Target, Problem> {
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
    let looped = options.parsed("loop", "yes or no", yes_or_no)?;
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
    let (impairment, seed) = impairment(&options)?;
    options.target(Kind::Udp(UdpTarget {
        host: host.to_owned(),
        port,
        interface,
        ttl,
        source,
        delay: delay.unwrap_or(DEFAULT_DELAY),
        impairment,
        seed,
        looped: looped.unwrap_or(false),
    }))
}

/// What is to happen to datagrams on purpose, and its seed.
fn impairment(options: &Options<'_>) -> Result<(Impairment, u64), Problem> {
    let share =
        |key| options.parsed(key, "a percentage from 0% to 100%, such as 1%", |text| text.parse::<Share>().ok());
    let mut impairment = Impairment::default();
    (impairment.loss, impairment.reorder, impairment.duplicate) = (
        share("loss")?.unwrap_or_default(),
        share("reorder")?.unwrap_or_default(),
        share("duplicate")?.unwrap_or_default(),
    );
    if !impairment.is_possible() {
        return Err(Problem::Shares);
    }
    let reorder_by = options.parsed("reorder-by", "a number of datagrams from 1 to 1000", |text| {
        text.parse::<u32>().ok().filter(|by| (1..=MOST_REORDER_BY).contains(by))
    })?;
    impairment.reorder_by = reorder_by.unwrap_or(impairment.reorder_by);
    let seed = options.parsed("seed", "a whole number from 0 on", |text| text.parse::<u64>().ok())?;
    if !impairment.changes_packets() {
        let key =
            [("seed", seed.is_some()), ("reorder-by", reorder_by.is_some())].into_iter().find(|(_, is_set)| *is_set);
        if let Some((key, _)) = key {
            return Err(Problem::NothingImpaired(key));
        }
    }
    Ok((impairment, seed.unwrap_or(DEFAULT_SEED)))
}

fn unix(path: &str, options: Options<'_>) -> Result<Target, Problem> {
    match path.len() {
        0 => Err(Problem::NoPath("unix:")),
        length if length > LONGEST_UNIX_PATH => Err(Problem::LongUnixPath(length)),
        _ => options.target(Kind::Unix(path.to_owned())),
    }
}
