//! Why the kernel refused, from the chain of errors that a loader of BPF programs returns.

use std::error::Error;
use std::io;

/// The chain of reasons in one line, none of them twice.
pub fn reasons(error: &(dyn Error + 'static)) -> String {
    let mut reason = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        let text = inner.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        next = inner.source();
    }
    reason
}

/// Returns true if the kernel answered EPERM or EACCES. The verifier returns EACCES, too, when it refuses a program;
/// then there is a log, and no privilege would help.
pub fn is_permission_error(error: &(dyn Error + 'static)) -> bool {
    matches!(os_error(error), Some(libc::EPERM | libc::EACCES))
}

/// The kernel's error number in the chain.
pub fn os_error(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(errno) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(errno);
        }
        next = error.source();
    }
    None
}
