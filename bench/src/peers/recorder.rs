//! Programs that record to a file: this project's `receiver record`, dumpcap, tcpdump and netsniff-ng, each with
//! 256 MiB of buffers, on the consumer's CPU.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::require;
use crate::lab::{Bench, CONSUMER_CPU, GROUP, PORT, WANTED};
use crate::process::{Process, receiver};

/// The time limit for its start.
const PATIENCE: Duration = Duration::from_secs(20);
/// From its announcement to its first packet.
const SETTLE: Duration = Duration::from_millis(200);
const LONGEST_DRAIN: Duration = Duration::from_secs(15);

/// A program that records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorder {
    Ours,
    Dumpcap,
    Tcpdump,
    NetsniffNg,
}

impl Recorder {
    /// In the order of a round.
    pub const ALL: [Self; 4] = [Self::Ours, Self::Dumpcap, Self::Tcpdump, Self::NetsniffNg];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "receiver record",
            Self::Dumpcap => "dumpcap",
            Self::Tcpdump => "tcpdump",
            Self::NetsniffNg => "netsniff-ng",
        }
    }

    /// What it prints once it records.
    fn announcement(self) -> &'static str {
        match self {
            Self::Ours => "1 subscription",
            Self::Dumpcap => "File: ",
            Self::Tcpdump => "listening on",
            Self::NetsniffNg => "Running!",
        }
    }

    /// A file that has not grown for this long is complete, but for what the program writes at its end. The kernel
    /// hands a block of the ring to tcpdump when it is full, or after a second.
    fn quiet(self) -> Duration {
        Duration::from_millis(if self == Self::Tcpdump { 1200 } else { 300 })
    }

    /// The words of a shell. Peers get the filter that the receiver's subscription amounts to.
    fn command(self, interface: &str, file: &str) -> Result<String> {
        let filter = format!("'udp and src host {WANTED} and dst host {GROUP} and dst port {PORT}'");
        Ok(match self {
            Self::Ours => {
                // 65,536 frames of 2,048 bytes are 128 MiB.
                format!(
                    "{} record -i {interface} --mode mapped --ring-size 32768 --frames 65536 --view lines \
                     -w '{file}?limit=128MiB' {WANTED}@{GROUP}:{PORT}",
                    receiver()?.display()
                )
            }
            Self::Dumpcap => format!("dumpcap -q -i {interface} -B 256 -f {filter} -w {file}"),
            Self::Tcpdump => format!("tcpdump -n -i {interface} -B 262144 -w {file} {filter}"),
            Self::NetsniffNg => format!("netsniff-ng -i {interface} -o {file} -s --ring-size 256MiB -f {filter}"),
        })
    }

    fn require(self) -> Result<()> {
        match self {
            Self::Ours => Ok(()),
            Self::Dumpcap => require("dumpcap", "`apt install wireshark-common` installs it"),
            Self::Tcpdump => require("tcpdump", "`apt install tcpdump` installs it"),
            Self::NetsniffNg => require("netsniff-ng", "`apt install netsniff-ng` installs it"),
        }
    }

    /// The packets that it has written, by its last words.
    fn count(self, lines: &[String]) -> Option<u64> {
        let number = |text: &str| text.split_whitespace().find_map(|word| word.parse().ok());
        let line = |marker: &str| lines.iter().rev().find(|line| line.contains(marker));
        match self {
            Self::Ours => number(line("recorded ")?),
            Self::Dumpcap => number(line("Packets captured:")?),
            Self::Tcpdump => number(line("packets captured")?),
            Self::NetsniffNg => number(line("packets passed filter")?),
        }
    }
}

/// A recorder that runs. Its file is removed at its end.
pub struct Recording {
    recorder: Recorder,
    process: Process,
    file: File,
}

/// What a recorder has done.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    pub packets: u64,
    pub bytes: u64,
    /// CPU time of the program, in nanoseconds.
    pub cpu_nanoseconds: f64,
}

struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Recording {
    pub fn start(bench: &Bench, recorder: Recorder) -> Result<Self> {
        recorder.require()?;
        let file = File(std::env::temp_dir().join(format!("receiver-bench-{}.capture", std::process::id())));
        let _ = fs::remove_file(&file.0);
        let command = recorder.command(bench.lab.rx_interface(), &file.0.to_string_lossy())?;
        let shell = format!("exec {command} 2>&1");
        let cpu = CONSUMER_CPU.to_string();
        let words = ["supervise", "--cpu", &cpu, "--usage", "--", "sh", "-c", &shell];
        let mut process = Process::start(bench.lab.rx(), recorder.name(), &words)?;
        process.line_with(recorder.announcement(), PATIENCE)?;
        sleep(SETTLE);
        Ok(Self { recorder, process, file })
    }

    /// The present length of its file.
    pub fn length(&self) -> u64 {
        length(&self.file.0)
    }

    /// Waits until its file no longer grows, and ends it.
    pub fn end(self) -> Result<Recorded> {
        let start = Instant::now();
        let (mut before, mut since) = (self.length(), Instant::now());
        while since.elapsed() < self.recorder.quiet() && start.elapsed() < LONGEST_DRAIN {
            sleep(Duration::from_millis(10));
            let now = self.length();
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
        let lines = self.process.end()?;
        let last = || lines[lines.len().saturating_sub(4)..].join("; ");
        let packets = self
            .recorder
            .count(&lines)
            .with_context(|| format!("{} does not count: {}", self.recorder.name(), last()))?;
        let usage = lines.iter().rev().find_map(|line| line.strip_prefix(crate::child::supervise::USAGE));
        let microseconds: f64 = usage.and_then(|text| text.trim().parse().ok()).context("no CPU time")?;
        Ok(Recorded { packets, bytes: length(&self.file.0), cpu_nanoseconds: microseconds * 1e3 })
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_have_the_number_of_packets() {
        let count =
            |recorder: Recorder, text: &str| recorder.count(&text.lines().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(count(Recorder::Ours, "recorded 12 packets to a.pcapng; nothing was lost"), Some(12));
        assert_eq!(count(Recorder::Dumpcap, "File: a\nPackets captured: 34\nPackets received/dropped"), Some(34));
        let tcpdump = "56 packets captured\n60 packets received by filter\n4 packets dropped by kernel";
        assert_eq!(count(Recorder::Tcpdump, tcpdump), Some(56));
        let netsniff = "          90  packets incoming (0 unread on exit)\n          78  packets passed filter";
        assert_eq!(count(Recorder::NetsniffNg, netsniff), Some(78));
        assert_eq!(count(Recorder::Tcpdump, "killed"), None);
    }
}
