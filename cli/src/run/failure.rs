//! Why a run ended before it should.

use std::io;

use anyhow::anyhow;

use super::consume::EndReason;
use crate::sink::SinkFailure;

/// Why a run ended before it should.
pub enum Failure {
    /// The reader of the display is gone, which is no fault.
    DisplayGone,
    /// The reader of the payloads on standard output is gone, which is no fault. The summary goes to standard error.
    OutputGone,
    /// A sink failed.
    Sink(SinkFailure),
    /// Anything else.
    Other(anyhow::Error),
}

impl From<receiver::Error> for Failure {
    fn from(error: receiver::Error) -> Self {
        Self::Other(error.into())
    }
}

impl Failure {
    /// The failure for an error of the display.
    pub fn of_display(error: anyhow::Error) -> Self {
        match error.downcast_ref().map(io::Error::kind) {
            Some(io::ErrorKind::BrokenPipe) => Self::DisplayGone,
            _ => Self::Other(anyhow!("cannot show the run: {error}")),
        }
    }

    /// The failure for an error of a sink.
    pub fn of_sink(error: SinkFailure) -> Self {
        if error.is_reader_gone() { Self::OutputGone } else { Self::Sink(error) }
    }
}

impl From<EndReason> for Result<(), Failure> {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Stopped | EndReason::Enough => Ok(()),
            EndReason::Sink(error) => Err(Failure::of_sink(error)),
            EndReason::Failed(error) => Err(error.into()),
            EndReason::Misplaced(error) => Err(Failure::Other(error)),
        }
    }
}
