//! Units for an outlet: they are put together from pieces, and dropped whole when too many wait.

use std::io::{self, Write};
use std::sync::Arc;

use super::chunk::{CHUNK, Chunk, MOST_UNITS};
use super::counts::Counts;
use super::{DISPLAY_LIMIT, Outlet, OutletError};

/// Collects units for an outlet. [`Write::flush`] ends a unit that was written piece by piece.
pub struct Units {
    outlet: Outlet,
    chunk: Chunk,
    limit: usize,
    /// Goes on filling the last chunk that waits.
    gathers: bool,
}

impl Units {
    /// Drops units while more than `limit` bytes wait. Counts each unit once it is written or dropped.
    pub fn new(outlet: &Outlet, limit: usize, counts: &Arc<Counts>) -> Self {
        let chunk = Chunk { counts: Arc::clone(counts), ..Chunk::default() };
        Self { outlet: outlet.clone(), chunk, limit, gathers: false }
    }

    /// Adds units to those that still wait, so that the slower the device is, the larger its writes are. Other callers'
    /// units may then be written before units that were handed on earlier.
    #[must_use]
    pub fn gathering(self) -> Self {
        Self { gathers: true, ..self }
    }

    /// For lines that people read. Their drops are not reported.
    pub fn display(outlet: &Outlet) -> Self {
        Self::new(outlet, DISPLAY_LIMIT, &Arc::default())
    }

    /// Adds one unit, which [`Units::hand_on`] passes on. Returns false if the unit was dropped.
    #[inline]
    pub fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.gathers && self.chunk.ends.is_empty() {
            self.outlet.take_last(&mut self.chunk);
        }
        write(&mut self.chunk.bytes);
        let fits = self.end_unit();
        if fits {
            self.push_if_full();
        }
        fits
    }

    /// As [`Units::put`], for an outlet that needs to know when the unit came, in nanoseconds.
    #[inline]
    pub fn put_at(&mut self, time: u64, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.chunk.bytes);
        if self.end_unit() {
            self.chunk.times.push(time);
            self.push_if_full();
        }
    }

    #[inline]
    fn push_if_full(&mut self) {
        if self.chunk.bytes.len() >= CHUNK || self.chunk.ends.len() >= MOST_UNITS {
            self.outlet.push(&mut self.chunk);
        }
    }

    /// Returns false if the unit was dropped.
    #[inline]
    fn end_unit(&mut self) -> bool {
        let waiting = self.outlet.queued();
        let fits = waiting == 0 || waiting + self.chunk.bytes.len() <= self.limit;
        if fits {
            self.chunk.ends.push(self.chunk.bytes.len());
        } else {
            self.chunk.bytes.truncate(self.chunk.end());
            self.chunk.counts.add_dropped(self.outlet.reason(), 1);
        }
        fits
    }

    /// Passes the units on to the outlet.
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
        if self.chunk.bytes.len() > self.chunk.end() {
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
