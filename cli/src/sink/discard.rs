//! `discard:`: takes every datagram and does nothing with it.

use receiver::Datagram;

use super::traits::{Sink, SinkReport};
use crate::outlet::{Condition, Counts, OutletError};

/// Counts datagrams, and keeps nothing.
#[derive(Default)]
pub struct Discard {
    counts: Counts,
}

impl Sink for Discard {
    #[inline]
    fn take(&mut self, datagram: &Datagram<'_>) {
        self.counts.add_written(1, datagram.payload().len() as u64);
    }

    fn end_batch(&mut self) -> Result<(), OutletError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), OutletError> {
        Ok(())
    }

    fn report(&self) -> SinkReport {
        SinkReport::new(&self.counts, &Condition::Ok, None)
    }
}
