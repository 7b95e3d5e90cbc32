//! Who holds the XDP program that is on an interface already: the program's name in the kernel, and the processes that
//! `/proc` shows with a descriptor of the program or of its link (`/proc/PID/fdinfo`).

use std::fmt;
use std::fs;

use super::process::{Process, each_descriptor, list};

/// The names of a receiver's own XDP programs, truncated as the kernel does.
const OWN_NAMES: [&str; 2] = ["receiver", "receiver_frags"];

/// An XDP program that is attached to an interface, and the processes that hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The program's id.
    pub program: u32,
    /// The program's name; `None` without CAP_SYS_ADMIN, which the kernel asks for.
    pub name: Option<String>,
    /// The id of the bpf_link by which the program is attached, if a process has a descriptor of it.
    pub link: Option<u32>,
    /// The processes that have a descriptor of the program or its link, by id.
    pub processes: Vec<Process>,
    /// True if `/proc` shows the descriptors of all processes: those of other users need CAP_SYS_PTRACE.
    pub is_complete: bool,
}

impl Holder {
    pub(crate) fn of(program: u32, name: Option<String>) -> Self {
        let (mut link, mut pids) = (None, Vec::new());
        let is_complete = each_descriptor(|pid, number, target| {
            if !target.to_str().is_some_and(|target| target.starts_with("anon_inode:bpf")) {
                return;
            }
            let path = format!("/proc/{pid}/fdinfo/{}", number.display());
            let Ok(info) = fs::read_to_string(path) else { return };
            if number_of(&info, "prog_id:") == Some(program) {
                pids.push(pid);
                link = link.or(number_of(&info, "link_id:"));
            }
        });
        pids.sort_unstable();
        pids.dedup();
        let processes = pids.into_iter().map(Process::of).collect();
        Self { program, name, link, processes, is_complete }
    }

    /// Returns true if it looks like the program of a receiver of this library.
    pub fn is_receiver(&self) -> bool {
        match &self.name {
            Some(name) => OWN_NAMES.contains(&name.as_str()),
            None => self.processes.iter().any(|process| process.name == "receiver"),
        }
    }

    /// What to do about it.
    pub(crate) fn remedy(&self, interface: &str) -> String {
        if self.is_receiver() {
            "Two receivers cannot share an interface in XDP modes: give one receiver the subscriptions of both; or \
             use mode socket for this one, if the other one does not take the same streams"
                .to_owned()
        } else if self.processes.is_empty() {
            format!(
                "Detach it with `ip link set {interface} xdp off` (or `xdpgeneric off`) if nobody needs it, or use \
                 mode socket"
            )
        } else {
            "Stop that process if nobody needs it, or use mode socket".to_owned()
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "program {}", self.program)?;
        if let Some(name) = &self.name {
            write!(f, " `{name}`")?;
        }
        match (self.processes.as_slice(), self.is_complete) {
            ([], true) => {
                f.write_str(", which no process holds: it was attached by netlink, as `ip link` does, or is pinned")
            }
            ([], false) => {
                f.write_str(", whose process /proc does not show (only root sees the processes of other users)")
            }
            (some, _) => write!(f, ", held by {}", list(some)),
        }
    }
}

/// The number after a label, in lines such as `prog_id: 57`.
fn number_of(info: &str, label: &str) -> Option<u32> {
    info.lines().find_map(|line| line.strip_prefix(label))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(name: Option<&str>, processes: &[&str], is_complete: bool) -> Holder {
        let processes = processes.iter().map(|&name| Process { pid: 7, name: name.to_owned() }).collect();
        Holder { program: 57, name: name.map(ToOwned::to_owned), link: None, processes, is_complete }
    }

    #[test]
    fn each_holder_is_named_with_its_remedy() {
        let cases = [
            (holder(Some("receiver"), &["receiver"], true), "program 57 `receiver`, held by receiver (pid 7)", "both"),
            (holder(None, &["receiver"], true), "program 57, held by receiver (pid 7)", "subscriptions of both"),
            (holder(Some("xdp_pass"), &["a", "b"], true), "held by a (pid 7) and b (pid 7)", "Stop that process"),
            (holder(Some("xdp_pass"), &[], true), "`xdp_pass`, which no process holds", "ip link set eth7 xdp off"),
            (holder(Some("receiver"), &[], false), "whose process /proc does not show", "subscriptions of both"),
            (holder(None, &[], false), "program 57, whose process /proc does not show", "ip link set eth7 xdp off"),
        ];
        for (holder, who, remedy) in cases {
            assert!(holder.to_string().contains(who), "{holder}");
            let message = holder.remedy("eth7");
            assert!(message.contains(remedy) && message.contains("mode socket"), "{message}");
        }
    }

    #[test]
    fn numbers_of_fdinfo() {
        let info =
            "pos:\t0\nflags:\t02000002\nlink_type:\txdp\nlink_id:\t5\nprog_tag:\t0123\nprog_id:\t57\nifindex:\t2\n";
        assert_eq!((number_of(info, "prog_id:"), number_of(info, "link_id:")), (Some(57), Some(5)));
        assert_eq!(number_of("pos:\t0\n", "prog_id:"), None);
    }
}
