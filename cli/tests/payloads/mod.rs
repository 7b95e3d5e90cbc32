//! Numbered payloads to two groups, and what a run that prints objects reports about them.
#![allow(dead_code)] // Each test binary uses its part.

use std::io::{BufRead, Read};
use std::net::UdpSocket;
use std::thread::sleep;
use std::time::{Duration, Instant};

use netlab::Lab;
use serde_json::Value;

use crate::command::{PATIENCE, Run, object, source};

/// Two subscriptions, each to one source.
pub const FIRST: &str = "10.0.0.1@232.1.1.1:5000";
pub const SECOND: &str = "10.0.0.1@232.1.1.2:5000";
pub const GROUPS: [&str; 2] = ["232.1.1.1:5000", "232.1.1.2:5000"];

/// Bytes of each payload. No size of a pipe or page is a multiple of it.
pub const SIZE: usize = 1316;

/// A payload that its number tells from all others.
pub fn payload(number: u32) -> Vec<u8> {
    number.to_be_bytes().repeat(SIZE / 4)
}

pub fn payloads(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
    numbers.into_iter().flat_map(payload).collect()
}

/// The numbers of payloads that follow each other in a file.
pub fn numbers(bytes: &[u8]) -> Vec<u32> {
    assert_eq!(bytes.len() % SIZE, 0, "each datagram is whole");
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"));
    bytes
        .chunks(SIZE)
        .inspect(|chunk| assert_eq!(*chunk, payload(number(chunk)), "no datagram is torn"))
        .map(number)
        .collect()
}

/// Sends payloads to one of the groups, with pauses that a receiver with a small ring keeps up with.
pub struct Source(UdpSocket);

impl Source {
    /// From 10.0.0.1.
    pub fn new(lab: &Lab) -> Self {
        Self::at(lab, 1)
    }

    /// From 10.0.0.`last`.
    pub fn at(lab: &Lab, last: u8) -> Self {
        Self(source(lab, last))
    }

    pub fn send(&self, group: usize, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            self.0.send_to(&payload(number), GROUPS[group]).expect("sent");
            if number % 64 == 63 {
                sleep(Duration::from_millis(2));
            }
        }
    }
}

/// The report of a sink in an object of `--json`.
pub fn sink<'a>(object: &'a Value, name: &str) -> &'a Value {
    let sinks = object["sinks"].as_array().expect("sinks");
    sinks.iter().find(|sink| sink["name"] == name).unwrap_or_else(|| panic!("no {name}: {object}"))
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Reads objects until one is as it should be.
pub fn until(run: &mut Run, is_right: impl Fn(&Value) -> bool) -> Value {
    until_within(PATIENCE, run, "that", is_right)
}

/// As [`until`], with another limit, and a name of the state for the errors.
pub fn until_within(limit: Duration, run: &mut Run, what: &str, is_right: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + limit;
    loop {
        let mut line = String::new();
        run.out.read_line(&mut line).expect("standard output");
        if line.is_empty() {
            let mut words = String::new();
            let _ = run.err.read_to_string(&mut words);
            panic!("it ended before {what}: {words}");
        }
        let object = object(&line);
        if object["type"] == "interval" && is_right(&object) {
            return object;
        }
        assert!(Instant::now() < deadline, "it does not come to {what}: {object}");
    }
}

/// Waits until the run has received this number of datagrams.
pub fn received(run: &mut Run, count: u64) -> Value {
    until(run, |object| object["packets"] == count)
}

/// Starts a run that prints objects often, and waits until it has joined.
pub fn joined(lab: &Lab, arguments: &[&str]) -> Run {
    Run::joined(lab, &[&["--json", "--interval", "0.05"], arguments].concat()).0
}
