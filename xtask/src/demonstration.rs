//! The demonstration: two namespaces, senders in one, the receiver in the other, and a summary in words.

use std::env;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netlab::Lab;
use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt;
use crate::outcome::{Outcome, Summary};
use crate::scenario::{PARTS, SEND_SECONDS};

/// Duration of the receiver's run, in seconds.
pub const RUN_SECONDS: u32 = 8;
/// Time from the receiver's start to the first datagram.
const HEAD_START: Duration = Duration::from_millis(700);
/// Time for the receiver to end after Ctrl-C, which it also gets, before it is asked to end.
const GRACE: Duration = Duration::from_secs(3);
/// Time for a child to end after the request, or after its run.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the receiver runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In the best mode that this machine offers.
    Best,
    /// In mode `copy`, which uses AF_XDP.
    Copy,
    /// Without XDP, as only this works in a user namespace.
    Socket,
}

impl Mode {
    /// The receiver's options for it.
    pub fn arguments(self) -> Vec<String> {
        let by_name = match self {
            Self::Best => None,
            Self::Copy => Some("copy"),
            Self::Socket => Some("socket"),
        };
        by_name.into_iter().flat_map(|name| ["--mode".into(), name.into()]).collect()
    }
}

/// Runs the demonstration, as root or in a user namespace: in the best mode, and if that is `mapped`, in mode `copy` as
/// well.
pub fn run(receiver: &Path, mode: Mode) -> Result<ExitCode> {
    let interrupted = interrupt::outlive()?;
    let lab = Lab::new()?;
    println!(
        "Two network namespaces joined by veth; senders on one side for {SEND_SECONDS} s, the receiver on the other \
         for {RUN_SECONDS} s (Ctrl-C ends it earlier)."
    );
    let first = run_once(&lab, receiver, mode, &interrupted)?;
    let mut is_good = first.is_good;
    if first.mode == "mapped" && !interrupted.load(Ordering::Relaxed) {
        println!("\nThe same in mode copy, which uses AF_XDP:");
        is_good &= run_once(&lab, receiver, Mode::Copy, &interrupted)?.is_good;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What one run of the receiver showed.
struct Shown {
    /// The mode that it ran in.
    mode: String,
    is_good: bool,
}

/// Runs the receiver and the senders once, and prints the result.
fn run_once(lab: &Lab, receiver: &Path, mode: Mode, interrupted: &AtomicBool) -> Result<Shown> {
    let folder = Scratch::new()?;
    let summary = folder.file("summary.json");

    let mut receiving = lab.rx().command(receiver);
    receiving.args(receiver_arguments(lab.rx_interface(), mode)).arg("--summary").arg(&summary);
    let mut running = Running::start("the receiver", &mut receiving)?;
    let mut senders = Vec::new();
    wait(HEAD_START, interrupted, &mut running)?;
    if running.ended()?.is_none() && !interrupted.load(Ordering::Relaxed) {
        for arguments in PARTS.iter().flat_map(|part| part.senders(lab.tx_interface())) {
            let mut sending = lab.tx().command(receiver);
            senders.push(Running::start("a sender", sending.args(arguments).stdout(std::process::Stdio::null()))?);
        }
    }
    wait(Duration::from_secs(RUN_SECONDS.into()) + PATIENCE, interrupted, &mut running)?;
    let status = running.end(GRACE)?;
    let early = interrupted.load(Ordering::Relaxed);
    if !status.success() {
        bail!("the receiver failed ({status})");
    }
    for mut sender in senders {
        let status = sender.end(Duration::ZERO)?;
        if !early && !status.success() {
            bail!("a sender failed ({status})");
        }
    }

    let text = fs::read_to_string(&summary).context("the receiver left no summary")?;
    let summary = Summary::parse(&text).context("the receiver's summary is not as expected")?;
    let outcome = Outcome::judge(&summary)?;
    println!("\n{outcome}");
    let faults = outcome.faults(early);
    for fault in &faults {
        eprintln!("error: {fault}");
    }
    Ok(Shown { mode: summary.mode().to_owned(), is_good: faults.is_empty() })
}

fn receiver_arguments(interface: &str, mode: Mode) -> Vec<String> {
    let mut arguments = vec!["run".to_owned(), "-i".into(), interface.into()];
    arguments.extend(["--duration".into(), RUN_SECONDS.to_string()]);
    arguments.extend(mode.arguments());
    arguments.extend(PARTS.iter().map(|part| part.subscription.to_owned()));
    arguments
}

/// Waits until the receiver has ended, the time is over, or a signal arrived.
fn wait(time: Duration, interrupted: &AtomicBool, receiver: &mut Running) -> Result<()> {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline && !interrupted.load(Ordering::Relaxed) && receiver.ended()?.is_none() {
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A child that ends with this value.
pub struct Running {
    what: &'static str,
    child: Child,
}

impl Running {
    /// Starts it. `what` names it in errors.
    pub fn start(what: &'static str, command: &mut netlab::Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("cannot start {what}"))?;
        Ok(Self { what, child })
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        self.child.try_wait().with_context(|| format!("{} ended unexpectedly", self.what))
    }

    /// Waits until it has ended. After the grace time it asks the child to end.
    pub fn end(&mut self, grace: Duration) -> Result<std::process::ExitStatus> {
        let start = Instant::now();
        let mut asked = false;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if !asked && start.elapsed() >= grace {
                self.signal(Signal::TERM);
                asked = true;
            }
            if start.elapsed() > grace + PATIENCE {
                bail!("{} did not end within {} s after it was asked to", self.what, PATIENCE.as_secs());
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It only fails if the child has just ended.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Neither affects a child that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A new folder that only this user can enter. It is removed with this value.
pub struct Scratch(PathBuf);

impl Scratch {
    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes the folder.
    pub fn new() -> Result<Self> {
        // Making a folder fails if the name exists, so nobody else can have placed it there.
        for attempt in 0..100 {
            let path = env::temp_dir().join(format!("receiver-demonstration-{}-{attempt}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("cannot make the folder {}", path.display())),
            }
        }
        bail!("cannot make a folder in {}", env::temp_dir().display())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receiver_gets_every_subscription() {
        assert_eq!(
            receiver_arguments("veth-rx", Mode::Best).join(" "),
            "run -i veth-rx --duration 8 10.0.0.1,10.0.0.2@232.1.1.1:5000 !10.0.0.9@239.1.1.1:5001 \
             [2001:db8::1]@[ff3e::1]:5000"
        );
        assert!(receiver_arguments("veth-rx", Mode::Socket).join(" ").contains("--duration 8 --mode socket 10.0.0.1,"));
        assert!(receiver_arguments("veth-rx", Mode::Copy).join(" ").contains("--duration 8 --mode copy 10.0.0.1,"));
    }

    #[test]
    fn kept_and_refused_sources_send_apart_and_in_different_sizes() {
        let lines: Vec<_> = PARTS.iter().flat_map(|part| part.senders("veth-tx")).map(|line| line.join(" ")).collect();
        assert_eq!(
            lines,
            [
                "send -i veth-tx --group 232.1.1.1 --port 5000 --source 10.0.0.1 --source 10.0.0.2 --rate 10000 \
                 --duration 6 --size 200",
                "send -i veth-tx --group 232.1.1.1 --port 5000 --source 10.0.0.3 --rate 10000 --duration 6 --size 333",
                "send -i veth-tx --group 239.1.1.1 --port 5001 --source 10.0.0.4 --rate 5000 --duration 6 --size 200",
                "send -i veth-tx --group 239.1.1.1 --port 5001 --source 10.0.0.9 --rate 5000 --duration 6 --size 333",
                "send -i veth-tx --group ff3e::1 --port 5000 --source 2001:db8::1 --rate 5000 --duration 6 --size 200",
            ]
        );
    }
}
