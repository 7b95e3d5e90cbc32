//! The evidence when nothing comes: a test provokes each finding by its cause, and no finding appears without one.

mod support;

use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver::{Finding, Handle, ModeRequest, ReceiveMode, Receiver, Vlan, Wait};
use support::frame::{Frame, damaged, send, tagged};
use support::{XDP, burst, open, quiet_lab, stream, subscription};

const WANTED: &str = "10.0.0.1@232.1.1.1:5000";
const WANTED_V6: &str = "[2001:db8::1]@[ff3e::1]:5000";
/// Longer than the kernel takes to count the frames that were sent.
const PATIENCE: Duration = Duration::from_secs(20);

fn start(lab: &Lab, mode: ReceiveMode, subscriptions: &[&str]) -> Receiver {
    let subscribe = |builder: receiver::Builder| {
        subscriptions.iter().fold(builder, |builder, text| builder.subscribe(subscription(text)))
    };
    open(lab, |builder| subscribe(builder).mode(ModeRequest::Exactly(mode))).expect("receiver")
}

/// Reads the evidence until it has this finding. Returns all findings.
fn wait_for(handle: &Handle, found: impl Fn(&Finding) -> bool) -> Vec<Finding> {
    let start = Instant::now();
    loop {
        let findings = findings(handle);
        if findings.iter().any(&found) || start.elapsed() > PATIENCE {
            assert!(findings.iter().any(&found), "not among {findings:#?}");
            return findings;
        }
        sleep(Duration::from_millis(20));
    }
}

fn findings(handle: &Handle) -> Vec<Finding> {
    let evidence = handle.evidence().expect("evidence");
    evidence.findings.into_iter().chain(evidence.silent.into_iter().flat_map(|silence| silence.findings)).collect()
}

fn has(findings: &[Finding], name: &str) -> bool {
    findings.iter().any(|finding| finding.name() == name)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

#[test]
fn wrong_checksums_in_mode_socket_are_counted_for_the_host() {
    let lab = quiet_lab();
    let receiver = start(&lab, ReceiveMode::Socket, &[WANTED, WANTED_V6]);
    let handle = receiver.handle();
    assert!(!has(&findings(&handle), "host_wrong_checksum"));
    send(&lab, &damaged("10.0.0.1:4000", "232.1.1.1:5000"), 7);
    send(&lab, &damaged("[2001:db8::1]:4000", "[ff3e::1]:5000"), 4);
    let found = wait_for(&handle, |finding| *finding == Finding::HostWrongChecksum { datagrams: 11 });
    assert!(has(&found, "frames_unknown") && !has(&found, "lost"), "{found:#?}");
    let ledger = handle.ledger().expect("ledger");
    assert_eq!(
        (ledger.count("host_udp_checksum").expect("a cause"), ledger.count("kernel_dropped").expect("a cause")),
        (11, 0)
    );
    let reports = handle.subscriptions().expect("subscriptions");
    assert_eq!(reports.iter().map(|report| report.blocked).collect::<Vec<_>>(), [None, None], "not known");
}

/// A long datagram is checked when it is read; the socket's own count of drops does not say why.
#[test]
fn a_wrong_checksum_is_not_a_full_buffer() {
    let lab = quiet_lab();
    let mut receiver = start(&lab, ReceiveMode::Socket, &[WANTED]);
    let mut frame = Frame::udp("10.0.0.1:4000", "232.1.1.1:5000", &[7; 500]);
    frame.udp_checksum()[1] ^= 1;
    send(&lab, &frame.bytes, 5);
    for _ in 0..5 {
        assert_eq!(receiver.poll(Wait::For(Duration::from_millis(50)), |_| {}).expect("poll"), 0);
    }
    let handle = receiver.handle();
    let found = wait_for(&handle, |finding| *finding == Finding::HostWrongChecksum { datagrams: 5 });
    assert!(!has(&found, "lost"), "{found:#?}");
    assert_eq!(handle.ledger().expect("ledger").count("kernel_dropped").expect("a cause"), 5);
}

#[test]
fn wrong_checksums_in_xdp_modes_are_the_receivers_own() {
    for mode in XDP {
        let lab = quiet_lab();
        let mut receiver = start(&lab, mode, &[WANTED]);
        send(&lab, &damaged("10.0.0.1:4000", "232.1.1.1:5000"), 3);
        receiver.poll(Wait::For(Duration::from_millis(100)), |_| panic!("delivered")).expect("poll");
        let found = wait_for(&receiver.handle(), |finding| *finding == Finding::WrongChecksum { datagrams: 3 });
        assert!(!has(&found, "nothing_seen") && !has(&found, "host_wrong_checksum"), "{mode}: {found:#?}");
    }
}

#[test]
fn frames_of_other_groups_and_ports() {
    for mode in XDP {
        let lab = quiet_lab();
        let receiver = start(&lab, mode, &[WANTED]);
        send(&lab, &Frame::udp("10.0.0.1:4000", "232.1.1.1:5001", b"port").bytes, 4);
        send(&lab, &Frame::udp("[2001:db8::1]:4000", "[ff3e::1]:5000", b"group").bytes, 3);
        let others = Finding::OtherGroups { interface: "veth-rx".into(), frames: 7 };
        let found = wait_for(&receiver.handle(), |finding| *finding == others);
        assert!(!has(&found, "no_multicast") && !has(&found, "no_frames"), "{mode}: {found:#?}");
        let port = Finding::OtherPorts { group: ip("232.1.1.1"), port: 5000, ports: vec![5001] };
        assert!(found.contains(&port) && !has(&found, "nothing_seen"), "{mode}: {found:#?}");
    }
    // The kernel counts datagrams for which it found no socket, but only if the group is joined.
    let lab = quiet_lab();
    let receiver = start(&lab, ReceiveMode::Socket, &[WANTED]);
    send(&lab, &Frame::udp("10.0.0.1:4000", "232.1.1.1:5001", b"port").bytes, 4);
    wait_for(&receiver.handle(), |finding| *finding == Finding::HostIgnoredMulticast { datagrams: 4 });
}

#[test]
fn tagged_frames() {
    for mode in XDP {
        let lab = quiet_lab();
        let receiver = start(&lab, mode, &[WANTED]);
        send(&lab, &tagged(&Frame::udp("10.0.0.1:4000", "232.1.1.1:5000", b"tagged").bytes, 100), 5);
        let tags = Finding::VlanTags { interface: "veth-rx".into(), frames: 5, wanted: None };
        let found = wait_for(&receiver.handle(), |finding| *finding == tags);
        assert!(!has(&found, "nothing_seen"), "which groups they were of is not known: {found:#?}");
    }
    // In mode socket the kernel takes them for another host's, which it counts since Linux 6.0.
    let lab = quiet_lab();
    let receiver = start(&lab, ReceiveMode::Socket, &[WANTED]);
    send(&lab, &tagged(&Frame::udp("10.0.0.1:4000", "232.1.1.1:5000", b"tagged").bytes, 100), 5);
    let other = Finding::OtherHost { interface: "veth-rx".into(), frames: 5 };
    wait_for(&receiver.handle(), |finding| *finding == other);
}

#[test]
fn untagged_frames_where_a_tag_is_wanted() {
    for mode in XDP {
        let lab = quiet_lab();
        let vlan: Vlan = "100".parse().expect("a tag");
        let receiver = open(&lab, |builder| builder.subscribe(subscription(WANTED)).vlan(Some(vlan)).mode(mode));
        let receiver = receiver.expect("receiver");
        send(&lab, &Frame::udp("10.0.0.1:4000", "232.1.1.1:5000", b"untagged").bytes, 5);
        let tags = Finding::VlanTags { interface: "veth-rx".into(), frames: 5, wanted: Some(vlan) };
        wait_for(&receiver.handle(), |finding| *finding == tags);
    }
}

#[test]
fn only_unwanted_sources() {
    for mode in XDP {
        let lab = quiet_lab();
        let receiver = start(&lab, mode, &[WANTED, "!10.0.0.9@239.1.1.1:5001"]);
        send(&lab, &Frame::udp("10.0.0.3:4000", "232.1.1.1:5000", b"unwanted").bytes, 20);
        send(&lab, &Frame::udp("10.0.0.9:4000", "239.1.1.1:5001", b"blocked").bytes, 20);
        let of = |group, port, latest| {
            let (group, latest) = (ip(group), Some(ip(latest)));
            Finding::UnwantedSources { group, port, frames: 20, latest }
        };
        let found = wait_for(&receiver.handle(), |finding| *finding == of("239.1.1.1", 5001, "10.0.0.9"));
        assert!(found.contains(&of("232.1.1.1", 5000, "10.0.0.3")), "{mode}: {found:#?}");
        assert!(!has(&found, "nothing_seen"), "{mode}: {found:#?}");
    }
}

#[test]
fn no_frame_at_all_then_other_frames() {
    for mode in [ReceiveMode::Mapped, ReceiveMode::Copy, ReceiveMode::Socket] {
        let lab = quiet_lab();
        let receiver = start(&lab, mode, &[WANTED]);
        let handle = receiver.handle();
        let none = Finding::NoFrames { interface: "veth-rx".into() };
        let found = findings(&handle);
        assert!(found.contains(&none), "{mode}: {found:#?}");
        assert_eq!(
            has(&found, "no_querier"),
            mode != ReceiveMode::Socket,
            "the kernel does not count IGMP: {found:#?}"
        );

        let unicast = [&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x88, 0xb5][..], &[0; 46]].concat();
        send(&lab, &unicast, 6);
        if mode != ReceiveMode::Socket {
            let other = Finding::NoMulticast { interface: "veth-rx".into(), frames: 6 };
            let found = wait_for(&handle, |finding| *finding == other);
            assert!(has(&found, "nothing_seen") && !found.contains(&none), "{found:#?}");
            send(&lab, &igmp_query(), 1);
            let start = Instant::now();
            while has(&findings(&handle), "no_querier") {
                assert!(start.elapsed() < PATIENCE, "an IGMP query came");
                sleep(Duration::from_millis(20));
            }
        } else {
            let unknown = Finding::FramesUnknown { interface: "veth-rx".into(), frames: 6 };
            let found = wait_for(&handle, |finding| *finding == unknown);
            assert!(!found.contains(&none) && !has(&found, "nothing_seen"), "{found:#?}");
        }
    }
}

/// A general query of IGMPv3 (RFC 3376, section 4.1), from 10.0.0.1.
fn igmp_query() -> Vec<u8> {
    let ethernet = [1, 0, 0x5e, 0, 0, 1, 2, 0, 0, 0, 0, 1, 8, 0];
    let ip = [0x46, 0, 0, 36, 0, 1, 0, 0, 1, 2, 0x3a, 0xd2, 10, 0, 0, 1, 224, 0, 0, 1, 0x94, 4, 0, 0];
    let igmp = [0x11, 100, 0xec, 0x1e, 0, 0, 0, 0, 2, 125, 0, 0];
    [&ethernet[..], &ip, &igmp, &[0; 10]].concat()
}

#[test]
fn the_reverse_path_filter_is_warned_of_and_counted() {
    use ReceiveMode::{Copy, Mapped, Socket};
    for (filter, mode) in [("1", Socket), ("2", Socket), ("1", Copy), ("1", Mapped)] {
        let lab = quiet_lab();
        lab.rx().sysctl("net/ipv4/conf/veth-rx/rp_filter", filter).expect("sysctl");
        let sources = "10.0.0.1,192.0.2.1,192.0.2.2";
        let receiver = start(&lab, mode, &[&format!("{sources}@232.1.1.1:5000"), WANTED_V6]);
        let handle = receiver.handle();
        let warnings = handle.warnings();
        let warning = warnings.iter().find(|text| text.contains("rp_filter")).unwrap_or_else(|| panic!("{warnings:?}"));
        for part in [
            "of veth-rx refuses packets from 192.0.2.1, 192.0.2.2,",
            "ip route add 192.0.2.1/32 dev veth-rx",
            if mode == ReceiveMode::Socket { "nothing of them is received" } else { "fragments" },
        ] {
            assert!(warning.contains(part), "{part} is missing: {warning}");
        }
        assert!(!warning.contains("10.0.0.1"), "it has a route: {warning}");
        assert!(!has(&findings(&handle), "reverse_path"), "nothing was dropped yet");

        let mut frame = Frame::udp("192.0.2.1:4000", "232.1.1.1:5000", b"unrouted");
        if mode != ReceiveMode::Socket {
            // XDP leaves packets with IP options to the kernel.
            frame = Frame::with_options("192.0.2.1:4000", "232.1.1.1:5000", b"unrouted", &[0x94, 4, 0, 0]);
        }
        send(&lab, &frame.bytes, 6);
        let reverse_path = Finding::ReversePath {
            interface: "veth-rx".into(),
            packets: 6,
            sources: vec![ip("192.0.2.1"), ip("192.0.2.2")],
        };
        wait_for(&handle, |finding| *finding == reverse_path);
        assert_eq!(handle.ledger().expect("ledger").count("host_reverse_path").expect("a cause"), 6);
    }
}

#[test]
fn a_route_satisfies_the_reverse_path_filter() {
    let lab = Lab::new().expect("lab");
    lab.rx().sysctl("net/ipv4/conf/all/rp_filter", "1").expect("sysctl");
    lab.rx().ip(&["route", "add", "192.0.2.0/24", "dev", "veth-rx"]).expect("route");
    let mut receiver = start(&lab, ReceiveMode::Socket, &["192.0.2.1@232.1.1.1:5000"]);
    let handle = receiver.handle();
    assert_eq!(handle.warnings(), [""; 0]);
    let mut config = stream(&lab, "232.1.1.1", 5000, &["192.0.2.1"]);
    config.spoof = true;
    assert_eq!(burst(&lab, &mut receiver, config, 10, |_| {}), 10);
    let evidence = handle.evidence().expect("evidence");
    assert!(evidence.findings.is_empty() && evidence.silent.is_empty(), "something came: {evidence:#?}");
    // A source that is added later is checked, too.
    let id = handle.subscriptions().expect("subscriptions")[0].id;
    lab.rx().run(|| handle.join_source(id, ip("198.51.100.1"))).expect("run").expect("join");
    let warnings = handle.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains(" from 198.51.100.1,"), "{warnings:?}");
}

#[test]
fn thousands_of_unrouted_sources_are_one_short_warning() {
    let lab = quiet_lab();
    lab.rx().sysctl("net/ipv4/conf/all/rp_filter", "2").expect("sysctl");
    let sources: Vec<String> = (0..2000).map(|n| format!("192.0.{}.{}", 2 + n / 200, 1 + n % 200)).collect();
    let receiver = start(&lab, ReceiveMode::Socket, &[&format!("{}@232.1.1.1:5000", sources.join(","))]);
    let warnings = receiver.handle().warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("192.0.2.8 and at least 1016 more") && warnings[0].len() < 600, "{warnings:?}");
}

#[test]
fn a_missing_membership_and_an_older_igmp() {
    let lab = quiet_lab();
    lab.rx().sysctl("net/ipv4/conf/veth-rx/force_igmp_version", "2").expect("sysctl");
    let receiver = start(&lab, ReceiveMode::Socket, &[WANTED, WANTED_V6]);
    let handle = receiver.handle();
    let found = findings(&handle);
    assert!(has(&found, "older_igmp") && !has(&found, "not_joined"), "{found:#?}");
    assert!(found.iter().any(|finding| finding.to_string().contains("no MLD message")), "{found:#?}");
    // Below 1280 bytes the kernel takes IPv6 away from an interface, and its memberships with it (RFC 8200, section 5).
    lab.rx().ip(&["link", "set", "veth-rx", "mtu", "1000"]).expect("mtu");
    let missing = Finding::NotJoined { group: ip("ff3e::1"), interface: "veth-rx".into() };
    let found = wait_for(&handle, |finding| *finding == missing);
    assert_eq!(found.iter().filter(|finding| finding.name() == "not_joined").count(), 1, "{found:#?}");
}
