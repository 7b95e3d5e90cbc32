//! What the tests in namespaces share: a lab, senders in one namespace, a receiver in the other.
//!
//! ```text
//!   namespace tx                         namespace rx
//!   sender(s)  veth-tx ═══════════════ veth-rx  receiver
//! ```
#![allow(dead_code)] // Each test binary uses its part.

pub mod bpf_link;
pub mod counting;
pub mod fdinfo;
pub mod frame;
pub mod members;
pub mod numbered;
pub mod occupied;
pub mod pace;
pub mod threads;
pub mod traces;

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver::{BusyPoll, Datagram, Error, Handle, Ledger, ReceiveMode, Receiver, Subscription, Verdict, Wait, Worker};
use receiver_send::probe::{ProbeChecker, ProbeReport};
use receiver_send::{SendConfig, SendReport, Sender};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

/// Longer than any of these tests should take.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn subscription(text: &str) -> Subscription {
    text.parse().expect(text)
}

pub fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect(text)).collect()
}

/// The modes in which the program runs in the driver and checks what AF_XDP's copy mode checks.
pub const NATIVE: [ReceiveMode; 2] = [ReceiveMode::Copy, ReceiveMode::Mapped];

/// The modes that attach an XDP program and do not ask for zero-copy.
pub const XDP: [ReceiveMode; 3] = [ReceiveMode::Mapped, ReceiveMode::Copy, ReceiveMode::Generic];

/// Takes an AF_XDP socket.
pub const BUSY_POLL: BusyPoll = BusyPoll { budget: 64, microseconds: 50 };

/// The modes whose queues have mapped rings, unless busy polling is asked for.
pub const RINGS: [ReceiveMode; 2] = [ReceiveMode::Mapped, ReceiveMode::Generic];

/// The verdict of wanted frames in an XDP mode, without busy polling.
pub fn wanted_verdict(mode: ReceiveMode) -> Verdict {
    if RINGS.contains(&mode) { Verdict::Mapped } else { Verdict::Redirected }
}

/// What a queue of the receiver has in an XDP mode, in its messages.
pub fn queue_end(mode: ReceiveMode) -> &'static str {
    if RINGS.contains(&mode) { "mapped ring" } else { "AF_XDP socket" }
}

/// A sender's configuration on the lab's sending side.
pub fn stream(lab: &Lab, group: &str, port: u16, sources: &[&str]) -> SendConfig {
    let mut config = SendConfig::new(lab.tx_interface(), group.parse().expect(group), port);
    config.sources = addresses(sources);
    config
}

/// Sends in the background until done or stopped.
pub struct Sending {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<SendReport>,
}

impl Sending {
    pub fn start(lab: &Lab, config: SendConfig) -> Self {
        Self::start_paced(lab, config, |_| true)
    }

    /// Sends a batch only once `may_send` is true of the number of packets sent before. Stops if that takes longer than
    /// [`PATIENCE`].
    pub fn start_paced(lab: &Lab, config: SendConfig, may_send: impl Fn(u64) -> bool + Send + Sync + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let must_stop = move |sent| {
            let start = Instant::now();
            while !stopped.load(Ordering::Relaxed) && !may_send(sent) {
                if start.elapsed() > PATIENCE {
                    return true;
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            stopped.load(Ordering::Relaxed)
        };
        let thread = lab
            .tx()
            .spawn(move || Sender::new(config).expect("sender").run_until(&must_stop).expect("send"))
            .expect("a thread in tx");
        Self { stop, thread }
    }

    pub fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    pub fn wait(self) -> SendReport {
        self.thread.join().expect("the sender")
    }

    pub fn stop(self) -> SendReport {
        self.stop.store(true, Ordering::Relaxed);
        self.wait()
    }
}

/// Builds a receiver on the lab's receiving side.
pub fn open(lab: &Lab, build: impl FnOnce(receiver::Builder) -> receiver::Builder + Send) -> Result<Receiver, Error> {
    lab.rx().run(|| build(Receiver::builder(lab.rx_interface())).build()).expect("a thread in rx")
}

/// A lab whose sending side is silent by itself: no IPv6, which sends MLD reports and solicitations.
pub fn quiet_lab() -> Lab {
    let lab = Lab::new().expect("lab");
    lab.tx().sysctl("net/ipv6/conf/all/disable_ipv6", "1").expect("sysctl");
    lab
}

/// Gives up what root may do; for a thread that ends soon.
pub fn without_privilege() {
    keep_capabilities(CapabilitySet::empty());
}

/// What README names as needed with AF_XDP sockets.
pub const XDP_CAPABILITIES: CapabilitySet =
    CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW).union(CapabilitySet::BPF).union(CapabilitySet::IPC_LOCK);

/// Leaves the calling thread these capabilities only; for a thread that ends soon.
pub fn keep_capabilities(kept: CapabilitySet) {
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })
        .expect("capset");
}

/// Polls until nothing has come for `quiet`.
pub fn drain(worker: &mut Worker, quiet: Duration, mut each: impl FnMut(Datagram<'_>)) {
    let start = Instant::now();
    while start.elapsed() < PATIENCE && worker.poll(Wait::For(quiet), &mut each).expect("poll") > 0 {}
}

/// Polls on this thread until all of this was sent and nothing more comes. Returns how many datagrams came.
pub fn receive(receiver: &mut Receiver, sending: &[Sending], mut each: impl FnMut(Datagram<'_>)) -> u64 {
    let (mut total, mut quiet) = (0, 0);
    while quiet < QUIET_POLLS {
        let done = sending.iter().all(Sending::is_done);
        let count = receiver.poll(Wait::For(Duration::from_millis(10)), &mut each).expect("poll");
        total += count as u64;
        quiet = if done && count == 0 { quiet + 1 } else { 0 };
    }
    total
}

/// Sends a burst that fits every ring, from the first to the last, and receives it. Returns how many datagrams came.
pub fn burst(
    lab: &Lab,
    receiver: &mut Receiver,
    mut config: SendConfig,
    count: u64,
    each: impl FnMut(Datagram<'_>),
) -> u64 {
    config.traffic.count = Some(count);
    let sending = Sending::start(lab, config);
    while !sending.is_done() {
        std::thread::sleep(Duration::from_millis(1));
    }
    receive(receiver, &[sending], each)
}

/// So many polls of 10 ms in a row with nothing to give mean that nothing is on its way.
const QUIET_POLLS: u32 = 6;

/// A receiver whose workers feed one probe checker on a thread of its own.
pub struct Checking {
    pub handle: Handle,
    /// Datagrams that the checker has seen.
    pub received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(ProbeChecker, Vec<Worker>)>,
}

impl Checking {
    pub fn start(receiver: Receiver) -> Self {
        let handle = receiver.handle();
        let stop = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&received));
        let thread = std::thread::spawn(move || {
            let mut checker = ProbeChecker::new();
            let mut workers = receiver.into_workers();
            let wait = Duration::from_millis(if workers.len() == 1 { 20 } else { 1 });
            loop {
                let ending = stopped.load(Ordering::Relaxed);
                let mut count = 0;
                for worker in &mut workers {
                    let polled = worker.poll_while(Wait::For(wait), |datagram| {
                        observe(&mut checker, &datagram);
                        counted.fetch_add(1, Ordering::Relaxed);
                        ControlFlow::Continue(())
                    });
                    match polled {
                        Ok(some) => count += some,
                        Err(Error::Stopped) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                if ending && count == 0 {
                    return (checker, workers);
                }
            }
        });
        Self { handle, received, stop, thread }
    }

    /// Takes what is still there, and ends: the report, the ledger at rest, and the workers.
    pub fn finish(self) -> (ProbeReport, Ledger, Vec<Worker>) {
        self.stop.store(true, Ordering::Relaxed);
        let (checker, workers) = self.thread.join().expect("the receiving thread");
        let ledger = self.handle.ledger().expect("ledger");
        (checker.report(), ledger, workers)
    }
}

pub fn observe(checker: &mut ProbeChecker, datagram: &Datagram<'_>) {
    checker.observe(
        datagram.source(),
        datagram.group(),
        datagram.port(),
        datagram.payload(),
        datagram.time().nanoseconds,
    );
}

/// Returns true if probes came, each once. In generic mode one whole checksum in 65,536 looks partial: that packet
/// takes the kernel path and may overtake or be overtaken, so as many may be out of order.
pub fn each_came_once(report: &ProbeReport, ledger: &Ledger) -> bool {
    let by_other_path = ledger.verdict(Verdict::PassedPartialChecksum);
    report.reordered <= by_other_path && ProbeReport { reordered: 0, ..report.clone() }.is_clean()
}

/// Every cause that is not 0, for messages.
pub fn causes(ledger: &Ledger) -> String {
    ledger.causes().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}\n")).collect()
}
