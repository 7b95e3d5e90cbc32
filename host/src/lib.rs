//! What the host allows: the capabilities that the XDP programs need, which of them the process lacks, and the
//! reasons for a refusal.

mod privilege;
mod reason;

pub use privilege::{Capability, GENERATOR, Lack, XDP, is_full_speed, lock_limit};
pub use reason::{is_for_want_of_privilege, os_error, reasons, verifier_log};
