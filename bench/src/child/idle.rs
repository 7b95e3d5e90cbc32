//! A receiver without traffic: how often its threads wake, and what CPU time they take, while each worker's thread
//! waits for a datagram.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use receiver::{ModeRequest, Receiver};
use serde::{Deserialize, Serialize};

use super::{sleeping_consumers, subscribe, write_json};

/// Options of the child.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    #[arg(long)]
    interface: String,
    #[arg(long)]
    mode: String,
    #[arg(long)]
    subscriptions: u32,
    #[arg(long)]
    seconds: u64,
}

/// The time for the receiver to settle.
const SETTLE: Duration = Duration::from_millis(1500);

/// What a sleeping receiver costs.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Idle {
    /// Wake-ups per second of all threads: voluntary context switches.
    pub wakeups_per_second: f64,
    /// CPU time in microseconds per second.
    pub cpu_microseconds_per_second: f64,
    pub threads: usize,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let builder = Receiver::builder(&arguments.interface).mode(arguments.mode.parse::<ModeRequest>()?);
    let receiver = subscribe(builder, arguments.subscriptions)?.build()?;
    let handle = receiver.handle();
    let consumers = sleeping_consumers(receiver);
    thread::sleep(SETTLE);
    let before = Spent::read()?;
    thread::sleep(Duration::from_secs(arguments.seconds));
    let after = Spent::read()?;
    let seconds = arguments.seconds as f64;
    let idle = Idle {
        wakeups_per_second: after.switches.saturating_sub(before.switches) as f64 / seconds,
        cpu_microseconds_per_second: after.nanoseconds.saturating_sub(before.nanoseconds) as f64 / 1000.0 / seconds,
        threads: after.threads,
    };
    handle.shutdown()?;
    for consumer in consumers {
        let _ = consumer.join();
    }
    write_json(&idle)
}

/// Of all threads but the main one, which only measures.
#[derive(Debug, Default)]
struct Spent {
    switches: u64,
    nanoseconds: u64,
    threads: usize,
}

impl Spent {
    fn read() -> Result<Self> {
        let own = std::process::id().to_string();
        let mut spent = Self::default();
        for thread in fs::read_dir("/proc/self/task").context("listing /proc/self/task")?.flatten() {
            if thread.file_name().to_str() == Some(&own) {
                continue;
            }
            let read = |name| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            spent.switches += switches(&read("status")).unwrap_or(0);
            // Nanoseconds on a CPU, waiting for one, and the number of slices.
            spent.nanoseconds += read("schedstat").split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
            spent.threads += 1;
        }
        Ok(spent)
    }
}

fn switches(status: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voluntary_switches_alone_count() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t5\n";
        assert_eq!(switches(status), Some(17));
        assert_eq!(switches("nonvoluntary_ctxt_switches:\t5\n"), None);
    }
}
