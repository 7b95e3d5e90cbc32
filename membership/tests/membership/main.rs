//! Membership and the kernel path against the real kernel, in network namespaces of their own. Needs root.

mod delivery;
mod reports;
mod set;
mod socket;
mod support;
mod tables;
