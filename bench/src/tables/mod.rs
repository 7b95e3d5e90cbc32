//! One file for each table.

pub mod throughput;
