//! The kernel's own tables of memberships on each interface: `/proc/net/igmp`, `igmp6`, `mcfilter` and `mcfilter6`.
//!
//! They count the sockets that joined a group, and do not show whose they are; nor does any other interface of the
//! kernel. What one [`MembershipSet`](crate::MembershipSet) has joined, it reports itself.
//!
//! Parsing is pure. A line that is not understood is counted and skipped: a later kernel may add lines.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::InterfaceRef;

/// The IGMP version that the kernel speaks on an interface, because of queriers or `force_igmp_version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IgmpVersion {
    /// IGMPv1: groups only; a leave is not signalled.
    V1,
    /// IGMPv2: groups only.
    V2,
    /// IGMPv3: source filters are signalled.
    V3,
}

/// The filter mode of a group on an interface, over all sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KernelMode {
    /// Only the included sources are accepted.
    Include,
    /// All sources are accepted except those that every EXCLUDE member blocks. INCLUDE without a source, which Linux
    /// can hold, looks the same.
    Exclude,
    /// Sources are included, and one of several members may accept all others, too: the tables do not show it.
    Unclear,
    /// It includes sources that the kernel does not show, or accepts all: [`KernelGroup::sources_hidden`].
    Hidden,
}

/// A source that some member of a group names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelSource {
    /// The source.
    pub source: IpAddr,
    /// Members that accept it by an INCLUDE filter.
    pub included: u64,
    /// Members that block it by an EXCLUDE filter.
    pub excluded: u64,
}

/// A group that is joined on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelGroup {
    /// The interface.
    pub interface: InterfaceRef,
    /// The group.
    pub group: IpAddr,
    /// Members: sockets, and the kernel itself for groups such as 224.0.0.1 and ff02::1.
    pub users: u64,
    /// Time until a report that is due is sent; `None` if none is due.
    pub timer: Option<Duration>,
    /// True if this host was the last to report the group (IGMPv1, IGMPv2 and MLDv1 only).
    pub last_reporter: bool,
    /// The sources that members name.
    pub sources: Vec<KernelSource>,
    /// True if members may name sources that the kernel does not show: its list of sources passes over an interface
    /// whose latest group of the family has none (`igmp_mcf_get_first`, `igmp6_mcf_get_first`).
    pub sources_hidden: bool,
}

/// The tables of one network namespace, at nearly one time: they are four files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelTables {
    /// The IGMP version of each interface, by its index.
    pub igmp: BTreeMap<u32, IgmpVersion>,
    /// The groups that are joined, by interface, then IPv4 before IPv6, then by address.
    pub groups: Vec<KernelGroup>,
    /// Lines that were not understood.
    pub not_understood: usize,
    /// The group that was joined last, by interface and by family (true is IPv6).
    latest: BTreeMap<(u32, bool), IpAddr>,
    /// Interfaces and families of which the kernel shows a source.
    shown: BTreeSet<(u32, bool)>,
}

impl KernelTables {
    /// Reads the tables of the calling thread's network namespace. A family that the kernel lacks has an empty table.
    ///
    /// # Errors
    /// `/proc` is not mounted, or a table is not readable.
    pub fn read() -> io::Result<Self> {
        let text = |name: &str| match fs::read_to_string(format!("/proc/thread-self/net/{name}")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && name != "igmp" => Ok(String::new()),
            other => other,
        };
        Ok(Self::parse(&text("igmp")?, &text("igmp6")?, &text("mcfilter")?, &text("mcfilter6")?))
    }

    /// Parses the four tables, by the names of the files.
    pub fn parse(igmp: &str, igmp6: &str, mcfilter: &str, mcfilter6: &str) -> Self {
        let mut tables = Self::default();
        let mut groups = BTreeMap::new();
        tables.parse_igmp(igmp, &mut groups);
        for line in igmp6.lines() {
            match igmp6_line(line) {
                Some(group) => {
                    // The kernel lists the latest first.
                    tables.latest.entry(group.family()).or_insert(group.group);
                    groups.insert((group.interface.index, group.group), group);
                }
                None => tables.not_understood += usize::from(!line.trim().is_empty()),
            }
        }
        let v4 = mcfilter.lines().skip(1).map(|line| (line, filter_line(line, ipv4_of_hex)));
        let v6 = mcfilter6.lines().skip(1).map(|line| (line, filter_line(line, ipv6_of_hex)));
        for (line, entry) in v4.chain(v6) {
            match entry {
                // A group that ended between the reads of the two tables is left out.
                Some((index, group, source)) => {
                    if let Some(group) = groups.get_mut(&(index, group)) {
                        group.sources.push(source);
                        tables.shown.insert(group.family());
                    }
                }
                None => tables.not_understood += usize::from(!line.trim().is_empty()),
            }
        }
        for group in groups.values_mut() {
            group.sources.sort_unstable_by_key(|source| source.source);
            // The kernel joins its own groups without sources; those of the latest would be shown.
            group.sources_hidden = !tables.shown.contains(&group.family())
                && tables.latest.get(&group.family()) != Some(&group.group)
                && !is_joined_by_the_kernel(group.group);
        }
        tables.groups = groups.into_values().collect();
        tables
    }

    /// The groups of one interface.
    pub fn on(&self, interface: u32) -> impl Iterator<Item = &KernelGroup> {
        self.groups.iter().filter(move |group| group.interface.index == interface)
    }

    /// Returns true if the kernel shows none of an interface's sources of one family, and has not lost them:
    /// [`KernelGroup::sources_hidden`] without a loss. `has_sources` returns true for a group that is known to have
    /// some. If the latest group is one that the kernel joins when an interface comes up, the interface came up after
    /// all others were joined, and may have lost them. A solicited-node group is joined whenever an address is added.
    pub fn hides_sources(&self, interface: u32, ipv6: bool, has_sources: impl Fn(IpAddr) -> bool) -> bool {
        let latest = self.latest.get(&(interface, ipv6));
        latest.is_some_and(|&latest| !has_sources(latest) && !is_joined_at_the_start(latest))
            && !self.shows_sources(interface, ipv6)
    }

    /// Returns true if the kernel shows a source of one family on an interface.
    pub fn shows_sources(&self, interface: u32, ipv6: bool) -> bool {
        self.shown.contains(&(interface, ipv6))
    }

    /// `/proc/net/igmp`: a line for each interface, and indented lines for its groups.
    fn parse_igmp(&mut self, text: &str, groups: &mut BTreeMap<(u32, IpAddr), KernelGroup>) {
        let mut interface: Option<InterfaceRef> = None;
        for line in text.lines().skip(1).filter(|line| !line.trim().is_empty()) {
            if !line.starts_with(char::is_whitespace) {
                let parsed = igmp_interface(line);
                self.not_understood += usize::from(parsed.is_none());
                interface = parsed.map(|(interface, version)| {
                    self.igmp.insert(interface.index, version);
                    interface
                });
                continue;
            }
            match interface.as_ref().and_then(|interface| igmp_group(line, interface)) {
                Some(group) => {
                    self.latest.entry(group.family()).or_insert(group.group);
                    groups.insert((group.interface.index, group.group), group);
                }
                None => self.not_understood += 1,
            }
        }
    }
}

/// The groups that the kernel joins by itself.
fn is_joined_by_the_kernel(group: IpAddr) -> bool {
    is_joined_at_the_start(group) || is_solicited_node(group)
}

/// 224.0.0.1, ff01::1, ff02::1.
fn is_joined_at_the_start(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group == Ipv4Addr::new(224, 0, 0, 1),
        IpAddr::V6(group) => matches!(group.segments(), [0xff01 | 0xff02, 0, 0, 0, 0, 0, 0, 1]),
    }
}

/// The group of an IPv6 address of this host (RFC 4291, section 2.7.1).
fn is_solicited_node(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(_) => false,
        IpAddr::V6(group) => matches!(group.segments(), [0xff02, 0, 0, 0, 0, 1, high, _] if high >> 8 == 0xff),
    }
}

/// The number of members of each group on one interface, from `/proc/net/igmp` and `igmp6` alone. A fraction of the
/// work of [`KernelTables::parse`].
pub fn members_on(interface: u32, igmp: &str, igmp6: &str) -> HashMap<IpAddr, u64> {
    let mut members = HashMap::new();
    let mut is_on = false;
    for line in igmp.lines().skip(1) {
        if !line.starts_with(char::is_whitespace) {
            is_on = line.split_whitespace().next().and_then(|index| index.parse().ok()) == Some(interface);
        } else if is_on && let Some((group, users)) = igmp_users(&mut line.split_whitespace()) {
            members.insert(group.into(), users);
        }
    }
    for line in igmp6.lines() {
        let mut words = line.split_whitespace();
        if words.next().and_then(|index| index.parse().ok()) == Some(interface)
            && let Some(group) = words.nth(1).and_then(ipv6_of_hex)
            && let Some(users) = words.next().and_then(|users| users.parse().ok())
        {
            members.insert(group, users);
        }
    }
    members
}

impl KernelGroup {
    /// Returns true if a member accepts this source by an INCLUDE filter.
    pub fn includes(&self, source: IpAddr) -> bool {
        let found = self.sources.binary_search_by_key(&source, |entry| entry.source);
        found.is_ok_and(|index| self.sources[index].included > 0)
    }

    /// Its interface and family, as the kernel lists sources.
    fn family(&self) -> (u32, bool) {
        (self.interface.index, self.group.is_ipv6())
    }

    /// The mode, as far as the tables show it.
    pub fn mode(&self) -> KernelMode {
        if self.sources_hidden {
            return KernelMode::Hidden;
        }
        let included = self.sources.iter().fold(0_u64, |sum, source| sum.saturating_add(source.included));
        if self.sources.iter().any(|source| source.excluded > 0) || included < self.users {
            // Each INCLUDE member names at least one source: with fewer names than members, some member names none.
            KernelMode::Exclude
        } else if self.users <= 1 {
            KernelMode::Include
        } else {
            KernelMode::Unclear
        }
    }
}

/// `3 veth-rx   :     2      V3`, with a tab after the index.
fn igmp_interface(line: &str) -> Option<(InterfaceRef, IgmpVersion)> {
    let (interface, rest) = line.split_once(':')?;
    let (index, name) = interface.split_once(char::is_whitespace)?;
    let version = match rest.split_whitespace().nth(1)? {
        "V1" => IgmpVersion::V1,
        "V2" => IgmpVersion::V2,
        "V3" => IgmpVersion::V3,
        _ => return None,
    };
    Some((InterfaceRef::new(index.parse().ok()?, name.trim()), version))
}

/// `010101E8     1 0:00000000 0`, after tabs: the group as the machine reads a word, users, the timer in 1/100 s,
/// reporter.
fn igmp_group(line: &str, interface: &InterfaceRef) -> Option<KernelGroup> {
    let mut words = line.split_whitespace();
    let (group, users) = igmp_users(&mut words)?;
    let (running, expires) = words.next()?.split_once(':')?;
    let timer = (running != "0").then_some(u64::from_str_radix(expires, 16).ok()?).map(clock_ticks);
    let last_reporter = words.next()? != "0";
    Some(KernelGroup {
        interface: interface.clone(),
        group: group.into(),
        users,
        timer,
        last_reporter,
        sources: Vec::new(),
        sources_hidden: false,
    })
}

/// The first two words of a group's line in `/proc/net/igmp`.
fn igmp_users<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<(Ipv4Addr, u64)> {
    let group = u32::from_str_radix(words.next()?, 16).ok()?;
    Some((Ipv4Addr::from(group.to_ne_bytes()), words.next()?.parse().ok()?))
}

/// `3    veth-rx         ff3e0000000000000000000000000001     1 00000004 0`: index, name, group, users, flags, timer.
fn igmp6_line(line: &str) -> Option<KernelGroup> {
    const TIMER_RUNNING: u32 = 1;
    const LAST_REPORTER: u32 = 2;
    let mut words = line.split_whitespace();
    let index = words.next()?.parse().ok()?;
    let name = words.next()?;
    let group = ipv6_of_hex(words.next()?)?;
    let users = words.next()?.parse().ok()?;
    let flags = u32::from_str_radix(words.next()?, 16).ok()?;
    // A timer that has just expired can be negative.
    let ticks = words.next()?.parse::<i64>().ok()?;
    Some(KernelGroup {
        interface: InterfaceRef::new(index, name),
        group,
        users,
        timer: (flags & TIMER_RUNNING != 0).then(|| clock_ticks(ticks.max(0).unsigned_abs())),
        last_reporter: flags & LAST_REPORTER != 0,
        sources: Vec::new(),
        sources_hidden: false,
    })
}

/// `  3 veth-r 0xe8010101 0x0a000001      1      0`: index, name cut short, group, source, included, excluded.
fn filter_line(line: &str, address: impl Fn(&str) -> Option<IpAddr>) -> Option<(u32, IpAddr, KernelSource)> {
    let mut words = line.split_whitespace();
    let index = words.next()?.parse().ok()?;
    let _cut_name = words.next()?;
    let group = address(words.next()?)?;
    let source = address(words.next()?)?;
    let included = words.next()?.parse().ok()?;
    let excluded = words.next()?.parse().ok()?;
    Some((index, group, KernelSource { source, included, excluded }))
}

fn ipv4_of_hex(text: &str) -> Option<IpAddr> {
    let digits = text.strip_prefix("0x")?;
    Some(Ipv4Addr::from(u32::from_str_radix(digits, 16).ok()?).into())
}

fn ipv6_of_hex(text: &str) -> Option<IpAddr> {
    // Without this, fewer digits would be taken for a smaller number.
    if text.len() != 32 {
        return None;
    }
    Some(Ipv6Addr::from(u128::from_str_radix(text, 16).ok()?).into())
}

/// Both tables count in USER_HZ, which is 100 on every architecture that this can be built for.
fn clock_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(10))
}

impl fmt::Display for IgmpVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "IGMPv1",
            Self::V2 => "IGMPv2",
            Self::V3 => "IGMPv3",
        })
    }
}

impl fmt::Display for KernelMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Include => "INCLUDE",
            Self::Exclude => "EXCLUDE",
            Self::Unclear => "INCLUDE?",
            Self::Hidden => "?",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IGMP: &str = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter
1\tlo        :     1      V3
\t\t\t\t010000E0     1 0:00000000\t\t0
12\tverylonginterf:     3      V2
\t\t\t\t010101E8     2 1:00000064\t\t1
\t\t\t\t010101EF     1 0:00000000\t\t0
\t\t\t\t010000E0     1 0:00000000\t\t0
";
    const IGMP6: &str = "1    lo              ff020000000000000000000000000001     1 0000000C 0
12   verylonginterf  ff3e0000000000000000000000000001     3 00000005 250
12   verylonginterf  ff150000000000000000000000000001     1 00000004 0
";
    const MCFILTER: &str = "Idx Device        MCA        SRC    INC    EXC
 12 verylo 0xe8010101 0x0a000002      1      0
 12 verylo 0xe8010101 0x0a000001      1      0
 12 verylo 0xef010101 0x0a000009      0      1
 12 verylo 0xe8ffffff 0x0a000009      1      0
";
    const MCFILTER6: &str = "Idx Device                Multicast Address                   Source Address    INC    EXC
 12 verylo ff3e0000000000000000000000000001 20010db8000000000000000000000001      2      0
";

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    // The group's word is as the machine reads it.
    #[cfg(target_endian = "little")]
    #[test]
    fn samples() {
        let tables = KernelTables::parse(IGMP, IGMP6, MCFILTER, MCFILTER6);
        assert_eq!(tables.not_understood, 0);
        assert_eq!(tables.igmp, [(1, IgmpVersion::V3), (12, IgmpVersion::V2)].into());
        assert_eq!(tables.groups.len(), 7);
        let group = |address: &str| tables.on(12).find(|group| group.group == ip(address)).expect(address);

        let two = group("232.1.1.1");
        assert_eq!(two.interface, InterfaceRef::new(12, "verylonginterf"));
        assert_eq!((two.users, two.timer, two.last_reporter), (2, Some(Duration::from_secs(1)), true));
        assert_eq!(two.sources.iter().map(|s| s.source).collect::<Vec<_>>(), [ip("10.0.0.1"), ip("10.0.0.2")]);
        assert_eq!(two.mode(), KernelMode::Unclear, "a,b by one and all by the other, or a by one and b by the other");

        let blocked = group("239.1.1.1");
        assert_eq!((blocked.mode(), blocked.sources[0].excluded), (KernelMode::Exclude, 1));
        assert_eq!(group("224.0.0.1").mode(), KernelMode::Exclude);

        let v6 = group("ff3e::1");
        assert_eq!((v6.users, v6.timer), (3, Some(Duration::from_millis(2500))));
        assert_eq!(v6.mode(), KernelMode::Exclude, "two name a source, so the third accepts all");
        assert_eq!(group("ff15::1").timer, None);
        assert_eq!(tables.on(1).count(), 2);
    }

    #[test]
    fn members_are_those_of_the_whole_tables() {
        for interface in [1, 3, 12] {
            let tables = KernelTables::parse(IGMP, IGMP6, "", "");
            let expected: HashMap<_, _> = tables.on(interface).map(|group| (group.group, group.users)).collect();
            assert_eq!(members_on(interface, IGMP, IGMP6), expected);
        }
    }

    #[test]
    fn one_member_with_sources_includes() {
        let igmp6 = "3    veth            ff3e0000000000000000000000000001     1 00000004 0";
        let mcfilter6 = "Idx\n  3 veth ff3e0000000000000000000000000001 20010db8000000000000000000000001 1 0";
        let tables = KernelTables::parse("", igmp6, "", mcfilter6);
        assert_eq!(tables.groups[0].mode(), KernelMode::Include);
    }

    /// Linux 6.18 with 10.9.0.5@232.1.1.1 joined before 239.1.1.1.
    #[test]
    fn sources_behind_a_group_without_any_are_hidden() {
        let igmp = "Idx\n3\tvx0       :     3      V3\n\t\t\t\t010101EF     1 0:00000000\t\t0\n\t\t\t\t010101E8     1 \
                    0:00000000\t\t0\n\t\t\t\t010000E0     1 0:00000000\t\t0\n";
        let ssm: IpAddr = "232.1.1.1".parse().expect("a group");
        let empty = KernelTables::parse(igmp, "", "Idx\n", "");
        assert!(empty.hides_sources(3, false, |group| group == ssm));
        let modes = |tables: &KernelTables| tables.groups.iter().map(KernelGroup::mode).collect::<Vec<_>>();
        assert_eq!(modes(&empty), [KernelMode::Exclude, KernelMode::Hidden, KernelMode::Exclude]);
        // A loss, if the latest group is known to have sources.
        assert!(!empty.hides_sources(3, false, |_| true));
        let shown = KernelTables::parse(igmp, "", "Idx\n  3    vx0 0xe8010101 0x0a090005      1      0\n", "");
        assert!(!shown.hides_sources(3, false, |group| group == ssm));
        assert_eq!(modes(&shown), [KernelMode::Exclude, KernelMode::Include, KernelMode::Exclude]);
    }

    #[test]
    fn an_address_that_is_added_hides_sources_and_loses_none() {
        let ssm: IpAddr = "ff3e::1".parse().expect("a group");
        let line = |group: &str| format!("3    vr              {group}     1 00000004 0\n");
        let [joined, all_nodes, solicited] = [
            "ff3e0000000000000000000000000001",
            "ff020000000000000000000000000001",
            "ff0200000000000000000001ff000065",
        ]
        .map(line);
        let is_hidden = |igmp6: String| {
            KernelTables::parse("Idx\n", &igmp6, "", "Idx\n").hides_sources(3, true, |group| group == ssm)
        };
        assert!(is_hidden(format!("{solicited}{joined}{all_nodes}")));
        assert!(!is_hidden(format!("{all_nodes}{joined}")), "the interface came up again");
        assert!(!is_hidden(format!("{joined}{solicited}{all_nodes}")), "its sources would be shown");
    }

    #[test]
    fn what_is_not_understood_is_counted() {
        let igmp = "Idx\n\t\t\t\t010000E0 1 0:0 0\n3 eth0 : 1 V9\n\t\tx\n\n4\teth1: 1 V3\n\t\t010000E0 1 0:0";
        let tables = KernelTables::parse(igmp, "3 eth0 ff02 1 4 0\n\n", "Idx\n3 eth0 0xe8010101 0a000001 1 0", "");
        assert_eq!((tables.not_understood, tables.groups.len()), (6, 0));
        assert_eq!(tables.igmp, [(4, IgmpVersion::V3)].into());
    }

    /// A sample with some of its bytes replaced, or lines cut.
    fn damaged(sample: &'static str) -> impl Strategy<Value = String> {
        let bytes = prop::collection::vec((0..sample.len(), any::<u8>()), 0..20);
        (bytes, 0..=sample.len()).prop_map(|(changes, length)| {
            let mut bytes = sample.as_bytes().to_vec();
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            bytes.truncate(length);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }

    proptest! {
        #[test]
        fn damage_never_panics(
            igmp in damaged(IGMP), igmp6 in damaged(IGMP6), filter in damaged(MCFILTER), filter6 in damaged(MCFILTER6),
        ) {
            let tables = KernelTables::parse(&igmp, &igmp6, &filter, &filter6);
            for group in &tables.groups {
                let _ = group.mode();
            }
            let _ = members_on(12, &igmp, &igmp6);
        }

        #[test]
        fn noise_never_panics(text in "[\\s0-9a-fxV:.\u{00e9}]{0,200}") {
            let _ = KernelTables::parse(&text, &text, &text, &text);
            let _ = members_on(3, &text, &text);
        }
    }
}
