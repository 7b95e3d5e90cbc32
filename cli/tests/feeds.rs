//! Feeds: two legs with loss become one ordered stream, in each mode; what both lost is counted; legs that are left and
//! joined again; faults of the configuration. The built command in two namespaces. Needs root.

mod command;
mod payloads;

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use command::{Run, Scratch, last_object};
use netlab::Lab;
use payloads::{joined, until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The legs: each has its own source, group and port.
const A: &str = "10.0.0.1@232.1.1.1:5000";
const B: &str = "10.0.0.2@232.1.1.2:5001";
const GROUPS: [(&str, u16); 2] = [("232.1.1.1", 5000), ("232.1.1.2", 5001)];

/// The header of MoldUDP64.
fn header(session: &str, first: u64, count: u16) -> Vec<u8> {
    let mut bytes = format!("{session:<10}").into_bytes();
    bytes.extend(first.to_be_bytes());
    bytes.extend(count.to_be_bytes());
    bytes
}

/// A datagram with this many messages, which its first sequence number tells from all others.
fn datagram(session: &str, first: u64, count: u16) -> Vec<u8> {
    let mut bytes = header(session, first, count);
    for sequence in first..first + u64::from(count) {
        let text = format!("message {sequence}");
        bytes.extend((text.len() as u16).to_be_bytes());
        bytes.extend(text.into_bytes());
    }
    bytes
}

/// Datagrams of one message each.
fn datagrams(sequences: impl IntoIterator<Item = u64>) -> Vec<u8> {
    sequences.into_iter().flat_map(|sequence| datagram("MORNING", sequence, 1)).collect()
}

/// Sends both legs.
struct Source([UdpSocket; 2]);

impl Source {
    fn new(lab: &Lab) -> Self {
        let bind = |last| lab.tx().run(|| UdpSocket::bind((Ipv4Addr::new(10, 0, 0, last), 4000)));
        Self([1, 2].map(|last| bind(last).expect("the namespace").expect("a socket")))
    }

    fn send(&self, leg: usize, bytes: &[u8]) {
        self.0[leg].send_to(bytes, GROUPS[leg]).expect("sent");
    }

    /// Sends each sequence number on both legs, but for what they lose.
    fn send_all(&self, sequences: impl IntoIterator<Item = u64>, lost: [&BTreeSet<u64>; 2]) {
        for sequence in sequences {
            for leg in [0, 1] {
                if !lost[leg].contains(&sequence) {
                    self.send(leg, &datagram("MORNING", sequence, 1));
                }
            }
            if sequence % 32 == 0 {
                sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Each number up to `last` that `divisor` divides.
fn multiples(divisor: u64, last: u64) -> BTreeSet<u64> {
    (1..=last).filter(|number| number % divisor == 0).collect()
}

fn feed(object: &Value) -> &Value {
    let feeds = object["feeds"].as_array().expect("feeds");
    assert_eq!(feeds.len(), 1, "{object}");
    &feeds[0]
}

/// Ends a run by a signal. Returns its summary and what it logged.
fn end(run: Run) -> (Value, String) {
    run.signal(Signal::INT);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "{err}");
    (last_object(&out), err)
}

#[test]
fn two_legs_with_loss_become_one_ordered_stream() {
    const LAST: u64 = 1000;
    for mode in ["mapped", "copy", "generic", "socket"] {
        let lab = Lab::new().expect("a lab");
        let written = Scratch::new();
        let arguments = ["--mode", mode, "--feed", "moldudp64", "--feed-window", "10s", "-o", written.name(), A, B];
        let mut run = joined(&lab, &arguments);
        let (a, b) = (multiples(7, LAST), multiples(11, LAST));
        let both: BTreeSet<u64> = &a & &b;
        Source::new(&lab).send_all(1..=LAST, [&a, &b]);
        let delivered = LAST - both.len() as u64;
        let interval = until(&mut run, |object| feed(object)["total"]["messages"] == delivered);
        assert_eq!(feed(&interval)["state"], "recovering", "late fills may still come: {interval}");
        let (summary, err) = end(run);
        assert!(fs::read(&written.0).expect("a file") == datagrams((1..=LAST).filter(|n| !both.contains(n))), "{mode}");
        let feed = feed(&summary);
        let (gaps, missing) = (both.len(), both.len());
        let stream = json!({
            "stream": "MORNING", "state": "live", "packets": 2 * LAST - (a.len() + b.len()) as u64,
            "messages": delivered, "heartbeats": 0, "first_sequence": 1, "next_sequence": LAST + 1, "gaps": gaps,
            "missing": missing, "longest_gap": 1, "recovered": 0,
            "duplicates": LAST - (&a | &b).len() as u64, "reordered": 0, "resets": 0, "held": 0,
        });
        assert_eq!(feed["streams"], json!([stream]), "{mode}");
        assert_eq!((&feed["name"], &feed["feed"]), (&"moldudp64".into(), &"moldudp64".into()));
        assert_eq!((&feed["more_streams"], &feed["state"]), (&0.into(), &"live".into()));
        let causes = feed["missing_by"].as_object().expect("causes").values();
        assert_eq!(causes.filter_map(Value::as_u64).sum::<u64>(), both.len() as u64, "{mode}");
        for (at, lost, subscription) in [(0, &a, A), (1, &b, B)] {
            let leg = &feed["legs"][at];
            assert_eq!((&leg["name"], &leg["subscription"]), (&subscription.into(), &subscription.into()));
            assert_eq!((&leg["missing"], &leg["is_lost"]), (&lost.len().into(), &false.into()), "{mode}: {leg}");
            assert_eq!(leg["packets"], LAST - lost.len() as u64, "{mode}: {leg}");
        }
        let first = |at: usize| feed["legs"][at]["first_arrivals"].as_u64().expect("a count");
        assert_eq!(first(0) + first(1), delivered, "{mode}");
        assert_eq!(summary["unaccounted"], 0, "{mode}: {summary}");
        let gap = "feed moldudp64, stream MORNING: sequence number 77 is missing: no leg has delivered them in time";
        assert!(err.contains(gap), "{mode}: {err}");
    }
}
