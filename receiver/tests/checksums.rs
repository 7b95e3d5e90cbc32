//! Checksums: what is wrong is refused under its own name, as a kernel socket would, unless nobody wants to know.

mod support;

use std::collections::BTreeSet;

use netlab::Lab;
use receiver::{Ledger, ModeRequest, ReceiveMode};
use support::frame::{Frame, FrameSocket};
use support::{NATIVE, burst, causes, open, receive, stream, subscription};

const V4: (&str, &str) = ("10.0.0.1:4000", "232.1.1.1:5000");
const V6: (&str, &str) = ("[2001:db8::1]:4000", "[ff3e::1]:5000");

/// One frame of each kind, by name in its payload.
fn frames() -> Vec<Frame> {
    let plain = |(source, group): (&str, &str), name: &str| Frame::udp(source, group, name.as_bytes());
    let change = |mut frame: Frame, work: fn(&mut Frame)| {
        work(&mut frame);
        frame
    };
    vec![
        plain(V4, "good"),
        plain(V6, "good, v6"),
        // Of odd length, which is padded for the sum.
        plain(V4, "odd"),
        change(plain(V4, "udp"), |frame| frame.udp_checksum()[1] ^= 1),
        change(plain(V6, "udp, v6"), |frame| frame.udp_checksum()[0] ^= 0x80),
        change(plain(V4, "payload"), |frame| *frame.bytes.last_mut().expect("payload") ^= 1),
        change(plain(V4, "header"), |frame| frame.ip_checksum()[0] ^= 1),
        change(plain(V4, "absent"), |frame| frame.udp_checksum().fill(0)),
        change(plain(V6, "absent, v6"), |frame| frame.udp_checksum().fill(0)),
    ]
}

fn receive_frames(mode: ReceiveMode, verify: bool) -> (BTreeSet<String>, Ledger) {
    let lab = Lab::new().expect("lab");
    let mut receiver = open(&lab, |builder| {
        builder
            .subscribe(subscription("10.0.0.1@232.1.1.1:5000"))
            .subscribe(subscription("[2001:db8::1]@[ff3e::1]:5000"))
            .mode(ModeRequest::Exactly(mode))
            .verify_checksums(verify)
    })
    .expect("receiver");
    let socket = FrameSocket::open(&lab);
    for frame in frames() {
        socket.send(&frame.bytes);
    }
    let mut names = BTreeSet::new();
    receive(&mut receiver, &[], |datagram| {
        // A payload that was damaged on the way has lost its name.
        names.insert(String::from_utf8_lossy(datagram.payload()).into_owned());
    });
    (names, receiver.handle().ledger().expect("ledger"))
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

const GOOD: [&str; 4] = ["absent", "good", "good, v6", "odd"];

fn refused(mode: ReceiveMode) {
    let (names, ledger) = receive_frames(mode, true);
    let message = causes(&ledger);
    assert_eq!(names, set(&GOOD), "{message}");
    assert_eq!(
        ledger.count("udp_checksum").expect("a cause"),
        4,
        "two wrong, one damaged, one absent on IPv6: {message}"
    );
    assert_eq!(ledger.count("ip_checksum").expect("a cause"), 1, "{message}");
    assert_eq!(ledger.count("checksum_absent").expect("a cause"), 1, "{message}");
    assert_eq!(ledger.count("checksum_partial").expect("a cause"), 0, "{message}");
    assert_eq!((ledger.delivered(), ledger.unaccounted()), (GOOD.len() as u64, 0), "{message}");
}

#[test]
fn wrong_ones_are_refused() {
    refused(ReceiveMode::Copy);
}

#[test]
fn wrong_ones_are_refused_in_mode_mapped() {
    refused(ReceiveMode::Mapped);
}

#[test]
fn wrong_ones_are_refused_in_mode_generic() {
    refused(ReceiveMode::Generic);
}

#[test]
fn a_kernel_socket_agrees() {
    let (names, ledger) = receive_frames(ReceiveMode::Socket, true);
    assert_eq!(names, set(&GOOD), "{}", causes(&ledger));
    assert_eq!(ledger.unaccounted(), 0, "{}", causes(&ledger));
}

#[test]
fn all_are_delivered_when_not_verified() {
    NATIVE.into_iter().for_each(all_are_delivered);
}

fn all_are_delivered(mode: ReceiveMode) {
    let (names, ledger) = receive_frames(mode, false);
    let message = causes(&ledger);
    let damaged = "payloae";
    let wrong = ["udp", "udp, v6", damaged, "header", "absent, v6"];
    assert_eq!(names, set(&[&GOOD[..], &wrong[..]].concat()), "{message}");
    assert_eq!(
        ledger.count("udp_checksum").expect("a cause") + ledger.count("ip_checksum").expect("a cause"),
        0,
        "{message}"
    );
    assert_eq!(ledger.unaccounted(), 0, "{message}");
}

/// A sender on this machine leaves the sum to a NIC that is not there.
#[test]
fn partial_ones_of_local_senders_are_accepted() {
    NATIVE.into_iter().for_each(partial_ones_are_accepted);
}

fn partial_ones_are_accepted(mode: ReceiveMode) {
    const COUNT: u64 = 500;
    let lab = Lab::new().expect("lab");
    let mut receiver = open(&lab, |builder| {
        builder
            .subscribe(subscription("10.0.0.1@232.1.1.1:5000"))
            .subscribe(subscription("[2001:db8::1]@[ff3e::1]:5000"))
            .mode(mode)
    })
    .expect("receiver");
    for (group, source) in [("232.1.1.1", "10.0.0.1"), ("ff3e::1", "2001:db8::1")] {
        let config = stream(&lab, group, 5000, &[source]);
        assert_eq!(burst(&lab, &mut receiver, config, COUNT, |_| {}), COUNT);
    }
    let ledger = receiver.handle().ledger().expect("ledger");
    assert_eq!(ledger.count("checksum_partial").expect("a cause"), 2 * COUNT, "{}", causes(&ledger));
    assert_eq!(ledger.unaccounted(), 0, "{}", causes(&ledger));
}
