//! One file for each table.

pub mod burst;
pub mod control;
pub mod flood;
pub mod latency;
pub mod loss_free;
pub mod memory;
pub mod rules;
pub mod throughput;
pub mod wrong_source;
