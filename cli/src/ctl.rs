//! `receiver ctl`: asks a run for its figures, and changes what it receives, by its control socket.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::control::{Client, ClientError, Kind, Refusal, Request, Selection};
use crate::errors::UsageError;
use crate::feeds::{FeedReport, LegReport};
use crate::units::{age, count, short, with_unit};
use crate::values::duration_within;
use crate::view::feeds;

/// The time over which rates are measured, unless an interval is given.
const SECOND: Duration = Duration::from_secs(1);

/// Ask a run for its figures, and change what it receives while it runs
///
/// The run has a control socket if it was started with --name or --control. A request that is refused changes nothing.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::EXIT_CODES)]
pub struct CtlArgs {
    #[command(flatten)]
    selection: Selection,
    /// Print each reply as one JSON object
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: CtlCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum CtlCommand {
    /// Join a subscription
    #[command(after_help = crate::EXIT_CODES)]
    Join {
        /// The subscription, as for `receiver run`: 10.0.0.1@232.1.1.1:5000
        subscription: String,
        /// Name for it, which other requests can use
        #[arg(long = "as", value_name = "NAME")]
        label: Option<String>,
    },
    /// Leave a subscription
    #[command(after_help = crate::EXIT_CODES)]
    Leave(Which),
    /// Block a source of an any-source subscription
    #[command(after_help = crate::EXIT_CODES)]
    Block(WhichSource),
    /// Unblock a source of an any-source subscription
    #[command(after_help = crate::EXIT_CODES)]
    Unblock(WhichSource),
    /// Replace the sources of a subscription, or the blocked sources of an any-source one
    #[command(after_help = crate::EXIT_CODES)]
    SetSources {
        #[command(flatten)]
        which: Which,
        /// All sources from now on; none unblocks all sources of an any-source subscription
        #[arg(value_name = "SOURCE")]
        sources: Vec<IpAddr>,
    },
    /// List the subscriptions with their ids and names
    #[command(after_help = crate::EXIT_CODES)]
    List,
    /// Show packets, rates and drops
    ///
    /// Rates are those of one second, for which the command waits, or of the interval.
    #[command(after_help = crate::EXIT_CODES)]
    Stats {
        /// Show them again and again, with this time in between
        #[arg(long, value_name = "TIME", value_parser = interval)]
        interval: Option<Duration>,
    },
    /// Show the feeds: what is missing, which leg lost what, and the streams in trouble
    ///
    /// Rates are those of one second, for which the command waits.
    #[command(after_help = crate::EXIT_CODES)]
    Feeds,
    /// Show every frame under its cause
    #[command(after_help = crate::EXIT_CODES)]
    Ledger,
    /// Show the receive mode, and why faster modes were refused
    #[command(after_help = crate::EXIT_CODES)]
    Mode,
    /// Explain why subscriptions have received nothing so far
    #[command(after_help = crate::EXIT_CODES)]
    Evidence,
    /// Change what the run logs
    #[command(after_help = crate::EXIT_CODES)]
    LogLevel {
        /// Log from this level on: off, error, warn, info, debug or trace, or a list of TARGET=LEVEL
        #[arg(value_name = "LEVEL")]
        level: String,
    },
    /// Read the configuration file again, and apply the difference
    #[command(after_help = crate::EXIT_CODES)]
    Reload,
    /// End the run in order, as SIGTERM does
    #[command(after_help = crate::EXIT_CODES)]
    Stop,
}

#[derive(Args, Clone, Debug)]
struct Which {
    /// Name, id or text of the subscription, as `list` shows them; GROUP:PORT if it is the only one there
    subscription: String,
}

#[derive(Args, Clone, Debug)]
struct WhichSource {
    #[command(flatten)]
    which: Which,
    /// The source's address
    source: IpAddr,
}

impl CtlCommand {
    fn request(&self) -> Request {
        match self.clone() {
            Self::Join { subscription, label: name } => Request::Join { subscription, name },
            Self::Leave(Which { subscription }) => Request::Leave { subscription },
            Self::Block(WhichSource { which: Which { subscription }, source }) => {
                Request::Block { subscription, source }
            }
            Self::Unblock(WhichSource { which: Which { subscription }, source }) => {
                Request::Unblock { subscription, source }
            }
            Self::SetSources { which: Which { subscription }, sources } => {
                Request::SetSources { subscription, sources: sources.into_iter().collect() }
            }
            Self::List => Request::List {},
            Self::Stats { .. } => Request::Stats {},
            Self::Feeds => Request::Feeds {},
            Self::Ledger => Request::Ledger {},
            Self::Mode => Request::Mode {},
            Self::Evidence => Request::Evidence {},
            Self::LogLevel { level } => Request::LogLevel { level },
            Self::Reload => Request::Reload {},
            Self::Stop => Request::Stop {},
        }
    }

    /// The time over which rates are measured, for a command that shows some, and true if it shows them again and
    /// again.
    fn rates(&self) -> Option<(Duration, bool)> {
        match self {
            Self::Stats { interval } => Some((interval.unwrap_or(SECOND), interval.is_some())),
            Self::Feeds => Some((SECOND, false)),
            _ => None,
        }
    }
}

/// Sends the request and prints the reply.
///
/// # Errors
/// There is no such run, it refused the request, or standard output is closed.
pub fn run(args: CtlArgs) -> anyhow::Result<()> {
    let request = args.command.request();
    let mut client = Client::connect(&args.selection)?;
    let rates = args.command.rates();
    let mut next = Instant::now();
    let mut reply = client.request(&request);
    if let (Ok(_), Some((span, _))) = (&reply, rates) {
        // The first reply has the rates since the start.
        next += span;
        std::thread::sleep(span);
        reply = client.request(&request);
    }
    loop {
        let mut out = io::stdout().lock();
        if args.json {
            writeln!(out, "{}", json_reply(&reply))?;
        }
        let result = reply.map_err(failure)?;
        if !args.json {
            out.write_all(words(&request, &result).as_bytes())?;
        }
        out.flush()?;
        let Some((span, true)) = rates else { return Ok(()) };
        next = (next + span).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        reply = client.request(&request);
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    duration_within(text, Duration::from_millis(10), Duration::from_secs(1_000_000_000))
}

fn json_reply(reply: &Result<Value, ClientError>) -> Value {
    match reply {
        Ok(result) => json!({"ok": true, "result": result}),
        Err(ClientError::Refused(Refusal { error, kind })) => json!({"ok": false, "error": error, "kind": kind}),
        Err(error) => json!({"ok": false, "error": error.to_string(), "kind": Kind::Other}),
    }
}

/// A request that makes no sense has another exit code than one that the machine refuses.
fn failure(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Refused(Refusal { error, kind: Kind::InvalidRequest }) => UsageError(error).into(),
        error => error.into(),
    }
}

/// The result for people.
fn words(request: &Request, result: &Value) -> String {
    let subscription = || entry(result);
    match request {
        Request::Join { .. } => format!("joined {}\n", subscription()),
        Request::Leave { .. } => format!("left {}\n", subscription()),
        Request::Block { source, .. } => format!("blocked {source}: {}\n", subscription()),
        Request::Unblock { source, .. } => format!("unblocked {source}: {}\n", subscription()),
        Request::SetSources { .. } => format!("changed {}\n", subscription()),
        Request::List {} => list(result),
        Request::Stats {} => stats(result),
        Request::Feeds {} => feeds(result),
        Request::Ledger {} => ledger(result),
        Request::Mode {} => mode(result),
        Request::Evidence {} => evidence(result),
        Request::LogLevel { .. } => format!("the run logs at level {} from now on\n", text(&result["level"])),
        Request::Reload {} => reload(result),
        Request::Stop {} => "the run is ending\n".to_owned(),
        Request::Hello {} => format!("{result}\n"),
    }
}

fn entry(entry: &Value) -> String {
    let name = entry["name"].as_str().map(|name| format!("{name}: ")).unwrap_or_default();
    format!("subscription {}, {name}{}", entry["id"], text(&entry["subscription"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn rows_of(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Rows with the columns of the first one. Numbers stand at the right, text at the left.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let is_text = |at: usize| rows.iter().skip(1).any(|row| row[at].starts_with(|c: char| c.is_ascii_alphabetic()));
    let shape: Vec<(usize, bool)> = (0..columns).map(|at| (width(at), at + 1 == columns || is_text(at))).collect();
    let mut out = String::new();
    for row in rows {
        let cells =
            row.iter().zip(&shape).map(
                |(cell, &(width, is_text))| {
                    if is_text { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            );
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    out
}

fn heads(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn list(result: &Value) -> String {
    let mut rows = vec![heads(&["id", "name", "packets", "subscription"])];
    rows.extend(rows_of(&result["subscriptions"]).iter().map(|entry| {
        let cell = |key: &str| text(&entry[key]).to_owned();
        vec![entry["id"].to_string(), cell("name"), entry["packets"].to_string(), cell("subscription")]
    }));
    table(&rows)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

fn stats(result: &Value) -> String {
    let mut rows =
        vec![heads(&["id", "name", "packets/s", "bit/s", "packets", "blocked", "last packet", "subscription"])];
    let row = |id: String, name: &str, entry: &Value, last: String, subscription: &str| {
        let blocked = entry["blocked"].as_u64().map_or_else(|| "-".to_owned(), |blocked| blocked.to_string());
        let rates = [short(number(&entry["packets_per_second"])), short(number(&entry["bits_per_second"]))];
        let [packets, bits] = rates;
        vec![id, name.to_owned(), packets, bits, entry["packets"].to_string(), blocked, last, subscription.to_owned()]
    };
    for entry in rows_of(&result["subscriptions"]) {
        let last =
            entry["last_packet_seconds_ago"].as_f64().map_or_else(|| "never".to_owned(), |s| format!("{} ago", age(s)));
        rows.push(row(entry["id"].to_string(), text(&entry["name"]), entry, last, text(&entry["subscription"])));
    }
    rows.push(row(String::new(), "", result, String::new(), "total"));
    let mut out = format!(
        "{}: mode {}, {} after the start; rates are those of the last {}\n{}",
        text(&result["interface"]),
        text(&result["mode"]),
        age(number(&result["elapsed_seconds"])),
        age(number(&result["interval_seconds"])),
        table(&rows)
    );
    for (line, _) in feeds::table(&feed_reports(result), usize::MAX, usize::MAX) {
        let _ = writeln!(out, "{line}");
    }
    let bits = with_unit(number(&result["bits_per_second"]), "bit/s");
    let lost = result["lost"].as_u64().unwrap_or(0);
    let _ = writeln!(out, "{bits}; {} lost; {}", count(lost, "packet"), unaccounted(result));
    for sink in rows_of(&result["sinks"]).iter().filter(|sink| sink["dropped"] != 0) {
        let _ = writeln!(
            out,
            "sink {} dropped {}",
            text(&sink["name"]),
            count(sink["dropped"].as_u64().unwrap_or(0), "datagram")
        );
    }
    for warning in rows_of(&result["warnings"]) {
        let _ = writeln!(out, "warning: {}", text(warning));
    }
    out
}

/// What this version cannot read is left out.
fn feed_reports(result: &Value) -> Vec<FeedReport> {
    rows_of(&result["feeds"]).iter().filter_map(|feed| FeedReport::deserialize(feed).ok()).collect()
}

fn feeds(result: &Value) -> String {
    let reports = feed_reports(result);
    if reports.is_empty() {
        return "the run has no feeds\n".to_owned();
    }
    let rows = feeds::table(&reports, usize::MAX, usize::MAX).into_iter().map(|(line, _)| line);
    rows.chain(reports.iter().flat_map(feeds::paragraph)).map(|line| line + "\n").collect()
}

fn unaccounted(result: &Value) -> String {
    let in_flight = &result["in_flight"];
    match result["unaccounted"].as_u64() {
        Some(frames) => format!("in flight {in_flight}, unaccounted {frames}"),
        None => format!("in flight {in_flight}, unaccounted unknown while packets arrive"),
    }
}

fn ledger(result: &Value) -> String {
    let causes = result["ledger"].as_object().into_iter().flatten();
    let mut rows: Vec<Vec<String>> =
        causes.filter(|(_, count)| **count != 0).map(|(cause, count)| vec![count.to_string(), cause.clone()]).collect();
    if rows.is_empty() {
        rows.push(heads(&["0", "no frame was seen"]));
    }
    format!("{}{}\n", table(&rows), unaccounted(result))
}

fn mode(result: &Value) -> String {
    let queues: Vec<String> = rows_of(&result["queues"]).iter().map(Value::to_string).collect();
    let queues = if queues.is_empty() { String::new() } else { format!(", queues {}", queues.join(", ")) };
    let share = if result["share"] == true { ", shared with other programs" } else { "" };
    let mut out = format!("{} on {}{queues}{share}\n", text(&result["mode"]), text(&result["interface"]));
    for refused in rows_of(&result["refused_modes"]) {
        let _ = writeln!(out, "{} was refused: {}", text(&refused["mode"]), text(&refused["reason"]));
    }
    out
}

fn evidence(result: &Value) -> String {
    let mut out = String::new();
    for finding in rows_of(&result["findings"]) {
        let _ = writeln!(out, "{}", text(&finding["text"]));
    }
    for silent in rows_of(&result["silent"]) {
        let _ = writeln!(out, "{} has received nothing", text(&silent["subscription"]));
        for finding in rows_of(&silent["findings"]) {
            let _ = writeln!(out, "  {}", text(&finding["text"]));
        }
    }
    for lost in rows_of(&result["lost_legs"]) {
        let [feed, why] = ["feed", "text"].map(|key| text(&lost[key]));
        let [name, subscription] = ["leg", "subscription"].map(|key| text(&lost[key]).to_owned());
        let leg = feeds::with_subscription(&LegReport { name, subscription, ..LegReport::default() });
        let _ = writeln!(out, "feed {feed}: leg {leg} is LOST\n  {why}");
    }
    if out.is_empty() { "each subscription has received something\n".to_owned() } else { out }
}

fn reload(result: &Value) -> String {
    let mut out = String::new();
    for (key, before, after) in [
        ("joined", "joined ", ""),
        ("left", "left ", ""),
        ("changed", "changed ", ""),
        ("renamed", "renamed ", ""),
        ("options", "", " has its new value"),
        ("needs_restart", "", " keeps its value until the next start"),
    ] {
        for item in rows_of(&result[key]) {
            let _ = writeln!(out, "{before}{}{after}", text(item));
        }
    }
    let kept = result["kept"].as_u64().unwrap_or(0);
    let _ = writeln!(out, "unchanged: {}", count(kept, "subscription"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_shown_in_words() {
        let entry = json!({"id": 3, "name": "a", "subscription": "10.0.0.1@232.1.1.1:5000", "packets": 12});
        let leave = Request::Leave { subscription: "a".into() };
        assert_eq!(words(&leave, &entry), "left subscription 3, a: 10.0.0.1@232.1.1.1:5000\n");
        let listed = json!({"subscriptions": [entry, {"id": 10, "subscription": "239.1.1.1:1", "packets": 5}]});
        let expected = "\
id  name  packets  subscription
 3  a          12  10.0.0.1@232.1.1.1:5000
10  -           5  239.1.1.1:1
";
        assert_eq!(words(&Request::List {}, &listed), expected);
        let result = json!({"ledger": {"passed": 0, "mapped": 7}, "in_flight": 0, "unaccounted": 0});
        assert_eq!(words(&Request::Ledger {}, &result), "7  mapped\nin flight 0, unaccounted 0\n");
        let result = json!({"joined": ["239.1.1.1:1"], "left": [], "kept": 1, "needs_restart": ["ring_size"]});
        let expected = "\
joined 239.1.1.1:1
ring_size keeps its value until the next start
unchanged: 1 subscription
";
        assert_eq!(words(&Request::Reload {}, &result), expected);
        assert_eq!(words(&Request::Feeds {}, &json!({"feeds": []})), "the run has no feeds\n");
        let feed = json!({"name": "itch", "state": "live", "messages_per_second": 1200.0, "later_field": 1,
            "legs": [{"name": "a", "packets": 7}], "total": {"messages": 7, "missing": 2, "gaps": 1}});
        let expected = "\
feed          state       messages/s      messages  missing   first      lag     99 %
itch          live            1.20 k             7        2
feed itch: 7 messages, 2 missing in 1 gap
";
        assert_eq!(words(&Request::Feeds {}, &json!({"feeds": [feed]})), expected);
        let lost = json!({"lost_legs": [{"feed": "itch", "leg": "b", "subscription": "239.1.1.1:1", "text": "why"}]});
        assert_eq!(words(&Request::Evidence {}, &lost), "feed itch: leg b (239.1.1.1:1) is LOST\n  why\n");
        let result = json!({"mode": "copy", "interface": "eth1", "queues": [0, 2], "share": false,
            "refused_modes": [{"mode": "mapped", "reason": "no room"}]});
        assert_eq!(words(&Request::Mode {}, &result), "copy on eth1, queues 0, 2\nmapped was refused: no room\n");
    }
}
