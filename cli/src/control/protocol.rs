//! The control protocol: one JSON object a line, a request from the client and one reply from the run, in this order.
//! docs/control-protocol.md describes it for users. This file knows nothing of a run: the fuzz target takes it as it
//! is.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the protocol. It grows when a request or a field changes its meaning or goes away.
pub const VERSION: u32 = 1;

/// The longest request in bytes, without its newline: room for 6,000 IPv6 sources.
pub const LONGEST_REQUEST: usize = 256 << 10;

/// What a client asks for. `subscription` of a request that changes one is its name, its id, the subscription as it is
/// written now, or `GROUP:PORT` if there is one subscription of it.
// Each variant has braces: serde ignores unknown fields beside a variant without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Who answers, and which version of the protocol it has. Answered while the run starts as well.
    Hello {},
    /// The subscriptions, with their names, ids, filters and packets.
    List {},
    /// The figures: counts since the start, rates since this client's last `stats`.
    Stats {},
    /// The feeds with their legs and streams: counts since the start, rates as in `stats`.
    Feeds {},
    /// Every frame under its cause.
    Ledger {},
    /// The receive mode, and the faster modes that were refused.
    Mode {},
    /// Why subscriptions have received nothing so far.
    Evidence {},
    /// Joins a subscription.
    Join {
        /// As on the command line: `10.0.0.1@232.1.1.1:5000`.
        subscription: String,
        /// A name for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Leaves a subscription.
    Leave {
        /// Which one.
        subscription: String,
    },
    /// Blocks a source of an any-source subscription.
    Block {
        /// Which one.
        subscription: String,
        /// The source.
        source: IpAddr,
    },
    /// Unblocks a source of an any-source subscription.
    Unblock {
        /// Which one.
        subscription: String,
        /// The source.
        source: IpAddr,
    },
    /// Replaces the sources of a subscription, or the blocked sources if it is any-source.
    SetSources {
        /// Which one.
        subscription: String,
        /// All of them.
        sources: BTreeSet<IpAddr>,
    },
    /// Changes what is logged.
    LogLevel {
        /// off, error, warn, info, debug or trace.
        level: String,
    },
    /// Reads the configuration file again, and applies the difference.
    Reload {},
    /// Ends the run as SIGTERM does. Answered before it ends, and while the run starts as well.
    Stop {},
}

impl Request {
    /// Reads a line, with or without its newline.
    ///
    /// # Errors
    /// It is no request of this protocol.
    pub fn parse(line: &[u8]) -> Result<Self, Refusal> {
        let invalid = |reason: String| {
            let reason = printable(&reason);
            let rule = r#"a request is one JSON object on one line, such as {"request":"list"}"#;
            Refusal { kind: Kind::InvalidRequest, error: format!("the request is not valid: {reason}; {rule}") }
        };
        // serde would take `"request"` from a list of fields as well.
        let object: serde_json::Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| invalid(error.to_string()))?;
        serde_json::from_value(Value::Object(object)).map_err(|error| invalid(error.to_string()))
    }

    /// The line with its newline.
    pub fn to_line(&self) -> Vec<u8> {
        line(self)
    }
}

/// Why a request was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct Refusal {
    /// The reason and the remedy, for people.
    pub error: String,
    /// The reason, for programs.
    pub kind: Kind,
}

/// The reasons for which requests are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is no request of this protocol, or a value in it is not valid.
    InvalidRequest,
    /// The line is longer than [`LONGEST_REQUEST`]. The run closes the connection.
    TooLong,
    /// The line was begun and not ended in time. The run closes the connection.
    TooSlow,
    /// The client is another user. The run closes the connection.
    NotPermitted,
    /// There are as many clients as the run serves at once. The run closes the connection.
    TooManyClients,
    /// Too much that was asked for was not read yet, by this client or others.
    Busy,
    /// The run is still starting.
    Starting,
    /// No subscription is meant.
    UnknownSubscription,
    /// Several subscriptions are meant.
    Ambiguous,
    /// The run is ending.
    Stopping,
    /// Another subscription has the name.
    NameTaken,
    /// The subscription overlaps one that is joined.
    Overlap,
    /// The operation does not go with the subscription's filter: `block` and `unblock` are for any-source.
    WrongFilterMode,
    /// There is nothing to change.
    NoChange,
    /// The run has nothing to do this with, such as a configuration file to read again.
    Unavailable,
    /// The machine or the kernel refused.
    Failed,
    /// Any reason that a later version has.
    #[serde(other)]
    Other,
}

/// The line of a reply to a request that was done.
pub fn done(result: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Done<'a, T> {
        ok: bool,
        result: &'a T,
    }
    line(&Done { ok: true, result })
}

/// The line of a reply to a request that was refused.
pub fn refused(refusal: &Refusal) -> Vec<u8> {
    #[derive(Serialize)]
    struct Refused<'a> {
        ok: bool,
        #[serde(flatten)]
        refusal: &'a Refusal,
    }
    line(&Refused { ok: false, refusal })
}

/// Reads the line of a reply.
///
/// # Errors
/// It is no reply of this protocol.
pub fn parse_reply(line: &[u8]) -> Result<Result<Value, Refusal>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Reply {
        ok: bool,
        #[serde(default)]
        result: Value,
        error: Option<String>,
        kind: Option<Kind>,
    }
    let Reply { ok, result, error, kind } = serde_json::from_slice(line)?;
    Ok(if ok {
        Ok(result)
    } else {
        Err(Refusal { error: error.unwrap_or_default(), kind: kind.unwrap_or(Kind::Other) })
    })
}

fn line(object: &impl Serialize) -> Vec<u8> {
    // Only a map with keys that are no text, or a value that refuses by itself, fails: there is none here.
    let mut line = serde_json::to_vec(object).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The reason as it fits a message: serde repeats what it was given.
fn printable(text: &str) -> String {
    const LONGEST: usize = 500;
    let mut shown: String = text.chars().take(LONGEST).flat_map(shown).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}

fn shown(letter: char) -> impl Iterator<Item = char> {
    let plain = !letter.is_control() && !('\u{200b}'..='\u{206f}').contains(&letter);
    plain.then_some(letter).into_iter().chain((!plain).then(|| letter.escape_default()).into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_read_as_it_is_written() {
        let source: IpAddr = [10, 0, 0, 2].into();
        let subscription = || "a".to_owned();
        for (request, text) in [
            (Request::Hello {}, r#"{"request":"hello"}"#),
            (Request::List {}, r#"{"request":"list"}"#),
            (Request::Stats {}, r#"{"request":"stats"}"#),
            (Request::Feeds {}, r#"{"request":"feeds"}"#),
            (Request::Ledger {}, r#"{"request":"ledger"}"#),
            (Request::Mode {}, r#"{"request":"mode"}"#),
            (Request::Evidence {}, r#"{"request":"evidence"}"#),
            (
                Request::Join { subscription: "[ff3e::1]:1".into(), name: None },
                r#"{"request":"join","subscription":"[ff3e::1]:1"}"#,
            ),
            (
                Request::Join { subscription: "232.1.1.1:1".into(), name: Some("a".into()) },
                r#"{"request":"join","subscription":"232.1.1.1:1","name":"a"}"#,
            ),
            (Request::Leave { subscription: subscription() }, r#"{"request":"leave","subscription":"a"}"#),
            (
                Request::Block { subscription: subscription(), source },
                r#"{"request":"block","subscription":"a","source":"10.0.0.2"}"#,
            ),
            (
                Request::Unblock { subscription: subscription(), source },
                r#"{"request":"unblock","subscription":"a","source":"10.0.0.2"}"#,
            ),
            (
                Request::SetSources { subscription: subscription(), sources: BTreeSet::from([source]) },
                r#"{"request":"set-sources","subscription":"a","sources":["10.0.0.2"]}"#,
            ),
            (Request::LogLevel { level: "debug".into() }, r#"{"request":"log-level","level":"debug"}"#),
            (Request::Reload {}, r#"{"request":"reload"}"#),
            (Request::Stop {}, r#"{"request":"stop"}"#),
        ] {
            assert_eq!(String::from_utf8(request.to_line()).expect("text"), format!("{text}\n"));
            assert_eq!(Request::parse(text.as_bytes()), Ok(request));
        }
    }

    #[test]
    fn the_document_shows_each_request_as_it_is() {
        let document = include_str!("../../../docs/control-protocol.md");
        let shown: Vec<Request> = document
            .lines()
            .filter(|line| line.starts_with("{\"request\""))
            .map(|line| Request::parse(line.as_bytes()).unwrap_or_else(|refusal| panic!("{line}: {refusal}")))
            .collect();
        assert!(shown.len() >= 8, "{shown:?}");
        // serde names all requests where it refuses one.
        let refusal = Request::parse(br#"{"request":"?"}"#).expect_err("no request").error;
        let (_, names) = refusal.split_once("expected one of ").expect("a list");
        let (names, _) = names.split_once(';').expect("its end");
        for name in names.split(", ") {
            assert!(document.contains(name), "{name}");
        }
    }

    #[test]
    fn what_is_unknown_is_refused_by_name() {
        for (text, part) in [
            (r#"{"request":"lists"}"#, "unknown variant `lists`, expected one of `hello`, `list`, `stats`"),
            (r#"{"request":"list","verbose":true}"#, "unknown field `verbose`"),
            (r#"{"request":"leave","subscription":"a","now":1}"#, "unknown field `now`, expected `subscription`"),
            (r#"{"request":"leave"}"#, "missing field `subscription`"),
            (r#"{"request":"block","subscription":"a","source":"10.0.0"}"#, "invalid IP address syntax"),
            (r#"{"subscription":"a"}"#, "missing field `request`"),
            (r#"["list"]"#, "invalid type: sequence, expected a map"),
            ("list", "expected value at line 1 column 1"),
            ("", "EOF while parsing a value"),
            (r#"{"request":"list"} {"request":"list"}"#, "trailing characters"),
        ] {
            let refusal = Request::parse(text.as_bytes()).expect_err(text);
            assert_eq!(refusal.kind, Kind::InvalidRequest, "{text}");
            assert!(refusal.error.contains(part), "{text}: {}", refusal.error);
        }
        let long = format!(r#"{{"request":"\u001b[2J{}"}}"#, "x".repeat(100_000));
        let refusal = Request::parse(long.as_bytes()).expect_err("unknown").error;
        assert!(refusal.len() < 800 && !refusal.contains('\u{1b}'), "{refusal}");
    }

    #[test]
    fn replies_are_read_as_they_are_written() {
        let reply = done(&serde_json::json!({"id": 3}));
        assert_eq!(reply, b"{\"ok\":true,\"result\":{\"id\":3}}\n");
        assert_eq!(parse_reply(&reply).expect("a reply"), Ok(serde_json::json!({"id": 3})));
        let refusal = Refusal { error: "no".into(), kind: Kind::NameTaken };
        let reply = refused(&refusal);
        assert_eq!(reply, b"{\"ok\":false,\"error\":\"no\",\"kind\":\"name_taken\"}\n");
        assert_eq!(parse_reply(&reply).expect("a reply"), Err(refusal));
        let later = parse_reply(br#"{"ok":false,"error":"no","kind":"too_dark","more":1}"#).expect("a reply");
        assert_eq!(later.map_err(|refusal| refusal.kind), Err(Kind::Other));
        parse_reply(b"hello").expect_err("no reply");
    }
}
