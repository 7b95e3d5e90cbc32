//! What the receiver makes of a frame, beside what a plain kernel socket makes of it: every difference is in
//! docs/differences.md, with its reason. Needs root.

mod cases;
mod document;
mod packet;
mod plain;
mod storm;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use cases::{Case, OWN_MAC, SUBSCRIPTIONS, cases};
use netlab::Lab;
use plain::PlainSockets;
use receiver::{ReceiveMode, Subscription};
use support::frame::FrameSocket;
use support::{causes, open, receive, subscription};

/// The payloads that came, by the case's source port.
type Received = BTreeMap<u16, Vec<Vec<u8>>>;

fn lab() -> Lab {
    let lab = Lab::new().expect("lab");
    let mac = OWN_MAC.map(|byte| format!("{byte:02x}")).join(":");
    lab.rx().ip(&["link", "set", lab.rx_interface(), "address", &mac]).expect("the MAC address");
    lab
}

fn subscriptions() -> Vec<Subscription> {
    SUBSCRIPTIONS.into_iter().map(subscription).collect()
}

fn send(lab: &Lab, cases: &[Case]) {
    let socket = FrameSocket::open(lab);
    for frame in cases.iter().flat_map(|case| &case.frames) {
        socket.send(frame);
    }
}

fn by_plain_sockets(cases: &[Case]) -> Received {
    let lab = lab();
    let sockets = PlainSockets::open(&lab, &subscriptions());
    send(&lab, cases);
    sockets.take()
}

fn by_the_receiver(cases: &[Case], mode: ReceiveMode) -> Received {
    let lab = lab();
    let subscriptions = subscriptions();
    let mut receiver =
        open(&lab, |builder| subscriptions.into_iter().fold(builder, receiver::Builder::subscribe).mode(mode))
            .expect("receiver");
    send(&lab, cases);
    let mut received = Received::new();
    receive(&mut receiver, &[], |datagram| {
        received.entry(datagram.source().port()).or_default().push(datagram.payload().to_vec());
    });
    let ledger = receiver.handle().ledger().expect("ledger");
    assert_eq!((ledger.unaccounted(), ledger.lost()), (0, 0), "{}", causes(&ledger));
    received
}

/// Compares what came with what the table expects, and what came with what the plain sockets have.
fn check(cases: &[Case], received: &Received, plain: &Received, expected: fn(&Case) -> bool) {
    let mut wrong = Vec::new();
    for case in cases {
        let came = received.get(&case.source_port).map_or(&[][..], Vec::as_slice);
        if came.len() != usize::from(expected(case)) {
            wrong.push(format!("{}: {}: came {} times", case.section, case.name, came.len()));
        }
        if let (Some(plain), false) = (plain.get(&case.source_port), came.is_empty())
            && plain != came
        {
            wrong.push(format!("{}: {}: other bytes", case.section, case.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn plain_sockets_do_as_the_table_says() {
    let cases = cases();
    let received = by_plain_sockets(&cases);
    check(&cases, &received, &received, |case| case.socket);
}

#[test]
fn mode_socket_does_as_plain_sockets() {
    let cases = cases();
    check(&cases, &by_the_receiver(&cases, ReceiveMode::Socket), &by_plain_sockets(&cases), |case| case.socket);
}

#[test]
fn mode_copy_does_as_the_table_says() {
    let cases = cases();
    check(&cases, &by_the_receiver(&cases, ReceiveMode::Copy), &by_plain_sockets(&cases), |case| case.copy);
}

#[test]
fn mode_mapped_does_as_the_table_says() {
    let cases = cases();
    check(&cases, &by_the_receiver(&cases, ReceiveMode::Mapped), &by_plain_sockets(&cases), |case| case.copy);
}

#[test]
fn mode_generic_does_as_the_table_says() {
    let cases = cases();
    check(&cases, &by_the_receiver(&cases, ReceiveMode::Generic), &by_plain_sockets(&cases), |case| case.generic);
}

#[test]
fn the_names_are_unique() {
    let cases = cases();
    let names: BTreeSet<_> = cases.iter().map(|case| (case.section, case.name.as_str())).collect();
    assert_eq!(names.len(), cases.len());
}

#[test]
fn the_document_is_the_table() {
    document::check(&cases());
}

/// The kernel lets a socket join them, and drops what comes; the receiver refuses them. The last one shows that the
/// others would be heard.
#[test]
fn groups_of_which_a_kernel_socket_hears_nothing_are_refused() {
    const PORT: u16 = 5004;
    let groups = ["ff00::1", "ff01::1", "ff10::1", "ff11::1", "ff31::1", "ff3f::1"];
    let lab = lab();
    for (number, group) in (1_u16..).zip(groups) {
        let sockets = PlainSockets::any_source(&lab, group.parse().expect(group), PORT);
        let mut packet = packet::Packet::new("2001:db8::1", group, PORT);
        packet.source_port = number;
        FrameSocket::open(&lab).send(&packet.frame());
        let heard = !sockets.take().is_empty();
        let accepted = format!("[{group}]:{PORT}").parse::<Subscription>().is_ok();
        assert_eq!((heard, accepted), (group == "ff3f::1", group == "ff3f::1"), "{group}");
    }
}
