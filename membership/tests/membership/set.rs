//! Many memberships: how they spread over sockets, what happens at the limits, and that a failure changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use netlab::Lab;
use receiver_membership::udp::{SocketId, SocketOptions};
use receiver_membership::{Errno, Layout, MembershipSocket, OptionStyle, Options, Reason, Refusal, State};

use crate::support::{Receiving, exclude, include, ip, many_sources};

const PORT: u16 = 5000;

fn ids(receiving: &Receiving) -> BTreeSet<SocketId> {
    receiving.set.sockets().map(|socket| socket.id()).collect()
}

/// More sources than a socket can name: as many sockets as the limit asks, whatever it is.
fn spread(lab: &Lab, group: IpAddr, sources: &[IpAddr], limit: usize) {
    let sockets = sources.len().div_ceil(limit);
    let mut r = Receiving::new(lab, Options::default());
    r.with(lab, |set| set.join(group, PORT, &include(sources))).expect("join");
    assert_eq!(ids(&r).len(), sockets);
    assert_eq!(r.set.state(group, PORT), &State::from(include(sources)));
    let error = r.with(lab, |set| set.join(group, PORT, &include(&sources[..1]))).expect_err("again");
    assert_eq!(*error.reason, Reason::Refused(Refusal::AlreadyJoined));
    assert_eq!(error.errno(), Some(Errno::ADDRINUSE));

    // Sources that stay keep their socket; what is too many goes.
    let before = ids(&r);
    r.with(lab, |set| set.set_filter(group, PORT, &include(&sources[sources.len() - 5..]))).expect("set");
    assert!(ids(&r).is_subset(&before) && !ids(&r).is_empty());
    r.with(lab, |set| set.set_filter(group, PORT, &include(sources))).expect("set");
    assert_eq!(ids(&r).len(), sockets);

    for (n, &source) in sources.iter().enumerate().rev() {
        r.with(lab, |set| set.remove_source(group, PORT, source)).expect("remove");
        assert_eq!(r.set.state(group, PORT).filter().sources().len(), n);
    }
    assert!(!r.set.state(group, PORT).is_member() && ids(&r).is_empty());
    for &source in sources {
        r.with(lab, |set| set.add_source(group, PORT, source)).expect("add");
    }
    assert_eq!(ids(&r).len(), sockets);

    // The mode changes as a whole, and back.
    r.with(lab, |set| set.set_filter(group, PORT, &exclude(&sources[..2]))).expect("set");
    assert_eq!((ids(&r).len(), r.set.state(group, PORT)), (1, &State::from(exclude(&sources[..2]))));
    r.with(lab, |set| set.set_filter(group, PORT, &include(sources))).expect("set");
    assert_eq!(ids(&r).len(), sockets);
    r.with(lab, |set| set.leave(group, PORT)).expect("leave");
    assert!(ids(&r).is_empty());
    let error = r.with(lab, |set| set.leave(group, PORT)).expect_err("not joined");
    assert_eq!(error.errno(), Some(Errno::ADDRNOTAVAIL));
}

#[test]
fn sources_beyond_the_limit_spread_v4() {
    let lab = Lab::new().expect("lab");
    let group = ip("239.1.1.1");
    let sources = many_sources(group, 25);
    spread(&lab, group, &sources, 10);
    // A raised limit is used.
    lab.rx().sysctl("net/ipv4/igmp_max_msf", "25").expect("sysctl");
    spread(&lab, group, &sources, 25);
}

/// The IPv6 limit is of the whole machine, and cannot be read in a namespace: it has to be found out.
#[test]
fn sources_beyond_the_limit_spread_v6() {
    let limit = std::fs::read_to_string("/proc/sys/net/ipv6/mld_max_msf").expect("read in the initial namespace");
    assert_eq!(limit.trim(), "64", "this test is for a stock kernel");
    let group = ip("ff15::1");
    spread(&Lab::new().expect("lab"), group, &many_sources(group, 130), 64);
}

#[test]
fn a_limit_that_sinks_is_found_out() {
    let lab = Lab::new().expect("lab");
    let group = ip("239.1.1.1");
    let mut r = Receiving::new(&lab, Options::default());
    lab.rx().sysctl("net/ipv4/igmp_max_msf", "3").expect("sysctl");
    let sources = many_sources(group, 8);
    r.with(&lab, |set| set.join(group, PORT, &include(&sources))).expect("join");
    assert_eq!(r.set.state(group, PORT), &State::from(include(&sources)));
    assert!(ids(&r).len() >= 3);
}

#[test]
fn too_many_blocked_names_the_sysctl() {
    for (group, sysctl, limit) in
        [(ip("239.1.1.1"), "net.ipv4.igmp_max_msf", 10), (ip("ff15::1"), "net.ipv6.mld_max_msf", 64)]
    {
        let lab = Lab::new().expect("lab");
        let mut r = Receiving::new(&lab, Options::default());
        let blocked = many_sources(group, limit + 1);
        let error = r.with(&lab, |set| set.join(group, PORT, &exclude(&blocked))).expect_err("too many");
        assert_eq!(error.sysctl(), Some(sysctl), "{error}");
        assert!(error.to_string().contains(&format!("sysctl -w {sysctl}={}", limit + 1)), "{error}");
        assert!(ids(&r).is_empty());

        r.with(&lab, |set| set.join(group, PORT, &exclude(&blocked[..limit]))).expect("up to the limit");
        let error = r.with(&lab, |set| set.block(group, PORT, blocked[limit])).expect_err("one more");
        assert_eq!((error.sysctl(), error.source_address), (Some(sysctl), Some(blocked[limit])));
        assert_eq!(r.set.state(group, PORT), &State::from(exclude(&blocked[..limit])));
        r.with(&lab, |set| set.unblock(group, PORT, blocked[0])).expect("unblock");
        r.with(&lab, |set| set.block(group, PORT, blocked[limit])).expect("now there is room");
    }
}

#[test]
fn shared_layout_packs_groups() {
    let lab = Lab::new().expect("lab");
    let mut r = Receiving::new(&lab, Options { layout: Layout::Shared, ..Options::default() });
    let source = ip("10.0.0.1");
    let group = |n: u8| IpAddr::from([232, 1, 1, n]);
    for n in 1..=45 {
        r.with(&lab, |set| set.join(group(n), PORT, &include(&[source]))).expect("join");
    }
    assert_eq!(ids(&r).len(), 3, "20 groups a socket");
    // What becomes free is used again.
    r.with(&lab, |set| set.leave(group(3), PORT)).expect("leave");
    r.with(&lab, |set| set.join(group(46), PORT, &include(&[source]))).expect("join");
    assert_eq!(ids(&r).len(), 3);

    let senders = [(source, crate::support::sending_socket(&lab, source))];
    assert_eq!(r.heard(&senders, group(46), PORT), [source].into());
    assert_eq!(r.heard(&senders, group(3), PORT), [].into(), "left");
    // A unicast datagram to the same port.
    let unicast = &senders[0].1;
    unicast.send_to(b"x", (lab.rx_v4(), PORT)).expect("send");
    assert!(r.collect(1).is_empty());
    assert_eq!(r.path.stats().not_multicast, 1);
    r.with(&lab, |set| set.leave_all());
    assert!(ids(&r).is_empty());
}

#[test]
fn refusals_name_their_reason() {
    let lab = Lab::new().expect("lab");
    let mut r = Receiving::new(&lab, Options::default());
    let group = ip("232.1.1.1");
    let s = ip("10.0.0.1");
    let error = r.with(&lab, |set| set.join(group, PORT, &exclude(&[]))).expect_err("asm in 232/8");
    assert!(error.to_string().contains("allow them in that range"), "{error}");
    let error = r.with(&lab, |set| set.join(group, 0, &include(&[s]))).expect_err("port 0");
    assert!(matches!(*error.reason, Reason::Invalid(_)), "{error}");

    let taken = lab.rx().run(|| UdpSocket::bind("0.0.0.0:5001")).expect("run").expect("bind");
    let error = r.with(&lab, |set| set.join(group, 5001, &include(&[s]))).expect_err("port taken");
    assert_eq!(*error.reason, Reason::PortTaken { errno: Errno::ADDRINUSE });
    drop(taken);
    r.with(&lab, |set| set.join(group, 5001, &include(&[s]))).expect("free now");
    for (error, errno) in [
        (r.with(&lab, |set| set.block(group, 5001, s)).expect_err("include"), Errno::INVAL),
        (r.with(&lab, |set| set.add_source(group, 5001, s)).expect_err("twice"), Errno::ADDRNOTAVAIL),
        (r.with(&lab, |set| set.block(group, 5002, s)).expect_err("not joined"), Errno::INVAL),
    ] {
        assert_eq!(error.errno(), Some(errno), "{error}");
        assert!(error.to_string().contains("10.0.0.1 of 232.1.1.1:500"), "{error}");
    }

    lab.rx().ip(&["link", "delete", lab.rx_interface()]).expect("delete");
    let error = r.with(&lab, |set| set.join(group, PORT, &include(&[s]))).expect_err("gone");
    assert!(matches!(*error.reason, Reason::InterfaceGone { .. }), "{error}");
    r.with(&lab, |set| set.leave(group, 5001)).expect("leaving works without the interface");
    let allowed = Options { allow_asm_in_ssm_range: true, ..Options::default() };
    let lab = Lab::new().expect("lab");
    Receiving::new(&lab, allowed).with(&lab, |set| set.join(group, PORT, &exclude(&[]))).expect("override");
}

/// The limit of descriptors is of the process, so that this runs as a process of its own: see `limited_descriptors`.
#[test]
#[ignore = "started by limited_descriptors, under a limit of open files"]
fn out_of_descriptors() {
    let lab = Lab::new().expect("lab");
    let socket = SocketOptions { receive_buffer: 4096, ..SocketOptions::default() };
    let mut r = Receiving::new(&lab, Options { socket, layout: Layout::PerGroup, ..Options::default() });
    for n in 1..=200 {
        let group = IpAddr::from([232, 1, 1, n]);
        let sources = many_sources(group, 15);
        let before = ids(&r);
        match r.with(&lab, |set| set.join(group, PORT, &include(&sources))) {
            Ok(()) => assert_eq!(ids(&r).len(), before.len() + 2),
            Err(error) => {
                assert!(matches!(*error.reason, Reason::OutOfDescriptors { errno: Errno::MFILE, .. }), "{error}");
                assert_eq!(ids(&r), before, "half of a join is undone");
                assert!(!r.set.state(group, PORT).is_member());
                return;
            }
        }
    }
    panic!("no limit was met");
}

/// As many groups as would need four times the descriptors. Each is received once, whichever socket it is on.
#[test]
#[ignore = "started by limited_descriptors, under a limit of open files"]
fn few_descriptors_are_shared() {
    let lab = Lab::new().expect("lab");
    let group = |n: u8| IpAddr::from([232, 1, 1, n]);
    let source = ip("10.0.0.1");
    let mut r = Receiving::new(&lab, Options::default());
    for n in 1..=200 {
        let sources: Vec<IpAddr> = many_sources(group(n), 14).into_iter().chain([source]).collect();
        r.with(&lab, |set| set.join(group(n), PORT, &include(&sources))).expect("join");
    }
    let (own, shared): (Vec<_>, Vec<_>) = r.set.sockets().partition(|socket| socket.group().is_some());
    assert!(own.len() >= 50 && shared.len() >= 17, "{} own, {} shared", own.len(), shared.len());
    let senders = [(source, crate::support::sending_socket(&lab, source))];
    for n in [1, 30, 150, 200] {
        assert_eq!(r.heard(&senders, group(n), PORT), [source].into(), "{n}");
    }
    assert_eq!(r.heard(&senders, group(201), PORT), [].into());
    r.with(&lab, |set| set.leave_all());
    assert!(ids(&r).is_empty());
}

/// Runs a test of this file in a process of its own, after `ulimit`.
fn limited(ulimit: &str, test: &str) {
    let status = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!("{ulimit} && exec \"$0\" --exact set::{test} --ignored --nocapture"))
        .arg(std::env::current_exe().expect("exe"))
        .status()
        .expect("sh");
    assert!(status.success(), "{ulimit}: {test}");
}

#[test]
fn limited_descriptors() {
    limited("ulimit -n 100", "out_of_descriptors");
    limited("ulimit -n 101", "out_of_descriptors");
    limited("ulimit -n 110", "few_descriptors_are_shared");
}

/// The soft limit is no limit: it is raised.
#[test]
#[ignore = "started by soft_limits_are_raised, under a limit of open files"]
fn a_soft_limit_is_raised() {
    let lab = Lab::new().expect("lab");
    let mut r = Receiving::new(&lab, Options::default());
    for n in 1..=120 {
        let group = IpAddr::from([232, 1, 1, n]);
        r.with(&lab, |set| set.join(group, PORT, &include(&[ip("10.0.0.1")]))).expect("join");
    }
    assert_eq!(ids(&r).len(), 120, "each on its own");
}

#[test]
fn soft_limits_are_raised() {
    limited("ulimit -Sn 64", "a_soft_limit_is_raised");
}

/// With few descriptors a wildcard socket receives only what it joined itself, whatever others on this host have
/// joined.
fn others_joins_are_not_received(group: IpAddr, other: IpAddr, source: IpAddr) {
    let lab = Lab::new().expect("lab");
    for layout in [Layout::Shared, Layout::PerGroup] {
        let mut r = Receiving::new(&lab, Options { layout, ..Options::default() });
        r.with(&lab, |set| set.join(group, PORT, &include(&[source]))).expect("join");
        let index = crate::support::interface(&lab).index;
        let program = lab
            .rx()
            .run(|| {
                let domain = if group.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
                let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None).expect("socket");
                match other {
                    IpAddr::V4(other) => {
                        socket.join_multicast_v4_n(&other, &socket2::InterfaceIndexOrAddress::Index(index))
                    }
                    IpAddr::V6(other) => socket.join_multicast_v6(&other, index),
                }
                .expect("join");
                socket
            })
            .expect("run");
        let senders = [(source, crate::support::sending_socket(&lab, source))];
        assert_eq!(r.heard(&senders, other, PORT), [].into(), "{layout:?}");
        assert_eq!(r.path.stats().received, 0, "{layout:?}: not even taken from the kernel");
        assert_eq!(r.heard(&senders, group, PORT), [source].into(), "{layout:?}");
        drop(program);
    }
}

#[test]
fn others_joins_are_not_received_v4() {
    others_joins_are_not_received(ip("239.1.1.1"), ip("239.1.1.2"), ip("10.0.0.1"));
}

#[test]
fn others_joins_are_not_received_v6() {
    others_joins_are_not_received(ip("ff15::1"), ip("ff15::2"), ip("2001:db8::1"));
}

/// IPv6 sockets leave the IPv4 side of their port alone.
#[test]
fn ipv6_sockets_take_no_ipv4_port() {
    let lab = Lab::new().expect("lab");
    let mut r = Receiving::new(&lab, Options { layout: Layout::Shared, ..Options::default() });
    r.with(&lab, |set| set.join(ip("ff3e::1"), PORT, &include(&[ip("2001:db8::1")]))).expect("join");
    lab.rx().run(|| UdpSocket::bind(("0.0.0.0", PORT))).expect("run").expect("the port is free for IPv4");
}

/// Which socket the kernel holds each source on.
fn homes(r: &Receiving, group: IpAddr) -> BTreeMap<IpAddr, SocketId> {
    let mut homes = BTreeMap::new();
    for socket in r.set.sockets() {
        let held = MembershipSocket::new(socket.as_fd(), r.set.interface().clone(), OptionStyle::Mcast);
        for &source in held.kernel_state(group).expect("state").filter().sources() {
            assert_eq!(homes.insert(source, socket.id()), None, "{source} on two sockets");
        }
    }
    homes
}

/// A source that moved from one socket to another would lose datagrams in between, or be received twice.
#[test]
fn sources_that_stay_keep_their_socket() {
    let lab = Lab::new().expect("lab");
    let group = ip("232.1.1.1");
    let sources = many_sources(group, 24);
    let mut r = Receiving::new(&lab, Options::default());
    r.with(&lab, |set| set.join(group, PORT, &include(&sources))).expect("join");
    for next in [&sources[3..], &sources[..20], &sources[7..], &sources[..]] {
        let before = homes(&r, group);
        r.with(&lab, |set| set.set_filter(group, PORT, &include(next))).expect("set");
        let after = homes(&r, group);
        assert_eq!(after.keys().copied().collect::<Vec<_>>(), next);
        for (source, home) in before {
            assert!(after.get(&source).is_none_or(|now| *now == home), "{source} moved");
        }
    }
}

/// Nothing of a blocked source is received between the join and its block.
#[test]
fn blocked_from_the_first_datagram() {
    let lab = Lab::new().expect("lab");
    let group = ip("239.1.1.1");
    let blocked = ip("10.0.0.1");
    let socket = crate::support::sending_socket(&lab, blocked);
    let mut r = Receiving::new(&lab, Options::default());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = socket.send_to(b"x", (group, PORT));
            }
        });
        r.with(&lab, |set| {
            for _ in 0..500 {
                set.join(group, PORT, &exclude(&[blocked])).expect("join");
                set.leave(group, PORT).expect("leave");
            }
            done.store(true, Ordering::Relaxed);
        });
    });
    assert_eq!(r.path.stats().received, 0);
}
