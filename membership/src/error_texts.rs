//! Renders every variant of every error of this crate, and checks that it reads as a sentence.

use std::net::IpAddr;

use crate::udp::OpenError;
use crate::{Errno, InterfaceRef, MembershipError, Operation, Reason, Refusal, SocketError, State, SubscriptionError};

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn assert_reads_well(text: &str) {
    assert!(!text.is_empty() && !text.ends_with('.') && !text.contains('\n'), "{text}");
    for flaw in ["  ", "of:", "--", "can not", " ,", "( "] {
        assert!(!text.contains(flaw), "`{flaw}` in: {text}");
    }
}

fn subscription_errors() -> Vec<SubscriptionError> {
    use SubscriptionError as E;
    let (group, source) = (ip("232.1.1.1"), ip("10.0.0.1"));
    let all = vec![
        E::Syntax { text: "x".into(), reason: "there is no `:PORT`".into() },
        E::GroupNotMulticast(source),
        E::GroupReserved(ip("232.0.0.0")),
        E::GroupScope("ff31::1".parse().expect("a group")),
        E::SourceMulticast(group),
        E::SourceUnspecified(ip("0.0.0.0")),
        E::SourceUnusable(ip("127.0.0.1")),
        E::MixedFamilies { source_address: source, group: ip("ff3e::1") },
        E::PortZero(group),
        E::SourceTwice(source),
        E::NoSource(group),
        E::AsmInSsmRange(ip("ff3e::1")),
    ];
    // A new variant breaks this match, and then needs a sample above.
    let indices = all.iter().map(|error| match error {
        E::Syntax { .. } => 0,
        E::GroupNotMulticast(_) => 1,
        E::GroupReserved(_) => 2,
        E::GroupScope(_) => 3,
        E::SourceMulticast(_) => 4,
        E::SourceUnspecified(_) => 5,
        E::SourceUnusable(_) => 6,
        E::MixedFamilies { .. } => 7,
        E::PortZero(_) => 8,
        E::SourceTwice(_) => 9,
        E::NoSource(_) => 10,
        E::AsmInSsmRange(_) => 11,
    });
    assert!(indices.eq(0..12));
    all
}

fn refusals() -> Vec<Refusal> {
    use Refusal as E;
    let all = vec![E::AlreadyJoined, E::NotJoined, E::SourceListed, E::SourceNotListed, E::WrongMode, E::NoMembership];
    let indices = all.iter().map(|refusal| match refusal {
        E::AlreadyJoined => 0,
        E::NotJoined => 1,
        E::SourceListed => 2,
        E::SourceNotListed => 3,
        E::WrongMode => 4,
        E::NoMembership => 5,
    });
    assert!(indices.eq(0..6));
    all
}

fn socket_errors() -> Vec<SocketError> {
    use SocketError as E;
    let state = State::Include([ip("10.0.0.1")].into());
    let kernel = E::Kernel { option: "MCAST_JOIN_GROUP", errno: Errno::NOBUFS };
    let all = vec![
        E::Invalid(SubscriptionError::PortZero(ip("232.1.1.1"))),
        E::Refused(Refusal::NotJoined),
        kernel.clone(),
        E::NoInterfaceAddress,
        E::FilterDiffers { expected: state.clone(), kernel: State::NotMember },
        E::NotRestored { cause: Box::new(kernel), kernel: state },
    ];
    let indices = all.iter().map(|error| match error {
        E::Invalid(_) => 0,
        E::Refused(_) => 1,
        E::Kernel { .. } => 2,
        E::NoInterfaceAddress => 3,
        E::FilterDiffers { .. } => 4,
        E::NotRestored { .. } => 5,
    });
    assert!(indices.eq(0..6));
    all
}

fn reasons() -> Vec<Reason> {
    use Reason as E;
    let sysctl = "net.ipv4.igmp_max_msf";
    let all = vec![
        E::Invalid(SubscriptionError::PortZero(ip("232.1.1.1"))),
        E::Refused(Refusal::NotJoined),
        E::TooManyBlocked { asked: 11, limit: Some(10), sysctl },
        E::NoRoom { option: "MCAST_JOIN_GROUP", errno: Errno::NOBUFS, sysctl, optmem_max: None },
        E::OutOfDescriptors { errno: Errno::MFILE, sockets: 99, limit: 100 },
        E::PortTaken { errno: Errno::ADDRINUSE },
        E::PortPrivileged { errno: Errno::ACCES },
        E::InterfaceGone { option: "bind", errno: Errno::NODEV },
        E::Cancelled,
        E::Kernel { step: "SO_RCVBUF", errno: Errno::INVAL },
        E::Socket(SocketError::NoInterfaceAddress),
    ];
    let indices = all.iter().map(|reason| match reason {
        E::Invalid(_) => 0,
        E::Refused(_) => 1,
        E::TooManyBlocked { .. } => 2,
        E::NoRoom { .. } => 3,
        E::OutOfDescriptors { .. } => 4,
        E::PortTaken { .. } => 5,
        E::PortPrivileged { .. } => 6,
        E::InterfaceGone { .. } => 7,
        E::Cancelled => 8,
        E::Kernel { .. } => 9,
        E::Socket(_) => 10,
    });
    assert!(indices.eq(0..11));
    let unreadable = E::TooManyBlocked { asked: 65, limit: None, sysctl };
    all.into_iter().chain([unreadable]).collect()
}

fn operations() -> Vec<Operation> {
    use Operation as O;
    let all = vec![O::Join, O::Leave, O::AddSource, O::RemoveSource, O::Block, O::Unblock, O::SetFilter];
    let indices = all.iter().map(|operation| match operation {
        O::Join => 0,
        O::Leave => 1,
        O::AddSource => 2,
        O::RemoveSource => 3,
        O::Block => 4,
        O::Unblock => 5,
        O::SetFilter => 6,
    });
    assert!(indices.eq(0..7));
    all
}

#[test]
fn every_error_reads_as_a_sentence() {
    subscription_errors().iter().for_each(|error| assert_reads_well(&error.to_string()));
    refusals().iter().for_each(|refusal| assert_reads_well(&refusal.to_string()));
    socket_errors().iter().for_each(|error| assert_reads_well(&error.to_string()));
    assert_reads_well(&OpenError { step: "IP_PKTINFO", errno: Errno::INVAL }.to_string());
    for reason in reasons() {
        assert_reads_well(&reason.to_string());
        for operation in operations() {
            let source_address =
                matches!(operation, Operation::AddSource | Operation::Block).then(|| ip("2001:db8::1"));
            let error = MembershipError {
                operation,
                group: ip("ff3e::1"),
                port: 5000,
                source_address,
                interface: InterfaceRef::new(3, "eth1"),
                reason: Box::new(reason.clone()),
            };
            let text = error.to_string();
            assert_reads_well(&text);
            assert!(text.contains("[ff3e::1]:5000 on eth1 (index 3): "), "{text}");
        }
    }
}

#[test]
fn remedies_are_named() {
    let remedies = reasons().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for remedy in ["sysctl -w net.ipv4.igmp_max_msf=11", "ulimit -n", "ss -ulpn", "CAP_NET_BIND_SERVICE", "new index"] {
        assert!(remedies.contains(remedy), "{remedy}");
    }
    let text = SubscriptionError::AsmInSsmRange(ip("ff3e::1")).to_string();
    assert!(text.contains("SOURCE@[ff3e::1]:PORT") && text.contains("allow them in that range"), "{text}");
}
