//! Counters, and the ledgers that compare them.

pub(crate) mod counter;
pub(crate) mod host_counters;
pub(crate) mod ledger;
pub(crate) mod queue_counters;
pub(crate) mod tap_ledger;
