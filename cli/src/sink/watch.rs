//! What the sinks that record losses share: a thread of their own that reads the counters, and their end.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use receiver::Ledger;

use crate::outlet::{Outlet, OutletError, Units};

/// How often sums that have changed are written.
pub const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How often the counters are read.
const EVERY: Duration = Duration::from_millis(200);
/// The longest wait for the end of the last file.
const PATIENCE: Duration = Duration::from_millis(400);

/// The thread that reads the counters and writes what was lost. Dropping this value ends the thread.
pub struct Watch {
    ends: Option<Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The times at which the thread reads the counters.
pub struct Ticks(Receiver<()>);

impl Ticks {
    /// Waits for the next time. Returns false for the last one.
    pub fn wait(&self) -> bool {
        self.0.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout)
    }
}

impl Watch {
    /// Runs `watch` on a thread with this name. Nothing is watched if the thread cannot be started.
    pub fn start(name: &str, watch: impl FnOnce(Ticks) + Send + 'static) -> Self {
        let (ends, ended) = mpsc::channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || watch(Ticks(ended)));
        Self { ends: Some(ends), thread: thread.ok() }
    }

    /// Ends the sink that this thread belongs to: hands on its last units, then those of the thread, and waits for the
    /// outlet.
    ///
    /// # Errors
    /// The outlet has failed.
    pub fn finish(&mut self, units: &mut Units, outlet: &Outlet) -> Result<(), OutletError> {
        let handed_on = units.hand_on();
        self.end();
        let finished = handed_on.and_then(|()| outlet.finish());
        outlet.end(PATIENCE);
        finished
    }

    /// Ends the thread, which writes what it has noticed.
    fn end(&mut self) {
        self.ends = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

/// What was lost since an earlier ledger, by cause.
pub fn losses_since(now: &Ledger, before: Option<&Ledger>) -> Vec<(&'static str, u64)> {
    let earlier = |name| before.and_then(|ledger| ledger.count(name)).unwrap_or(0);
    now.losses().map(|(name, count)| (name, count.saturating_sub(earlier(name)))).collect()
}

/// `3 NAME, 4 NAME`: the counts that are not 0.
pub fn listed(counts: impl Iterator<Item = (&'static str, u64)>) -> String {
    let parts: Vec<String> =
        counts.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}")).collect();
    parts.join(", ")
}
