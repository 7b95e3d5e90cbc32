//! A strict reader of OpenMetrics 1.0, as far as counters, gauges and info metrics go, and a client of HTTP/1.1.
#![allow(dead_code)] // Each test binary uses its part.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use netlab::Lab;

/// The port of these tests, each of which has a network namespace of its own.
pub const PORT: u16 = 9100;

/// The samples by name and labels, such as `receiver_ledger_frames_total{cause="held"}`.
pub struct Metrics {
    pub samples: BTreeMap<String, f64>,
    /// The families with their types.
    pub families: BTreeMap<String, String>,
}

impl Metrics {
    /// The value of a sample; `None` if it is absent.
    pub fn get(&self, sample: &str) -> Option<f64> {
        self.samples.get(sample).copied()
    }

    /// How many samples have this name.
    pub fn count(&self, name: &str) -> usize {
        self.samples.keys().filter(|sample| sample.split('{').next() == Some(name)).count()
    }

    /// Reads a whole answer. Panics on anything that the specification forbids.
    pub fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("the last line is # EOF");
        assert!(!body.contains("# EOF"), "one end");
        let (mut samples, mut families) = (BTreeMap::new(), BTreeMap::new());
        let (mut family, mut kind, mut has_help) = (String::new(), String::new(), BTreeSet::new());
        for line in body.split_terminator('\n') {
            if let Some(descriptor) = line.strip_prefix("# ") {
                let mut parts = descriptor.splitn(3, ' ');
                let (what, name) = (parts.next().expect("a word"), parts.next().expect("a name"));
                let rest = parts.next().expect("a value");
                is_name(name);
                match what {
                    "HELP" => {
                        assert!(has_help.insert(name.to_owned()), "two HELP of {name}");
                        assert!(!rest.is_empty(), "no words: {line}");
                    }
                    "TYPE" => {
                        assert!(has_help.contains(name), "no HELP of {name}");
                        assert!(["counter", "gauge", "info"].contains(&rest), "{line}");
                        assert!(families.insert(name.to_owned(), rest.to_owned()).is_none(), "two TYPE of {name}");
                        (family, kind) = (name.to_owned(), rest.to_owned());
                    }
                    "UNIT" => {
                        assert!(name == family && name.ends_with(&format!("_{rest}")), "{line}");
                        assert!(kind != "info", "{line}");
                    }
                    other => panic!("{other}: {line}"),
                }
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
            let (name, labels) = match sample.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"))),
                None => (sample, ""),
            };
            is_name(name);
            are_labels(labels);
            let suffix = match kind.as_str() {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            assert_eq!(name, format!("{family}{suffix}"), "a sample outside of its family: {line}");
            let value: f64 = value.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(value.is_finite() && (kind == "gauge" || value >= 0.0), "{line}");
            assert!(kind != "info" || value == 1.0, "{line}");
            assert!(samples.insert(sample.to_owned(), value).is_none(), "twice: {line}");
        }
        assert!(has_help.iter().eq(families.keys()), "each family has HELP and TYPE");
        Self { samples, families }
    }
}

fn is_name(name: &str) {
    let mut characters = name.chars();
    let first = characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    let rest = characters.all(|character| character.is_ascii_alphanumeric() || character == '_');
    assert!(first && rest, "not a name: {name}");
}

fn are_labels(mut text: &str) {
    let mut names = BTreeSet::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").unwrap_or_else(|| panic!("no label: {text}"));
        is_name(name);
        assert!(names.insert(name), "twice: {name}");
        let mut end = None;
        let mut characters = rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => assert!(matches!(characters.next(), Some((_, '\\' | '"' | 'n'))), "{rest}"),
                '"' => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        text = &rest[end.unwrap_or_else(|| panic!("no end: {rest}")) + 1..];
        if !text.is_empty() {
            text = text.strip_prefix(',').unwrap_or_else(|| panic!("no comma: {text}"));
        }
    }
}

/// Connects to the metrics of a run in the lab.
pub fn connect(lab: &Lab) -> std::io::Result<TcpStream> {
    let stream = lab.rx().run(|| TcpStream::connect(("127.0.0.1", PORT))).expect("a thread")?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// Sends a request and reads everything that comes. Returns the head and the body.
pub fn request(lab: &Lab, request: &[u8]) -> std::io::Result<(String, String)> {
    let mut stream = connect(lab)?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer).expect("UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok((head.to_owned(), body.to_owned()))
}

/// Gets a path with this header `Accept`.
pub fn get(lab: &Lab, path: &str, accept: &str) -> std::io::Result<(String, String)> {
    request(lab, format!("GET {path} HTTP/1.1\r\nHost: lab\r\nAccept: {accept}\r\n\r\n").as_bytes())
}

/// Scrapes the metrics.
pub fn scrape(lab: &Lab) -> Metrics {
    let (head, body) = get(lab, "/metrics", "application/openmetrics-text").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}\n{body}");
    let content_type = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.to_ascii_lowercase().contains(content_type), "{head}");
    Metrics::parse(&body)
}
