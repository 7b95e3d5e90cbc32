//! Compatibility mode: an older querier on the link (IGMPv1, IGMPv2, MLDv1) makes the kernel report as of old, and then
//! source joins are not signalled (RFC 3376, section 7.2.1; RFC 3810, section 8.2.1).
//!
//! For IGMP the kernel tells its mode (the column Querier of `/proc/net/igmp`). For MLD it tells nowhere; what is known is
//! `force_mld_version`, and how many reports of either version went out on the interface (`/proc/net/dev_snmp6`): MLDv1
//! reports are sent in compatibility mode alone.

use std::fmt;
use std::fs;
use std::io;

use super::InterfaceRef;
use super::tables::{IgmpVersion, KernelTables};

/// Which versions of IGMP and MLD the kernel speaks on an interface, as far as it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compatibility {
    /// The interface.
    pub interface: InterfaceRef,
    /// The IGMP mode now; `None` where the interface does no IPv4, or is not there.
    pub igmp: Option<IgmpVersion>,
    /// `net.ipv4.conf.*.force_igmp_version`, of `all` or the interface, where one is not 0. A forced 1 or 2 keeps the
    /// interface from IGMPv3; a forced 3 does *not* protect it from older queriers.
    pub igmp_forced: Option<u32>,
    /// What is known of MLD; `None` where the interface does no IPv6, or is not there.
    pub mld: Option<Mld>,
}

/// What is known of MLD on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mld {
    /// `net.ipv6.conf.*.force_mld_version`, of `all` or the interface, where one is not 0: 1 is MLDv1; 2 is MLDv2, and
    /// protects from older queriers.
    pub forced: Option<u32>,
    /// MLDv1 reports sent since the interface was made.
    pub v1_reports: u64,
    /// MLDv2 reports sent since the interface was made.
    pub v2_reports: u64,
}

/// Something that keeps source joins from being signalled, with its reason and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The interface speaks IGMPv1 or IGMPv2.
    Igmp {
        /// The interface.
        interface: InterfaceRef,
        /// The version.
        version: IgmpVersion,
        /// By `force_igmp_version`, not by a querier.
        forced: bool,
    },
    /// MLDv1 is forced.
    MldForced {
        /// The interface.
        interface: InterfaceRef,
    },
    /// MLDv1 reports went out.
    MldV1 {
        /// The interface.
        interface: InterfaceRef,
        /// How many.
        reports: u64,
    },
}

/// Asks for the compatibility mode of an interface in the calling thread's network namespace. Four small files and
/// `/proc/net/igmp` are read, which has a line for each IPv4 group: some milliseconds with 10,000 of them.
///
/// # Errors
/// `/proc/net/igmp` can not be read. What else is missing is `None`.
pub fn compatibility(interface: &InterfaceRef) -> io::Result<Compatibility> {
    let igmp = fs::read_to_string("/proc/thread-self/net/igmp")?;
    let name = &interface.name;
    let forced = |family: &str, option: &str| {
        let of = |of: &str| -> Option<u32> {
            let value = fs::read_to_string(format!("/proc/sys/net/{family}/conf/{of}/{option}")).ok()?;
            value.trim().parse().ok().filter(|&version| version != 0)
        };
        // The kernel looks at `all` first.
        of("all").or_else(|| of(name))
    };
    let mld = fs::read_to_string(format!("/proc/thread-self/net/dev_snmp6/{name}")).ok().map(|counters| {
        let (v1_reports, v2_reports) = reports(&counters);
        Mld { forced: forced("ipv6", "force_mld_version"), v1_reports, v2_reports }
    });
    Ok(Compatibility {
        interface: interface.clone(),
        igmp: KernelTables::parse(&igmp, "", "", "").igmp.get(&interface.index).copied(),
        igmp_forced: forced("ipv4", "force_igmp_version"),
        mld,
    })
}

impl Compatibility {
    /// What keeps source joins from being signalled now; empty where nothing is known to. `before`, where there is one, is
    /// an earlier answer for the same interface: MLDv1 reports are then warned of only if there are more since.
    pub fn warnings(&self, before: Option<&Self>) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let interface = || self.interface.clone();
        if let Some(version @ (IgmpVersion::V1 | IgmpVersion::V2)) = self.igmp {
            let forced = matches!(self.igmp_forced, Some(1 | 2));
            warnings.push(Warning::Igmp { interface: interface(), version, forced });
        }
        if let Some(mld) = self.mld {
            let known = before.and_then(|before| before.mld).map_or(0, |mld| mld.v1_reports);
            // Fewer than before: the interface was made again.
            let reports = if mld.v1_reports < known { mld.v1_reports } else { mld.v1_reports - known };
            if mld.forced == Some(1) {
                warnings.push(Warning::MldForced { interface: interface() });
            } else if reports > 0 {
                warnings.push(Warning::MldV1 { interface: interface(), reports });
            }
        }
        warnings
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Igmp { interface, version, forced: false } => write!(
                f,
                "{interface} is in {version} compatibility mode, because a querier of that version was heard on the link \
                 (column Querier of /proc/net/igmp): only groups are reported, joins of sources are not signalled, until \
                 260 s after its last query. Have the querier speak IGMPv3; force_igmp_version=3 does not help"
            ),
            Self::Igmp { interface, version, forced: true } => write!(
                f,
                "{interface} is kept at {version} by force_igmp_version (see Querier in /proc/net/igmp): only groups are \
                 reported, joins of sources are not signalled. Allow IGMPv3 with sysctl -w \
                 net.ipv4.conf.{0}.force_igmp_version=0 net.ipv4.conf.all.force_igmp_version=0",
                interface.name
            ),
            Self::MldForced { interface } => write!(
                f,
                "{interface} is kept at MLDv1 by force_mld_version: only groups are reported, joins of sources are not \
                 signalled. Allow MLDv2 with sysctl -w net.ipv6.conf.{0}.force_mld_version=2 \
                 net.ipv6.conf.all.force_mld_version=0",
                interface.name
            ),
            Self::MldV1 { interface, reports } => write!(
                f,
                "{reports} MLDv1 reports went out on {interface} (Icmp6OutGroupMembResponses in \
                 /proc/net/dev_snmp6/{0}), so that an MLDv1 querier is or was on the link: meanwhile only groups are \
                 reported, joins of sources are not signalled. Have the querier speak MLDv2, or set sysctl -w \
                 net.ipv6.conf.{0}.force_mld_version=2",
                interface.name
            ),
        }
    }
}

/// MLDv1 and MLDv2 reports sent, from a file of `/proc/net/dev_snmp6`.
fn reports(counters: &str) -> (u64, u64) {
    let count = |name: &str| {
        let line = counters.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    (count("Icmp6OutGroupMembResponses").unwrap_or(0), count("Icmp6OutMLDv2Reports").unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(igmp: IgmpVersion, igmp_forced: Option<u32>, mld_forced: Option<u32>, v1_reports: u64) -> Compatibility {
        let mld = Some(Mld { forced: mld_forced, v1_reports, v2_reports: 7 });
        Compatibility { interface: InterfaceRef::new(3, "eth1"), igmp: Some(igmp), igmp_forced, mld }
    }

    #[test]
    fn warnings_and_their_reasons() {
        let quiet = seen(IgmpVersion::V3, Some(3), Some(2), 0);
        assert_eq!(quiet.warnings(None), []);
        let told = |c: &Compatibility, before| c.warnings(before).iter().map(Warning::to_string).collect::<Vec<_>>();
        let old = seen(IgmpVersion::V2, None, None, 4);
        let texts = told(&old, None);
        assert!(texts[0].contains("IGMPv2") && texts[0].contains("/proc/net/igmp"), "{texts:?}");
        assert!(texts[1].contains("4 MLDv1 reports"), "{texts:?}");
        assert_eq!(old.warnings(Some(&old)).len(), 1, "no more MLDv1 reports since");
        let again = seen(IgmpVersion::V3, None, None, 1);
        assert!(told(&again, Some(&old))[0].contains("1 MLDv1 reports"), "counted anew");
        let forced = told(&seen(IgmpVersion::V1, Some(1), Some(1), 9), None);
        assert!(forced[0].contains("force_igmp_version=0") && forced[1].contains("force_mld_version=2"), "{forced:?}");
    }

    #[test]
    fn counters() {
        let text =
            "ifIndex  \t3\nIcmp6OutGroupMembResponses      \t12\nIcmp6OutMLDv2Reports    \t5\nIcmp6OutType131 \t12\n";
        assert_eq!(reports(text), (12, 5));
        assert_eq!(reports("nothing"), (0, 0));
    }
}
