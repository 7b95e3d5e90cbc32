//! The limit of open files: each joined group takes one while there are enough.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit, often 1,024, to the hard one, which needs no privilege.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    let shown = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let (soft, hard) = (shown(current), shown(maximum));
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::info!("the limit of open files is raised from {soft} to the hard limit, {hard}"),
        Err(errno) => tracing::info!("the limit of open files stays at {soft}: it cannot be raised to {hard}: {errno}"),
    }
}
