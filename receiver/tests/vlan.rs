//! VLAN tags: frames with the tags that were asked for are delivered and say so; others are none of XDP's business.

mod support;

use netlab::Lab;
use receiver::{Path, ReceiveMode, Vlan};
use receiver_common::Verdict;
use support::{burst, causes, open, stream, subscription, wanted_verdict};

const COUNT: u64 = 300;

/// Each family's traffic under each of the tag stacks; those under `wanted` arrive.
fn check(mode: ReceiveMode, wanted: &str, others: &[&[u16]]) {
    let lab = Lab::new().expect("lab");
    let wanted: Vlan = wanted.parse().expect(wanted);
    let mut receiver = open(&lab, |builder| {
        builder
            .subscribe(subscription("10.0.0.1@232.1.1.1:5000"))
            .subscribe(subscription("[2001:db8::1]@[ff3e::1]:5000"))
            .mode(mode)
            .vlan(Some(wanted))
    })
    .expect("receiver");
    let tags: Vec<u16> = [Some(wanted.outer()), wanted.inner()].into_iter().flatten().collect();
    for (group, source) in [("232.1.1.1", "10.0.0.1"), ("ff3e::1", "2001:db8::1")] {
        let mut config = stream(&lab, group, 5000, &[source]);
        (config.traffic.rate, config.spoof) = (20_000, true);
        for other in others {
            config.vlan = other.to_vec();
            // Untagged ones too: without a VLAN interface the groups are joined on the untagged one, and the kernel has
            // them.
            let came = burst(&lab, &mut receiver, config.clone(), COUNT, |_| {});
            assert_eq!(came, 0, "{other:?} came, wanted {wanted}");
        }
        config.vlan = tags.clone();
        let came = burst(&lab, &mut receiver, config.clone(), COUNT, |datagram| {
            assert_eq!((datagram.vlan(), datagram.path()), (Some(wanted), Path::Xdp));
        });
        assert_eq!(came, COUNT, "under {wanted}");
        // A source that nobody asked for is dropped within the VLAN as well.
        config.sources = support::addresses(&[if group == "232.1.1.1" { "10.0.0.2" } else { "2001:db8::2" }]);
        assert_eq!(burst(&lab, &mut receiver, config, COUNT, |_| {}), 0);
    }
    let ledger = receiver.handle().ledger().expect("ledger");
    let message = causes(&ledger);
    assert_eq!(ledger.verdict(wanted_verdict(mode)), 2 * COUNT, "{message}");
    assert_eq!(ledger.verdict(Verdict::DroppedNotIncluded), 2 * COUNT, "{message}");
    // MLD and neighbour discovery of the lab itself are untagged, and may come on top.
    assert!(ledger.verdict(Verdict::PassedVlan) >= 2 * COUNT * others.len() as u64, "{message}");
    let untagged = if others.iter().any(|other| other.is_empty()) { 2 * COUNT } else { 0 };
    assert_eq!(ledger.count("untagged").expect("a cause"), untagged, "{message}");
    assert_eq!(ledger.unaccounted(), 0, "{message}");
}

#[test]
fn one_tag_in_mode_mapped() {
    check(ReceiveMode::Mapped, "100", &[&[101], &[100, 200], &[200, 100], &[]]);
}

#[test]
fn one_tag() {
    check(ReceiveMode::Copy, "100", &[&[101], &[100, 200], &[200, 100], &[]]);
}

#[test]
fn two_tags() {
    check(ReceiveMode::Copy, "200.100", &[&[100, 200], &[200], &[100], &[200, 101], &[]]);
}

#[test]
fn one_tag_in_mode_generic() {
    check(ReceiveMode::Generic, "100", &[&[101], &[]]);
}

#[test]
fn tagged_frames_are_not_for_a_receiver_without_tags() {
    let lab = Lab::new().expect("lab");
    let mut receiver =
        open(&lab, |builder| builder.subscribe(subscription("10.0.0.1@232.1.1.1:5000")).mode(ReceiveMode::Copy))
            .expect("receiver");
    let mut config = stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
    config.vlan = vec![100];
    assert_eq!(burst(&lab, &mut receiver, config.clone(), COUNT, |_| {}), 0);
    config.vlan.clear();
    assert_eq!(burst(&lab, &mut receiver, config, COUNT, |datagram| assert_eq!(datagram.vlan(), None)), COUNT);
    assert_eq!(receiver.handle().ledger().expect("ledger").verdict(Verdict::PassedVlan), COUNT);
}
