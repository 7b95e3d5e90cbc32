//! Writes to one descriptor from a thread of its own, so that a reader that does not read stalls nobody else.
//!
//! Callers put in units (a datagram, a line), which are written whole, or dropped whole and counted. Nobody but the
//! outlet's own thread waits for the descriptor; the lock is held for moments only.

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

/// Bytes of payload that wait for a slow reader, for each output.
pub const PAYLOAD_LIMIT: usize = 64 << 20;
/// Bytes of lines, objects and table updates that wait for a slow reader.
pub const DISPLAY_LIMIT: usize = 1 << 20;

/// A chunk is handed on when it has this many bytes, at the latest.
const CHUNK: usize = 256 << 10;
/// Chunks up to this size are added to the last one that waits: copying them costs less than an entry of the queue.
const SMALL: usize = 4 << 10;
/// A pipe takes up to PIPE_BUF bytes whole or not at all (pipe(7)): an end never leaves half a unit in it.
const PIPE_BUF: usize = 4096;
/// Emptied chunks that are kept for the next.
const SPARE: usize = 4;
/// How long the end of a run waits for a reader that takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same in all, after a signal or a panic.
const HURRIED_PATIENCE: Duration = Duration::from_millis(400);

/// How often a thread that waits for room looks whether the outlet is closed.
const CLOSED_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

type Open = Box<dyn FnOnce() -> io::Result<File> + Send>;

/// Where units go. Clones share the descriptor, its thread and its queue.
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
    /// Returns true if whoever read our standard output has gone: that is how `| head` ends, and no fault.
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
    /// For the thread: there is something to write.
    work: Condvar,
    /// For who waits for the end: something was written.
    progress: Condvar,
}

#[derive(Default)]
struct State {
    /// How the descriptor is had; taken by the thread when it starts.
    open: Option<Open>,
    queue: VecDeque<Chunk>,
    spare: Vec<Chunk>,
    /// Units of the chunk in the thread's hands that are not written yet, and where they count if they never are.
    in_hand: Option<(u64, Arc<AtomicU64>)>,
    /// Grows with each write.
    written: u64,
    /// What still comes is dropped.
    closed: bool,
    error: Option<io::Error>,
}

/// Units in a row.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Where each unit ends.
    ends: Vec<usize>,
    /// Counts the units that are never written.
    dropped: Arc<AtomicU64>,
}

impl Chunk {
    fn drop_units(&self) {
        self.dropped.fetch_add(self.ends.len() as u64, Ordering::Relaxed);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}

impl Outlet {
    /// `open` is called by the outlet's thread, and may wait: a FIFO has no reader at first.
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

    /// Standard error: one outlet for all that goes there. Its failure is nobody's concern but its writers'.
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

    /// Starts the thread, if it does not run. The first unit does so too.
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

    /// Hands on a chunk, and leaves an empty one in its place.
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

    /// Waits until everything is written, as long as the reader takes something within a second; after a signal no longer
    /// than 0.4 s. What is not written by then is counted as dropped, and so is what comes later.
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

impl Chunk {
    /// Returns true if it has room for a small chunk whose units count in the same place.
    fn takes(&self, more: &Self) -> bool {
        more.bytes.len() <= SMALL
            && self.bytes.capacity() - self.bytes.len() >= more.bytes.len()
            && Arc::ptr_eq(&self.dropped, &more.dropped)
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
            // Only a file on a disk is sure to take all at once.
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

    /// The next chunk; takes back the one before. `None` once the outlet is closed.
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

    /// Writes a chunk; with a limit up to so many bytes of whole units at a time, and not before there is room for them.
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

    /// Waits until there is room. False once the outlet is closed: what is counted as dropped is not written after all.
    fn has_room(&self, file: &File) -> bool {
        while !self.lock().closed {
            let mut fds = [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::OUT)];
            // An error shows in the write.
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

    /// Counts what waits as dropped.
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

/// As [`Write::write_all`], also where the descriptor came to us in non-blocking mode.
fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // What poll has to say shows in the next write.
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

/// Collects units for an outlet. [`Write::flush`] ends a unit that was written piece by piece.
pub struct Units {
    outlet: Outlet,
    chunk: Chunk,
    limit: usize,
}

impl Units {
    /// Drops units while more than `limit` bytes wait, and counts them in `dropped`.
    pub fn new(outlet: &Outlet, limit: usize, dropped: &Arc<AtomicU64>) -> Self {
        let chunk = Chunk { dropped: Arc::clone(dropped), ..Chunk::default() };
        Self { outlet: outlet.clone(), chunk, limit }
    }

    /// For lines and other things to be read by people, which nobody counts.
    pub fn display(outlet: &Outlet) -> Self {
        Self::new(outlet, DISPLAY_LIMIT, &Arc::default())
    }

    /// Adds one unit. It goes on its way with [`Units::hand_on`].
    #[inline]
    pub fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.chunk.bytes);
        self.end_unit();
        if self.chunk.bytes.len() >= CHUNK {
            self.outlet.push(&mut self.chunk);
        }
    }

    #[inline]
    fn end_unit(&mut self) {
        let waiting = self.outlet.0.queued.load(Ordering::Relaxed);
        if waiting > 0 && waiting + self.chunk.bytes.len() > self.limit {
            self.chunk.bytes.truncate(self.chunk.ends.last().copied().unwrap_or(0));
            self.chunk.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            self.chunk.ends.push(self.chunk.bytes.len());
        }
    }

    /// Lets the outlet write what was put in.
    ///
    /// # Errors
    /// Writing has failed.
    pub fn hand_on(&mut self) -> Result<(), OutletError> {
        if !self.chunk.ends.is_empty() {
            self.outlet.push(&mut self.chunk);
        }
        self.outlet.check()
    }
}

impl Write for Units {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.bytes.len() > self.chunk.ends.last().copied().unwrap_or(0) {
            self.end_unit();
        }
        Ok(self.hand_on()?)
    }
}

/// Prints a line to standard error, without waiting for it.
pub fn print(text: &str) {
    let mut out = Units::display(Outlet::stderr());
    // A failure here has no place left to be reported.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn outlet(file: impl Into<std::os::fd::OwnedFd>) -> Outlet {
        let file = File::from(file.into());
        Outlet::new("a pipe", move || Ok(file), || ())
    }

    fn put(units: &mut Units, unit: &[u8]) {
        units.put(|bytes| bytes.extend_from_slice(unit));
    }

    #[test]
    fn a_reader_gets_every_unit_in_order() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let dropped = Arc::default();
        let outlet = outlet(writer);
        let mut units = Units::new(&outlet, PAYLOAD_LIMIT, &dropped);
        let mut expected = Vec::new();
        let reading = thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        for n in 0..20_000_u32 {
            let unit = n.to_be_bytes().repeat(1 + n as usize % 40);
            put(&mut units, &unit);
            expected.extend(unit);
            if n % 7 == 0 {
                units.hand_on().expect("written");
            }
        }
        units.hand_on().expect("written");
        outlet.finish().expect("written");
        // The thread has the writing end: it goes with the outlet's end.
        outlet.0.close(&mut outlet.0.lock());
        assert!(reading.join().expect("a thread").expect("read") == expected);
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_reader_that_does_not_read_costs_whole_units_and_each_is_counted() {
        const UNIT: usize = 1316;
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let dropped = Arc::default();
        let outlet = outlet(writer);
        let mut units = Units::new(&outlet, 100_000, &dropped);
        for n in 0..1000_u32 {
            put(&mut units, &[n as u8; UNIT]);
            // Chunks that are larger than what a pipe takes whole.
            if n % 10 == 9 {
                units.hand_on().expect("nothing fails");
            }
        }
        assert!(dropped.load(Ordering::Relaxed) > 500, "the limit holds before the end");
        outlet.finish().expect("nothing fails");
        let dropped = dropped.load(Ordering::Relaxed) as usize;
        let mut all = vec![0; (1000 - dropped) * UNIT];
        reader.read_exact(&mut all).expect("what was not dropped is there");
        assert!(all.chunks(UNIT).all(|unit| unit.iter().all(|&byte| byte == unit[0])), "no unit is torn");
        assert_eq!(rustix::io::ioctl_fionread(&reader).expect("FIONREAD"), 0, "and nothing more");
    }

    #[test]
    fn a_failure_is_reported_and_counted() {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let dropped = Arc::default();
        let outlet = outlet(writer);
        let mut units = Units::new(&outlet, PAYLOAD_LIMIT, &dropped);
        put(&mut units, b"one");
        put(&mut units, b"two");
        let _ = units.hand_on();
        let error = outlet.finish().expect_err("nobody reads");
        assert_eq!(error.to_string(), "cannot write to a pipe: Broken pipe (os error 32)");
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    }
}
