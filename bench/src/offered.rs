//! One run of the generator. Its own count of sent frames is the denominator of all measurements.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use receiver_send::probe::PROBE_LEN;
use receiver_send::{Burst, Load, LoadConfig, SendReport, StreamSpec};

use crate::lab::{Bench, GENERATOR_CPU, GROUP, PORT, UNWANTED, WANTED};
use crate::wake;

/// What to send.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The sources and their shares.
    pub streams: Vec<(Ipv4Addr, u32)>,
    /// Packets per second; 0 means as fast as possible.
    pub rate: u64,
    pub duration: Duration,
    pub burst: Option<Burst>,
    pub count: Option<u64>,
    /// Bytes of the UDP payload, at least [`PROBE_LEN`].
    pub payload: usize,
}

impl Offer {
    /// The wanted source alone.
    pub fn wanted(rate: u64, duration: Duration) -> Self {
        Self { streams: vec![(WANTED, 1)], rate, duration, burst: None, count: None, payload: PROBE_LEN }
    }

    /// One wanted packet for every N others.
    pub fn mixed(others: u32, rate: u64, duration: Duration) -> Self {
        Self { streams: vec![(WANTED, 1), (UNWANTED, others)], ..Self::wanted(rate, duration) }
    }
}

/// The frames that were sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offered {
    pub packets: u64,
    /// Frames of the wanted source.
    pub wanted: u64,
    pub seconds: f64,
    /// Frames that reached the receiving end's XDP program or stack.
    pub taken: u64,
    /// Frames dropped before that, because the receiving end's queue was full.
    pub queue_full: u64,
}

impl Offered {
    pub fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.packets as f64 / self.seconds } else { 0.0 }
    }
}

/// A smaller share of the configured rate counts as another rate.
const KEPT: f64 = 0.95;

/// Returns true if a generator with this result kept the configured rate.
pub fn keeps(per_second: f64, rate: f64) -> bool {
    per_second >= KEPT * rate
}

/// After its time a run still drops the surplus of its frames, for a second or more; a signal ends that. It must not
/// arrive before the time is over; the generator begins some milliseconds after its start.
const GRACE: Duration = Duration::from_millis(80);
const AGAIN: Duration = Duration::from_millis(20);

/// A loaded or running generator.
pub struct Generator {
    go: Sender<()>,
    started: Cell<Option<Instant>>,
    duration: Duration,
    thread: JoinHandle<Result<SendReport>>,
}

impl Generator {
    /// Loads the generator.
    pub fn load(bench: &Bench, offer: &Offer) -> Result<Self> {
        let stream = |&(source, weight): &(Ipv4Addr, u32)| StreamSpec {
            source: Some(source.into()),
            group: GROUP.into(),
            port: PORT,
            weight,
        };
        let mut config = LoadConfig::new(bench.lab.tx_interface(), offer.streams.iter().map(stream).collect());
        (config.traffic.rate, config.traffic.duration, config.burst) = (offer.rate, Some(offer.duration), offer.burst);
        (config.traffic.count, config.traffic.size, config.cpus) = (offer.count, offer.payload, vec![GENERATOR_CPU]);
        let (go, wait) = channel::<()>();
        let (loaded, ready) = channel::<()>();
        let stop = Arc::clone(&bench.stop);
        let thread = bench.lab.tx().spawn(move || {
            let load = Load::new(config).context("loading the generator")?;
            let _ = loaded.send(());
            let _ = wait.recv();
            load.run(&stop).context("running the generator")
        })?;
        // `finish` returns an error of loading.
        let _ = ready.recv();
        Ok(Self { go, started: Cell::new(None), duration: offer.duration, thread })
    }

    /// Starts sending.
    pub fn start(&self) {
        self.started.set(Some(Instant::now()));
        let _ = self.go.send(());
    }

    /// Waits for the end.
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
        let link = report.link.context("the generator does not report the frames that the interface accepted")?;
        Ok(Offered {
            packets: report.packets,
            wanted: wanted.map(|flow| flow.packets).sum(),
            seconds: report.elapsed_seconds,
            taken: link.packets,
            queue_full: link.dropped,
        })
    }
}
