//! Datagrams that the kernel holds as one large packet, by a sender's `UDP_SEGMENT` or by GRO: each is delivered by
//! itself.
#![allow(unsafe_code)] // The socket option UDP_SEGMENT.

mod support;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use netlab::Lab;
use receiver::{Ledger, ReceiveMode, Receiver};
use socket2::{Domain, Socket, Type};
use support::{causes, open, receive, subscription};

const SEGMENT: usize = 100;
/// Datagrams of one call of `send`.
const SEGMENTS: usize = 10;
const CALLS: usize = 100;
const COUNT: usize = SEGMENTS * CALLS;

/// Source and group of each family.
const FLOWS: [(&str, &str); 2] = [("10.0.0.1:4000", "232.1.1.1:5000"), ("[2001:db8::1]:4000", "[ff3e::1]:5000")];

/// What a datagram carries: its number, over and over.
fn payload(number: usize) -> Vec<u8> {
    (number as u32).to_be_bytes().repeat(SEGMENT / 4)
}

/// A sender's socket, which cuts what it is given into datagrams of this size.
fn sender(lab: &Lab, source: &str, segment: Option<usize>) -> UdpSocket {
    let index = lab.tx().interface_index(lab.tx_interface()).expect("an index");
    let source: SocketAddr = source.parse().expect(source);
    let open = || {
        let socket = Socket::new(Domain::for_address(source), Type::DGRAM, None).expect("a socket");
        socket.bind(&source.into()).expect("bound");
        if source.is_ipv6() {
            socket.set_multicast_if_v6(index).expect("an interface");
        }
        socket
    };
    let socket = lab.tx().run(open).expect("a thread in tx");
    if let Some(segment) = segment {
        let size = segment as libc::c_int;
        let (level, length) = (libc::SOL_UDP, size_of_val(&size) as u32);
        // SAFETY: a live integer and its size.
        let set =
            unsafe { libc::setsockopt(socket.as_raw_fd(), level, libc::UDP_SEGMENT, (&raw const size).cast(), length) };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    }
    UdpSocket::from(socket)
}

/// Sends all datagrams of both families, many with one call.
fn send_segmented(lab: &Lab) {
    for (source, group) in FLOWS {
        let socket = sender(lab, source, Some(SEGMENT));
        for call in 0..CALLS {
            let bytes: Vec<u8> = (call * SEGMENTS..(call + 1) * SEGMENTS).flat_map(payload).collect();
            assert_eq!(socket.send_to(&bytes, group).expect("sent"), bytes.len());
        }
    }
}

fn receiver(lab: &Lab, mode: ReceiveMode) -> Receiver {
    open(lab, |builder| {
        builder
            .mode(mode)
            .subscribe(subscription("10.0.0.1@232.1.1.1:5000"))
            .subscribe(subscription("[2001:db8::1]@[ff3e::1]:5000"))
    })
    .expect("a receiver")
}

/// Each datagram came once, in order, with its own bytes, and everything is accounted for.
fn check(receiver: &mut Receiver) -> Ledger {
    let mut next = [0; 2];
    let mut wrong = Vec::new();
    receive(receiver, &[], |datagram| {
        let number = &mut next[usize::from(datagram.group().is_ipv6())];
        if datagram.payload() != payload(*number) {
            wrong.push((*number, datagram.payload().len()));
        }
        *number += 1;
    });
    let ledger = receiver.handle().ledger().expect("ledger");
    let message = causes(&ledger);
    assert!(wrong.is_empty(), "{} are wrong, such as {:?}: {message}", wrong.len(), &wrong[..wrong.len().min(3)]);
    assert_eq!(next, [COUNT; 2], "{message}");
    assert_eq!((ledger.delivered(), ledger.unaccounted(), ledger.lost()), (2 * COUNT as u64, 0, 0), "{message}");
    ledger
}

fn of_a_sender(mode: ReceiveMode) -> Ledger {
    let lab = Lab::new().expect("lab");
    let mut receiver = receiver(&lab, mode);
    send_segmented(&lab);
    check(&mut receiver)
}

#[test]
fn of_a_sender_in_generic_mode() {
    let ledger = of_a_sender(ReceiveMode::Generic);
    // The frames came whole: without that, the test shows nothing.
    assert_eq!(ledger.count("passed_partial_checksum").expect("a cause"), 2 * CALLS as u64, "{}", causes(&ledger));
}

#[test]
fn of_a_sender_in_copy_mode() {
    let ledger = of_a_sender(ReceiveMode::Copy);
    assert_eq!(ledger.count("redirected").expect("a cause"), 2 * COUNT as u64, "{}", causes(&ledger));
}

#[test]
fn of_a_sender_in_mapped_mode() {
    let ledger = of_a_sender(ReceiveMode::Mapped);
    assert_eq!(ledger.count("mapped").expect("a cause"), 2 * COUNT as u64, "{}", causes(&ledger));
}

#[test]
fn of_a_sender_in_socket_mode() {
    of_a_sender(ReceiveMode::Socket);
}

/// A sender that sums by itself sends nothing joined, and generic mode takes the frames by XDP.
#[test]
fn of_a_sender_without_offload_in_generic_mode() {
    let lab = Lab::new().expect("lab");
    lab.tx().set_feature(lab.tx_interface(), "tx-checksum-ip-generic", false).expect("the feature off");
    let mut receiver = receiver(&lab, ReceiveMode::Generic);
    send_segmented(&lab);
    let ledger = check(&mut receiver);
    assert_eq!(ledger.count("mapped").expect("a cause"), 2 * COUNT as u64, "{}", causes(&ledger));
}

/// Joined by GRO on a port of the bridge on which the receiver is: its generic XDP sees the joined packet.
fn by_gro(feature: &str, verify: bool) -> (BTreeMap<usize, usize>, Ledger) {
    let lab = Lab::new().expect("lab");
    for arguments in [
        &["link", "add", "bridge0", "type", "bridge", "mcast_snooping", "0"][..],
        &["link", "set", lab.rx_interface(), "master", "bridge0"],
        &["link", "set", "bridge0", "multicast", "on", "up"],
        &["address", "add", "10.0.0.101/24", "dev", "bridge0"],
    ] {
        lab.rx().ip(arguments).expect("a bridge");
    }
    lab.rx().sysctl("net/ipv4/conf/bridge0/rp_filter", "0").expect("no filter");
    lab.rx().set_gro(lab.rx_interface(), true).expect("GRO on");
    lab.rx().set_feature(lab.rx_interface(), feature, true).expect("the feature on");
    // The sender's calls reach the receiving side as datagrams, many at once.
    lab.tx().set_feature(lab.tx_interface(), "tx-checksum-ip-generic", false).expect("the feature off");
    let open = || {
        Receiver::builder("bridge0")
            .mode(ReceiveMode::Generic)
            .verify_checksums(verify)
            .subscribe(subscription("10.0.0.1@232.1.1.1:5000"))
            .subscribe(subscription("[2001:db8::1]@[ff3e::1]:5000"))
            .build()
    };
    let mut receiver = lab.rx().run(open).expect("a thread in rx").expect("a receiver");
    send_segmented(&lab);
    let mut sizes = BTreeMap::new();
    receive(&mut receiver, &[], |datagram| *sizes.entry(datagram.payload().len()).or_insert(0) += 1);
    let ledger = receiver.handle().ledger().expect("ledger");
    (sizes, ledger)
}

#[test]
fn by_gro_for_forwarding() {
    let (sizes, ledger) = by_gro("rx-udp-gro-forwarding", true);
    let message = causes(&ledger);
    assert_eq!(sizes, [(SEGMENT, 2 * COUNT)].into(), "{message}");
    assert!(
        (1..2 * COUNT as u64).contains(&ledger.count("passed_partial_checksum").expect("a cause")),
        "nothing was joined: {message}"
    );
    assert_eq!((ledger.unaccounted(), ledger.lost()), (0, 0), "{message}");
}

/// The checksum of such a packet is that of its first datagram. It is refused, even if nobody asks for verification.
#[test]
fn by_gro_in_lists() {
    for verify in [true, false] {
        let (sizes, ledger) = by_gro("rx-gro-list", verify);
        let message = causes(&ledger);
        assert!(sizes.keys().all(|&size| size == SEGMENT), "{sizes:?}: {message}");
        assert!(ledger.count("udp_checksum").expect("a cause") > 0, "nothing was joined: {message}");
        assert_eq!((ledger.unaccounted(), ledger.lost()), (0, 0), "{message}");
    }
}
