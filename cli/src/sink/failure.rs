//! Why a run ends, or fails in the end, for its sinks.

use super::traits::SinkReport;
use crate::outlet::OutletError;

/// What went wrong with a sink.
#[derive(Debug, thiserror::Error)]
pub enum SinkFailure {
    /// The sink has ended, and the run with it.
    #[error(transparent)]
    Ended(#[from] OutletError),
    /// Datagrams were dropped because writing failed.
    #[error("cannot write to {name}: {reason}; datagrams dropped for it: {dropped}")]
    Dropped {
        /// The sink.
        name: String,
        /// The last error.
        reason: String,
        /// Their number.
        dropped: u64,
    },
}

impl SinkFailure {
    /// The first sink that dropped datagrams because writing failed.
    pub fn of(reports: &[SinkReport]) -> Option<Self> {
        let report = reports.iter().find(|report| report.failures > 0)?;
        let reason = report.last_error.clone().unwrap_or_else(|| "writing failed".to_owned());
        Some(Self::Dropped { name: report.name.clone(), reason, dropped: report.failures })
    }

    /// Returns true if the reader of standard output is gone, as after `| head`. That is no fault.
    pub fn is_reader_gone(&self) -> bool {
        matches!(self, Self::Ended(error) if error.is_reader_gone())
    }
}
