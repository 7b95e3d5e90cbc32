//! `nats://HOST[:PORT]/STREAM?KEY=VALUE...`: a stream of NATS JetStream.

use std::time::Duration;

use receiver_feed::protocol::AnyProtocol;

use super::super::nats::server::{Dedup, NatsTarget, PORT, SCHEME, Server};
use super::super::publish::template::Template;
use super::options::{Options, host_port, time, yes_or_no};
use super::problem::Problem;

/// The keys of a sink.
pub const SINK_KEYS: [&str; 20] = [
    "subject",
    "window",
    "on_full",
    "dedup",
    "create",
    "dedup_window",
    "timeout",
    "flush",
    "order",
    "user",
    "password_file",
    "token_file",
    "creds",
    "nkey",
    "tls",
    "ca",
    "cert",
    "key",
    "only",
    "limit",
];
/// The keys of a server.
const SERVER_KEYS: [&str; 9] = ["user", "password_file", "token_file", "creds", "nkey", "tls", "ca", "cert", "key"];

/// More messages in flight than this would exceed the queue of a stream in the server.
const MOST_IN_FLIGHT: u32 = 8192;
const DEFAULT_WINDOW: u32 = 4096;
const DEFAULT_DEDUP_WINDOW: Duration = Duration::from_secs(120);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_FLUSH: Duration = Duration::from_secs(5);
/// The longest of these times.
const LONGEST: Duration = Duration::from_secs(3600);

/// A server and, behind a slash, the name of a stream.
///
/// # Errors
/// The text is no server, or the options do not fit together.
pub fn server(text: &str) -> Result<(Server, Option<String>), Problem> {
    let rest = text.strip_prefix(SCHEME).unwrap_or(text);
    let (head, options) = rest.split_once('?').map_or((rest, None), |(head, options)| (head, Some(options)));
    address(head, &Options::new(options, &SERVER_KEYS)?)
}

fn address(head: &str, options: &Options<'_>) -> Result<(Server, Option<String>), Problem> {
    let (address, stream) = head.split_once('/').map_or((head, None), |(address, stream)| (address, Some(stream)));
    if address.contains('@') {
        return Err(Problem::SecretInText);
    }
    let stream = stream.filter(|name| !name.is_empty()).map(str::to_owned);
    if let Some(name) = stream.as_ref().filter(|name| !is_stream(name)) {
        return Err(Problem::StreamName(name.clone()));
    }
    let with_port =
        if address.contains(':') && !address.ends_with(']') { address.to_owned() } else { format!("{address}:{PORT}") };
    let (host, port) = host_port(&with_port).ok_or_else(|| Problem::HostPort(address.to_owned()))?;
    let text = |key, remedy| {
        options.parsed(key, remedy, |text| (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned()))
    };
    let server = Server {
        host: host.to_owned(),
        port,
        user: text("user", "the name of a user")?,
        password_file: text("password_file", "the path of a file with a password")?,
        token_file: text("token_file", "the path of a file with a token")?,
        creds: text("creds", "the path of a file with credentials")?,
        nkey: text("nkey", "the path of a file with the seed of an NKey")?,
        tls: options.parsed("tls", "yes or no", yes_or_no)?.unwrap_or(false),
        ca: text("ca", "the path of a file with certificates")?,
        cert: text("cert", "the path of a file with a certificate")?,
        key: text("key", "the path of a file with a key")?,
    };
    let ways = [
        ("user", server.user.is_some()),
        ("token_file", server.token_file.is_some()),
        ("creds", server.creds.is_some()),
        ("nkey", server.nkey.is_some()),
    ];
    let mut given = ways.into_iter().filter(|(_, given)| *given).map(|(key, _)| key);
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        return Err(Problem::Exclusive(first, second));
    }
    if server.password_file.is_some() && server.user.is_none() {
        return Err(Problem::Needs("password_file", "user=NAME"));
    }
    if server.cert.is_some() != server.key.is_some() {
        let (has, lacks) = if server.cert.is_some() { ("cert", "key=PATH") } else { ("key", "cert=PATH") };
        return Err(Problem::Needs(has, lacks));
    }
    Ok((server, stream))
}

/// A stream to publish to.
///
/// # Errors
/// The text is no stream, or the options do not fit together.
pub fn target(head: &str, options: &Options<'_>) -> Result<NatsTarget, Problem> {
    let (server, stream) = address(head, options)?;
    let stream = stream.ok_or(Problem::NoStream)?;
    let template = options.parsed(
        "subject",
        "tokens with dots between them, such as md.{name} or md.{group}.{port}; the variables are {stream}, {name}, \
         {group} and {port}",
        |text| Template::parse(text).map(|_| text.to_owned()),
    )?;
    let window = options.parsed("window", "a number of messages from 1 to 8192", |text| {
        text.parse::<u32>().ok().filter(|window| (1..=MOST_IN_FLIGHT).contains(window))
    })?;
    let blocks = options.parsed("on_full", "drop or block", |text| match text {
        "drop" => Some(false),
        "block" => Some(true),
        _ => None,
    })?;
    let dedup =
        options.parsed(
            "dedup",
            "auto, content, or the name of a feed protocol such as moldudp64",
            |text| match text {
                "auto" => Some(Dedup::Auto),
                "content" => Some(Dedup::Content),
                name => name.parse::<AnyProtocol>().ok().map(Dedup::Protocol),
            },
        )?;
    let create = options.parsed("create", "yes or no", yes_or_no)?.unwrap_or(false);
    let a_time = |key| {
        options.parsed(key, "a time from 100ms to 1h, such as 10s", |text| {
            time(text).filter(|time| (Duration::from_millis(100)..=LONGEST).contains(time))
        })
    };
    let dedup_window = a_time("dedup_window")?;
    if dedup_window.is_some() && !create {
        return Err(Problem::Needs("dedup_window", "create=yes"));
    }
    let strict = options.parsed("order", "connection or strict", |text| match text {
        "connection" => Some(false),
        "strict" => Some(true),
        _ => None,
    })?;
    Ok(NatsTarget {
        server,
        stream,
        subject: template.unwrap_or_else(|| "{stream}.{name}".to_owned()),
        window: window.unwrap_or(DEFAULT_WINDOW),
        blocks: blocks.unwrap_or(false),
        dedup: dedup.unwrap_or(Dedup::Auto),
        create,
        dedup_window: dedup_window.unwrap_or(DEFAULT_DEDUP_WINDOW),
        timeout: a_time("timeout")?.unwrap_or(DEFAULT_TIMEOUT),
        flush: a_time("flush")?.unwrap_or(DEFAULT_FLUSH),
        strict: strict.unwrap_or(false),
    })
}

/// Returns true if a stream can have this name.
fn is_stream(name: &str) -> bool {
    name.len() <= 255 && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}
