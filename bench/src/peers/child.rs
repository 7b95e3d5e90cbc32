//! The receivers within this program: this project's receiver, recvmmsg, AF_PACKET, the upper bound.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Session;
use crate::child::{COUNT, Counts, Observation, PAUSE, Started, TOTALS};
use crate::lab::{Bench, CONSUMER_CPU, GROUP, PORT};
use crate::process::Process;

/// Time limit for building the receiver, and for an answer under full load.
const PATIENCE: Duration = Duration::from_secs(20);

/// A child of this program.
pub struct Child {
    process: Process,
    got: String,
}

impl Child {
    /// `words` are the kind and its options.
    pub fn start(bench: &Bench, words: &[&str], source: Ipv4Addr, observation: Observation) -> Result<Self> {
        let observation = match observation {
            Observation::Count => "count",
            Observation::Source => "source",
            Observation::Latency => "latency",
        };
        let (cpu, port) = (CONSUMER_CPU.to_string(), PORT.to_string());
        let (source, group) = (source.to_string(), GROUP.to_string());
        let mut arguments = vec!["serve"];
        arguments.extend(words);
        arguments.extend(["--interface", bench.lab.rx_interface(), "--cpu", &cpu, "--source", &source]);
        arguments.extend(["--group", &group, "--port", &port, "--observation", observation]);
        let mut process = Process::start(bench.lab.rx(), words.first().unwrap_or(&"a child"), &arguments)?;
        let started: Started = serde_json::from_str(&process.line(PATIENCE)?).context("a child's first line")?;
        if let Some(reason) = started.refused {
            bail!("{reason}");
        }
        Ok(Self { process, got: started.got })
    }

    fn ask(&mut self, question: &str) -> Result<Counts> {
        self.process.write_line(question)?;
        serde_json::from_str(&self.process.line(PATIENCE)?).context("a child's answer")
    }
}

impl Session for Child {
    fn got(&self) -> &str {
        &self.got
    }

    fn count(&mut self) -> Result<Counts> {
        self.ask(COUNT)
    }

    fn totals(&mut self) -> Result<Counts> {
        self.ask(TOTALS)
    }

    fn pause_after(&mut self, packets: u64, length: Duration) -> Result<()> {
        self.ask(&format!("{PAUSE} {packets} {}", length.as_micros())).map(drop)
    }

    fn end(self: Box<Self>) -> Result<Option<u64>> {
        self.process.end().map(|_| None)
    }
}
