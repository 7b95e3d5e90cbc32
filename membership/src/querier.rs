//! Compatibility mode: while an older querier is on the link (IGMPv1, IGMPv2, MLDv1), the kernel sends reports of that
//! version, which do not signal source joins (RFC 3376, section 7.2.1; RFC 3810, section 8.2.1).
//!
//! For IGMP the kernel shows its mode (the column Querier of `/proc/net/igmp`). For MLD it does not. What is known is
//! `force_mld_version`, and how many reports of either version were sent on the interface (`/proc/net/dev_snmp6`):
//! MLDv1 reports are only sent in compatibility mode.

use std::fmt;
use std::fs;
use std::io;

use crate::tables::{IgmpVersion, KernelTables};
use crate::{InterfaceRef, in_sysctl};

/// The versions of IGMP and MLD that the kernel speaks on an interface, as far as it shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compatibility {
    /// The interface.
    pub interface: InterfaceRef,
    /// The IGMP mode now; `None` if the interface has no IPv4, or does not exist.
    pub igmp: Option<IgmpVersion>,
    /// `net.ipv4.conf.*.force_igmp_version`, of `all` or the interface, if one is not 0. A forced 1 or 2 keeps the
    /// interface from IGMPv3; a forced 3 does *not* protect it from older queriers.
    pub igmp_forced: Option<u32>,
    /// What is known of MLD; `None` if the interface has no IPv6, or does not exist.
    pub mld: Option<Mld>,
}

/// What is known of MLD on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mld {
    /// `net.ipv6.conf.*.force_mld_version`, of `all` or the interface, if one is not 0: 1 is MLDv1; 2 is MLDv2, and
    /// protects from older queriers.
    pub forced: Option<u32>,
    /// MLDv1 reports sent since the interface was made.
    pub v1_reports: u64,
    /// MLDv2 reports sent since the interface was made.
    pub v2_reports: u64,
}

/// Something that keeps source joins from being signalled. Its text has the reason and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The interface speaks IGMPv1 or IGMPv2.
    Igmp {
        /// The interface.
        interface: InterfaceRef,
        /// The version.
        version: IgmpVersion,
        /// True if `force_igmp_version` is the reason, and not a querier.
        forced: bool,
    },
    /// MLDv1 is forced.
    MldForced {
        /// The interface.
        interface: InterfaceRef,
    },
    /// MLDv1 reports were sent.
    MldV1 {
        /// The interface.
        interface: InterfaceRef,
        /// How many.
        reports: u64,
    },
}

/// Reads the compatibility mode of an interface in the calling thread's network namespace, from four small files and
/// `/proc/net/igmp`. The latter has a line for each IPv4 group, which takes some milliseconds with 10,000 of them.
///
/// # Errors
/// `/proc/net/igmp` cannot be read. Whatever else is missing is `None`.
pub fn compatibility(interface: &InterfaceRef) -> io::Result<Compatibility> {
    let igmp = fs::read_to_string("/proc/thread-self/net/igmp")?;
    let name = &interface.name;
    let forced = |family: &str, option: &str| {
        let of = |of: &str| -> Option<u32> {
            let value = fs::read_to_string(format!("/proc/sys/net/{family}/conf/{of}/{option}")).ok()?;
            value.trim().parse().ok().filter(|&version| version != 0)
        };
        // The kernel reads `all` first.
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
    /// What keeps source joins from being signalled now; empty if nothing is known to. With an earlier answer for the
    /// same interface, `before`, a warning of MLDv1 reports is only made if their number has grown since.
    pub fn warnings(&self, before: Option<&Self>) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let interface = || self.interface.clone();
        if let Some(version @ (IgmpVersion::V1 | IgmpVersion::V2)) = self.igmp {
            let forced = matches!(self.igmp_forced, Some(1 | 2));
            warnings.push(Warning::Igmp { interface: interface(), version, forced });
        }
        if let Some(mld) = self.mld {
            let known = before.and_then(|before| before.mld).map_or(0, |mld| mld.v1_reports);
            // Fewer than before: the interface was made again, and counts from 0.
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
                "{interface} is in {version} compatibility mode, because a querier of that version is on the link \
                 (column Querier of /proc/net/igmp). Until 260 s after its last query only groups are reported, and \
                 joins of sources are not signalled. Configure the querier for IGMPv3; force_igmp_version=3 does not \
                 help"
            ),
            Self::Igmp { interface, version, forced: true } => write!(
                f,
                "{interface} is kept at {version} by force_igmp_version (column Querier of /proc/net/igmp). Only \
                 groups are reported, and joins of sources are not signalled. Allow IGMPv3 with `sysctl -w \
                 net.ipv4.conf.{0}.force_igmp_version=0 net.ipv4.conf.all.force_igmp_version=0`",
                in_sysctl(&interface.name)
            ),
            Self::MldForced { interface } => write!(
                f,
                "{interface} is kept at MLDv1 by force_mld_version. Only groups are reported, and joins of sources are \
                 not signalled. Allow MLDv2 with `sysctl -w net.ipv6.conf.{0}.force_mld_version=2 \
                 net.ipv6.conf.all.force_mld_version=0`",
                in_sysctl(&interface.name)
            ),
            Self::MldV1 { interface, reports } => write!(
                f,
                "{reports} MLDv1 reports were sent on {interface} (Icmp6OutGroupMembResponses in \
                 /proc/net/dev_snmp6/{0}), because an MLDv1 querier is or was on the link. Meanwhile only groups are \
                 reported, and joins of sources are not signalled. Configure the querier for MLDv2, or run `sysctl -w \
                 net.ipv6.conf.{1}.force_mld_version=2`",
                interface.name,
                in_sysctl(&interface.name)
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
        let texts_of =
            |c: &Compatibility, before| c.warnings(before).iter().map(Warning::to_string).collect::<Vec<_>>();
        let old = seen(IgmpVersion::V2, None, None, 4);
        let texts = texts_of(&old, None);
        assert!(texts[0].contains("IGMPv2") && texts[0].contains("/proc/net/igmp"), "{texts:?}");
        assert!(texts[1].contains("4 MLDv1 reports"), "{texts:?}");
        assert_eq!(old.warnings(Some(&old)).len(), 1, "no more MLDv1 reports since");
        let again = seen(IgmpVersion::V3, None, None, 1);
        assert!(texts_of(&again, Some(&old))[0].contains("1 MLDv1 reports"), "counted anew");
        let forced = texts_of(&seen(IgmpVersion::V1, Some(1), Some(1), 9), None);
        assert!(forced[0].contains("force_igmp_version=0") && forced[1].contains("force_mld_version=2"), "{forced:?}");
    }

    #[test]
    fn a_vlan_interface_in_the_name_of_a_sysctl() {
        let mut vlan = seen(IgmpVersion::V2, Some(2), Some(1), 0);
        vlan.interface.name = "eth1.100".into();
        let mut texts: Vec<_> = vlan.warnings(None).iter().map(Warning::to_string).collect();
        vlan.mld = Some(Mld { forced: None, v1_reports: 1, v2_reports: 0 });
        texts.extend(vlan.warnings(None).iter().map(Warning::to_string));
        for part in ["net.ipv4.conf.eth1/100.force_igmp_version=0", "net.ipv6.conf.eth1/100.force_mld_version=2"] {
            assert!(texts.iter().any(|text| text.contains(part)), "{part}: {texts:?}");
        }
        assert!(texts.iter().all(|text| !text.contains("conf.eth1.100")), "{texts:?}");
        assert!(texts.iter().any(|text| text.contains("/proc/net/dev_snmp6/eth1.100")), "{texts:?}");
    }

    #[test]
    fn counters() {
        let text =
            "ifIndex  \t3\nIcmp6OutGroupMembResponses      \t12\nIcmp6OutMLDv2Reports    \t5\nIcmp6OutType131 \t12\n";
        assert_eq!(reports(text), (12, 5));
        assert_eq!(reports("nothing"), (0, 0));
    }
}
