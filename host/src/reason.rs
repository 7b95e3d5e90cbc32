//! Why the kernel refused: read from the chain of errors that a loader returns.

use std::error::Error;
use std::io;

use aya::programs::ProgramError;

/// The chain of reasons in one line.
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

/// Returns true if the kernel refused for lack of a privilege. The verifier also returns EACCES, but then there is a log,
/// and no privilege would help.
pub fn is_for_want_of_privilege(error: &(dyn Error + 'static)) -> bool {
    matches!(os_error(error), Some(libc::EPERM | libc::EACCES)) && verifier_log(error).is_none()
}

/// The errno at the end of the chain.
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

/// The verifier's log of a program that it refused.
pub fn verifier_log(error: &(dyn Error + 'static)) -> Option<String> {
    match error.downcast_ref::<ProgramError>() {
        Some(ProgramError::LoadError { verifier_log, .. }) => {
            Some(verifier_log.to_string()).filter(|log| !log.trim().is_empty())
        }
        _ => None,
    }
}
