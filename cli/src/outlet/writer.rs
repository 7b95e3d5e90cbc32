//! The thread of an outlet: it alone waits for the device, and it does not hold the lock meanwhile.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::chunk::{CHUNK, Chunk};
use super::counts::Impairments;
use super::device::{Device, Gate, Then, Trouble};
use super::{Shared, State};

/// The most empty chunks that are kept for reuse.
const SPARE: usize = 4;
/// The pauses between two tries: the first, and the longest. Each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What the thread does next.
enum Work {
    Write(Chunk),
    Turn,
    End,
}

impl Gate for Shared {
    fn is_closed(&self) -> bool {
        self.lock().closed
    }
}

impl Shared {
    pub fn run(&self, mut device: Box<dyn Device>) {
        let device = device.as_mut();
        let mut done = Chunk::default();
        let mut goes_on = self.persist(|| self.open(device));
        while goes_on {
            goes_on = match self.next(std::mem::take(&mut done), device.turns_at()) {
                Work::End => false,
                Work::Turn => {
                    let goes_on = self.persist(|| device.turn());
                    self.lock().keeps_units = device.keeps_units();
                    self.progress.notify_all();
                    goes_on
                }
                Work::Write(chunk) => {
                    done = chunk;
                    self.write(device, &done)
                }
            };
        }
        device.end();
        self.lock().has_ended = true;
        self.progress.notify_all();
    }

    fn open(&self, device: &mut dyn Device) -> Result<(), Trouble> {
        if device.lacks_reader() {
            self.status.wait_for_reader();
            device.open()?;
            self.status.recovered(&self.name);
        }
        device.open()
    }

    /// Tries until it succeeds. Returns false once the outlet is closed.
    fn persist(&self, mut attempt: impl FnMut() -> Result<(), Trouble>) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            let Err(trouble) = attempt() else { return true };
            if !self.bear(&trouble, &mut pause) {
                return false;
            }
        }
    }

    /// After trouble: ends, or waits before the next try. Returns false once the outlet is closed.
    fn bear(&self, trouble: &Trouble, pause: &mut Duration) -> bool {
        self.status.fail(&self.name, trouble.then, &trouble.error);
        match trouble.then {
            Then::End => {
                let error = super::copied(&trouble.error);
                self.fail_locked(&mut self.lock(), error);
                return false;
            }
            Then::Skip(_) => {}
            Then::Retry(_) => {
                self.pause(*pause);
                *pause = (2 * *pause).min(LONGEST_PAUSE);
            }
        }
        !self.lock().closed
    }

    /// Waits, less long if the outlet is closed or the device is to turn.
    fn pause(&self, length: Duration) {
        let end = Instant::now() + length;
        let mut state = self.lock();
        while !state.closed && !state.turn {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The next chunk. Takes back the previous one. The device turns at `turns_at` even if nothing comes.
    fn next(&self, mut done: Chunk, turns_at: Option<SystemTime>) -> Work {
        let mut state = self.lock();
        self.queued.fetch_sub(done.memory(), Ordering::Relaxed);
        if state.spare.len() < SPARE && (1..=2 * CHUNK).contains(&done.memory()) {
            done.clear();
            state.spare.push(done);
        }
        loop {
            if state.closed {
                return Work::End;
            }
            if std::mem::take(&mut state.turn) {
                return Work::Turn;
            }
            if let Some(chunk) = state.queue.pop_front() {
                state.in_hand = Some((chunk.ends.len() as u64, Arc::clone(&chunk.counts)));
                return Work::Write(chunk);
            }
            match turns_at.map(|at| at.duration_since(SystemTime::now())) {
                None => state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Ok(left)) => state = self.wait_at_most(state, left),
                Some(Err(_)) => return Work::Turn,
            }
        }
    }

    fn wait_at_most<'a>(&self, state: MutexGuard<'a, State>, left: Duration) -> MutexGuard<'a, State> {
        // The clock may be set: so the wait is a short one.
        let left = left.min(Duration::from_secs(60));
        self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Writes a chunk. Returns false once the outlet is closed.
    fn write(&self, device: &mut dyn Device, chunk: &Chunk) -> bool {
        let (mut unit, mut pause) = (0, FIRST_PAUSE);
        while unit < chunk.ends.len() {
            let batch = chunk.rest(unit);
            let turn = std::mem::take(&mut self.lock().turn);
            let turned = if turn { device.turn() } else { Ok(()) };
            let (units, dropped) =
                match turned.and_then(|()| self.open(device)).and_then(|()| device.write(batch, self)) {
                    Ok(0) => (0, None),
                    Ok(units) => {
                        self.status.recovered(&self.name);
                        pause = FIRST_PAUSE;
                        (units, None)
                    }
                    Err(trouble) => {
                        if !self.bear(&trouble, &mut pause) {
                            return false;
                        }
                        match trouble.then {
                            Then::Skip(reason) => (1, Some(reason)),
                            _ => (0, None),
                        }
                    }
                };
            let mut state = self.lock();
            if state.closed && units == 0 {
                return false;
            }
            // Closing has counted what was in hand as dropped.
            if !state.closed {
                match dropped {
                    Some(reason) => chunk.counts.add_dropped(reason, units as u64),
                    None => {
                        let impairments = if units > 0 { device.impairments() } else { Impairments::default() };
                        chunk.counts.add_impairments(impairments);
                        let written = batch.bytes_of(units).len() as u64 - impairments.lost_bytes;
                        chunk.counts.add_written(units as u64 - impairments.lost, written);
                    }
                }
            }
            unit += units;
            state.written += u64::from(units > 0);
            state.keeps_units = device.keeps_units();
            if state.closed {
                return false;
            }
            let left = (chunk.ends.len() - unit) as u64;
            state.in_hand = (left > 0).then(|| (left, Arc::clone(&chunk.counts)));
            drop(state);
            self.progress.notify_all();
        }
        true
    }
}
