//! What waits between the receiving threads and the thread of an engine, and the counts of both.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::engine::Waker;
use super::identity::Identity;
use super::room::Room;
use super::window::{Released, Window};
use crate::outlet::{Condition, DropReason};

/// Chunks up to this size are added to the one before: a copy costs less than an allocation.
const SMALL: usize = 8 << 10;
/// A chunk of this size is passed on at once.
pub const CHUNK: usize = 256 << 10;

/// Datagrams, one after the other.
#[derive(Default)]
pub struct Chunk {
    pub bytes: Vec<u8>,
    /// Where each datagram ends, and the number of its subject.
    pub ends: Vec<(usize, usize)>,
}

/// A subject, and how the messages to it are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub text: String,
    pub identity: Identity,
}

/// What a sink to an engine reports beside the counts of all sinks. The names in JSON do not change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PublishReport {
    /// Messages that were sent, each counted once.
    pub published: u64,
    /// Messages that the engine has stored, by this sink or another one.
    pub acknowledged: u64,
    /// Messages that were sent again, each time counted.
    pub retried: u64,
    /// Acknowledged messages that the engine had already.
    pub duplicates: u64,
    /// Messages that were sent and have no answer.
    pub in_flight: u64,
    /// Bytes of payload that wait to be sent or acknowledged.
    pub waiting_bytes: u64,
    /// Connections that were made after the first one.
    pub reconnects: u64,
}

/// The queue. Both sides share it.
pub struct Queue {
    state: Mutex<State>,
    /// Something was acknowledged, or the thread has ended.
    progress: Condvar,
    /// The thread is to go on: it waits before it connects again.
    work: Condvar,
    /// Bytes of payload in the queue and in the window.
    waiting: AtomicUsize,
    limit: usize,
    /// The thread waits with nothing to send.
    is_idle: AtomicBool,
    waker: Waker,
    room: Option<Arc<Room>>,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Chunk>,
    subjects: Vec<Subject>,
    report: PublishReport,
    /// Datagrams that were put in.
    accepted: u64,
    bytes: u64,
    dropped: BTreeMap<&'static str, u64>,
    failures: u64,
    condition: Condition,
    last_error: Option<String>,
    is_closed: bool,
    has_ended: bool,
}

/// The counts of the queue at one moment.
pub struct Counted {
    pub report: PublishReport,
    pub bytes: u64,
    pub dropped: BTreeMap<&'static str, u64>,
    pub failures: u64,
    pub condition: Condition,
    pub last_error: Option<String>,
}

impl Queue {
    /// For up to `limit` bytes. With a room, receiving threads wait for it; otherwise what does not fit is dropped.
    pub fn new(limit: usize, waker: Waker, room: Option<Arc<Room>>) -> Self {
        Self {
            state: Mutex::default(),
            progress: Condvar::new(),
            work: Condvar::new(),
            waiting: AtomicUsize::new(0),
            limit,
            is_idle: AtomicBool::new(false),
            waker,
            room,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a subject, which is added if it is new.
    pub fn subject(&self, subject: Subject) -> usize {
        let mut state = self.lock();
        state.subjects.iter().position(|known| *known == subject).unwrap_or_else(|| {
            state.subjects.push(subject);
            state.subjects.len() - 1
        })
    }

    /// The subjects from this number on.
    pub fn subjects_from(&self, number: usize) -> Vec<Subject> {
        self.lock().subjects.get(number..).unwrap_or_default().to_vec()
    }

    /// Returns true if a datagram is dropped now, with this number of bytes not yet put in.
    #[inline]
    pub fn is_full(&self, more: usize) -> bool {
        let waits = self.room.as_ref().is_some_and(|room| !room.is_released());
        let waiting = self.waiting.load(Ordering::Relaxed);
        !waits && waiting + more > self.limit
    }

    /// Counts datagrams that had no room.
    #[cold]
    pub fn drop_full(&self, datagrams: u64) {
        let mut state = self.lock();
        let reason = state.reason();
        state.drop_for(reason, datagrams);
    }

    /// Puts in a chunk, and leaves an empty one in its place.
    pub fn put(&self, chunk: &mut Chunk) {
        let bytes = chunk.bytes.len();
        let mut state = self.lock();
        if state.is_closed {
            let (reason, datagrams) = (state.reason(), chunk.ends.len() as u64);
            state.drop_for(reason, datagrams);
            chunk.bytes.clear();
            chunk.ends.clear();
            return;
        }
        state.accepted += chunk.ends.len() as u64;
        let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes;
        match state.chunks.back_mut() {
            Some(last) if bytes <= SMALL && last.bytes.len() + bytes <= CHUNK => {
                let before = last.bytes.len();
                last.bytes.append(&mut chunk.bytes);
                last.ends.extend(chunk.ends.drain(..).map(|(end, subject)| (before + end, subject)));
            }
            _ => state.chunks.push_back(std::mem::take(chunk)),
        }
        // With the lock: the other side clears it with the lock, too.
        if let Some(room) = self.room.as_ref().filter(|_| waiting > self.limit) {
            room.set_full(true);
        }
        drop(state);
        if self.is_idle.swap(false, Ordering::AcqRel) {
            (self.waker)();
        }
    }

    /// The next chunk. Without one, the next [`Queue::put`] wakes the engine.
    pub fn take(&self) -> Option<Chunk> {
        let mut state = self.lock();
        let chunk = state.chunks.pop_front();
        if chunk.is_none() {
            self.is_idle.store(true, Ordering::Release);
        }
        chunk
    }

    /// Messages were acknowledged. Returns false once the queue is closed.
    pub fn acknowledged(&self, released: Released, window: &Window) -> bool {
        let mut state = self.lock();
        if state.is_closed {
            return false;
        }
        state.report.acknowledged += released.messages;
        state.bytes += released.bytes;
        state.report.published = window.published;
        state.report.retried = window.retried;
        state.report.duplicates = window.duplicates;
        state.report.in_flight = window.in_flight() as u64;
        if released.messages > 0 {
            let before = self.waiting.fetch_sub(released.bytes as usize, Ordering::Relaxed);
            if let Some(room) = self.room.as_ref().filter(|_| before - released.bytes as usize <= self.limit) {
                room.set_full(false);
            }
            self.progress.notify_all();
        }
        true
    }

    /// The connection is lost or refused. The log has a line when that begins.
    pub fn failed(&self, name: &str, error: &str) {
        let mut state = self.lock();
        let was_ok = state.condition == Condition::Ok;
        state.condition = Condition::Failing(error.to_owned());
        state.last_error = Some(error.to_owned());
        drop(state);
        if was_ok {
            tracing::warn!("output {name} fails and is tried again: {error}");
        }
    }

    /// Messages are acknowledged again.
    pub fn recovered(&self, name: &str) {
        let mut state = self.lock();
        if std::mem::take(&mut state.condition) != Condition::Ok {
            drop(state);
            tracing::warn!("output {name} is written again");
        }
    }

    /// A connection was made after the first one.
    pub fn reconnected(&self) {
        self.lock().report.reconnects += 1;
    }

    /// Waits this long, or until the queue is closed.
    pub fn pause(&self, length: Duration) {
        let end = Instant::now() + length;
        let mut state = self.lock();
        while !state.is_closed {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Returns true once the queue is closed.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// The thread has ended.
    pub fn ended(&self) {
        self.lock().has_ended = true;
        self.progress.notify_all();
    }

    /// Waits up to this long until everything is acknowledged. What is not, and all that comes later, is dropped.
    pub fn finish(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut state = self.lock();
        while state.left() > 0 && !state.has_ended {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.progress.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let (reason, left) = (state.reason(), state.left());
        state.drop_for(reason, left);
        state.is_closed = true;
        state.chunks.clear();
        state.report.in_flight = 0;
        self.waiting.store(0, Ordering::Relaxed);
        drop(state);
        if let Some(room) = &self.room {
            room.release();
        }
        self.work.notify_all();
        (self.waker)();
    }

    /// The counts so far.
    pub fn counted(&self) -> Counted {
        let state = self.lock();
        let waiting_bytes = self.waiting.load(Ordering::Relaxed) as u64;
        Counted {
            report: PublishReport { waiting_bytes, ..state.report },
            bytes: state.bytes,
            dropped: state.dropped.clone(),
            failures: state.failures,
            condition: state.condition.clone(),
            last_error: state.last_error.clone(),
        }
    }
}

impl State {
    /// Datagrams that were put in and have no acknowledgement.
    fn left(&self) -> u64 {
        self.accepted - self.report.acknowledged
    }

    /// Why what has no room is dropped now.
    fn reason(&self) -> DropReason {
        if self.condition == Condition::Ok { DropReason::SlowReader } else { DropReason::Failed }
    }

    fn drop_for(&mut self, reason: DropReason, datagrams: u64) {
        if datagrams > 0 {
            *self.dropped.entry(reason.name()).or_default() += datagrams;
            self.failures += if reason.is_failure() { datagrams } else { 0 };
        }
    }
}
