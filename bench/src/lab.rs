//! The layout: two namespaces, one veth pair, one queue. The generator runs on CPU 0, as do the receiving end's NAPI
//! and XDP. Consumers run on CPU 1.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use netlab::Lab;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::process::Process;
use crate::realtime;

/// The generator's CPU.
pub const GENERATOR_CPU: usize = 0;
/// The consumers' CPU.
pub const CONSUMER_CPU: usize = 1;
/// The interface whose NAPI has a thread. The name is short, since the kernel truncates the thread's name.
const THREADED: &str = "flood-rx";
/// The wanted source.
pub const WANTED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Another source.
pub const UNWANTED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// A source that never sends.
pub const SILENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
pub const GROUP: Ipv4Addr = Ipv4Addr::new(232, 1, 1, 1);
pub const PORT: u16 = 5000;

/// The namespaces, and the flag that Ctrl-C raises.
pub struct Bench {
    pub lab: Lab,
    pub stop: Arc<AtomicBool>,
    /// Keeps the consumer's CPU awake.
    _spinner: Option<Mutex<Process>>,
}

impl Bench {
    pub fn new(stop: Arc<AtomicBool>) -> Result<Self> {
        let lab = Lab::builder().build().context("making the namespaces (this needs root)")?;
        let bench = Self { lab, stop, _spinner: None };
        // Redirected frames vanish at an end without NAPI. veth has NAPI with an XDP program or with GRO.
        bench.lab.rx().set_gro(bench.lab.rx_interface(), true)?;
        Ok(bench)
    }

    /// Makes a bench as [`Bench::new`] does, but the receiving end's NAPI has a thread on the consumer's CPU, with
    /// priority over every consumer, like a NIC's interrupts. So the receiver's cost no longer slows the generator.
    /// That CPU is kept from sleeping.
    pub fn with_threaded_napi(stop: Arc<AtomicBool>) -> Result<Self> {
        let lab = Lab::builder().rx_interface(THREADED).build().context("making the namespaces (this needs root)")?;
        let cpu = CONSUMER_CPU.to_string();
        let spinner = Process::start(lab.rx(), "a child that spins", &["spin", "--cpu", &cpu])?;
        let bench = Self { lab, stop, _spinner: Some(Mutex::new(spinner)) };
        bench.lab.rx().set_gro(THREADED, true)?;
        // sysfs shows the interfaces of the namespace in which it was mounted, so the child mounts its own.
        let set = format!("echo 1 > /sys/class/net/{THREADED}/threaded && echo done");
        let mut process = Process::start(bench.lab.rx(), "sh", &["supervise", "--", "sh", "-c", &set])?;
        process.line_with("done", Duration::from_secs(5)).context("giving the NAPI of a veth a thread")?;
        process.end()?;
        let thread = napi_thread().context("the NAPI of a veth got no thread (`napi/…`): this needs Linux 5.12")?;
        let mut set = CpuSet::new();
        set.set(CONSUMER_CPU);
        sched_setaffinity(Some(thread), &set).context("pinning the thread of a NAPI")?;
        realtime::prefer(thread).context("giving the thread of a NAPI real-time priority")?;
        Ok(bench)
    }

    /// Fails after Ctrl-C.
    pub fn go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Reads the receiving end's own counters (`ethtool -S`).
    pub fn link_counters(&self) -> Result<BTreeMap<String, u64>> {
        let interface = self.lab.rx_interface();
        let output = self.lab.rx().command("ethtool").args(["-S", interface]).output().context("cannot run ethtool")?;
        if !output.status.success() {
            bail!("ethtool -S {interface} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(parse_counters(&String::from_utf8_lossy(&output.stdout)))
    }
}

/// Finds the kernel thread of [`THREADED`]'s one NAPI.
fn napi_thread() -> Option<Pid> {
    let wanted = format!("napi/{THREADED}");
    let comm = |process: &std::fs::DirEntry| std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
    let found = std::fs::read_dir("/proc").ok()?.flatten().find(|process| comm(process).starts_with(&wanted))?;
    Pid::from_raw(found.file_name().to_str()?.parse().ok()?)
}

fn parse_counters(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (name, count) = line.split_once(':')?;
            Some((name.trim().to_owned(), count.trim().parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read() {
        let text = "NIC statistics:\n     peer_ifindex: 2\n     rx_queue_0_xdp_redirect: 4317321\n     rx_queue_0_drops: 7866\n";
        let counters = parse_counters(text);
        assert_eq!((counters["rx_queue_0_xdp_redirect"], counters["rx_queue_0_drops"]), (4_317_321, 7866));
    }
}
