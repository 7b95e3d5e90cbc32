//! Processes, and the descriptors that they hold, as `/proc` shows them.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::getxattr;

/// A process on this host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// Its id in the PID namespace of `/proc`.
    pub pid: u32,
    /// Its name (`/proc/PID/comm`), with control characters replaced.
    pub name: String,
}

impl Process {
    pub(super) fn of(pid: u32) -> Self {
        let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        // A process can choose any name, and the name is printed to terminals.
        let shown = |c: char| if c.is_control() { '?' } else { c };
        Self { pid, name: String::from_utf8_lossy(&name).trim_end_matches('\n').chars().map(shown).collect() }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let this = if self.pid == std::process::id() { ", this process" } else { "" };
        write!(f, "{} (pid {}{this})", self.name, self.pid)
    }
}

/// Several processes, as a part of a sentence.
pub(crate) fn list(processes: &[Process]) -> String {
    processes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// Calls `each` with the process, the number and the target of every descriptor that `/proc` shows. Returns true if it
/// shows those of every process that it lists: other users' processes need CAP_SYS_PTRACE.
pub(super) fn each_descriptor(mut each: impl FnMut(u32, &OsStr, &Path)) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    let mut complete = true;
    for pid in processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()) {
        match fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(descriptors) => {
                for descriptor in descriptors.flatten() {
                    if let Ok(target) = fs::read_link(descriptor.path()) {
                        each(pid, &descriptor.file_name(), &target);
                    }
                }
            }
            // The process has ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(_) => complete = false,
        }
    }
    complete
}

/// The processes that hold AF_XDP sockets, on any interface and queue, by id.
pub(crate) fn holders_of_xdp_sockets() -> Vec<Process> {
    let mut pids = BTreeSet::new();
    each_descriptor(|pid, number, target| {
        let is_xdp = || {
            let mut name = [0; 32];
            let path = Path::new("/proc").join(pid.to_string()).join("fd").join(number);
            // The kernel's name of the socket's protocol. That of AF_XDP is XDP, with a zero at the end.
            getxattr(path, "system.sockprotoname", &mut name).is_ok_and(|length| name[..length].starts_with(b"XDP"))
        };
        if socket_inode(target).is_some() && !pids.contains(&pid) && is_xdp() {
            pids.insert(pid);
        }
    });
    pids.into_iter().map(Process::of).collect()
}

/// The processes that hold each of these sockets, by the socket's inode, as far as `/proc` shows them.
pub(crate) fn holders_of_sockets(inodes: &BTreeSet<u64>) -> HashMap<u64, Vec<Process>> {
    let mut pids = HashMap::<u64, BTreeSet<u32>>::new();
    each_descriptor(|pid, _, target| {
        if let Some(inode) = socket_inode(target).filter(|inode| inodes.contains(inode)) {
            pids.entry(inode).or_default().insert(pid);
        }
    });
    pids.into_iter().map(|(inode, pids)| (inode, pids.into_iter().map(Process::of).collect())).collect()
}

/// The inode in `socket:[12345]`.
fn socket_inode(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}
