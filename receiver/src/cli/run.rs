//! `receiver run`: opens the receiver, gives each queue a thread, shows what comes, and ends in order.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver as Events, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use receiver::{Handle, Worker};

use super::consume::{Ended, Plan};
use super::figures::{Facts, Figures, Snapshot};
use super::json::Json;
use super::line::{self, Lines};
use super::options::RunArgs;
use super::sink::{self, Sink};
use super::table::Table;
use super::view::View;
use super::{log, signals};

/// What the main thread waits for.
pub enum Event {
    /// SIGINT, SIGTERM or SIGHUP.
    Signal,
    /// SIGWINCH.
    Resized,
    /// A receiving thread is done; the others should be, too.
    Done,
}

/// Runs until the time is over, the count is reached, a signal comes, or something fails.
///
/// # Errors
/// What the receiver refuses or fails with, and what can not be written. The summary was shown by then, if anything ran.
pub fn run(args: RunArgs) -> anyhow::Result<()> {
    log::init(args.trace_verdicts, args.verbose);
    let builder = args.builder()?;
    let (events, waiting) = mpsc::channel();
    signals::watch(events.clone()).context("cannot handle signals")?;
    let sink = Sink::open(&args)?;
    // Made now, so that a path that can not be written to is told before the run and not after it.
    let summary = args.summary.as_deref().map(sink::create).transpose()?;

    let receiver = builder.build()?;
    let start = Instant::now();
    let handle = receiver.handle();
    let workers = receiver.into_workers();
    let facts = facts(&handle, &workers)?;
    let plan = Arc::new(Plan::new(workers.len(), sink, args.busy_poll, args.count));
    let mut show = Show { facts, start, handle, view: view(&args), plan: Arc::clone(&plan), before: None, last: None };

    let (mut outcome, mut workers) = thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .map(|mut worker| {
                let (plan, events) = (Arc::clone(&plan), events.clone());
                scope.spawn(move || {
                    let _done = Done(events);
                    let ended = plan.run(&mut worker);
                    // The worker must outlive the shutdown: what comes until then would be in nobody's books.
                    (ended, worker)
                })
            })
            .collect();
        let mut outcome = show.until_the_end(&waiting, args.duration, args.interval);
        if outcome.is_err() {
            plan.abandon();
        }
        let shutdown = show.handle.shutdown().map_err(Failure::from);
        let mut workers = Vec::new();
        for thread in threads {
            let (ended, worker) = match thread.join() {
                Ok(ended) => ended,
                Err(_) => {
                    outcome = outcome.and(Err(Failure::Other(anyhow!("a receiving thread failed; see above"))));
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
    if let Some(sink) = &plan.sink {
        outcome = outcome.and(sink::lock(sink).flush().map_err(Failure::Sink));
    }
    show.summary(outcome, summary, args.json)
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

fn view(args: &RunArgs) -> Box<dyn View> {
    let aside = args.output_is_stdout() || args.hex;
    match (args.json, aside) {
        (true, false) => Box::new(Json(io::stdout())),
        (true, true) => Box::new(Json(io::stderr())),
        (false, true) => Box::new(Lines(io::stderr())),
        (false, false) if io::stdout().is_terminal() => Box::new(Table::new(args.interval)),
        (false, false) => Box::new(Lines(io::stdout())),
    }
}

/// Tells the main thread that a receiving thread is done, even by a panic.
struct Done(Sender<Event>);

impl Drop for Done {
    fn drop(&mut self) {
        // The main thread waits for nothing any more if it does not listen.
        let _ = self.0.send(Event::Done);
    }
}

/// Why a run ended before it should.
enum Failure {
    /// Nobody reads our standard output any more: no fault.
    ReaderGone,
    /// The payloads can not be written.
    Sink(sink::SinkError),
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
    fn of_showing(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Other(anyhow!("cannot write what was received: {error}")),
        }
    }
}

impl From<Ended> for Result<(), Failure> {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Stopped | Ended::Enough => Ok(()),
            Ended::Sink(error) if error.is_reader_gone() => Err(Failure::ReaderGone),
            Ended::Sink(error) => Err(Failure::Sink(error)),
            Ended::Failed(error) => Err(error.into()),
        }
    }
}

/// The run as it is shown.
struct Show {
    facts: Facts,
    start: Instant,
    handle: Handle,
    view: Box<dyn View>,
    plan: Arc<Plan>,
    before: Option<Snapshot>,
    last: Option<Figures>,
}

impl Show {
    /// Shows each interval, until there is a reason to end.
    fn until_the_end(
        &mut self,
        events: &Events<Event>,
        duration: Option<Duration>,
        interval: Duration,
    ) -> Result<(), Failure> {
        self.view.start(&self.facts).map_err(Failure::of_showing)?;
        self.before = Some(Snapshot::take(&self.handle)?);
        // A duration that no clock can hold is none.
        let end = duration.and_then(|duration| self.start.checked_add(duration));
        let mut next = self.start + interval;
        loop {
            let until = end.map_or(next, |end| end.min(next));
            match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Signal | Event::Done) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(Event::Resized) => {
                    self.view.resized(&self.facts, self.last.as_ref()).map_err(Failure::of_showing)?
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    if end.is_some_and(|end| now >= end) {
                        return Ok(());
                    }
                    self.interval()?;
                    // Late by more than an interval, as after a suspend: none is made up for.
                    next = if next + interval > now { next + interval } else { now + interval };
                }
            }
        }
    }

    fn interval(&mut self) -> Result<(), Failure> {
        let now = Snapshot::take(&self.handle)?;
        let figures = Figures::between(self.start, self.before.as_ref(), &now, self.probe());
        self.before = Some(now);
        let figures = self.last.insert(figures);
        self.view.interval(&self.facts, figures).map_err(Failure::of_showing)
    }

    /// Shows what it all came to, writes the file, and makes of the outcome what the command returns.
    fn summary(mut self, outcome: Result<(), Failure>, file: Option<std::fs::File>, json: bool) -> anyhow::Result<()> {
        let figures = Figures::between(self.start, None, &Snapshot::take(&self.handle)?, self.probe());
        let shown = match &outcome {
            Err(Failure::ReaderGone) => Ok(()),
            Err(Failure::Sink(_)) if !json => {
                drop(std::mem::replace(&mut self.view, Box::new(Lines(io::sink()))));
                line::write_summary(&mut io::stderr(), &self.facts, &figures).map_err(Failure::of_showing)
            }
            _ => self.view.summary(&self.facts, &figures).map_err(Failure::of_showing),
        };
        drop(self.view);
        let written = match file {
            Some(file) => Json(file).summary(&self.facts, &figures).context("cannot write the summary"),
            None => Ok(()),
        };
        match outcome.and(shown) {
            Ok(()) | Err(Failure::ReaderGone) => written,
            Err(Failure::Sink(error)) => Err(error.into()),
            Err(Failure::Other(error)) => Err(error),
        }
    }

    fn probe(&self) -> Option<receiver::probe::ProbeReport> {
        self.plan.sink.as_ref().and_then(|sink| sink::lock(sink).probe())
    }
}
