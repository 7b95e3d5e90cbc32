//! What sinks that write to a descriptor share: each datagram becomes one unit of an outlet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use receiver::Datagram;

use super::traits::{Sink, SinkReport};
use crate::outlet::{Outlet, OutletError, PAYLOAD_LIMIT, Units};

/// Writes each datagram in the form that `format` gives it.
pub struct Written<F> {
    outlet: Outlet,
    units: Units,
    dropped: Arc<AtomicU64>,
    format: F,
}

impl<F: Fn(&mut Vec<u8>, &Datagram<'_>) + Send> Written<F> {
    /// Starts the outlet at once, so that the reader of a FIFO can open it before the first datagram.
    pub fn new(outlet: Outlet, format: F) -> Self {
        outlet.start();
        let dropped = Arc::default();
        Self { units: Units::new(&outlet, PAYLOAD_LIMIT, &dropped), outlet, dropped, format }
    }
}

impl<F: Fn(&mut Vec<u8>, &Datagram<'_>) + Send> Sink for Written<F> {
    #[inline]
    fn take(&mut self, datagram: &Datagram<'_>) {
        self.units.put(|bytes| (self.format)(bytes, datagram));
    }

    fn end_batch(&mut self) -> Result<(), OutletError> {
        self.units.hand_on()
    }

    fn finish(&mut self) -> Result<(), OutletError> {
        self.outlet.finish()
    }

    fn report(&self) -> SinkReport {
        SinkReport { name: self.outlet.name().to_owned(), dropped: self.dropped.load(Ordering::Relaxed) }
    }
}

/// The payload alone, with nothing between two of them.
pub fn payload(bytes: &mut Vec<u8>, datagram: &Datagram<'_>) {
    bytes.extend_from_slice(datagram.payload());
}
