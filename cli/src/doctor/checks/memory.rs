//! Locked memory for the packets, and huge pages.

use std::fs;

use receiver_host::{Capability, lock_limit};

use crate::doctor::line::Line;
use crate::doctor::subject::Subject;
use crate::doctor::target::served;

/// Packet memory of one queue with the default ring: 8,192 frames of 2,048 bytes.
const BYTES_OF_QUEUE: u64 = 16 << 20;

#[derive(Clone)]
struct Facts {
    queues: u64,
    /// True if the process may lock more than the limit.
    ipc_lock: bool,
    /// Bytes; `None` if there is no limit.
    limit: Option<u64>,
    /// Huge pages: all, free, and the bytes of one.
    huge: (u64, u64, u64),
}

pub fn check(subject: &Subject) -> Vec<Line> {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let number = |label: &str| -> u64 {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_default();
        line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    judge(&Facts {
        queues: served(&subject.queues, subject.interface.queues).len() as u64,
        ipc_lock: Capability::IpcLock.is_held(),
        limit: lock_limit(),
        huge: (number("HugePages_Total:"), number("HugePages_Free:"), number("Hugepagesize:") << 10),
    })
}

fn judge(facts: &Facts) -> Vec<Line> {
    let needed = facts.queues * BYTES_OF_QUEUE;
    let mib = |bytes: u64| bytes >> 20;
    let mut lines = Vec::new();
    match facts.limit.filter(|&limit| !facts.ipc_lock && limit < needed) {
        Some(limit) => {
            let text = format!(
                "this process may lock {} KiB of memory, and AF_XDP takes {} MiB: modes zero-copy and copy are refused",
                limit >> 10,
                mib(needed)
            );
            lines.push(Line::warn(text).remedy(format!("prlimit --pid $$ --memlock={needed}:{needed}")));
        }
        None => lines.push(Line::ok(format!("{} MiB of packet memory may be locked", mib(needed)))),
    }
    let (all, free, size) = facts.huge;
    if all > 0 && size > 0 && free * size < needed {
        let text = format!(
            "{free} of {all} huge pages are free, which do not hold {} MiB: the packets take ordinary pages",
            mib(needed)
        );
        let wanted = all - free.min(all) + needed.div_ceil(size);
        lines.push(Line::warn(text).remedy(format!("sysctl -w vm.nr_hugepages={wanted}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Ok, Warn};

    const NONE: Facts = Facts { queues: 2, ipc_lock: false, limit: None, huge: (0, 0, 2 << 20) };

    #[test]
    fn locked_memory() {
        assert_eq!(outcomes(&judge(&NONE)), [Ok]);
        assert_eq!(outcomes(&judge(&Facts { limit: Some(8 << 20), ipc_lock: true, ..NONE })), [Ok]);
        assert_eq!(outcomes(&judge(&Facts { limit: Some(32 << 20), ..NONE })), [Ok]);
        let lines = judge(&Facts { limit: Some(8 << 20), ..NONE });
        let remedy = "prlimit --pid $$ --memlock=33554432:33554432";
        assert_eq!((outcomes(&lines), lines[0].remedy.as_deref()), (vec![Warn], Some(remedy)));
    }

    #[test]
    fn huge_pages_that_are_reserved_and_too_few() {
        let lines = judge(&Facts { huge: (20, 4, 2 << 20), ..NONE });
        assert_eq!(
            (outcomes(&lines), lines[1].remedy.as_deref()),
            (vec![Ok, Warn], Some("sysctl -w vm.nr_hugepages=32"))
        );
        assert_eq!(outcomes(&judge(&Facts { huge: (16, 16, 2 << 20), ..NONE })), [Ok]);
    }
}
