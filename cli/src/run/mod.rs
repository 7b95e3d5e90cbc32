//! `receiver run`: opens the receiver, gives each queue a thread, shows what comes, and ends in order.

mod attribution;
mod check;
mod configuration;
mod consume;
mod descriptors;
mod failure;
mod feeds;
mod kept;
mod options;
mod output;
mod presentation;
mod recorded;
mod subscriptions;
mod tap;

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use anyhow::{Context, anyhow};
use receiver::{Error, Handle, Worker};

use crate::cpus::Placement;
use crate::event::Event;
use crate::figures::Facts;
use crate::instance::Instance;
use crate::metrics::{self, MetricsAddress};
use crate::privilege::Opener;
use crate::service::{self, Service};
use crate::services::{Server, Services};
use crate::sink::{self, SinkRequest, Sinks};
use crate::{control, files, log, outlet, panics, signals, view};
use consume::Plan;
use failure::Failure;
use output::Output;
use presentation::Presentation;

pub use check::check;
pub use options::RunArgs;

/// Runs until the time is over, the count is reached, a signal comes, or something fails.
///
/// # Errors
/// The receiver refused the request or failed, or writing failed. If anything was received, the summary has been
/// presented by then.
pub fn run(args: RunArgs) -> anyhow::Result<()> {
    let result = receive(args);
    if let Err(error) = &result {
        service::failed(error);
    }
    result
}

fn receive(args: RunArgs) -> anyhow::Result<()> {
    if args.trace_verdicts {
        log::add_verdicts();
    }
    descriptors::raise_limit();
    let wanted = check::check(&args)?;
    let builder = args.builder(&wanted)?;
    // Before the first thread starts.
    let placement = Placement::prepare(args.cpus.clone(), args.priority, args.busy_poll)?;
    let requests = args.sinks()?;
    check_files(&args, &requests)?;
    let request = args.view(requests.iter().any(SinkRequest::takes_stdout));
    request.check()?;
    let metrics = args.metrics.map(MetricsAddress::listen).transpose()?;
    let feed_requests = args.feeds()?;
    let needs_times = requests.iter().any(SinkRequest::needs_times) || !feed_requests.is_empty();
    let builder = builder.timestamps(args.timestamps || needs_times);
    // Threads that start from here on have only the capabilities that the run keeps.
    let opener = Opener::start((!args.keeps_all_capabilities()).then(|| kept::of(&args, &requests)))?;
    let (events, waiting) = mpsc::channel();
    let cancel = signals::watch(events.clone(), args.hangup(&requests)).context("cannot handle signals")?;
    panics::report_to(events.clone());
    // Before the receiver opens, so that a name that another run has changes nothing.
    let mut services = Services::default();
    let control = control::serve(args.name.as_deref(), args.control.as_deref(), &events, &mut services)?;

    let mut receiver = match opener.open(builder.cancel(cancel)) {
        Err(Error::Cancelled) => {
            outlet::print(&format!("receiver: {}", Error::Cancelled));
            return Ok(());
        }
        built => built?,
    };
    let handle = receiver.handle();
    let tap = receiver.take_tap();
    // Opened now, so that a start that fails leaves them as they are.
    let origins = feeds::origins(&feed_requests, &wanted)?;
    let mut sinks = open_sinks(&requests, &args, &handle, &events, &origins)?;
    let undelivered = sinks.as_mut().map(Sinks::undelivered).unwrap_or_default();
    let sinks = sinks.map(|sinks| Arc::new(Mutex::new(sinks)));
    let start = Instant::now();
    let workers = receiver.into_workers();
    let facts = facts(&handle, &workers)?;
    let feeds = feeds::open(&feed_requests, &wanted, &handle)?.map(|feeds| Arc::new(Mutex::new(feeds)));
    let output = Output::new(feeds.clone(), sinks.clone()).map(Arc::new);
    let plan = Arc::new(Plan::new(workers.len(), output.clone(), args.busy_poll, args.count, placement));
    let service = Service::new(workers.iter().map(thread_name).collect(), plan.activities());
    let instance = Instance::new(args.name.clone(), start, facts, handle.clone(), feeds, sinks, events.clone());
    let display = view::display(&request, &instance, {
        let events = events.clone();
        // A main thread that no longer listens is ending the run already.
        move || drop(events.send(Event::Done))
    });
    let exporters = view::exporters(&request);
    let (read, effective) = configuration::of(&args, wanted);
    instance.configure(read, effective)?;
    for server in servers(&args, &instance, metrics) {
        services.add(server).context("cannot start the thread of the servers")?;
    }
    if let Some(control) = &control {
        control.started(instance.clone());
    }
    let mut presentation = Presentation::new(instance.clone(), display, exporters, service);

    let (mut result, evidence, mut workers) = thread::scope(|scope| {
        let _threads_end_too = EndOnPanic { plan: &plan, output: output.as_deref(), handle: handle.clone() };
        let threads: io::Result<Vec<_>> = workers
            .into_iter()
            .enumerate()
            .map(|(index, mut worker)| {
                let (plan, events) = (Arc::clone(&plan), events.clone());
                thread::Builder::new().name(thread_name(&worker)).spawn_scoped(scope, move || {
                    let _done = Done(events);
                    let ended = plan.run(index, &mut worker);
                    // The worker must outlive the shutdown: no counter has what comes after it.
                    (ended, worker)
                })
            })
            .collect();
        if let Some(output) = &output {
            for (feed, answers) in output.answers() {
                let name = format!("answers-{feed}");
                let take = move || output.take_answers(feed, &answers);
                if let Err(error) = thread::Builder::new().name(name).spawn_scoped(scope, take) {
                    tracing::warn!("nothing is asked for again: the thread for the answers cannot start: {error}");
                }
            }
        }
        let tapping = tap.map_or(Ok(()), |tap| {
            let record = move || tap::record(tap, undelivered);
            thread::Builder::new().name("tap".to_owned()).spawn_scoped(scope, record).map(drop)
        });
        let threads = threads.and_then(|threads| tapping.map(|()| threads));
        let mut result = match &threads {
            Ok(_) => presentation.until_the_end(&waiting, args.duration, args.interval),
            Err(error) => Err(Failure::Other(anyhow!("cannot start a thread for each queue and the tap: {error}"))),
        };
        if result.is_err() {
            plan.abandon();
        }
        // Nobody steers a run that is ending.
        drop(services);
        if let Some(output) = &output {
            output.end_waits();
        }
        // Before the groups are left: a missing membership is evidence.
        let evidence = handle.evidence().unwrap_or_default();
        let shutdown = handle.shutdown().map_err(Failure::from);
        let mut workers = Vec::new();
        for thread in threads.into_iter().flatten() {
            let (ended, worker) = match thread.join() {
                Ok(ended) => ended,
                Err(_) => {
                    result = result.and(Err(Failure::Other(anyhow!("a receiving thread panicked"))));
                    continue;
                }
            };
            workers.push(worker);
            result = result.and(ended.into());
        }
        if let Some(output) = &output {
            output.end_answers();
        }
        (result.and(shutdown), evidence, workers)
    });
    // The counters keep what the rings still hold.
    workers.drain(..);
    if let Some(output) = output {
        result = result.and(output.finish().map_err(Failure::of_sink));
    }
    instance.attribute(true);
    // Before the wait for slow readers: the rates are those of the time of receiving.
    let last = instance.snapshot()?;
    if let Some(mut sinks) = instance.sinks() {
        result = result.and(sinks.finish().map_err(Failure::of_sink));
    }
    let presented = presentation.summary(&last, evidence, result, args.json);
    if args.ends_with_words {
        recorded::print_summary(&requests, &instance, args.capture, args.json);
    }
    presented
}

fn check_files(args: &RunArgs, requests: &[SinkRequest]) -> anyhow::Result<()> {
    let is_file = |path: &&Path| !files::is_standard_input(path);
    let subscriptions = args.subscription_file.as_deref().filter(is_file).map(|path| ("--subscriptions", path));
    let files: Vec<_> = requests.iter().filter_map(SinkRequest::file).collect();
    let output = files.iter().map(|path| ("--output", path.as_path()));
    let summary = args.summary.as_deref().map(|path| ("--summary", path));
    let outputs: Vec<_> = output.chain(summary).collect();
    files::check(subscriptions.as_slice(), &outputs)
}

fn open_sinks(
    requests: &[SinkRequest],
    args: &RunArgs,
    handle: &Handle,
    events: &Sender<Event>,
    origins: &[sink::Origin],
) -> anyhow::Result<Option<Sinks>> {
    let reports = handle.subscriptions()?;
    let subscriptions: Vec<_> = reports.into_iter().map(|report| (report.id, report.subscription)).collect();
    let interface = handle.interface().index;
    let (subscriptions, capture) = (subscriptions.as_slice(), args.capture);
    let context = sink::Context { events, interface, handle: Some(handle), subscriptions, origins, capture };
    Sinks::open(requests, args.probe, &context)
}

fn facts(handle: &Handle, workers: &[Worker]) -> Result<Facts, receiver::Error> {
    Ok(Facts {
        interface: handle.interface().name.clone(),
        mode: handle.mode(),
        share: handle.is_shared(),
        refused: handle.refused().to_vec(),
        queues: workers.iter().filter_map(Worker::queue).collect(),
        subscriptions: handle.subscriptions()?.iter().map(|report| report.subscription.to_string()).collect(),
    })
}

fn thread_name(worker: &Worker) -> String {
    worker.queue().map_or_else(|| "socket".to_owned(), |queue| format!("queue-{queue}"))
}

/// The servers that the options and the feeds ask for.
fn servers(args: &RunArgs, instance: &Instance, metrics: Option<TcpListener>) -> Vec<Server> {
    let metrics = metrics.map(|listener| metrics::server(listener, instance.clone(), args.metrics_subscriptions));
    let attribution = instance.has_feeds().then(|| attribution::server(instance.clone()));
    metrics.into_iter().chain(attribution).collect()
}

/// Reports to the main thread that a receiving thread is done, also by a panic.
struct Done(Sender<Event>);

impl Drop for Done {
    fn drop(&mut self) {
        // A main thread that no longer listens is ending the run already.
        let _ = self.0.send(Event::Done);
    }
}

/// Ends the receiving threads when the main thread panics: it would wait for them for ever.
struct EndOnPanic<'a> {
    plan: &'a Plan,
    output: Option<&'a Output>,
    handle: Handle,
}

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.plan.abandon();
            if let Some(output) = self.output {
                output.end_waits();
                output.end_answers();
            }
            // The kernel cleans up after a process that ends.
            let _ = self.handle.shutdown();
        }
    }
}
