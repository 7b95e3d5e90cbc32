//! The kernel's version, and whether it compiles BPF programs.

use std::fs;

use crate::doctor::line::Line;
use crate::doctor::subject::Subject;

/// The oldest version that is tested.
const TESTED: (u32, u32) = (6, 1);
/// The first version with packets over several buffers in AF_XDP.
const SEVERAL_BUFFERS: (u32, u32) = (6, 6);
/// The largest MTU whose packets fit one buffer of 2,048 bytes.
const ONE_BUFFER_MTU: u32 = 1770;

struct Facts {
    release: String,
    /// `net.core.bpf_jit_enable`; `None` if it cannot be read, as in a network namespace.
    jit: Option<u32>,
    interface: String,
    mtu: u32,
}

pub fn check(subject: &Subject) -> Vec<Line> {
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    judge(&Facts {
        release: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
        jit: read("/proc/sys/net/core/bpf_jit_enable").and_then(|text| text.parse().ok()),
        interface: subject.name().to_owned(),
        mtu: subject.interface.mtu,
    })
}

fn judge(facts: &Facts) -> Vec<Line> {
    let Facts { release, interface, mtu, .. } = facts;
    let Some(version) = version(release) else {
        return vec![Line::skipped(format!("the kernel's version, `{release}`, is not understood"))];
    };
    let mut lines = Vec::new();
    if version < TESTED {
        lines.push(Line::warn(format!("Linux {release} is older than 6.1, the oldest version that is tested")));
    } else {
        lines.push(Line::ok(format!("Linux {release}")));
    }
    if version < SEVERAL_BUFFERS && *mtu > ONE_BUFFER_MTU {
        let text = format!(
            "Linux {release} has no packets over several buffers in AF_XDP (6.6 has), which the MTU of {mtu} asks for"
        );
        lines.push(Line::warn(text).remedy(format!("ip link set {interface} mtu {ONE_BUFFER_MTU}")));
    }
    if facts.jit == Some(0) {
        let text = "the kernel interprets BPF programs, which takes several times as long as compiled ones";
        lines.push(Line::warn(text).remedy("sysctl -w net.core.bpf_jit_enable=1"));
    }
    lines
}

/// Major and minor number of `6.18.44-fc`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Ok, Skipped, Warn};

    fn facts(release: &str, jit: Option<u32>, mtu: u32) -> Facts {
        Facts { release: release.to_owned(), jit, interface: "eth1".to_owned(), mtu }
    }

    #[test]
    fn versions() {
        assert_eq!(outcomes(&judge(&facts("6.18.44-fc-v657", Some(1), 9000))), [Ok]);
        assert_eq!(outcomes(&judge(&facts("6.1.0-13-amd64", None, 1500))), [Ok]);
        assert_eq!(outcomes(&judge(&facts("5.15.0-91-generic", Some(1), 1500))), [Warn]);
        assert_eq!(outcomes(&judge(&facts("linux", Some(1), 1500))), [Skipped]);
    }

    #[test]
    fn jumbo_frames_need_a_newer_kernel_or_a_smaller_mtu() {
        let lines = judge(&facts("6.5.1", Some(1), 9000));
        assert_eq!((outcomes(&lines), lines[1].remedy.as_deref()), (vec![Ok, Warn], Some("ip link set eth1 mtu 1770")));
        assert_eq!(outcomes(&judge(&facts("6.5.1", Some(1), 1770))), [Ok]);
    }

    #[test]
    fn interpreted_programs() {
        let lines = judge(&facts("6.12.1", Some(0), 1500));
        assert_eq!(lines[1].remedy.as_deref(), Some("sysctl -w net.core.bpf_jit_enable=1"));
    }
}
