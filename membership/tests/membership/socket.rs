//! One socket: every short sequence of requests, in every option style, leaves the kernel in the state of the state
//! machine; changes that were only made in part are undone.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver_membership::tables::KernelTables;
use receiver_membership::{InterfaceRef, MembershipSocket, OptionStyle, Request, SocketError, State};
use receiver_membership::{SourceFilter, SubscriptionError};
use socket2::{Domain, Socket, Type};

use crate::support::{include, interface, ip};

fn udp(group: IpAddr) -> Socket {
    let domain = if group.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    Socket::new(domain, Type::DGRAM, None).expect("socket")
}

/// The filter of the interface by the kernel's own table, which nothing of ours wrote: sources included and excluded.
fn mcfilter(group: IpAddr) -> (BTreeSet<IpAddr>, BTreeSet<IpAddr>) {
    let (file, text) = match group {
        IpAddr::V4(group) => ("mcfilter", format!("0x{:08x}", u32::from(group))),
        IpAddr::V6(group) => ("mcfilter6", format!("{:032x}", u128::from(group))),
    };
    let table = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).expect("mcfilter");
    let (mut included, mut excluded) = (BTreeSet::new(), BTreeSet::new());
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, of, source, inc, exc] = words[..] else { continue };
        if of != text {
            continue;
        }
        let source = source.trim_start_matches("0x");
        let source: IpAddr = match group {
            IpAddr::V4(_) => Ipv4Addr::from(u32::from_str_radix(source, 16).expect("hex")).into(),
            IpAddr::V6(_) => Ipv6Addr::from(u128::from_str_radix(source, 16).expect("hex")).into(),
        };
        if inc != "0" {
            included.insert(source);
        }
        if exc != "0" {
            excluded.insert(source);
        }
    }
    (included, excluded)
}

fn every_sequence(group: IpAddr, sources: [IpAddr; 2]) {
    let lab = Lab::new().expect("lab");
    let interface = interface(&lab);
    let [s, t] = sources;
    let both = SourceFilter::Include([s, t].into());
    let requests = [
        Request::JoinGroup,
        Request::LeaveGroup,
        Request::JoinSource(s),
        Request::JoinSource(t),
        Request::LeaveSource(s),
        Request::Block(s),
        Request::Block(t),
        Request::Unblock(s),
        Request::SetSources(both),
        Request::SetSources(SourceFilter::Exclude([t].into())),
    ];
    lab.rx()
        .run(|| {
            for style in OptionStyle::ALL {
                for n in 0..1000 {
                    let sequence = [&requests[n / 100], &requests[n / 10 % 10], &requests[n % 10]];
                    let mut socket = MembershipSocket::new(udp(group), interface.clone(), style);
                    let mut state = State::NotMember;
                    for request in sequence {
                        let required = state.apply(request);
                        match (socket.request(group, request), required) {
                            (Ok(()), Ok(())) => {}
                            (Err(SocketError::Refused(got)), Err(required)) if got == required => {}
                            (got, required) => {
                                panic!("{style:?} {sequence:?}, {request}: {got:?}, required {required:?}")
                            }
                        }
                        assert_eq!(socket.state(group), &state, "{style:?} {sequence:?}");
                        assert_eq!(socket.kernel_state(group), Ok(state.clone()), "{style:?} {sequence:?}");
                    }
                    let expected = match &state {
                        State::NotMember => Default::default(),
                        State::Include(sources) => (sources.clone(), BTreeSet::new()),
                        State::Exclude(sources) => (BTreeSet::new(), sources.clone()),
                    };
                    // A process that another test is starting holds the socket of the last round until its exec.
                    let start = Instant::now();
                    while mcfilter(group) != expected && start.elapsed() < Duration::from_secs(5) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    assert_eq!(mcfilter(group), expected, "{style:?} {sequence:?}, {state}");
                }
            }
        })
        .expect("run");
}

#[test]
fn every_sequence_v4() {
    every_sequence(ip("239.1.1.1"), [ip("10.0.0.1"), ip("10.0.0.2")]);
}

#[test]
fn every_sequence_v6() {
    every_sequence(ip("ff15::1"), [ip("2001:db8::1"), ip("fe80::2")]);
}

#[test]
fn what_linux_would_take_is_refused() {
    let lab = Lab::new().expect("lab");
    let interface = interface(&lab);
    lab.rx()
        .run(|| {
            let group = ip("232.1.1.1");
            let mut socket = MembershipSocket::new(udp(group), interface, OptionStyle::Mcast);
            for source in ["224.0.0.9", "0.0.0.0", "2001:db8::1"] {
                let error = socket.request(group, &Request::JoinSource(ip(source))).expect_err(source);
                assert!(matches!(error, SocketError::Invalid(_)), "{error}");
            }
            let error = socket.request(ip("10.0.0.1"), &Request::JoinGroup).expect_err("unicast");
            assert_eq!(error, SocketError::Invalid(SubscriptionError::GroupNotMulticast(ip("10.0.0.1"))));
            assert_eq!(socket.kernel_state(group), Ok(State::NotMember));
        })
        .expect("run");
}

/// With too little option memory, JOIN_SOURCE of the bare kernel leaves an INCLUDE{} member; ours leaves none.
fn half_made_join(group: IpAddr, source: IpAddr, sysctl_group: IpAddr) {
    let lab = Lab::new().expect("lab");
    let interface = interface(&lab);
    let rx = lab.rx().clone();
    lab.rx()
        .run(|| {
            let (mut deaf, mut refused) = (0, 0);
            for bytes in (0..600).step_by(8) {
                rx.sysctl("net/core/optmem_max", &bytes.to_string()).expect("sysctl");
                let mut socket = MembershipSocket::new(udp(group), interface.clone(), OptionStyle::Mcast);
                match socket.request(group, &Request::JoinSource(source)) {
                    Ok(()) => continue,
                    Err(error) => assert!(error.is_out_of_room(), "{error}"),
                }
                refused += 1;
                assert_eq!(socket.state(group), &State::NotMember);
                // Reading back must not be what fails here.
                rx.sysctl("net/core/optmem_max", "131072").expect("sysctl");
                assert_eq!(socket.kernel_state(group), Ok(State::NotMember), "{bytes} bytes");
                rx.sysctl("net/core/optmem_max", &bytes.to_string()).expect("sysctl");
                if let IpAddr::V4(v4) = group {
                    // The bare kernel, to show that there was something to undo.
                    let bare = udp(group);
                    let IpAddr::V4(source) = source else { return };
                    bare.join_ssm_v4(&source, &v4, &Ipv4Addr::new(10, 0, 0, 100)).expect_err("no memory");
                    rx.sysctl("net/core/optmem_max", "131072").expect("sysctl");
                    let held = MembershipSocket::new(bare.as_fd(), interface.clone(), OptionStyle::Mcast);
                    deaf += u32::from(held.kernel_state(group) == Ok(State::Include(BTreeSet::new())));
                }
            }
            assert!(refused > 0, "optmem_max has no effect");
            assert!(deaf > 0 || sysctl_group.is_ipv6(), "the kernel never made half of a join");
        })
        .expect("run");
}

#[test]
fn half_made_join_v4() {
    half_made_join(ip("232.1.1.1"), ip("10.0.0.1"), ip("232.1.1.1"));
}

#[test]
fn half_made_join_v6() {
    half_made_join(ip("ff3e::1"), ip("2001:db8::1"), ip("ff3e::1"));
}

#[test]
fn ip_style_without_an_address_says_so() {
    let lab = Lab::new().expect("lab");
    let interface = interface(&lab);
    lab.rx().ip(&["address", "flush", "dev", lab.rx_interface(), "scope", "global"]).expect("flush");
    lab.rx()
        .run(|| {
            let group = ip("232.1.1.1");
            let source = Request::JoinSource(ip("10.0.0.1"));
            let mut socket = MembershipSocket::new(udp(group), interface.clone(), OptionStyle::ProtocolSpecific);
            assert_eq!(socket.request(group, &source), Err(SocketError::NoInterfaceAddress));
            let mut socket = MembershipSocket::new(udp(group), interface, OptionStyle::Mcast);
            socket.request(group, &source).expect("by index");
            assert_eq!(socket.kernel_state(group), Ok(State::from(include(&[ip("10.0.0.1")]))));
        })
        .expect("run");
}

/// Two interfaces with one address: the IP_* options name it, and the kernel may take the other. What it then holds is
/// not what was asked for; nothing is left on either.
#[test]
fn ip_style_on_the_wrong_interface_is_noticed() {
    let lab = Lab::new().expect("lab");
    let rx = lab.rx();
    rx.ip(&["link", "add", "twin", "type", "veth", "peer", "name", "twin-peer"]).expect("veth");
    rx.ip(&["address", "add", "10.0.0.100/24", "dev", "twin"]).expect("address");
    rx.ip(&["link", "set", "twin", "up"]).expect("up");
    let twin = InterfaceRef::new(rx.interface_index("twin").expect("index"), "twin");
    let group = ip("232.1.1.1");
    let noticed: Vec<bool> = [interface(&lab), twin]
        .into_iter()
        .map(|interface| {
            lab.rx()
                .run(|| {
                    let mut socket = MembershipSocket::new(udp(group), interface, OptionStyle::ProtocolSpecific);
                    match socket.request(group, &Request::JoinSource(ip("10.0.0.1"))) {
                        Ok(()) => false,
                        Err(SocketError::FilterDiffers { kernel, .. }) => {
                            assert_eq!(kernel, State::NotMember);
                            assert_eq!(socket.state(group), &State::NotMember);
                            let tables = KernelTables::read().expect("tables");
                            assert!(!tables.groups.iter().any(|joined| joined.group == group), "left behind");
                            true
                        }
                        Err(other) => panic!("{other}"),
                    }
                })
                .expect("run")
        })
        .collect();
    assert!(noticed.contains(&true), "an address names one of the two");
    assert!(noticed.contains(&false));
}
