//! `discard:`: takes every datagram and does nothing with it.

use std::ffi::OsStr;

use receiver::Datagram;

use super::traits::{Context, Sink, SinkReport, Target};
use crate::outlet::OutletError;

/// How the target is written.
const NAME: &str = "discard:";

struct Discard;

/// Takes `discard:`.
pub fn parse(text: &OsStr) -> Option<Box<dyn Target>> {
    if text == NAME { Some(Box::new(Discard)) } else { None }
}

impl Target for Discard {
    fn open(&self, _: &Context<'_>) -> anyhow::Result<Box<dyn Sink>> {
        Ok(Box::new(Self))
    }
}

impl Sink for Discard {
    fn take(&mut self, _: &Datagram<'_>) {}

    fn end_batch(&mut self) -> Result<(), OutletError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), OutletError> {
        Ok(())
    }

    fn report(&self) -> SinkReport {
        // The sink keeps nothing, so that it drops nothing that it should keep.
        SinkReport { name: NAME.to_owned(), dropped: 0 }
    }
}
