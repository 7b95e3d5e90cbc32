//! Where datagrams go, beyond being counted: to a file, to a hex dump, to the checker of test streams. Shared by the
//! threads that receive; each takes it for a batch. Nothing here waits for a reader: see [`super::outlet`].

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use receiver::Datagram;
use receiver_send::probe::{ProbeChecker, ProbeReport};
use rustix::fs::{Mode, OFlags};

use super::event::Event;
use super::files;
use super::hex;
use super::options::RunArgs;
use super::outlet::{Outlet, OutletError, PAYLOAD_LIMIT, Units};

/// All that is done with a datagram.
pub struct Sink {
    output: Option<Units>,
    hex: Option<Units>,
    outlets: Vec<Outlet>,
    dropped: Arc<AtomicU64>,
    probe: Option<ProbeChecker>,
}

impl Sink {
    /// Opens what the options ask for. `None` where nothing but counting is asked for. A failure of writing is an event.
    pub fn open(args: &RunArgs, events: &Sender<Event>) -> anyhow::Result<Option<Self>> {
        let failed = || {
            let events = events.clone();
            // The main thread waits for nothing any more if it does not listen.
            move || drop(events.send(Event::Done))
        };
        let output = match args.output.as_deref() {
            None => None,
            Some(_) if args.output_is_stdout() => Some(Outlet::stdout(failed())),
            Some(path) => Some(output(path, failed())?),
        };
        let hex = args.hex.then(|| match args.output_is_stdout() {
            true => Outlet::stderr().clone(),
            false => Outlet::stdout(failed()),
        });
        let probe = args.probe.then(ProbeChecker::new);
        if output.is_none() && hex.is_none() && probe.is_none() {
            return Ok(None);
        }
        let dropped = Arc::default();
        let units = |outlet: &Outlet| {
            // At once, so that who opens a FIFO to read does not wait for the first datagram.
            outlet.start();
            Units::new(outlet, PAYLOAD_LIMIT, &dropped)
        };
        Ok(Some(Self {
            output: output.as_ref().map(units),
            hex: hex.as_ref().map(units),
            outlets: output.into_iter().chain(hex).collect(),
            dropped,
            probe,
        }))
    }

    /// Takes one datagram.
    #[inline]
    pub fn take(&mut self, datagram: &Datagram<'_>) {
        if let Some(probe) = &mut self.probe {
            let (group, port, time) = (datagram.group(), datagram.port(), datagram.time().nanoseconds);
            probe.observe(datagram.source(), group, port, datagram.payload(), time);
        }
        if let Some(output) = &mut self.output {
            output.put(|bytes| bytes.extend_from_slice(datagram.payload()));
        }
        if let Some(hex) = &mut self.hex {
            hex.put(|bytes| hex::write_datagram(bytes, datagram));
        }
    }

    /// Hands on what was taken, so that a reader sees it now.
    ///
    /// # Errors
    /// Writing has failed.
    pub fn hand_on(&mut self) -> Result<(), OutletError> {
        [&mut self.output, &mut self.hex].into_iter().flatten().try_for_each(Units::hand_on)
    }

    /// What is still on its way, to be waited for without the sink's lock.
    pub fn outlets(&self) -> Vec<Outlet> {
        self.outlets.clone()
    }

    /// Datagrams that an output dropped because its reader did not read.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// What the checker of test streams found so far.
    pub fn probe(&self) -> Option<ProbeReport> {
        self.probe.as_ref().map(ProbeChecker::report)
    }
}

/// Takes a shared sink; a panic elsewhere does not make it worse than it was.
pub fn lock(sink: &Mutex<Sink>) -> MutexGuard<'_, Sink> {
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file is opened now, and appended to. A FIFO may have no reader yet: its outlet waits for one.
fn output(path: &Path, failed: impl Fn() + Send + Sync + 'static) -> anyhow::Result<Outlet> {
    let name = files::shown(path);
    let open = {
        let path = path.to_owned();
        move || {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY;
            Ok(rustix::fs::open(&path, flags, Mode::from_raw_mode(0o666))?.into())
        }
    };
    if files::is_fifo(path) {
        return Ok(Outlet::new(&name, open, failed));
    }
    let file = open().map_err(|error: std::io::Error| anyhow::anyhow!("cannot create {name}: {error}"))?;
    Ok(Outlet::new(&name, move || Ok(file), failed))
}
