//! The thread of an outlet: it alone waits for the device, and it does not hold the lock meanwhile.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::chunk::Chunk;
use super::device::{Device, Gate, Then, Trouble};
use super::pause::Pause;
use super::{Shared, State, Unfinished};

/// What the thread does next.
enum Work {
    Write(Chunk),
    Turn,
    /// Finish what the device has taken.
    Settle,
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
        let mut last = Instant::now();
        while goes_on {
            // Until then what is worth no write waits for more.
            let waits_until = device.gathers().map(|time| last + time);
            goes_on = match self.next(std::mem::take(&mut done), device.turns_at(), waits_until) {
                Work::End => false,
                Work::Turn => self.persist(|| device.turn()) && self.finished(device),
                Work::Settle => self.persist(|| device.settle()) && self.finished(device),
                Work::Write(chunk) => {
                    done = chunk;
                    self.write(device, &done)
                }
            };
            last = Instant::now();
        }
        device.end();
        self.lock().has_ended = true;
        self.progress.notify_all();
    }

    /// After the device has written what it had taken. Returns false once the outlet is closed.
    fn finished(&self, device: &mut dyn Device) -> bool {
        let mut state = self.lock();
        state.keeps_units = device.keeps_units();
        if state.closed {
            drop(state);
            device.take_back();
            return false;
        }
        if device.unfinished() == 0 {
            state.finish_units();
        }
        drop(state);
        self.progress.notify_all();
        true
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
        let mut pause = Pause::default();
        loop {
            let Err(trouble) = attempt() else { return true };
            if !self.bear(&trouble, &mut pause) {
                return false;
            }
        }
    }

    /// After trouble: ends, or waits before the next try. Returns false once the outlet is closed.
    fn bear(&self, trouble: &Trouble, pause: &mut Pause) -> bool {
        self.status.fail(&self.name, trouble.then, &trouble.error);
        match trouble.then {
            Then::End => {
                let error = super::copied(&trouble.error);
                self.fail_locked(&mut self.lock(), error);
                return false;
            }
            Then::Skip(_) => {}
            Then::Retry(_) => {
                self.pause(pause.take());
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
    fn next(&self, done: Chunk, turns_at: Option<SystemTime>, waits_until: Option<Instant>) -> Work {
        let mut state = self.lock();
        self.queued.fetch_sub(done.memory(), Ordering::Relaxed);
        state.keep(done);
        loop {
            if state.closed {
                return Work::End;
            }
            if std::mem::take(&mut state.turn) {
                return Work::Turn;
            }
            let left = waits_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
            let waits = !state.queue.is_empty() && !state.is_worth_a_write();
            if !left.is_zero() && (waits || state.queue.is_empty() && state.unfinished.is_some()) {
                state.gathers = true;
                state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                state.gathers = false;
                continue;
            }
            if let Some(chunk) = state.queue.pop_front() {
                state.in_hand = Some((chunk.ends.len() as u64, Arc::clone(&chunk.counts)));
                return Work::Write(chunk);
            }
            if state.unfinished.is_some() {
                return Work::Settle;
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
        let (mut unit, mut pause) = (0, Pause::default());
        while unit < chunk.ends.len() {
            let batch = chunk.rest(unit);
            let turn = std::mem::take(&mut self.lock().turn);
            let turned = if turn { device.turn() } else { Ok(()) };
            let (units, dropped) =
                match turned.and_then(|()| self.open(device)).and_then(|()| device.write(batch, self)) {
                    Ok(0) => (0, None),
                    Ok(units) => {
                        self.status.recovered(&self.name);
                        pause = Pause::default();
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
            if state.closed {
                // Closing has counted what was in hand as dropped.
                drop(state);
                if units > 0 && dropped.is_none() {
                    device.take_back();
                }
                return false;
            }
            let unfinished = device.unfinished();
            if units > 0 && dropped.is_none() || unfinished == 0 {
                state.finish_units();
            }
            match dropped {
                Some(reason) => chunk.counts.add_dropped(reason, units as u64),
                None if units == 0 => {}
                None => {
                    let impairments = device.impairments();
                    chunk.counts.add_impairments(impairments);
                    let finished = batch.bytes_of(units - unfinished).len() as u64;
                    let written = (units - unfinished) as u64 - impairments.lost;
                    chunk.counts.add_written(written, finished - impairments.lost_bytes);
                    state.unfinished = (unfinished > 0).then(|| Unfinished {
                        units: unfinished as u64,
                        bytes: batch.bytes_of(units).len() as u64 - finished,
                        counts: Arc::clone(&chunk.counts),
                    });
                }
            }
            unit += units;
            state.written += u64::from(units > 0);
            state.keeps_units = device.keeps_units();
            let left = (chunk.ends.len() - unit) as u64;
            state.in_hand = (left > 0).then(|| (left, Arc::clone(&chunk.counts)));
            drop(state);
            self.progress.notify_all();
        }
        true
    }
}
