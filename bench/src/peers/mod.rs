//! Receivers under test, as the measurements see them: started, asked for their counts, ended.

pub mod child;
pub mod iperf;
pub mod testpmd;
pub mod xdpsock;

use anyhow::Result;

use crate::child::Counts;
use crate::lab::{Bench, CONSUMER_CPU};
use crate::process::Process;

/// A receiver that runs.
pub trait Session {
    /// What it got: mode, buffer, settings.
    fn got(&self) -> &str;
    /// Packets so far, and when that was read: cheap enough to be asked under load.
    fn count(&mut self) -> Result<Counts>;
    /// All counts so far.
    fn totals(&mut self) -> Result<Counts>;
    /// Ends it. Some tell their packets once more then, counted by themselves.
    fn end(self: Box<Self>) -> Result<Option<u64>>;
}

/// A program that is not there.
#[derive(Debug)]
pub struct Missing(pub String);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// How a peer is had that Debian has a package of.
pub const BY_FLAG: &str = "`cargo xtask bench --install-peers` installs it";

/// An error that says how to get the program, unless it is on PATH.
pub fn require(program: &str, remedy: &str) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file());
    if there { Ok(()) } else { Err(Missing(format!("{program} is not installed; {remedy}")).into()) }
}

/// Starts a program on the receiving side, on the consumer's CPU, with its output by lines; it ends with the bench.
fn supervised(bench: &Bench, program: &'static str, arguments: &[&str]) -> Result<Process> {
    let cpu = CONSUMER_CPU.to_string();
    let mut words = vec!["supervise", "--cpu", &cpu, "--", "stdbuf", "-oL", program];
    words.extend(arguments);
    Process::start(bench.lab.rx(), program, &words)
}
