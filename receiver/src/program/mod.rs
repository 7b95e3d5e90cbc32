//! The XDP program in the kernel: load, attach, steer, read its counts, detach. The only part that knows aya.

mod attachment;
mod counts;
pub(crate) mod driver;
mod entry;
mod filter_maps;
mod filter_tables;
mod loaded;
mod map;
mod map_batch;
#[cfg_attr(not(feature = "internals"), allow(dead_code, reason = "some are for tests alone"))]
mod operation;
mod refused;
mod rings;
mod slot_counters;
mod table;
mod tap;
#[cfg(feature = "internals")]
mod test_run;
mod trace;
mod verifier;

pub use entry::{Attach, Buffers, PartialChecksums};
pub use loaded::Program;
#[cfg(test)]
pub(crate) use operation::OPERATIONS;
pub(crate) use refused::name_of;
pub(crate) use rings::Ring;
pub use rings::RingShape;
#[cfg(feature = "internals")]
pub use rings::Rings;
pub use slot_counters::{SlotCounters, UnwantedCounts};
pub use tap::TapRings;
#[cfg(feature = "internals")]
pub use test_run::TestVerdict;
