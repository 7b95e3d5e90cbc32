//! The receiver at work: workers, control, filter, selection of the mode, grace period, link life.

pub(crate) mod clock;
pub(crate) mod control;
pub(crate) mod copy_budget;
pub(crate) mod filter;
pub(crate) mod grace_period;
pub(crate) mod guard;
pub(crate) mod link;
pub(crate) mod lock;
pub(crate) mod mode_selection;
pub(crate) mod others;
pub(crate) mod outcome;
pub(crate) mod queue_monitor;
pub(crate) mod shared;
pub(crate) mod worker;
