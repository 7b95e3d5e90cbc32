//! The ways from the kernel to a worker.

pub(crate) mod checksum;
pub(crate) mod kernel;
