//! Writes to one descriptor from a thread of its own, so that a reader that does not read stalls nothing else.
//!
//! Callers put in units (a datagram, a line), which are written whole, or dropped whole and counted. Only the outlet's
//! own thread waits for the descriptor, and it does not hold the lock meanwhile.

mod chunk;
#[cfg(test)]
mod tests;
mod units;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::signals;
use chunk::{CHUNK, Chunk};

pub use units::{Units, print};

/// The most bytes of payload that wait for the slow reader of one sink.
pub const PAYLOAD_LIMIT: usize = 64 << 20;
/// The most bytes of lines, objects and table updates that wait for a slow reader.
pub const DISPLAY_LIMIT: usize = 1 << 20;

/// A pipe takes up to PIPE_BUF bytes whole or not at all (pipe(7)), so that the end of a run leaves no half unit in it.
const PIPE_BUF: usize = 4096;
/// The most empty chunks that are kept for reuse.
const SPARE: usize = 4;
/// The longest wait at the end of a run for a reader that takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest wait in total after a signal or a panic.
const HURRIED_PATIENCE: Duration = Duration::from_millis(400);

/// The interval at which a thread that waits for room checks if the outlet is closed.
const CLOSED_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

type Open = Box<dyn FnOnce() -> io::Result<File> + Send>;

/// The destination of units. Clones share the descriptor, its thread and its queue.
#[derive(Clone)]
pub struct Outlet(Arc<Shared>);

/// Writing failed.
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
    /// Called once, when writing has failed.
    on_failure: Box<dyn Fn() + Send + Sync>,
    /// Bytes of memory that the queue takes.
    queued: AtomicUsize,
    failed: AtomicBool,
    state: Mutex<State>,
    /// Wakes the thread: there is something to write.
    work: Condvar,
    /// Wakes the caller that waits for the end: something was written.
    progress: Condvar,
}

#[derive(Default)]
struct State {
    /// Opens the descriptor. The thread takes it when it starts.
    open: Option<Open>,
    queue: VecDeque<Chunk>,
    spare: Vec<Chunk>,
    /// Units of the thread's chunk that are not written yet, and the counter for them if they never are.
    in_hand: Option<(u64, Arc<AtomicU64>)>,
    /// Grows with each write.
    written: u64,
    /// Every further unit is dropped.
    closed: bool,
    error: Option<io::Error>,
}

impl Outlet {
    /// The outlet's thread calls `open`, which may wait: a FIFO may have no reader yet.
    pub fn new(
        name: &str,
        open: impl FnOnce() -> io::Result<File> + Send + 'static,
        on_failure: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self::with(name, false, Box::new(open), Box::new(on_failure))
    }

    /// Standard output, without the line buffer of [`io::stdout`].
    pub fn stdout(on_failure: impl Fn() + Send + Sync + 'static) -> Self {
        Self::with("standard output", true, Box::new(|| duplicate(io::stdout())), Box::new(on_failure))
    }

    /// Standard error: one outlet for everything that goes there. Its failure does not end a run.
    pub fn stderr() -> &'static Self {
        static STDERR: OnceLock<Outlet> = OnceLock::new();
        STDERR
            .get_or_init(|| Self::with("standard error", false, Box::new(|| duplicate(io::stderr())), Box::new(|| ())))
    }

    fn with(name: &str, stdout: bool, open: Open, on_failure: Box<dyn Fn() + Send + Sync>) -> Self {
        Self(Arc::new(Shared {
            name: name.to_owned(),
            stdout,
            on_failure,
            queued: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            state: Mutex::new(State { open: Some(open), ..State::default() }),
            work: Condvar::new(),
            progress: Condvar::new(),
        }))
    }

    /// Where the units go, as messages name it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The bytes of memory that wait to be written.
    fn queued(&self) -> usize {
        self.0.queued.load(Ordering::Relaxed)
    }

    /// Starts the thread if it is not running. The first unit does so as well.
    pub fn start(&self) {
        self.start_locked(&mut self.0.lock());
    }

    fn start_locked(&self, state: &mut State) {
        let Some(open) = state.open.take() else { return };
        let shared = Arc::clone(&self.0);
        if let Err(error) = thread::Builder::new().name("output".to_owned()).spawn(move || shared.run(open)) {
            self.0.fail_locked(state, error);
        }
    }

    /// Queues a chunk, and leaves an empty one in its place.
    fn push(&self, chunk: &mut Chunk) {
        let mut state = self.0.lock();
        self.start_locked(&mut state);
        if state.closed {
            chunk.drop_units();
            chunk.clear();
            return;
        }
        match state.queue.back_mut() {
            Some(last) if last.takes(chunk) => {
                let before = last.bytes.len();
                last.bytes.append(&mut chunk.bytes);
                last.ends.extend(chunk.ends.drain(..).map(|end| before + end));
            }
            _ => {
                let mut next = state.spare.pop().unwrap_or_default();
                next.dropped = Arc::clone(&chunk.dropped);
                self.0.queued.fetch_add(chunk.memory(), Ordering::Relaxed);
                state.queue.push_back(std::mem::replace(chunk, next));
            }
        }
        drop(state);
        self.0.work.notify_one();
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
            Some(error) => error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error),
            None => return Ok(()),
        };
        Err(OutletError { name: self.0.name.clone(), stdout: self.0.stdout, source })
    }
}

impl State {
    fn is_waiting(&self) -> bool {
        self.error.is_none() && (!self.queue.is_empty() || self.in_hand.is_some())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, open: Open) {
        let result = open().and_then(|mut file| {
            // Only a regular file takes any number of bytes at once.
            let limit = if file.metadata()?.is_file() { None } else { Some(PIPE_BUF) };
            let mut done = Chunk::default();
            while let Some(chunk) = self.next(done) {
                self.write(&mut file, &chunk, limit)?;
                done = chunk;
            }
            Ok(())
        });
        if let Err(error) = result {
            self.fail_locked(&mut self.lock(), error);
        }
    }

    /// The next chunk. Takes back the previous one. `None` once the outlet is closed.
    fn next(&self, mut done: Chunk) -> Option<Chunk> {
        let mut state = self.lock();
        self.queued.fetch_sub(done.memory(), Ordering::Relaxed);
        if state.spare.len() < SPARE && (1..=2 * CHUNK).contains(&done.memory()) {
            done.clear();
            state.spare.push(done);
        }
        loop {
            if state.closed {
                return None;
            }
            if let Some(chunk) = state.queue.pop_front() {
                state.in_hand = Some((chunk.ends.len() as u64, Arc::clone(&chunk.dropped)));
                return Some(chunk);
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes a chunk. With a limit, it waits for room and writes whole units of up to that many bytes at a time.
    fn write(&self, file: &mut File, chunk: &Chunk, limit: Option<usize>) -> io::Result<()> {
        let (mut from, mut unit) = (0, 0);
        while unit < chunk.ends.len() {
            if limit.is_some() && !self.has_room(file) {
                return Ok(());
            }
            let most = limit.unwrap_or(usize::MAX);
            let fit = chunk.ends[unit..].partition_point(|&end| end - from <= most).max(1);
            let to = chunk.ends[unit + fit - 1];
            write_all(file, &chunk.bytes[from..to])?;
            (from, unit) = (to, unit + fit);
            let mut state = self.lock();
            state.written += 1;
            if state.closed {
                return Ok(());
            }
            let left = (chunk.ends.len() - unit) as u64;
            state.in_hand = (left > 0).then(|| (left, Arc::clone(&chunk.dropped)));
            drop(state);
            self.progress.notify_all();
        }
        Ok(())
    }

    /// Waits until there is room. Returns false once the outlet is closed: units that are counted as dropped are not
    /// written.
    fn has_room(&self, file: &File) -> bool {
        while !self.lock().closed {
            let mut fds = [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::OUT)];
            // The next write reports an error.
            if poll(&mut fds, Some(&CLOSED_EVERY)) != Ok(0) {
                return !self.lock().closed;
            }
        }
        false
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
            chunk.drop_units();
        }
        if let Some((units, dropped)) = state.in_hand.take() {
            dropped.fetch_add(units, Ordering::Relaxed);
        }
        self.queued.store(0, Ordering::Relaxed);
        self.work.notify_one();
        self.progress.notify_all();
    }
}

/// As [`Write::write_all`], but a descriptor in non-blocking mode is waited for.
fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // The next write reports an error.
                let _ = poll(&mut [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn duplicate(from: impl AsFd) -> io::Result<File> {
    Ok(from.as_fd().try_clone_to_owned()?.into())
}
