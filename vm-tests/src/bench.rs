//! What every row uses: the two namespaces, a sender, a receiver, and the helpers that connect them.

use std::fmt;
use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use netlab::{Channels, Lab};
use receiver::{Builder, Datagram, Handle, Interface, Ledger, ReceiveMode, Receiver, Wait};
use receiver_send::probe::{ProbeChecker, ProbePayload, ProbeReport};
use receiver_send::{SendConfig, SendReport, Sender};

use crate::arguments::Arguments;
use crate::counters::Counters;

/// After this time without a datagram, no more are expected.
const QUIET: Duration = Duration::from_millis(700);
/// How long datagrams that are missing after a test are waited for, to name them as late or lost.
const LATE: Duration = Duration::from_secs(10);
/// The queueing discipline of interfaces that go up later. Debian's default, fq_codel, drops frames that waited too
/// long, which happens when an emulated processor is delayed, and does not report it to the sender. This one only drops
/// what does not fit, and reports it.
const QDISC: &str = "pfifo_fast";
const DEFAULT_QDISC: &str = "/proc/sys/net/core/default_qdisc";
/// Upper bound of the time that anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The guest's two interfaces, each in its own namespace.
pub struct Bench {
    pub lab: Lab,
    pub receiver: PathBuf,
    pub expect: Option<ReceiveMode>,
    pub packets: u64,
    pub rate: u64,
}

impl Bench {
    pub fn new(arguments: &Arguments) -> Result<Self> {
        let (rx, tx) = (interface_by_mac(&arguments.receiving)?, interface_by_mac(&arguments.sending)?);
        fs::write(DEFAULT_QDISC, QDISC).with_context(|| format!("cannot write {QDISC} to {DEFAULT_QDISC}"))?;
        let lab = Lab::over(&rx, &tx).build()?;
        // A sender whose thread changes the processor would change the queue, and so reorder its packets.
        lab.tx().set_channels(&tx, Channels::Combined, 1)?;
        println!("receiving on {rx}, sending on {tx}");
        Ok(Self {
            lab,
            receiver: arguments.receiver.clone(),
            expect: arguments.expect,
            packets: arguments.packets,
            rate: arguments.rate,
        })
    }

    /// Opens a receiver on the receiving side, by default for the one source of the rows.
    pub fn open(&self, build: impl FnOnce(Builder) -> Builder + Send) -> Result<Receiver, receiver::Error> {
        let open = || build(Receiver::builder(self.lab.rx_interface()).ring_size(1024).frames(4096)).build();
        match self.lab.rx().run(open) {
            Ok(opened) => opened,
            Err(error) => panic!("no thread in the receiving namespace: {error}"),
        }
    }

    /// A stream of wanted datagrams; the rows change what differs.
    pub fn stream(&self, group: &str, sources: &[&str], rate: u64, count: u64) -> Result<SendConfig> {
        let mut config = SendConfig::new(self.lab.tx_interface(), group.parse().context("group")?, 5000);
        config.sources = sources.iter().map(|source| source.parse()).collect::<Result<_, _>>().context("source")?;
        (config.traffic.source_port, config.traffic.rate, config.traffic.count) = (Some(4000), rate, Some(count));
        Ok(config)
    }

    /// Sends on a separate thread.
    pub fn send(&self, config: SendConfig) -> Result<Sending> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = self.lab.tx().spawn(move || Sender::new(config)?.run(&stopped))?;
        Ok(Sending { stop, thread: Some(thread) })
    }

    /// Sends, and receives on this thread until nothing more arrives. Returns the number of datagrams received, and the
    /// sender's report.
    pub fn burst(
        &self,
        receiver: &mut Receiver,
        config: SendConfig,
        mut each: impl FnMut(Datagram<'_>),
    ) -> Result<(u64, SendReport)> {
        let sending = self.send(config)?;
        let (mut came, mut last) = (0, Instant::now());
        while !sending.is_done() || last.elapsed() < QUIET {
            let count = receiver.poll(Wait::For(Duration::from_millis(20)), &mut each)?;
            came += count as u64;
            if count > 0 || !sending.is_done() {
                last = Instant::now();
            }
        }
        Ok((came, sending.wait()?))
    }

    /// As [`Bench::burst`], but fails unless all datagrams of the stream arrive. The error names the counters that grew
    /// meanwhile, and so where the missing ones stayed.
    pub fn expect_all(
        &self,
        receiver: &mut Receiver,
        config: SendConfig,
        mut each: impl FnMut(Datagram<'_>),
    ) -> Result<u64> {
        let handle = receiver.handle();
        let (counters, ledger) = (Counters::read(&self.lab)?, handle.ledger()?);
        let mut missing = Missing::default();
        let (came, sent) = self.burst(receiver, config, |datagram| {
            missing.observe(datagram.payload());
            each(datagram);
        })?;
        let sent = sent.packets;
        if came == sent {
            return Ok(came);
        }
        let (start, mut late) = (Instant::now(), 0);
        while came + late < sent && start.elapsed() < LATE {
            late += receiver.poll(Wait::For(Duration::from_millis(100)), &mut each)? as u64;
        }
        bail!(
            "{came} of {sent} arrived, and {late} more than {} ms after the last; {missing}; the receiver counted {}; \
             the interfaces counted {}",
            QUIET.as_millis(),
            growth(&handle.ledger()?, &ledger),
            Counters::read(&self.lab)?.since(&counters)
        )
    }

    /// Runs a program on the receiving side. Returns its output, or its error output as an error.
    pub fn at_receiver(&self, program: &str, arguments: &[&str]) -> Result<std::result::Result<String, String>> {
        let output =
            self.lab.rx().command(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
    }

    /// The kernel's current description of the receiving interface.
    pub fn interface(&self) -> Result<Interface> {
        Ok(self.lab.rx().run(|| Interface::lookup(self.lab.rx_interface()))??)
    }

    /// Fails if an earlier receiver left its XDP program attached.
    pub fn expect_clean(&self) -> Result<()> {
        let program = self.interface()?.xdp_program;
        ensure!(program.is_none(), "an XDP program was left on {}: {program:?}", self.lab.rx_interface());
        Ok(())
    }
}

/// The name of the interface with this MAC address.
fn interface_by_mac(mac: &str) -> Result<String> {
    let text = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let all = Interface::all().context("the interfaces cannot be listed")?;
    let found = all.into_iter().find(|interface| interface.mac.is_some_and(|found| text(found) == mac));
    let found =
        found.with_context(|| format!("no interface has the MAC address {mac}: is its driver's module loaded?"))?;
    Ok(found.name)
}

/// A running sender.
pub struct Sending {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<SendReport, receiver_send::SendError>>>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // As with `Receiving`.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Sending {
    pub fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    pub fn stop(self) -> Result<SendReport> {
        self.stop.store(true, Ordering::Relaxed);
        self.wait()
    }

    pub fn wait(mut self) -> Result<SendReport> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(report)) => Ok(report?),
            _ => bail!("the sender panicked"),
        }
    }
}

/// A receiver running on a separate thread, with a checker of the received datagrams.
pub struct Receiving {
    pub handle: Handle,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Received>>,
}

/// The checker's report, the number of datagrams from the kernel path, and the receiver.
type Received = Result<(ProbeReport, u64, Receiver)>;

impl Drop for Receiving {
    /// A row that fails also ends its receiver, so that the interface is free for the next row.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The reason for the row's failure is known already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Receiving {
    pub fn start(mut receiver: Receiver) -> Self {
        let handle = receiver.handle();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut checker = ProbeChecker::new();
            let (mut last, mut by_kernel) = (Instant::now(), 0);
            while !stopped.load(Ordering::Relaxed) || last.elapsed() < QUIET {
                let count = receiver.poll(Wait::For(Duration::from_millis(20)), |datagram| {
                    by_kernel += u64::from(datagram.path() == receiver::Path::Kernel);
                    observe(&mut checker, &datagram);
                })?;
                if count > 0 {
                    last = Instant::now();
                }
            }
            Ok((checker.report(), by_kernel, receiver))
        });
        Self { handle, stop, thread: Some(thread) }
    }

    /// Waits until nothing more arrives. Returns the checker's report, the number of datagrams from the kernel path,
    /// the ledger, and the receiver.
    pub fn finish(mut self) -> Result<(ProbeReport, u64, Ledger, Receiver)> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(done)) => {
                let (report, by_kernel, receiver) = done?;
                Ok((report, by_kernel, self.handle.ledger()?, receiver))
            }
            _ => bail!("the receiving thread panicked"),
        }
    }
}

pub fn observe(checker: &mut ProbeChecker, datagram: &Datagram<'_>) {
    let time = datagram.time().nanoseconds;
    checker.observe(datagram.source(), datagram.group(), datagram.port(), datagram.payload(), time);
}

/// Waits until a condition holds. The error names the condition that did not.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !holds()? {
        ensure!(start.elapsed() < PATIENCE, "after {} s this is still not so: {what}", PATIENCE.as_secs());
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// All causes that are not 0, for messages.
pub fn causes(ledger: &Ledger) -> String {
    let counts: Vec<_> =
        ledger.causes().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect();
    counts.join(", ")
}

/// The growth of all causes since an earlier ledger of the same receiver, for messages.
fn growth(ledger: &Ledger, earlier: &Ledger) -> String {
    let grown =
        ledger.causes().zip(earlier.causes()).map(|((name, now), (_, before))| (name, now.saturating_sub(before)));
    let counts: Vec<_> = grown.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")).collect();
    counts.join(", ")
}

/// The sequence numbers of a stream that did not arrive.
#[derive(Default)]
struct Missing {
    next: u64,
    ranges: Vec<RangeInclusive<u64>>,
}

impl Missing {
    fn observe(&mut self, payload: &[u8]) {
        let Some(ProbePayload { sequence, .. }) = ProbePayload::parse(payload) else { return };
        if sequence > self.next {
            self.ranges.push(self.next..=sequence - 1);
        }
        self.next = self.next.max(sequence + 1);
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("missing by number: ")?;
        for range in self.ranges.iter().take(20) {
            write!(f, "{}-{}, ", range.start(), range.end())?;
        }
        write!(f, "{} gaps in all, and all from {} on", self.ranges.len(), self.next)
    }
}

/// Fails unless the ledger balances and nothing was lost.
pub fn expect_balance(ledger: &Ledger) -> Result<()> {
    ensure!(ledger.unaccounted() == 0 && ledger.lost() == 0, "lost or unaccounted: {}", causes(ledger));
    Ok(())
}

/// Loads a kernel module. The error has modprobe's message.
pub fn load_module(name: &str) -> Result<()> {
    let output = Command::new("modprobe").arg(name).output().context("cannot run modprobe")?;
    ensure!(output.status.success(), "modprobe {name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// The version of the running kernel: its first two numbers.
pub fn kernel() -> Result<(u32, u32)> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("no kernel version")?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => bail!("no kernel version: {release}"),
    }
}
