//! The kernel's tables as the library reads them, the required table on this kernel, and older queriers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver_membership::conformance;
use receiver_membership::querier::{Compatibility, Warning, compatibility};
use receiver_membership::tables::{IgmpVersion, KernelGroup, KernelMode, KernelTables};
use receiver_membership::{Layout, MembershipSet, Options};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::support::{Receiving, exclude, include, interface, ip, many_sources, sender, sending_socket};

const PORT: u16 = 5000;

#[test]
fn conformance_of_this_host() {
    let lab = Lab::new().expect("lab");
    let interface = interface(&lab);
    let outcomes = lab.rx().run(|| conformance::run(&interface)).expect("run").expect("sockets");
    assert_eq!(outcomes.len(), 2 * 4 * conformance::TABLE.len());
    for outcome in &outcomes {
        assert!(outcome.is_as_required(), "{outcome:?}");
    }
    // The bare kernel was really asked: it is known to differ (MEMBERSHIP.md).
    assert!(outcomes.iter().any(|outcome| outcome.kernel_differs()));
    assert!(outcomes.iter().any(|outcome| outcome.kernel.is_some() && !outcome.kernel_differs()));
    let left = lab.rx().run(KernelTables::read).expect("run").expect("tables");
    assert!(!left.groups.iter().any(|group| group.group == conformance::Family::V4.group()), "left behind");
    assert!(!left.groups.iter().any(|group| group.group == conformance::Family::V6.group()), "left behind");
}

fn read(lab: &Lab) -> Vec<KernelGroup> {
    let index = interface(lab).index;
    let tables = lab.rx().run(KernelTables::read).expect("run").expect("tables");
    assert_eq!(tables.not_understood, 0);
    tables.on(index).cloned().collect()
}

/// A group that the kernel has lost can be changed, and is joined again as it was changed.
#[test]
fn groups_that_are_lost_take_changes() {
    let lab = Lab::new().expect("lab");
    let groups: [IpAddr; 4] = ["239.1.1.1", "239.1.1.2", "239.1.1.3", "ff15::1"].map(ip);
    let sources = groups.map(|group| many_sources(group, 25));
    let mut set = lab.rx().run(|| MembershipSet::new(interface(&lab), Options::default())).expect("run");
    let change = || {
        set.join(groups[0], PORT, &include(&sources[0][..3])).expect("join");
        set.join(groups[1], PORT, &exclude(&[])).expect("join");
        set.join(groups[2], PORT, &include(&sources[2][..1])).expect("join");
        set.join(groups[3], PORT, &include(&sources[3][..2])).expect("join");
        set.abandon(&groups.into());
        // More than fit on the socket that is there.
        set.set_filter(groups[0], PORT, &include(&sources[0][2..])).expect("set");
        set.block(groups[1], PORT, sources[1][0]).expect("block");
        set.leave(groups[2], PORT).expect("leave");
        set.join(groups[2], PORT, &include(&sources[2][1..2])).expect("join");
        set.remove_source(groups[3], PORT, sources[3][0]).expect("remove");
        set.renew(&groups.into()).expect("renew");
    };
    lab.rx().run(change).expect("run");
    let held = read(&lab);
    let of = |group: IpAddr| held.iter().find(|held| held.group == group).expect("joined");
    assert!(sources[0][2..].iter().all(|source| of(groups[0]).includes(*source)), "{held:?}");
    assert!(!of(groups[0]).includes(sources[0][0]) && of(groups[1]).mode() == KernelMode::Exclude, "{held:?}");
    assert_eq!(sources[2][..2].iter().map(|source| of(groups[2]).includes(*source)).collect::<Vec<_>>(), [false, true]);
    assert_eq!(sources[3][..2].iter().map(|source| of(groups[3]).includes(*source)).collect::<Vec<_>>(), [false, true]);
    for (group, port, state) in set.memberships() {
        assert!(state.is_member(), "{group} {port}");
    }
    assert_eq!(set.missing_from(&lab.rx().run(KernelTables::read).expect("run").expect("tables")), [].into());
}

/// A link that comes up joins 224.0.0.1 again, and the kernel then shows no sources of the interface.
#[test]
fn sources_of_a_link_that_came_up_are_unshown() {
    let lab = Lab::new().expect("lab");
    let (group, other) = (ip("232.1.1.1"), ip("239.1.1.1"));
    let sources = many_sources(group, 2);
    let mut set = lab.rx().run(|| MembershipSet::new(interface(&lab), Options::default())).expect("run");
    let join = || set.join(other, PORT, &exclude(&[])).and(set.join(group, PORT, &include(&sources)));
    lab.rx().run(join).expect("run").expect("join");
    let tables = || lab.rx().run(KernelTables::read).expect("run").expect("tables");
    assert!(set.missing_from(&tables()).is_empty() && set.unshown_by(&tables()).is_empty());
    for state in ["down", "up"] {
        lab.rx().ip(&["link", "set", "dev", lab.rx_interface(), state]).expect(state);
    }
    assert_eq!(set.missing_from(&tables()), [group].into());
    assert_eq!(set.unshown_by(&tables()), [(group, sources.iter().copied().collect())].into());
    // A group that the kernel does not have is lost for certain.
    set.abandon(&[group].into());
    assert!(set.missing_from(&tables()).contains(&group) && set.unshown_by(&tables()).is_empty());
}

/// Sockets that only join: the kernel's tables have the filter, and nothing is delivered or reported as a data socket.
fn sockets_that_only_join(group: IpAddr) {
    let lab = Lab::new().expect("lab");
    let [one, two] = [1, 2].map(|n| sender(&lab, group, n));
    let options = Options { join_only: true, ..Options::default() };
    let mut set = lab.rx().run(|| MembershipSet::new(interface(&lab), options)).expect("run");
    let found = || read(&lab).into_iter().find(|held| held.group == group);
    for filter in [include(&[one]), exclude(&[]), exclude(&[two]), include(&[one, two])] {
        let change = || match set.state(group, PORT).is_member() {
            true => set.set_filter(group, PORT, &filter),
            false => set.join(group, PORT, &filter),
        };
        lab.rx().run(change).expect("run").expect("a change");
        let held = found().expect("joined");
        let mode = if filter.is_exclude() { KernelMode::Exclude } else { KernelMode::Include };
        assert_eq!((held.users, held.mode()), (1, mode), "{filter:?}");
        assert!(filter.is_exclude() || filter.sources().iter().all(|source| held.includes(*source)), "{held:?}");
        assert_eq!(sending_socket(&lab, one).send_to(b"to nobody", (group, PORT)).expect("send"), 9);
    }
    std::thread::sleep(Duration::from_millis(50));
    let socket = set.sockets().next().expect("a socket").clone();
    assert_eq!(socket.drops().expect("drops"), 0);
    let queued = rustix::net::recv(&socket, &mut [0; 64][..], rustix::net::RecvFlags::empty());
    assert_eq!(queued.err(), Some(rustix::io::Errno::AGAIN));
    lab.rx().run(|| set.leave(group, PORT)).expect("run").expect("leave");
    assert!(found().is_none() && set.take_events().is_empty());
}

#[test]
fn sockets_that_only_join_v4() {
    sockets_that_only_join(ip("239.1.1.9"));
}

#[test]
fn sockets_that_only_join_v6() {
    sockets_that_only_join(ip("ff15::9"));
}

fn tables_show_what_is_joined(group: IpAddr, asm: IpAddr, sources: [IpAddr; 3]) {
    let lab = Lab::new().expect("lab");
    let [a, b, c] = sources;
    let mut r = Receiving::new(&lab, Options { layout: Layout::PerGroup, ..Options::default() });
    r.with(&lab, |set| set.join(group, PORT, &include(&[a, b]))).expect("join");
    let found = |of: IpAddr| read(&lab).into_iter().find(|g| g.group == of);
    let one = found(group).expect("joined");
    assert_eq!((one.users, one.mode()), (1, KernelMode::Include));
    assert_eq!(
        one.sources.iter().map(|s| (s.source, s.included, s.excluded)).collect::<Vec<_>>(),
        [(a, 1, 0), (b, 1, 0)]
    );
    assert_eq!(one.interface, interface(&lab));

    r.with(&lab, |set| set.join(group, PORT + 1, &include(&[a]))).expect("join");
    let two = found(group).expect("joined");
    assert_eq!((two.users, two.mode(), two.sources[0].included), (2, KernelMode::Unclear, 2));

    r.with(&lab, |set| set.join(asm, PORT, &exclude(&[c]))).expect("join");
    let any = found(asm).expect("joined");
    assert_eq!((any.users, any.mode()), (1, KernelMode::Exclude));
    assert_eq!((any.sources[0].source, any.sources[0].included, any.sources[0].excluded), (c, 0, 1));

    r.with(&lab, |set| set.leave_all());
    assert!(found(group).is_none() && found(asm).is_none());
}

#[test]
fn tables_v4() {
    tables_show_what_is_joined(ip("232.1.1.1"), ip("239.1.1.1"), ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(ip));
}

#[test]
fn tables_v6() {
    tables_show_what_is_joined(ip("ff3e::1"), ip("ff15::1"), ["2001:db8::1", "2001:db8::2", "2001:db8::3"].map(ip));
}

fn ask(lab: &Lab) -> Compatibility {
    let interface = interface(lab);
    lab.rx().run(|| compatibility(&interface)).expect("run").expect("compatibility")
}

/// Asks until there are warnings, five seconds at most.
fn warned(lab: &Lab) -> Vec<Warning> {
    let start = Instant::now();
    loop {
        let warnings = ask(lab).warnings(None);
        if !warnings.is_empty() || start.elapsed() > Duration::from_secs(5) {
            return warnings;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A general query of IGMPv1 (no response time) or IGMPv2, as 8 bytes: type, response time in 1/10 s, checksum,
/// 0.0.0.0.
fn igmp_query(lab: &Lab, response: u8) {
    let sum = !u16::from_be_bytes([0x11, response]);
    let [high, low] = sum.to_be_bytes();
    lab.tx()
        .run(|| {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(2))).expect("raw");
            socket.set_multicast_if_v4(&Ipv4Addr::new(10, 0, 0, 1)).expect("IP_MULTICAST_IF");
            let all_hosts = SockAddr::from(std::net::SocketAddr::from(([224, 0, 0, 1], 0)));
            socket.send_to(&[0x11, response, high, low, 0, 0, 0, 0], &all_hosts).expect("send");
        })
        .expect("run");
}

#[test]
fn igmp_queriers_are_noticed() {
    for (response, version) in [(10, IgmpVersion::V2), (0, IgmpVersion::V1)] {
        let lab = Lab::new().expect("lab");
        assert_eq!(ask(&lab).igmp, Some(IgmpVersion::V3));
        assert_eq!(ask(&lab).warnings(None), []);
        igmp_query(&lab, response);
        let warnings = warned(&lab);
        let interface = interface(&lab);
        assert_eq!(warnings, [Warning::Igmp { interface, version, forced: false }]);
        let text = warnings[0].to_string();
        assert!(text.contains(&version.to_string()) && text.contains("/proc/net/igmp"), "{text}");
        // By the kernel's own table.
        let table = lab.rx().run(|| std::fs::read_to_string("/proc/thread-self/net/igmp")).expect("run").expect("igmp");
        let line = table.lines().find(|line| line.contains(lab.rx_interface())).expect("interface");
        assert!(line.ends_with(if version == IgmpVersion::V2 { "V2" } else { "V1" }), "{table}");
    }
}

#[test]
fn forced_versions_are_reported() {
    let lab = Lab::new().expect("lab");
    lab.rx().sysctl(&format!("net/ipv4/conf/{}/force_igmp_version", lab.rx_interface()), "2").expect("sysctl");
    lab.rx().sysctl(&format!("net/ipv6/conf/{}/force_mld_version", lab.rx_interface()), "1").expect("sysctl");
    let warnings = ask(&lab).warnings(None);
    assert!(matches!(&warnings[..], [Warning::Igmp { forced: true, .. }, Warning::MldForced { .. }]), "{warnings:?}");
}

/// A general query of MLDv1, as a whole IPv6 packet, since Linux asks for the router alert (RFC 2710, section 3):
/// hop-by-hop header with it, then type 130, response time 100 ms, the unspecified address.
fn mld_query(lab: &Lab) {
    let index = lab.tx().interface_index(lab.tx_interface()).expect("index");
    let from = lab.sources_link_local()[0];
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut query = [0; 24];
    query[0] = 130;
    query[4..6].copy_from_slice(&100_u16.to_be_bytes());
    let pseudo = [from.octets(), all_nodes.octets()].concat();
    let words = |bytes: &[u8]| bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
    let sum = words(&pseudo) + 24 + 58 + words(&query);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    query[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0, 0, 32, 0, 1];
    packet.extend(pseudo);
    packet.extend([58, 0, 5, 2, 0, 0, 1, 0]);
    packet.extend(query);
    lab.tx()
        .run(|| {
            // IPPROTO_RAW: the header is ours.
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(255))).expect("raw");
            socket.set_multicast_if_v6(index).expect("IPV6_MULTICAST_IF");
            socket.send_to(&packet, &SockAddr::from(SocketAddrV6::new(all_nodes, 0, 0, index))).expect("send");
        })
        .expect("run");
}

#[test]
fn mld_v1_queriers_are_noticed_by_the_reports() {
    let lab = Lab::new().expect("lab");
    let mut r = Receiving::new(&lab, Options::default());
    r.with(&lab, |set| set.join(ip("ff3e::1"), PORT, &include(&[ip("2001:db8::1")]))).expect("join");
    let before = ask(&lab);
    assert_eq!(before.warnings(None), []);
    mld_query(&lab);
    let warnings = warned(&lab);
    assert!(matches!(&warnings[..], [Warning::MldV1 { reports: 1.., .. }]), "{warnings:?}");
    let after = ask(&lab);
    assert!(!after.warnings(Some(&before)).is_empty());
    assert!(after.mld.expect("IPv6").v1_reports > before.mld.expect("IPv6").v1_reports);
}
