//! Units for an outlet: they are put together from pieces, and dropped whole when too many wait.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::chunk::{CHUNK, Chunk};
use super::{DISPLAY_LIMIT, Outlet, OutletError};

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

    /// For lines that people read. Their drops are not reported.
    pub fn display(outlet: &Outlet) -> Self {
        Self::new(outlet, DISPLAY_LIMIT, &Arc::default())
    }

    /// Adds one unit, which [`Units::hand_on`] passes on.
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
        let waiting = self.outlet.queued();
        if waiting > 0 && waiting + self.chunk.bytes.len() > self.limit {
            self.chunk.bytes.truncate(self.chunk.ends.last().copied().unwrap_or(0));
            self.chunk.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            self.chunk.ends.push(self.chunk.bytes.len());
        }
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
