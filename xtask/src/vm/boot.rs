//! One guest: two network interfaces joined by a bridge, a kernel, and a script that it runs as root.
//!
//! The bridge and the tap devices are in this command's own network namespace. Tap is QEMU's only back end with several
//! queues that needs no further program.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use netlab::Namespace;
use rustix::process::{Pid, Signal, kill_process};

use super::kernel::Kernel;
use super::tools::Tools;
use crate::interrupt;

/// The guest's interfaces: the one to receive on, the one to send on.
pub const MACS: [&str; 2] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
/// Their number of queues.
const QUEUES: u32 = 2;
/// Upper bound of a guest's run time, in seconds.
const LIMIT: &str = "1500";
/// Packets that can wait for an interface whose emulated processor is delayed, so that they are not dropped.
const WAITING: &str = "32768";

/// Makes the bridge and its two tap devices. They end with this process and the guests.
pub fn network() -> Result<Namespace> {
    let namespace = Namespace::new("vm")?;
    let make = || -> netlab::Result<()> {
        // Without snooping the bridge forwards all multicast.
        namespace.ip(&["link", "add", "name", "bridge", "mtu", "9000", "type", "bridge", "mcast_snooping", "0"])?;
        namespace.sysctl("net/ipv6/conf/bridge/disable_ipv6", "1")?;
        // Netfilter on bridges, where the kernel has it, drops what it takes for malformed.
        for family in ["iptables", "ip6tables"] {
            let _ = namespace.sysctl(&format!("net/bridge/bridge-nf-call-{family}"), "0");
        }
        namespace.ip(&["link", "set", "dev", "bridge", "up"])?;
        for tap in ["tap0", "tap1"] {
            namespace.ip(&["tuntap", "add", "dev", tap, "mode", "tap", "multi_queue"])?;
            namespace.sysctl(&format!("net/ipv6/conf/{tap}/disable_ipv6"), "1")?;
            namespace.ip(&[
                "link",
                "set",
                "dev",
                tap,
                "mtu",
                "9000",
                "txqueuelen",
                WAITING,
                "master",
                "bridge",
                "up",
            ])?;
        }
        Ok(())
    };
    make().context("the guests' network cannot be made: does this kernel have tun and bridges?")?;
    Ok(namespace)
}

/// The counters of the devices outside the guests: a tap's `rx` are the frames that its guest sent, and its `tx` those
/// that QEMU took for its guest. Frames that still wait for QEMU are in the bridge's counts alone.
pub struct Outside<'a> {
    network: &'a Namespace,
    before: BTreeMap<String, u64>,
}

impl<'a> Outside<'a> {
    /// Counts from now on.
    pub fn of(network: &'a Namespace) -> Self {
        let mut this = Self { network, before: BTreeMap::new() };
        this.growth();
        this
    }

    /// What was counted since the last call, for messages.
    pub fn growth(&mut self) -> String {
        let now = match counters(self.network) {
            Ok(now) => now,
            Err(error) => return format!("{error:#}"),
        };
        let before = std::mem::replace(&mut self.before, now);
        let grown = self.before.iter().map(|(name, count)| (name, count - before.get(name).unwrap_or(&0).min(count)));
        let counts: Vec<_> =
            grown.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect();
        counts.join(", ")
    }
}

/// Frames that were dropped outside the guests so far. The receiver did not cause those losses.
pub fn dropped(network: &Namespace) -> Result<Vec<String>> {
    let mut all = counters(network)?;
    all.retain(|name, count| *count > 0 && !name.ends_with("packets"));
    Ok(all.into_iter().map(|(name, count)| format!("{name} {count}")).collect())
}

/// Packets, drops and errors of each device outside the guests.
fn counters(network: &Namespace) -> Result<BTreeMap<String, u64>> {
    let text = network.ip(&["-statistics", "-json", "link", "show"])?;
    let links: serde_json::Value = serde_json::from_str(&text).context("ip wrote no JSON")?;
    let mut all = BTreeMap::new();
    for link in links.as_array().into_iter().flatten() {
        for way in ["rx", "tx"] {
            for count in ["packets", "dropped", "errors"] {
                let name = format!("{} {way} {count}", link["ifname"].as_str().unwrap_or_default());
                all.extend(link["stats64"][way][count].as_u64().map(|count| (name, count)));
            }
        }
    }
    Ok(all)
}

/// What to boot, and the tools for it.
pub struct Guest<'a> {
    pub tools: &'a Tools,
    pub kernel: &'a Kernel,
    pub network: &'a Namespace,
    pub log: &'a Path,
}

impl Guest<'_> {
    /// Boots, runs the script, and calls `each` with each line of its output after writing it to the log. Returns the
    /// script's exit code, or `None` if the guest died or took too long.
    pub fn run(&self, script: &Path, each: impl FnMut(&str)) -> Result<Option<i32>> {
        // It ends all its children, including QEMU.
        let mut command = self.network.command("timeout");
        command.args(["--kill-after=10", LIMIT]).arg(self.tools.virtme.join("vng"));
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", self.tools.virtme.display()));
        command.args(["--disable-kvm", "--disable-microvm", "--force-9p", "--cpus", "2", "--memory", "2G", "--run"]);
        command.arg(&self.kernel.image).arg(format!("--qemu-opts={}", qemu_options().join(" ")));
        command.args(["--exec", &format!("sh {}", quoted(&script.to_string_lossy()))]);
        follow(command, "vng", self.log, each)
    }
}

/// Runs a command that boots a guest, and calls `each` with each line of its output after writing it to the log.
/// Returns its exit code, or `None` if it died or `timeout` ended it.
pub fn follow(
    mut command: netlab::Command,
    program: &str,
    log: &Path,
    mut each: impl FnMut(&str),
) -> Result<Option<i32>> {
    let interrupted = interrupt::outlive()?;
    let mut log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    // Standard error as well: the guest's console opens it anew by its path, which empties a file.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let output = child.stdout.take().with_context(|| format!("{program} has no standard output"))?;
    let errors = child.stderr.take().with_context(|| format!("{program} has no standard error"))?;

    let (lines, waiting) = mpsc::channel();
    forward(output, lines.clone());
    forward(errors, lines);
    loop {
        match waiting.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => {
                let line = line.trim_end_matches('\r');
                writeln!(log, "{line}").context("cannot write the log")?;
                each(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if interrupted.load(Ordering::Relaxed) => {
                if let Some(id) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                    // It fails only if the process has already ended.
                    let _ = kill_process(id, Signal::TERM);
                }
                child.wait().with_context(|| format!("{program} was lost"))?;
                anyhow::bail!("interrupted");
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    let status = child.wait().with_context(|| format!("{program} was lost"))?;
    // 124 means that it took too long.
    Ok(status.code().filter(|code| *code != 124))
}

/// Sends each line on.
fn forward(from: impl Read + Send + 'static, lines: mpsc::Sender<String>) {
    thread::spawn(move || {
        let lossy = |line: std::io::Result<Vec<u8>>| line.map(|line| String::from_utf8_lossy(&line).into_owned());
        // Sending fails only if the reader has gone.
        BufReader::new(from).split(b'\n').map_while(|line| lossy(line).ok()).try_for_each(|line| lines.send(line))
    });
}

/// Two interfaces. Zero-copy needs the kernel's DMA interface (`iommu_platform`), which needs virtio 1.
pub fn qemu_options() -> Vec<String> {
    let vectors = 2 * QUEUES + 2;
    let mut options = Vec::new();
    for (tap, mac) in MACS.iter().enumerate() {
        options.push(format!("-netdev tap,id=net{tap},ifname=tap{tap},script=no,downscript=no,queues={QUEUES}"));
        options.push(format!(
            "-device virtio-net-pci,netdev=net{tap},mac={mac},iommu_platform=on,disable-legacy=on,mq=on,vectors={vectors},\
             rx_queue_size=1024"
        ));
    }
    options
}

/// Quotes a word for the shell.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words_for_the_shell() {
        let words = ["plain", "two words", "it's", "$HOME", ""];
        let line = format!("printf '%s\\n' {}", words.map(quoted).join(" "));
        let output = std::process::Command::new("sh").args(["-c", &line]).output().expect("sh");
        assert_eq!(String::from_utf8_lossy(&output.stdout), words.map(|word| format!("{word}\n")).concat());
    }
}
