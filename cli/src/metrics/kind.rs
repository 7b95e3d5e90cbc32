//! The kinds of metrics.

/// The type of a metric, as OpenMetrics has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows. Its samples end in `_total`.
    Counter,
    /// It rises and falls.
    Gauge,
    /// The constant 1, with what is to be known in its labels. Its samples end in `_info`.
    Info,
}
