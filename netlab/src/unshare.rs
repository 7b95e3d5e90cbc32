//! The two calls of unshare(2), which rustix marks as unsafe.

#![allow(unsafe_code)]

use std::fs;
use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::error::{Error, Result};

/// Moves the calling thread into a new network namespace.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: the call is unsafe for the flag FILES alone, under which a thread loses sight of descriptors that others
    // opened. This function passes another flag, and the descriptor table stays shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(io::Error::from)
}

/// Moves the whole process into a new user namespace, in which the user it runs as is root, and into a new network
/// namespace.
///
/// For callers without privilege: afterwards namespaces, links and addresses can be made as by root, but nothing
/// outside can be reached, and XDP cannot be loaded (bpf(2) asks for `CAP_BPF` in the first user namespace).
///
/// The process must have one thread only: call this before any is started.
///
/// # Errors
///
/// [`Error::UserNamespace`] where the kernel forbids it, or where other threads run.
pub fn enter_user_namespace() -> Result<()> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // SAFETY: as in `unshare_network`: the flag FILES is not passed, so no thread loses sight of a descriptor.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNET) }
        .map_err(|error| Error::UserNamespace { step: "unshare", source: error.into() })?;
    let write =
        |step: &'static str, text: &str| fs::write(step, text).map_err(|source| Error::UserNamespace { step, source });
    // The kernel takes an unprivileged gid_map only once setgroups is given up.
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("0 {user} 1"))?;
    write("/proc/self/gid_map", &format!("0 {group} 1"))
}
