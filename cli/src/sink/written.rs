//! What sinks with an outlet share: each datagram becomes one unit.

use std::sync::Arc;

use receiver::Datagram;

use super::traits::{Sink, SinkReport};
use crate::outlet::{Counts, Outlet, OutletError, Units};

/// Writes each datagram in the form that `format` gives it.
pub struct Written<F> {
    outlet: Outlet,
    units: Units,
    counts: Arc<Counts>,
    is_timed: bool,
    format: F,
}

impl<F: Fn(&mut Vec<u8>, &Datagram<'_>) + Send> Written<F> {
    /// Up to `limit` bytes wait. Starts the outlet at once, so that the reader of a FIFO can open it before the first
    /// datagram.
    pub fn new(outlet: Outlet, limit: usize, format: F) -> Self {
        outlet.start();
        let counts = Arc::default();
        Self { units: Units::new(&outlet, limit, &counts), outlet, counts, is_timed: false, format }
    }

    /// The outlet needs to know when each datagram came.
    pub fn timed(self) -> Self {
        Self { is_timed: true, ..self }
    }
}

impl<F: Fn(&mut Vec<u8>, &Datagram<'_>) + Send> Sink for Written<F> {
    #[inline]
    fn take(&mut self, datagram: &Datagram<'_>) {
        let write = |bytes: &mut Vec<u8>| (self.format)(bytes, datagram);
        if self.is_timed {
            self.units.put_at(datagram.time().nanoseconds, write);
        } else {
            let _ = self.units.put(write);
        }
    }

    fn end_batch(&mut self) -> Result<(), OutletError> {
        self.units.hand_on()
    }

    fn finish(&mut self) -> Result<(), OutletError> {
        self.outlet.finish()
    }

    fn reopen(&self) {
        self.outlet.turn();
    }

    fn report(&self) -> SinkReport {
        SinkReport::new(&self.counts, &self.outlet.condition(), self.outlet.last_error())
    }
}

/// The payload alone, with nothing between two of them.
pub fn payload(bytes: &mut Vec<u8>, datagram: &Datagram<'_>) {
    bytes.extend_from_slice(datagram.payload());
}
