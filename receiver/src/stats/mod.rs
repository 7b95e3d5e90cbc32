//! Counters, and the ledgers that set them against each other.

pub(crate) mod host_counters;
pub(crate) mod ledger;
