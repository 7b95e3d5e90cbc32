//! Writes to one descriptor from a thread of its own, so that a reader that does not read stalls nothing else.
//!
//! Callers put in units (a datagram, a line), which are written whole, or dropped whole and counted. Only the outlet's
//! own thread waits for the descriptor, and it does not hold the lock meanwhile.

mod chunk;
mod condition;
mod counts;
mod descriptor;
mod device;
mod direct;
mod pause;
#[cfg(test)]
mod tests;
mod units;
mod writer;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::signals;
use chunk::Chunk;
use condition::Status;

pub use chunk::{Batch, CHUNK};
pub use condition::Condition;
pub use counts::{Counts, DropReason, Impairments};
pub use descriptor::{Descriptor, Opened, has_room};
pub use device::{Device, Gate, Then, Trouble};
pub use pause::Pause;
pub use units::{Units, print};

/// The most bytes of payload that wait for the slow reader of one sink.
pub const PAYLOAD_LIMIT: usize = 64 << 20;
/// The most bytes of lines, objects and table updates that wait for a slow reader.
pub const DISPLAY_LIMIT: usize = 1 << 20;

/// The most empty chunks that are kept for reuse.
const SPARE: usize = 8;
/// Fewer bytes wait for more, where the device gathers.
const WORTH_A_WRITE: usize = 256 << 10;

/// The longest wait at the end of a run for a reader that takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest wait in total after a signal or a panic.
const HURRIED_PATIENCE: Duration = Duration::from_millis(400);

/// The destination of units. Clones share the device, its thread and its queue.
#[derive(Clone)]
pub struct Outlet(Arc<Shared>);

/// Writing failed for good.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to {name}: {source}")]
pub struct OutletError {
    name: String,
    stdout: bool,
    source: io::Error,
}

impl OutletError {
    /// Returns true if the reader of standard output is gone, as after `| head`. That is no fault.
    pub fn is_reader_gone(&self) -> bool {
        self.stdout && self.source.kind() == io::ErrorKind::BrokenPipe
    }
}

impl From<OutletError> for io::Error {
    fn from(error: OutletError) -> Self {
        error.source
    }
}

struct Shared {
    name: String,
    stdout: bool,
    /// Called once, when writing has failed for good.
    on_failure: Box<dyn Fn() + Send + Sync>,
    /// Bytes of memory that the queue takes.
    queued: AtomicUsize,
    failed: AtomicBool,
    status: Status,
    state: Mutex<State>,
    /// Wakes the thread: there is something to write.
    work: Condvar,
    /// Wakes the caller that waits for the end: something was written.
    progress: Condvar,
}

#[derive(Default)]
struct State {
    /// What the thread writes to. The thread takes it when it starts.
    device: Option<Box<dyn Device>>,
    queue: VecDeque<Chunk>,
    spare: Vec<Chunk>,
    /// Units of the thread's chunk that are not written yet, and where they are counted.
    in_hand: Option<(u64, Arc<Counts>)>,
    /// Units that the device has taken and not written yet.
    unfinished: Option<Unfinished>,
    /// The thread waits until a chunk is worth a write.
    gathers: bool,
    /// The device keeps units that it has taken, and turns for them.
    keeps_units: bool,
    /// Grows with each write.
    written: u64,
    /// The device is to end its file and begin the next one.
    turn: bool,
    /// Every further unit is dropped.
    closed: bool,
    /// The thread has completed what was written.
    has_ended: bool,
    error: Option<io::Error>,
}

/// Units that a device has taken and not written yet.
struct Unfinished {
    units: u64,
    bytes: u64,
    counts: Arc<Counts>,
}

impl Outlet {
    /// The outlet's thread calls `open`, which may wait. The first failure ends the outlet.
    pub fn new(
        name: &str,
        open: impl FnOnce() -> io::Result<File> + Send + 'static,
        on_failure: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self::with(name, false, Box::new(Descriptor::once(open)), Box::new(on_failure))
    }

    /// Writes to a device.
    pub fn over(name: &str, device: impl Device + 'static, on_failure: impl Fn() + Send + Sync + 'static) -> Self {
        Self::with(name, false, Box::new(device), Box::new(on_failure))
    }

    /// Standard output, without the line buffer of [`io::stdout`]. The first failure ends the outlet.
    pub fn stdout(on_failure: impl Fn() + Send + Sync + 'static) -> Self {
        let device = Descriptor::once(|| duplicate(io::stdout()));
        Self::with("standard output", true, Box::new(device), Box::new(on_failure))
    }

    /// Standard output for payloads: only a reader that is gone ends the outlet.
    pub fn stdout_for_payloads(name: &str, on_failure: impl Fn() + Send + Sync + 'static) -> Self {
        Self::with(name, true, Box::new(Descriptor::stdout()), Box::new(on_failure))
    }

    /// Standard error: one outlet for everything that goes there. Its failure does not end a run.
    pub fn stderr() -> &'static Self {
        static STDERR: OnceLock<Outlet> = OnceLock::new();
        STDERR.get_or_init(|| {
            let device = Descriptor::once(|| duplicate(io::stderr()));
            Self::with("standard error", false, Box::new(device), Box::new(|| ()))
        })
    }

    fn with(name: &str, stdout: bool, device: Box<dyn Device>, on_failure: Box<dyn Fn() + Send + Sync>) -> Self {
        Self(Arc::new(Shared {
            name: name.to_owned(),
            stdout,
            on_failure,
            queued: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            status: Status::default(),
            state: Mutex::new(State { device: Some(device), ..State::default() }),
            work: Condvar::new(),
            progress: Condvar::new(),
        }))
    }

    /// The bytes of memory that wait to be written.
    pub fn queued(&self) -> usize {
        self.0.queued.load(Ordering::Relaxed)
    }

    /// Why a unit without room is dropped now.
    pub fn reason(&self) -> DropReason {
        self.0.status.reason()
    }

    /// How it fares now.
    pub fn condition(&self) -> Condition {
        self.0.status.condition()
    }

    /// The last error, if there was one.
    pub fn last_error(&self) -> Option<String> {
        self.0.status.last_error()
    }

    /// Has the device end its file and begin the next one, between two units.
    pub fn turn(&self) {
        self.0.lock().turn = true;
        self.0.work.notify_one();
    }

    /// Starts the thread if it is not running. The first unit does so as well.
    pub fn start(&self) {
        self.start_locked(&mut self.0.lock());
    }

    fn start_locked(&self, state: &mut State) {
        let Some(device) = state.device.take() else { return };
        let shared = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("output".to_owned());
        if let Err(error) = thread.spawn(move || shared.run(device)) {
            self.0.fail_locked(state, error);
        }
    }

    /// Queues a chunk, and leaves an empty one in its place.
    fn push(&self, chunk: &mut Chunk) {
        let mut state = self.0.lock();
        self.start_locked(&mut state);
        if state.closed {
            chunk.drop_units(self.reason());
            chunk.clear();
            return;
        }
        match state.queue.back_mut() {
            Some(last) if last.takes(chunk) => last.append(chunk),
            _ => {
                let mut next = state.spare.pop().unwrap_or_default();
                next.counts = Arc::clone(&chunk.counts);
                self.0.queued.fetch_add(chunk.memory(), Ordering::Relaxed);
                state.queue.push_back(std::mem::replace(chunk, next));
            }
        }
        let is_worth_a_wake = !state.gathers || state.is_worth_a_write();
        drop(state);
        if is_worth_a_wake {
            self.0.work.notify_one();
        }
    }

    /// Takes back the last chunk that waits if it has room for more units that count in the same place as those of an
    /// empty chunk.
    fn take_last(&self, empty: &mut Chunk) {
        let mut state = self.0.lock();
        if state.queue.back().is_some_and(|last| last.may_grow(&empty.counts))
            && let Some(last) = state.queue.pop_back()
        {
            self.0.queued.fetch_sub(last.memory(), Ordering::Relaxed);
            let empty = std::mem::replace(empty, last);
            state.keep(empty);
        }
    }

    /// Waits until everything is written, as long as the reader takes something within a second, and after a signal for
    /// at most 0.4 s. Units that are not written by then, and all later ones, are counted as dropped.
    ///
    /// # Errors
    /// Writing has failed.
    pub fn finish(&self) -> Result<(), OutletError> {
        let mut state = self.0.lock();
        let (mut since, mut seen) = (Instant::now(), state.written);
        let start = since;
        while state.is_waiting() {
            if since.elapsed() >= PATIENCE || signals::is_hurried() && start.elapsed() >= HURRIED_PATIENCE {
                break;
            }
            let waited = self.0.progress.wait_timeout(state, Duration::from_millis(20));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.written != seen {
                (since, seen) = (Instant::now(), state.written);
            }
        }
        if state.is_waiting() {
            self.0.close(&mut state);
        }
        drop(state);
        self.check()
    }

    /// Ends the outlet, and waits up to this long until the device has completed what it wrote.
    pub fn end(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut state = self.0.lock();
        self.0.close(&mut state);
        // Without a thread there is nothing to complete.
        while !state.has_ended && state.device.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.0.progress.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until everything is written, up to this long. Later units are written as before.
    pub fn settle(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut state = self.0.lock();
        while state.is_waiting() {
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return;
            };
            let waited = self.0.progress.wait_timeout(state, left.min(Duration::from_millis(20)));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// # Errors
    /// Writing has failed.
    pub fn check(&self) -> Result<(), OutletError> {
        if !self.0.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let source = match &self.0.lock().error {
            Some(error) => copied(error),
            None => return Ok(()),
        };
        Err(OutletError { name: self.0.name.clone(), stdout: self.0.stdout, source })
    }
}

impl State {
    fn is_waiting(&self) -> bool {
        let is_in_hand = self.in_hand.is_some() || self.unfinished.is_some() || self.keeps_units;
        self.error.is_none() && (is_in_hand || !self.queue.is_empty())
    }

    /// Returns true if the chunks that wait are worth a write of their own.
    fn is_worth_a_write(&self) -> bool {
        self.queue.len() > 1 || self.queue.front().is_some_and(|chunk| chunk.bytes.len() >= WORTH_A_WRITE)
    }

    /// Keeps the memory of a chunk for the next one.
    fn keep(&mut self, mut chunk: Chunk) {
        if self.spare.len() < SPARE && (1..=3 * CHUNK).contains(&chunk.memory()) {
            chunk.clear();
            self.spare.push(chunk);
        }
    }

    /// The device has written what it had taken before.
    fn finish_units(&mut self) {
        // Closing has counted them as dropped.
        if let Some(Unfinished { units, bytes, counts }) = self.unfinished.take() {
            counts.add_written(units, bytes);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail_locked(&self, state: &mut State, error: io::Error) {
        state.error = Some(error);
        self.failed.store(true, Ordering::Release);
        self.close(state);
        (self.on_failure)();
    }

    /// Counts the waiting units as dropped.
    fn close(&self, state: &mut State) {
        state.closed = true;
        for chunk in state.queue.drain(..) {
            chunk.drop_units(self.status.reason());
        }
        let unfinished = state.unfinished.take().map(|unfinished| (unfinished.units, unfinished.counts));
        for (units, counts) in state.in_hand.take().into_iter().chain(unfinished) {
            counts.add_dropped(self.status.reason(), units);
        }
        self.queued.store(0, Ordering::Relaxed);
        self.work.notify_one();
        self.progress.notify_all();
    }
}

fn copied(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

fn duplicate(from: impl AsFd) -> io::Result<File> {
    Ok(from.as_fd().try_clone_to_owned()?.into())
}
