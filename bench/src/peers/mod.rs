//! Receivers under test, as the measurements use them: start, counts, end.

pub mod child;
pub mod iperf;
pub mod recorder;
pub mod testpmd;
pub mod xdpsock;

use std::time::Duration;

use anyhow::{Result, bail};

use crate::child::Counts;
use crate::lab::{Bench, CONSUMER_CPU};
use crate::process::Process;

/// A running receiver.
pub trait Session {
    /// Its settings: mode, buffer.
    fn got(&self) -> &str;
    /// The packets so far, and the time of the reading. Cheap enough for use under load.
    fn count(&mut self) -> Result<Counts>;
    /// All counts so far.
    fn totals(&mut self) -> Result<Counts>;
    /// Lets the consumer pause once it has delivered this number of further packets.
    fn pause_after(&mut self, _packets: u64, _length: Duration) -> Result<()> {
        bail!("this receiver cannot pause on request")
    }
    /// Ends it. Some receivers then report their own count of packets.
    fn end(self: Box<Self>) -> Result<Option<u64>>;
}

/// A missing program.
#[derive(Debug)]
pub struct Missing(pub String);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// The remedy for a peer that Debian packages.
pub const BY_FLAG: &str = "`cargo xtask bench --install-peers` installs it";

/// Fails with the remedy unless the program is on PATH.
pub fn require(program: &str, remedy: &str) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file());
    if there { Ok(()) } else { Err(Missing(format!("{program} is not installed; {remedy}")).into()) }
}

/// Starts a program on the receiving side, on the consumer's CPU, with line-buffered output. It ends with the bench.
fn supervised(bench: &Bench, program: &'static str, arguments: &[&str]) -> Result<Process> {
    let cpu = CONSUMER_CPU.to_string();
    let mut words = vec!["supervise", "--cpu", &cpu, "--", "stdbuf", "-oL", program];
    words.extend(arguments);
    Process::start(bench.lab.rx(), program, &words)
}
