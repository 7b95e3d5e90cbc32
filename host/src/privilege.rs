//! Capabilities: which ones XDP needs, which of them this process lacks, and how to grant them.
//!
//! Nothing is refused here. This explains why the kernel answered "not permitted".

use std::fmt;
use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// A capability that a receiver or sender can use (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// Load an XDP program and make an XSKMAP; busy polling; receive buffers beyond `net.core.rmem_max`.
    NetAdmin,
    /// Open an AF_XDP socket.
    NetRaw,
    /// Load BPF programs and make their maps.
    Bpf,
    /// Lock packet memory beyond RLIMIT_MEMLOCK.
    IpcLock,
    /// Load a BPF program without the verifier's additions against speculative execution, and with pointer arithmetic.
    Perfmon,
    /// Bind a UDP socket to a port below `net.ipv4.ip_unprivileged_port_start`.
    NetBindService,
    /// Give a thread a real-time priority beyond RLIMIT_RTPRIO.
    SysNice,
    /// Open files against their permissions.
    DacOverride,
    /// Read files and search folders against their permissions.
    DacReadSearch,
}

/// What an XDP program needs, and with it a receiver whose program fills mapped rings.
pub const XDP_PROGRAM: [Capability; 2] = [Capability::NetAdmin, Capability::Bpf];
/// What a receiver with AF_XDP sockets needs. CAP_IPC_LOCK is needed only beyond RLIMIT_MEMLOCK.
pub const XDP: [Capability; 4] = [Capability::NetAdmin, Capability::NetRaw, Capability::Bpf, Capability::IpcLock];
/// What the load generator needs.
pub const GENERATOR: [Capability; 2] = [Capability::NetAdmin, Capability::Bpf];

impl Capability {
    pub(crate) fn bits(self) -> CapabilitySet {
        match self {
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
            Self::NetRaw => CapabilitySet::NET_RAW,
            Self::Bpf => CapabilitySet::BPF,
            Self::IpcLock => CapabilitySet::IPC_LOCK,
            Self::Perfmon => CapabilitySet::PERFMON,
            Self::NetBindService => CapabilitySet::NET_BIND_SERVICE,
            Self::SysNice => CapabilitySet::SYS_NICE,
            Self::DacOverride => CapabilitySet::DAC_OVERRIDE,
            Self::DacReadSearch => CapabilitySet::DAC_READ_SEARCH,
        }
    }

    /// Capabilities of which one is sufficient: CAP_SYS_ADMIN includes those that were split off from it.
    pub(crate) fn enough(self) -> CapabilitySet {
        match self {
            Self::Bpf | Self::Perfmon => self.bits() | CapabilitySet::SYS_ADMIN,
            _ => self.bits(),
        }
    }

    /// Returns true if the calling thread has it, in any user namespace.
    pub fn is_held(self) -> bool {
        held().intersects(self.enough())
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetRaw => "CAP_NET_RAW",
            Self::Bpf => "CAP_BPF",
            Self::IpcLock => "CAP_IPC_LOCK",
            Self::Perfmon => "CAP_PERFMON",
            Self::NetBindService => "CAP_NET_BIND_SERVICE",
            Self::SysNice => "CAP_SYS_NICE",
            Self::DacOverride => "CAP_DAC_OVERRIDE",
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
        })
    }
}

/// Why the kernel did not permit something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lack {
    /// The process lacks these.
    Capabilities(Vec<Capability>),
    /// The process has all but CAP_PERFMON, and the verifier of this kernel does not accept the program without it.
    Perfmon,
    /// The process has the capabilities in its user namespace, and bpf(2) requires them in the initial one.
    UserNamespace,
    /// The process has the capabilities: something else forbids the operation.
    Unknown,
}

impl Lack {
    /// What the calling thread lacks of these. CAP_IPC_LOCK is left out: where it is missing and needed, the kernel has
    /// another answer (ENOBUFS or ENOMEM).
    pub fn of(needed: &[Capability]) -> Self {
        Self::found(needed, held(), is_initial_user_namespace())
    }

    fn found(needed: &[Capability], held: CapabilitySet, is_initial_user_namespace: bool) -> Self {
        let is_lacking =
            |capability: &Capability| *capability != Capability::IpcLock && !held.intersects(capability.enough());
        let lacking: Vec<Capability> = needed.iter().copied().filter(is_lacking).collect();
        match (lacking.is_empty(), is_initial_user_namespace) {
            (false, _) => Self::Capabilities(lacking),
            (true, false) => Self::UserNamespace,
            (true, true) => Self::Unknown,
        }
    }

    /// How to get all of `needed`: the beginning of a sentence.
    pub fn remedy(&self, needed: &[Capability]) -> String {
        let perfmon = (*self == Self::Perfmon).then_some(&Capability::Perfmon);
        let names =
            |separator: &str| needed.iter().chain(perfmon).map(ToString::to_string).collect::<Vec<_>>().join(separator);
        match self {
            Self::Capabilities(_) | Self::Perfmon => format!(
                "Run as root, or grant the program's file what it needs (setcap {}+ep FILE), or its systemd unit \
                 (AmbientCapabilities={})",
                names(",").to_lowercase(),
                names(" ")
            ),
            Self::UserNamespace => {
                "Run it outside of the user namespace (as root on the host, or in a container without one)".to_owned()
            }
            Self::Unknown => "Allow bpf(2) and AF_XDP sockets in the container's or unit's seccomp filter and in the \
                              security module (AppArmor, SELinux)"
                .to_owned(),
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capabilities(lacking) => {
                let names: Vec<String> = lacking.iter().map(ToString::to_string).collect();
                let (last, first) = names.split_last().map_or(("", &[][..]), |(last, first)| (last.as_str(), first));
                let and = if first.is_empty() { "" } else { " and " };
                write!(f, "this process lacks {}{and}{last}", first.join(", "))
            }
            Self::Perfmon => f.write_str(
                "this process lacks CAP_PERFMON, without which the verifier of this kernel refuses the program (Linux \
                 6.18 on x86-64 takes it)",
            ),
            Self::UserNamespace => f.write_str(
                "this process has the capabilities in its user namespace only, and the kernel asks for them in the \
                 initial one",
            ),
            Self::Unknown => {
                f.write_str("this process has the capabilities, so a seccomp filter or a security module forbids it")
            }
        }
    }
}

/// Returns true if the verifier accepts a program that computes with packet pointers, and adds no barriers against
/// speculative execution.
pub fn is_full_speed() -> bool {
    Capability::Perfmon.is_held()
}

/// Bytes of memory that the process may lock (RLIMIT_MEMLOCK); `None`: no limit.
pub fn lock_limit() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}

/// The effective capabilities of the calling thread; none if the kernel does not return them.
fn held() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

/// Returns true unless `/proc` shows that some user ids are not mapped, as in every user namespace but the initial one.
fn is_initial_user_namespace() -> bool {
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else { return true };
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Capability; 5] =
        [Capability::NetAdmin, Capability::NetRaw, Capability::Bpf, Capability::IpcLock, Capability::Perfmon];

    fn sets() -> impl Strategy<Value = CapabilitySet> {
        any::<u64>().prop_map(CapabilitySet::from_bits_truncate)
    }

    proptest! {
        #[test]
        fn what_is_lacking_is_what_is_needed_and_not_held(held in sets(), first in any::<bool>()) {
            let lack = Lack::found(&XDP, held, first);
            let lacks = |capability: Capability| match &lack {
                Lack::Capabilities(lacking) => lacking.contains(&capability),
                _ => false,
            };
            let admin = held.contains(CapabilitySet::SYS_ADMIN);
            prop_assert_eq!(lacks(Capability::NetAdmin), !held.contains(CapabilitySet::NET_ADMIN));
            prop_assert_eq!(lacks(Capability::NetRaw), !held.contains(CapabilitySet::NET_RAW));
            prop_assert_eq!(lacks(Capability::Bpf), !held.contains(CapabilitySet::BPF) && !admin);
            prop_assert!(!lacks(Capability::IpcLock) && !lacks(Capability::Perfmon));
            prop_assert_eq!(lack == Lack::UserNamespace, ALL.iter().all(|&one| !lacks(one)) && !first);
        }
    }

    #[test]
    fn each_lack_reads_as_a_sentence_with_a_remedy() {
        let lacking = Lack::Capabilities(vec![Capability::NetRaw]);
        assert_eq!(lacking.to_string(), "this process lacks CAP_NET_RAW");
        let lacking = Lack::Capabilities(vec![Capability::NetAdmin, Capability::NetRaw, Capability::Bpf]);
        assert_eq!(lacking.to_string(), "this process lacks CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF");
        let remedy = lacking.remedy(&XDP);
        for part in [
            "as root",
            "setcap cap_net_admin,cap_net_raw,cap_bpf,cap_ipc_lock+ep",
            "AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW CAP_BPF CAP_IPC_LOCK",
        ] {
            assert!(remedy.contains(part), "{remedy}");
        }
        assert!(Lack::Perfmon.to_string().starts_with("this process lacks CAP_PERFMON, "));
        assert!(
            Lack::Perfmon.remedy(&XDP).contains("cap_bpf,cap_ipc_lock,cap_perfmon+ep"),
            "{}",
            Lack::Perfmon.remedy(&XDP)
        );
        assert!(Lack::UserNamespace.to_string().contains("user namespace"));
        assert!(Lack::UserNamespace.remedy(&XDP).contains("outside of the user namespace"));
        assert!(Lack::Unknown.remedy(&XDP).contains("seccomp"));
    }
}
