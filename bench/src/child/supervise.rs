//! Runs a foreign program as a child that never outlives the bench. It is pinned, has a sysfs and a bpffs in its own
//! mount namespace, and ends when this process's standard input ends.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::pin;

/// Options of the command.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    #[arg(long)]
    cpu: Option<usize>,
    /// Print the CPU time of the program at its end: a line of [`USAGE`] and microseconds.
    #[arg(long)]
    usage: bool,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Begins the line with the CPU time.
pub const USAGE: &str = "cpu_microseconds ";

/// Time limit for a program to end by itself after its input ended, then after SIGINT.
const PATIENCE: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(4)];

pub fn run(arguments: &Arguments) -> Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Ctrl-C at the terminal also reaches the program. This process stays until it has ended.
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    own_mounts()?;
    if let Some(cpu) = arguments.cpu {
        pin(cpu)?;
    }
    let [program, rest @ ..] = arguments.command.as_slice() else { bail!("no command") };
    let before = cpu_microseconds();
    let mut child = Command::new(program)
        .args(rest)
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let mut input = child.stdin.take().context("the program has no standard input")?;
    let ended = Arc::new(AtomicBool::new(false));
    {
        let ended = Arc::clone(&ended);
        thread::spawn(move || {
            let mut bytes = [0; 256];
            let mut own = std::io::stdin().lock();
            while let Ok(count @ 1..) = own.read(&mut bytes) {
                if input.write_all(&bytes[..count]).and_then(|()| input.flush()).is_err() {
                    break;
                }
            }
            ended.store(true, Ordering::Relaxed);
        });
    }
    loop {
        let status = if ended.load(Ordering::Relaxed) { Some(end(&mut child)?) } else { child.try_wait()? };
        if let Some(status) = status {
            if arguments.usage {
                println!("{USAGE}{}", cpu_microseconds() - before);
            }
            return finished(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// CPU time of all children that have ended.
fn cpu_microseconds() -> i64 {
    // SAFETY: all bits zero are a valid `rusage`.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes to `usage` alone.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    [usage.ru_utime, usage.ru_stime].iter().map(|time| time.tv_sec * 1_000_000 + time.tv_usec).sum()
}

fn finished(status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("it ended with {status}");
    }
    Ok(())
}

/// Closes the input, then sends SIGINT, then kills.
fn end(child: &mut Child) -> Result<ExitStatus> {
    for (nth, patience) in PATIENCE.into_iter().enumerate() {
        let start = Instant::now();
        while start.elapsed() < patience {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        if nth == 0 {
            let _ = kill_process(Pid::from_child(child), Signal::INT);
        }
    }
    child.kill()?;
    Ok(child.wait()?)
}

/// Makes a mount namespace with /sys of this network namespace, and with a bpffs, which libxdp needs.
fn own_mounts() -> Result<()> {
    // SAFETY: only the flag FILES makes the call unsafe, and it is not passed.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.context("unsharing the mounts")?;
    for words in
        [["--make-rslave", "/"].as_slice(), &["-t", "sysfs", "sysfs", "/sys"], &["-t", "bpf", "bpf", "/sys/fs/bpf"]]
    {
        let mut command = Command::new("mount");
        let status = command.args(words).stdin(Stdio::null()).status().context("running mount")?;
        if !status.success() {
            bail!("`mount {}` failed ({status})", words.join(" "));
        }
    }
    Ok(())
}
