//! `receiver run`: opens the receiver, gives each queue a thread, shows what comes, and ends in order.

mod consume;
mod descriptors;
mod options;
mod subscriptions;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver as Events, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use receiver::{Error, Evidence, Handle, Worker};

use crate::event::Event;
use crate::figures::{Dropped, Facts, Figures, Snapshot};
use crate::outlet::{self, OutletError};
use crate::sink::{self, Sinks, Target};
use crate::view::{self, Display, Exporters};
use crate::{files, log, panics, signals};
use consume::{Ended, Plan};

pub use options::RunArgs;

/// Runs until the time is over, the count is reached, a signal comes, or something fails.
///
/// # Errors
/// What the receiver refuses or fails with, and what can not be written. The summary was shown by then, if anything ran.
pub fn run(args: RunArgs) -> anyhow::Result<()> {
    log::init(args.trace_verdicts, args.verbose);
    descriptors::raise_limit();
    let builder = args.builder()?;
    let targets = args.targets();
    check_files(&args, &targets)?;
    let (events, waiting) = mpsc::channel();
    let cancel = signals::watch(events.clone()).context("cannot handle signals")?;
    panics::tell(events.clone());

    let receiver = match builder.cancel(cancel).build() {
        Err(Error::Cancelled) => {
            outlet::print(&format!("receiver: {}", Error::Cancelled));
            return Ok(());
        }
        built => built?,
    };
    // Opened now, so that a start that fails leaves them as they are.
    let sinks = Sinks::open(&targets, args.probe, &sink::Context { events: &events })?;
    let start = Instant::now();
    let handle = receiver.handle();
    let workers = receiver.into_workers();
    let facts = facts(&handle, &workers)?;
    let plan = Arc::new(Plan::new(workers.len(), sinks, args.busy_poll, args.count));
    let request = args.view(targets.iter().any(|target| target.takes_stdout()));
    let display = view::display(&request, {
        let events = events.clone();
        // A main thread that no longer listens is ending the run already.
        move || drop(events.send(Event::Done))
    });
    let mut show = Show {
        facts,
        start,
        handle,
        display,
        exporters: view::exporters(&request),
        plan: Arc::clone(&plan),
        before: None,
        last: None,
        evidence: Evidence::default(),
    };

    let (mut outcome, mut workers) = thread::scope(|scope| {
        let _threads_end_too = EndOnPanic { plan: &plan, handle: show.handle.clone() };
        let threads: io::Result<Vec<_>> = workers
            .into_iter()
            .map(|mut worker| {
                let (plan, events) = (Arc::clone(&plan), events.clone());
                let name = worker.queue().map_or_else(|| "socket".to_owned(), |queue| format!("queue-{queue}"));
                thread::Builder::new().name(name).spawn_scoped(scope, move || {
                    let _done = Done(events);
                    let ended = plan.run(&mut worker);
                    // The worker must outlive the shutdown: what comes until then would be in nobody's books.
                    (ended, worker)
                })
            })
            .collect();
        let mut outcome = match &threads {
            Ok(_) => show.until_the_end(&waiting, args.duration, args.interval),
            Err(error) => Err(Failure::Other(anyhow!("cannot start a thread for each queue: {error}"))),
        };
        if outcome.is_err() {
            plan.abandon();
        }
        // Before the groups are left: a membership that is missing is evidence.
        show.evidence = show.handle.evidence().unwrap_or_default();
        let shutdown = show.handle.shutdown().map_err(Failure::from);
        let mut workers = Vec::new();
        for thread in threads.into_iter().flatten() {
            let (ended, worker) = match thread.join() {
                Ok(ended) => ended,
                Err(_) => {
                    outcome = outcome.and(Err(Failure::Other(anyhow!("a receiving thread panicked"))));
                    continue;
                }
            };
            workers.push(worker);
            outcome = outcome.and(ended.into());
        }
        (outcome.and(shutdown), workers)
    });
    // What the rings still hold stays there, and in the books.
    workers.drain(..);
    // Before slow readers are waited for: the rates are those of the time of receiving.
    let last = Snapshot::take(&show.handle)?;
    if let Some(sinks) = &plan.sinks {
        outcome = outcome.and(sink::lock(sinks).finish().map_err(Failure::of_output));
    }
    show.summary(&last, outcome, args.json)
}

fn check_files(args: &RunArgs, targets: &[Box<dyn Target>]) -> anyhow::Result<()> {
    let is_file = |path: &&Path| *path != Path::new("-");
    let subscriptions = args.subscription_file.as_deref().filter(is_file).map(|path| ("--subscriptions", path));
    let output = targets.iter().filter_map(|target| target.file()).map(|path| ("--output", path));
    let summary = args.summary.as_deref().map(|path| ("--summary", path));
    let outputs: Vec<_> = output.chain(summary).collect();
    files::check(subscriptions.as_slice(), &outputs)
}

fn facts(handle: &Handle, workers: &[Worker]) -> Result<Facts, receiver::Error> {
    Ok(Facts {
        interface: handle.interface().name.clone(),
        mode: handle.mode(),
        refused: handle.refused().to_vec(),
        queues: workers.iter().filter_map(Worker::queue).collect(),
        subscriptions: handle.subscriptions()?.iter().map(|report| report.subscription.to_string()).collect(),
    })
}

/// Reports to the main thread that a receiving thread is done, also by a panic.
struct Done(Sender<Event>);

impl Drop for Done {
    fn drop(&mut self) {
        // The main thread waits for nothing any more if it does not listen.
        let _ = self.0.send(Event::Done);
    }
}

/// Ends the receiving threads when the main thread panics, which would wait for them for ever.
struct EndOnPanic<'a> {
    plan: &'a Plan,
    handle: Handle,
}

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.plan.abandon();
            // Nobody could be told; the kernel cleans up after a process that ends.
            let _ = self.handle.shutdown();
        }
    }
}

/// Why a run ended before it should.
enum Failure {
    /// Nobody reads any more where the run is shown: no fault.
    DisplayGone,
    /// Nobody reads the payloads on standard output any more: no fault, and the summary goes to standard error.
    OutputGone,
    /// The payloads can not be written.
    Sink(OutletError),
    /// Anything else.
    Other(anyhow::Error),
}

impl From<receiver::Error> for Failure {
    fn from(error: receiver::Error) -> Self {
        Self::Other(error.into())
    }
}

impl Failure {
    /// Of writing to where the run is shown.
    fn of_showing(error: anyhow::Error) -> Self {
        match error.downcast_ref().map(io::Error::kind) {
            Some(io::ErrorKind::BrokenPipe) => Self::DisplayGone,
            _ => Self::Other(anyhow!("cannot write what was received: {error}")),
        }
    }

    fn of_output(error: OutletError) -> Self {
        if error.is_reader_gone() { Self::OutputGone } else { Self::Sink(error) }
    }
}

impl From<Ended> for Result<(), Failure> {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Stopped | Ended::Enough => Ok(()),
            Ended::Sink(error) => Err(Failure::of_output(error)),
            Ended::Failed(error) => Err(error.into()),
        }
    }
}

/// The run as it is shown.
struct Show {
    facts: Facts,
    start: Instant,
    handle: Handle,
    display: Display,
    exporters: Exporters,
    plan: Arc<Plan>,
    before: Option<Snapshot>,
    last: Option<Figures>,
    evidence: Evidence,
}

impl Show {
    /// Shows each interval, until there is a reason to end.
    fn until_the_end(
        &mut self,
        events: &Events<Event>,
        duration: Option<Duration>,
        interval: Duration,
    ) -> Result<(), Failure> {
        self.display.view().start(&self.facts).map_err(Failure::of_showing)?;
        self.exporters.start(&self.facts);
        self.before = Some(Snapshot::take(&self.handle)?);
        // A time that no clock can hold never comes.
        let end = duration.and_then(|duration| self.start.checked_add(duration));
        let mut next = self.start.checked_add(interval);
        loop {
            panics::point();
            let event = match end.into_iter().chain(next).min() {
                Some(until) => events.recv_timeout(until.saturating_duration_since(Instant::now())),
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::Signal | Event::Done) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(Event::Resized) => {
                    self.display.view().resized(&self.facts, self.last.as_ref()).map_err(Failure::of_showing)?
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    if end.is_some_and(|end| now >= end) {
                        return Ok(());
                    }
                    self.interval()?;
                    // Late by more than an interval, as after a suspend: none is made up for.
                    next = next
                        .and_then(|next| next.checked_add(interval))
                        .filter(|&next| next > now)
                        .or_else(|| now.checked_add(interval));
                }
            }
        }
    }

    fn interval(&mut self) -> Result<(), Failure> {
        let now = Snapshot::take(&self.handle)?;
        let figures = self.figures(self.before.as_ref(), &now);
        self.before = Some(now);
        self.exporters.interval(&self.facts, &figures);
        let figures = self.last.insert(figures);
        self.display.view().interval(&self.facts, figures).map_err(Failure::of_showing)
    }

    fn figures(&self, before: Option<&Snapshot>, now: &Snapshot) -> Figures {
        let sinks = self.plan.sinks.as_ref().map(sink::lock);
        let probe = sinks.as_ref().and_then(|sinks| sinks.probe());
        let sinks = sinks.map(|sinks| sinks.reports()).unwrap_or_default();
        let dropped = Dropped { sinks, display: self.display.dropped(), log: log::dropped() };
        Figures { dropped, ..Figures::between(self.start, before, now, probe) }
    }

    /// Shows what it all came to, writes the file, and makes of the outcome what the command returns.
    fn summary(mut self, last: &Snapshot, outcome: Result<(), Failure>, json: bool) -> anyhow::Result<()> {
        let mut figures = self.figures(None, last);
        figures.evidence = view::at_the_end(std::mem::take(&mut self.evidence), &figures.streams);
        let shown = match &outcome {
            Err(Failure::DisplayGone) => Ok(()),
            other => {
                if matches!(other, Err(Failure::Sink(_))) && !json {
                    self.display.turn_to_stderr();
                }
                self.display.view().summary(&self.facts, &figures).map_err(Failure::of_showing)
            }
        };
        let finished = self.display.finish().map_err(|error| Failure::of_showing(io::Error::from(error).into()));
        let shown = shown.and(finished);
        let written = self.exporters.summary(&self.facts, &figures);
        match outcome.and(shown) {
            Ok(()) | Err(Failure::DisplayGone | Failure::OutputGone) => written,
            Err(Failure::Sink(error)) => Err(error.into()),
            Err(Failure::Other(error)) => Err(error),
        }
    }
}
