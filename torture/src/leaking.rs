//! A consumer of the library that leaks, on a link of its own beside the episode's: it keeps some of the packets for a
//! while, lets them go on another thread, and keeps others until the receiver is gone. What is kept must stay as it
//! was, each packet must be shown or counted as lost, and all but what leaks must come back to the queue.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use netlab::Lab;
use receiver::{Datagram, Ledger, OwnedDatagram, Path, ReceiveMode, Receiver, Wait};

use crate::consumer::Arrived;
use crate::model::LOST;
use crate::plan::Plan;
use crate::random::Random;
use crate::stream::Packet;

/// Longer than the last packets take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// What is subscribed.
const SUBSCRIPTION: &str = "10.0.0.1@232.9.1.1:5100";
const GROUP: ([u8; 4], u16) = ([232, 9, 1, 1], 5_100);
/// The stream's number in its payloads.
const STREAM: usize = 0;
/// Frames of a queue, of which half are leased out at most.
const FRAMES: u32 = 1_024;
/// Bytes of copies that may be held.
const COPY_LIMIT: u64 = 256 << 10;
/// The most packets that leak.
const MOST_LEAKED: usize = 200;
/// Time between two packets of the sender.
const GAP: Duration = Duration::from_micros(500);
/// The part of the plan's numbers that are drawn here. Steps have those from 1 on.
const PART: u64 = 1 << 32;
/// So many polls in a row without a packet mean that nothing is on its way.
const QUIET_POLLS: u32 = 8;

/// What such a consumer did.
#[derive(Clone, Debug, Default)]
pub struct Leaked {
    /// Packets that were sent to it.
    pub sent: u64,
    /// Packets that it was shown.
    pub shown: u64,
    /// Packets that it kept.
    pub kept: u64,
    /// Packets that it asked to keep in vain, as it held too many.
    pub refused: u64,
    /// Packets that it kept until the receiver was gone.
    pub leaked: u64,
    /// What is wrong.
    pub faults: Vec<String>,
}

/// The running consumer. Dropping this value stops it.
pub struct Leaking {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Leaked>>>,
}

impl Leaking {
    /// Starts it, in the mode of the plan.
    pub fn start(plan: &Plan) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (own, plan) = (Arc::clone(&stop), plan.clone());
        let run = move || Consumer::open(&plan)?.run(&own);
        let thread = std::thread::Builder::new().name("leaking".into()).spawn(run);
        Ok(Self { stop, thread: Some(thread.context("cannot start the consumer that leaks")?) })
    }

    /// Stops it, and has it judged.
    pub fn finish(mut self) -> Result<Leaked> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().context("it runs")?;
        thread.join().map_err(|_| anyhow!("the consumer that leaks panicked"))?
    }
}

impl Drop for Leaking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A packet that is held, and its number.
struct Held(OwnedDatagram, u64);

struct Consumer {
    episode: u64,
    receiver: Receiver,
    random: Random,
    /// The link goes down and up at times.
    flaps: bool,
    // The last field: the receiver ends before its link.
    lab: Lab,
}

impl Consumer {
    fn open(plan: &Plan) -> Result<Self> {
        let lab = Lab::builder().queues(plan.queues).build()?;
        let mut random = Random::part(plan.seed, PART);
        let mode: ReceiveMode = plan.mode.parse().with_context(|| format!("the mode {}", plan.mode))?;
        let builder = Receiver::builder(lab.rx_interface())
            .subscribe(SUBSCRIPTION.parse()?)
            .mode(mode)
            .ring_size(FRAMES / 4)
            .frames(FRAMES)
            .copy_limit(COPY_LIMIT);
        let receiver = lab.rx().run(|| builder.build())?.context("the consumer that leaks cannot open a receiver")?;
        Ok(Self { episode: plan.seed, receiver, flaps: random.chance(50), random, lab })
    }

    fn run(mut self, stop: &AtomicBool) -> Result<Leaked> {
        let (sending, next) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let sender = {
            let (sending, next, episode) = (Arc::clone(&sending), Arc::clone(&next), self.episode);
            self.lab.tx().spawn(move || send(episode, &sending, &next))?
        };
        let mut state = State::new(self.episode, self.random.clone());
        let mut flap = self.flaps.then(|| Instant::now() + self.pause());
        while !stop.load(Ordering::Acquire) {
            self.poll(&mut state)?;
            state.release_some();
            if flap.is_some_and(|at| at < Instant::now()) {
                self.lab.rx().ip(&["link", "set", self.lab.rx_interface(), "down"])?;
                self.poll(&mut state)?;
                self.lab.rx().ip(&["link", "set", self.lab.rx_interface(), "up"])?;
                flap = Some(Instant::now() + self.pause());
            }
        }
        sending.store(false, Ordering::Release);
        sender.join().map_err(|_| anyhow!("the sender to the consumer that leaks panicked"))??;
        let (deadline, mut quiet) = (Instant::now() + PATIENCE, 0);
        while quiet < QUIET_POLLS {
            quiet = if self.poll(&mut state)? == 0 { quiet + 1 } else { 0 };
            ensure!(Instant::now() < deadline, "packets come for ever to the consumer that leaks");
        }
        state.leaked.sent = next.load(Ordering::Acquire);
        self.judge(state)
    }

    fn pause(&mut self) -> Duration {
        Duration::from_millis(self.random.within(1_000..4_000))
    }

    fn poll(&mut self, state: &mut State) -> Result<usize> {
        Ok(self.receiver.poll(Wait::For(Duration::from_millis(10)), |datagram| state.take(datagram))?)
    }

    fn judge(mut self, mut state: State) -> Result<Leaked> {
        state.release(0);
        // The frames are back when the queue has been looked at.
        self.poll(&mut state)?;
        let ledger = self.receiver.handle().ledger()?;
        let count = |name: &str| ledger.count(name).unwrap_or_default();
        let (leased, copied) = (count("xsk_leased"), count("copied"));
        let State { leaked: mut outcome, forever, mut room, arrived, .. } = state;
        let mut fault = |text: String| outcome.faults.push(format!("{text}; {}", causes(&ledger)));
        if ledger.unaccounted() != 0 {
            fault(format!("unaccounted is {} for a consumer that leaks", ledger.unaccounted()));
        }
        let most = forever.iter().filter(|held| held.0.path == Path::Xdp).count() as u64;
        // Some of it may be copies, and a queue that was made again leases frames of its own alone.
        let least = if self.flaps { 0 } else { most.saturating_sub(copied) };
        if !(least..=most).contains(&leased) {
            fault(format!("{leased} frames are leased when {most} packets of XDP leaked; {copied} were copied"));
        }
        if count("not_kept") != outcome.refused {
            fault(format!("{} packets could not be kept", outcome.refused));
        }
        let missing = (0..outcome.sent).filter(|&sequence| !arrived.has(sequence)).count() as u64;
        let lost: u64 = LOST.iter().filter(|cause| **cause != "not_kept").map(|cause| count(cause)).sum();
        if !self.flaps && missing > lost {
            fault(format!("{missing} of {} packets were not shown to a consumer that leaks", outcome.sent));
        }
        let episode = self.episode;
        drop(self);
        outcome.faults.extend(forever.iter().filter_map(|held| held.fault(episode, &mut room)));
        Ok(outcome)
    }
}

/// What has come, and what is held.
struct State {
    episode: u64,
    random: Random,
    arrived: Arrived,
    held: Vec<Held>,
    forever: Vec<Held>,
    leaked: Leaked,
    /// Memory for a comparison.
    room: Vec<u8>,
}

impl State {
    fn new(episode: u64, random: Random) -> Self {
        let (arrived, leaked) = (Arrived::default(), Leaked::default());
        Self { episode, random, arrived, held: Vec::new(), forever: Vec::new(), leaked, room: Vec::new() }
    }

    /// Takes a packet: it is looked at, kept, or kept for ever.
    fn take(&mut self, datagram: Datagram<'_>) {
        self.leaked.shown += 1;
        let packet = match Packet::read(self.episode, datagram.payload(), &mut self.room) {
            Ok(packet) => packet,
            Err(fault) => return self.leaked.faults.push(format!("to a consumer that leaks: {fault}")),
        };
        if self.arrived.add(packet.sequence) {
            self.leaked.faults.push(format!("packet {} came twice to a consumer that leaks", packet.sequence));
        }
        if !self.random.chance(60) {
            return;
        }
        let Some(owned) = datagram.into_owned() else {
            self.leaked.refused += 1;
            return;
        };
        self.leaked.kept += 1;
        let held = Held(owned, packet.sequence);
        if self.forever.len() < MOST_LEAKED && self.random.chance(2) {
            self.leaked.leaked += 1;
            self.forever.push(held);
        } else {
            self.held.push(held);
        }
    }

    /// At times, lets go of what is held, on this or on another thread.
    fn release_some(&mut self) {
        if self.random.below(self.held.len() as u64) > 200 || self.random.chance(1) {
            let keep = self.random.below(self.held.len() as u64 + 1) as usize;
            self.release(keep);
        }
    }

    fn release(&mut self, keep: usize) {
        for held in &self.held {
            self.leaked.faults.extend(held.fault(self.episode, &mut self.room));
        }
        let gone = self.held.split_off(keep);
        if self.random.chance(50) {
            // A thread that cannot be started drops them too.
            let thread = std::thread::Builder::new().name("release".into()).spawn(move || drop(gone));
            let _ = thread.map(JoinHandle::join);
        }
    }
}

impl Held {
    /// What is wrong with it.
    fn fault(&self, episode: u64, room: &mut Vec<u8>) -> Option<String> {
        match Packet::read(episode, &self.0.payload, room) {
            Ok(packet) if packet.sequence == self.1 => None,
            read => Some(format!("packet {} changed while it was kept: {read:?}", self.1)),
        }
    }
}

/// Sends numbered packets until it shall stop. A packet that cannot be sent is tried again.
fn send(episode: u64, sending: &AtomicBool, next: &AtomicU64) -> Result<()> {
    let socket = UdpSocket::bind(("10.0.0.1", 0)).context("cannot open a sender")?;
    let mut payload = Vec::new();
    while sending.load(Ordering::Acquire) {
        let sequence = next.load(Ordering::Relaxed);
        Packet { stream: STREAM, sequence, round: sequence, is_rtp: false }.write(episode, &mut payload);
        if socket.send_to(&payload, SocketAddr::from(GROUP)).is_ok() {
            next.store(sequence + 1, Ordering::Release);
        }
        std::thread::sleep(GAP);
    }
    Ok(())
}

fn causes(ledger: &Ledger) -> String {
    let shown = ledger.causes().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}"));
    shown.collect::<Vec<_>>().join(", ")
}
