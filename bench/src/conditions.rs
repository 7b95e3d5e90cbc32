//! The machine that was measured, and its other load.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Duration of one measurement of the machine's load.
const LOOK: Duration = Duration::from_millis(400);

/// The machine.
#[derive(Clone, Debug, Serialize)]
pub struct Conditions {
    pub kernel: String,
    pub cpu: String,
    pub cores: usize,
    pub frame_bytes: usize,
    /// Number of rounds of the throughput table.
    pub rounds: usize,
    pub quick: bool,
    /// CPU time that the hypervisor gave to others during the run, in percent.
    pub steal_percent: f64,
    /// The distance of `recvmmsg` from itself: the noise of ratios.
    pub noise: f64,
    /// The load of the machine by others while nothing was measured, in percent of all CPU time: the median of
    /// measurements between the rounds.
    pub other_load_percent: f64,
    pub seconds: f64,
    pub generator: String,
}

impl Conditions {
    pub fn read(rounds: usize, quick: bool) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
        Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            cpu: model.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            cores,
            frame_bytes: 64,
            rounds,
            quick,
            steal_percent: 0.0,
            noise: 0.0,
            other_load_percent: 0.0,
            seconds: 0.0,
            generator:
                "in the kernel on CPU 0, with the receiving end's NAPI and XDP; consumers on CPU 1; veth, one queue"
                    .to_owned(),
        }
    }
}

/// CPU time of the calling thread.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// CPU time of the whole machine since boot, in nanoseconds over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuTime {
    pub busy: f64,
    pub idle: f64,
    pub steal: f64,
}

impl CpuTime {
    pub fn read() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        let tick = 1e9 / rustix::param::clock_ticks_per_second() as f64;
        Self::parse(&text, tick).context("/proc/stat has no line `cpu`")
    }

    fn parse(text: &str, tick: f64) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; user includes guests.
        let &[user, nice, system, idle, iowait, irq, softirq, steal, ..] = ticks.as_slice() else { return None };
        Some(Self {
            busy: (user + nice + system + irq + softirq) * tick,
            idle: (idle + iowait) * tick,
            steal: steal * tick,
        })
    }

    pub fn since(&self, before: &Self) -> Self {
        Self { busy: self.busy - before.busy, idle: self.idle - before.idle, steal: self.steal - before.steal }
    }

    /// Returns the share of time that was not idle, in percent.
    pub fn load_percent(&self) -> f64 {
        let all = self.busy + self.idle + self.steal;
        if all > 0.0 { 100.0 * (all - self.idle) / all } else { 0.0 }
    }

    /// Returns the share of stolen time, in percent.
    pub fn steal_percent(&self) -> f64 {
        let all = self.busy + self.idle + self.steal;
        if all > 0.0 { 100.0 * self.steal / all } else { 0.0 }
    }
}

/// Measures the load of the machine in percent, while this program does nothing.
pub fn other_load() -> Result<f64> {
    let before = CpuTime::read()?;
    std::thread::sleep(LOOK);
    Ok(CpuTime::read()?.since(&before).load_percent())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_all_cpus() {
        let text = "cpu  10 1 5 100 4 2 3 25 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let time = CpuTime::parse(text, 10.0).expect("a line");
        assert_eq!(time, CpuTime { busy: 210.0, idle: 1040.0, steal: 250.0 });
        assert!((time.since(&CpuTime::default()).steal_percent() - 100.0 * 250.0 / 1500.0).abs() < 1e-9);
        assert!((time.load_percent() - 100.0 * 460.0 / 1500.0).abs() < 1e-9);
        assert_eq!(CpuTime::parse("intr 1 2 3", 10.0), None);
    }
}
