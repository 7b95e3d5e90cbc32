//! Packets that are shared with the kernel: a plain kernel socket beside the receiver gets every one, and so does the
//! receiver, once.

mod support;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use netlab::Lab;
use receiver::{DropUnwanted, Error, Finding, Handle, ModeRequest, Path, ReceiveMode, Receiver, Verdict, Wait};
use support::members::{Member, report, wait_for_warning};
use support::{Checking, Sending, burst, causes, open, receive, stream, subscription, without_privilege};

const GROUP: &str = "239.1.1.1";
const WANTED: &str = "10.0.0.1@239.1.1.1:5000";
const COUNT: u64 = 500;

fn sharing(lab: &Lab, wanted: &[&str]) -> Receiver {
    let receiver = open(lab, |builder| {
        wanted.iter().fold(builder.share(true), |builder, wanted| builder.subscribe(subscription(wanted)))
    });
    receiver.expect("receiver")
}

/// Nothing came by the kernel path, and nothing is unaccounted for.
fn assert_balance(handle: &Handle) {
    let ledger = handle.ledger().expect("ledger");
    let kernel = ["kernel_received", "kernel_dropped"].map(|name| ledger.count(name).expect(name));
    assert_eq!((kernel, ledger.unaccounted()), ([0, 0], 0), "{}", causes(&ledger));
}

fn of(sources: &[IpAddr], source: &str) -> u64 {
    let source: IpAddr = source.parse().expect("an address");
    sources.iter().filter(|from| **from == source).count() as u64
}

fn both_get_every_packet(group: &str, wanted: &str, sources: [&str; 2]) {
    let lab = Lab::new().expect("lab");
    let member = Member::join(&lab, group, 5000);
    let mut receiver = sharing(&lab, &[wanted]);
    let handle = receiver.handle();
    assert_eq!((handle.mode(), handle.is_shared()), (ReceiveMode::Mapped, true));
    for source in sources {
        let came = burst(&lab, &mut receiver, stream(&lab, group, 5000, &[source]), COUNT, |datagram| {
            assert_eq!((datagram.path(), datagram.source().ip().to_string().as_str()), (Path::Xdp, sources[0]));
        });
        assert_eq!(came, if source == sources[0] { COUNT } else { 0 }, "{source}");
    }
    std::thread::sleep(Duration::from_millis(50));
    let theirs = member.received();
    assert_eq!(sources.map(|source| of(&theirs, source)), [COUNT, COUNT]);
    let ledger = handle.ledger().expect("ledger");
    let ways = [Verdict::Mapped, Verdict::PassedShared].map(|way| ledger.verdict(way));
    assert_eq!((ways, ledger.lost(), ledger.kernel_only()), ([COUNT, COUNT], 0, 0), "{}", causes(&ledger));
    let shared = report(&handle, wanted);
    assert_eq!((shared.packets, shared.blocked, shared.passed_shared), (COUNT, Some(0), Some(COUNT)));
    assert_eq!(shared.other_members, Some(1));
    assert_balance(&handle);
    assert_eq!(handle.warnings(), [""; 0], "nobody misses anything");
    drop(receiver);
    assert_eq!(burst_to_nobody(&lab, group, sources[0]), COUNT);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(of(&member.received(), sources[0]), COUNT, "without the receiver");
}

fn burst_to_nobody(lab: &Lab, group: &str, source: &str) -> u64 {
    let mut config = stream(lab, group, 5000, &[source]);
    config.traffic.count = Some(COUNT);
    Sending::start(lab, config).wait().packets
}

#[test]
fn both_get_every_packet_v4() {
    both_get_every_packet(GROUP, WANTED, ["10.0.0.1", "10.0.0.2"]);
}

#[test]
fn both_get_every_packet_v6() {
    both_get_every_packet("ff15::1", "[2001:db8::1]@[ff15::1]:5000", ["2001:db8::1", "2001:db8::2"]);
}

/// Joins, leaves, blocks and unblocks while packets flow: the other program misses none, and the receiver gets none
/// twice and none that is blocked.
#[test]
fn changes_take_nothing_from_the_other_program() {
    const PACKETS: u64 = 16_000;
    let lab = Lab::new().expect("lab");
    let member = Member::join(&lab, GROUP, 5000);
    let receiver = sharing(&lab, &["239.1.1.1:5000"]);
    let handle = receiver.handle();
    let checking = Checking::start(receiver);
    let mut config = stream(&lab, GROUP, 5000, &["10.0.0.1", "10.0.0.2"]);
    (config.traffic.count, config.traffic.rate) = (Some(PACKETS), 8_000);
    let sending = Sending::start(&lab, config);
    let mut theirs = Vec::new();
    let mut id = handle.subscriptions().expect("subscriptions")[0].id;
    let second = "10.0.0.2".parse().expect("an address");
    let mut rounds = 0;
    while !sending.is_done() {
        lab.rx()
            .run(|| {
                handle.block(id, second).expect("block");
                handle.unblock(id, second).expect("unblock");
                handle.leave(id).expect("leave");
                id = handle.join(&subscription("239.1.1.1:5000")).expect("join");
            })
            .expect("run");
        theirs.extend(member.received());
        rounds += 1;
    }
    let sent = sending.wait().packets;
    std::thread::sleep(Duration::from_millis(50));
    theirs.extend(member.received());
    assert_eq!(["10.0.0.1", "10.0.0.2"].map(|source| of(&theirs, source)), [sent / 2, sent / 2], "{rounds} rounds");
    assert!(rounds > 3, "{rounds} rounds");
    let (probe, ledger, _workers) = checking.finish();
    assert_eq!(probe.duplicated, 0, "{probe}");
    assert!(probe.received > 0 && ledger.verdict(Verdict::Mapped) >= probe.received, "{}", causes(&ledger));
    assert_balance(&handle);
}

/// A block holds for the receiver alone.
#[test]
fn blocked_sources_reach_the_other_program() {
    let lab = Lab::new().expect("lab");
    let member = Member::join(&lab, GROUP, 5000);
    let mut receiver = sharing(&lab, &["!10.0.0.9@239.1.1.1:5000"]);
    let mut sources = BTreeSet::new();
    for source in ["10.0.0.1", "10.0.0.9"] {
        burst(&lab, &mut receiver, stream(&lab, GROUP, 5000, &[source]), COUNT, |datagram| {
            sources.insert(datagram.source().ip().to_string());
        });
    }
    std::thread::sleep(Duration::from_millis(50));
    let theirs = member.received();
    assert_eq!(["10.0.0.1", "10.0.0.9"].map(|source| of(&theirs, source)), [COUNT, COUNT]);
    assert_eq!(sources, ["10.0.0.1".to_owned()].into());
    assert_balance(&receiver.handle());
}

/// A consumer that does not read costs the other program nothing.
#[test]
fn a_full_ring_is_the_receivers_loss_alone() {
    const RING: u64 = 64;
    let lab = Lab::new().expect("lab");
    let member = Member::join(&lab, GROUP, 5000);
    let mut receiver = open(&lab, |builder| {
        builder.subscribe(subscription(WANTED)).share(true).ring_size(RING as u32).frames(4 * RING as u32)
    })
    .expect("receiver");
    assert_eq!(burst_to_nobody(&lab, GROUP, "10.0.0.1"), COUNT);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(of(&member.received(), "10.0.0.1"), COUNT);
    assert_eq!(receiver.poll(Wait::Never, |_| {}).expect("poll"), RING as usize);
    let ledger = receiver.handle().ledger().expect("ledger");
    assert_eq!(ledger.verdict(Verdict::DroppedRingFull), COUNT - RING, "{}", causes(&ledger));
    assert_balance(&receiver.handle());
}

/// The receiver in mode mapped and one in mode socket on one interface.
#[test]
fn two_receivers_share_an_interface() {
    let lab = Lab::new().expect("lab");
    let mut first = sharing(&lab, &[WANTED]);
    let mut second = open(&lab, |b| b.subscribe(subscription(WANTED)).mode(ReceiveMode::Socket)).expect("the second");
    assert_eq!(burst_to_nobody(&lab, GROUP, "10.0.0.1"), COUNT);
    assert_eq!([&mut first, &mut second].map(|one| receive(one, &[], |_| {})), [COUNT, COUNT]);
    assert_balance(&first.handle());
    assert_eq!(second.handle().ledger().expect("ledger").unaccounted(), 0);
}

/// Fragments reach the other program only: they are counted, and the evidence names them.
#[test]
fn fragments_are_for_the_kernel_alone() {
    let lab = Lab::new().expect("lab");
    let member = Member::join(&lab, GROUP, 5000);
    let mut receiver = sharing(&lab, &[WANTED]);
    let mut config = stream(&lab, GROUP, 5000, &["10.0.0.1"]);
    config.traffic.size = 4_000;
    assert_eq!(burst(&lab, &mut receiver, config, 100, |_| {}), 0);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(of(&member.received(), "10.0.0.1"), 100);
    let handle = receiver.handle();
    let ledger = handle.ledger().expect("ledger");
    assert_eq!((ledger.verdict(Verdict::PassedFragment), ledger.kernel_only()), (300, 300), "{}", causes(&ledger));
    let findings = handle.evidence().expect("evidence").findings;
    let found = findings.iter().find(|finding| matches!(finding, Finding::KernelOnly { frames: 300, .. }));
    assert!(found.is_some_and(|finding| finding.to_string().contains("shares packets does not take these")));
    wait_for_warning(&handle, &["IP fragments", "do not reach this receiver", "use mode socket, or do not share"]);
    assert_balance(&handle);
}

#[test]
fn what_cannot_be_shared_is_refused_with_the_remedy() {
    let lab = Lab::new().expect("lab");
    let build = |mode: ModeRequest, policy: DropUnwanted| {
        let opened =
            open(&lab, |builder| builder.subscribe(subscription(WANTED)).mode(mode).drop_unwanted(policy).share(true));
        opened.map(drop)
    };
    for mode in [ReceiveMode::ZeroCopy, ReceiveMode::Copy, ReceiveMode::Generic] {
        let error = build(mode.into(), DropUnwanted::default()).expect_err("refused");
        assert!(error.is_usage() && matches!(error, Error::Option { option: "share", .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&format!("mode {mode} takes packets away")) && text.contains("mode socket"), "{text}");
    }
    let error = build(ModeRequest::Auto, DropUnwanted::Always).expect_err("refused");
    assert!(matches!(error, Error::Option { option: "drop_unwanted", .. }), "{error:?}");
    // `auto` does not fall back to a mode that shares nothing, nor to mode socket without being asked.
    let unprivileged = || {
        without_privilege();
        Receiver::builder(lab.rx_interface()).subscribe(subscription(WANTED)).share(true).build().map(drop)
    };
    build(ReceiveMode::Mapped.into(), DropUnwanted::Never).expect("with privilege");
    let error = lab.rx().run(unprivileged).expect("run").expect_err("refused");
    assert!(matches!(error, Error::ShareUnavailable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(["mode mapped is not available", "not permitted", "mode socket"].iter().all(|part| text.contains(part)));
}

/// In mode socket the kernel shares by itself.
#[test]
fn mode_socket_shares_anyway() {
    let lab = Lab::new().expect("lab");
    let member = Member::join(&lab, GROUP, 5000);
    let mut receiver =
        open(&lab, |b| b.subscribe(subscription(WANTED)).mode(ReceiveMode::Socket).share(true)).expect("receiver");
    assert!(!receiver.handle().is_shared());
    assert_eq!(burst(&lab, &mut receiver, stream(&lab, GROUP, 5000, &["10.0.0.1"]), COUNT, |_| {}), COUNT);
    assert_eq!(of(&member.receive(COUNT), "10.0.0.1"), COUNT);
}
