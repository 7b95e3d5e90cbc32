//! One run of the generator. Its own count of what it sent is the denominator of all that is measured.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use receiver_send::{Burst, Load, LoadConfig, SendReport, StreamSpec};

use crate::lab::{Bench, GENERATOR_CPU, GROUP, PORT, UNWANTED, WANTED};
use crate::wake;

/// What to send.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Sources and their shares.
    pub streams: Vec<(Ipv4Addr, u32)>,
    /// Packets a second; 0 is flat out.
    pub rate: u64,
    pub duration: Duration,
    pub burst: Option<Burst>,
    pub count: Option<u64>,
}

impl Offer {
    /// The wanted source alone.
    pub fn wanted(rate: u64, duration: Duration) -> Self {
        Self { streams: vec![(WANTED, 1)], rate, duration, burst: None, count: None }
    }

    /// One wanted packet among so many others.
    pub fn mixed(others: u32, rate: u64, duration: Duration) -> Self {
        Self { streams: vec![(WANTED, 1), (UNWANTED, others)], ..Self::wanted(rate, duration) }
    }
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offered {
    pub packets: u64,
    /// Of the wanted source.
    pub wanted: u64,
    pub seconds: f64,
    /// Frames that the receiving end's XDP program or stack was given.
    pub taken: u64,
    /// Dropped before: the receiving end's queue was full.
    pub queue_full: u64,
}

impl Offered {
    pub fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.packets as f64 / self.seconds } else { 0.0 }
    }
}

/// Less of a rate than this is another rate.
const KEPT: f64 = 0.95;

/// Did a generator that sent so much a second keep the rate that was asked for?
pub fn keeps(per_second: f64, rate: f64) -> bool {
    per_second >= KEPT * rate
}

/// After its time a run still drops the frames that it was given too many of, for a second and more: a signal ends that. It must
/// not come before the time is over; the generator begins some milliseconds after it was let go.
const GRACE: Duration = Duration::from_millis(80);
const AGAIN: Duration = Duration::from_millis(20);

/// A generator that is loaded, or runs.
pub struct Generator {
    go: Sender<()>,
    started: Cell<Option<Instant>>,
    duration: Duration,
    thread: JoinHandle<Result<SendReport>>,
}

impl Generator {
    /// Loads it.
    pub fn load(bench: &Bench, offer: &Offer) -> Result<Self> {
        let stream = |&(source, weight): &(Ipv4Addr, u32)| StreamSpec {
            source: Some(source.into()),
            group: GROUP.into(),
            port: PORT,
            weight,
        };
        let mut config = LoadConfig::new(bench.lab.tx_interface(), offer.streams.iter().map(stream).collect());
        (config.rate, config.duration, config.burst) = (offer.rate, Some(offer.duration), offer.burst);
        (config.count, config.cpus) = (offer.count, vec![GENERATOR_CPU]);
        let (go, wait) = channel::<()>();
        let (loaded, ready) = channel::<()>();
        let stop = Arc::clone(&bench.stop);
        let thread = bench.lab.tx().spawn(move || {
            let load = Load::new(config).context("loading the generator")?;
            let _ = loaded.send(());
            let _ = wait.recv();
            load.run(&stop).context("running the generator")
        })?;
        // An error of loading comes by `finish`.
        let _ = ready.recv();
        Ok(Self { go, started: Cell::new(None), duration: offer.duration, thread })
    }

    /// Lets it send.
    pub fn start(&self) {
        self.started.set(Some(Instant::now()));
        let _ = self.go.send(());
    }

    /// Waits for its end.
    pub fn finish(self) -> Result<Offered> {
        let over = self.duration + GRACE;
        while !self.thread.is_finished() {
            if self.started.get().is_some_and(|started| started.elapsed() > over) {
                wake::pinned_threads(GENERATOR_CPU);
                sleep(AGAIN);
            } else {
                sleep(Duration::from_millis(2));
            }
        }
        let report = self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let wanted = report.flows.iter().filter(|flow| flow.source.ip() == IpAddr::from(WANTED));
        let link = report.link.context("the generator does not tell what the interface took")?;
        Ok(Offered {
            packets: report.packets,
            wanted: wanted.map(|flow| flow.packets).sum(),
            seconds: report.elapsed_seconds,
            taken: link.packets,
            queue_full: link.dropped,
        })
    }
}
