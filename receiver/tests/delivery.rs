//! A million datagrams from end to end, in every mode that veth has, both families: each arrives once and in order,
//! none from another source, and the ledger balances.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use netlab::Lab;
use receiver::{ModeRequest, ReceiveMode, Verdict};
use support::{BUSY_POLL, Checking, Sending, causes, open, stream, subscription, wanted_verdict};

/// Datagrams of the wanted source; the unwanted one sends as many.
const COUNT: u64 = 1_000_000;

/// Wanted datagrams that may be under way. Every ring and socket buffer has room for several times as many.
const WINDOW: u64 = 16_384;

struct Family {
    group: &'static str,
    wanted: &'static str,
    unwanted: &'static str,
    subscription: &'static str,
}

const V4: Family =
    Family { group: "232.1.1.1", wanted: "10.0.0.1", unwanted: "10.0.0.2", subscription: "10.0.0.1@232.1.1.1:5000" };

const V6: Family = Family {
    group: "ff3e::1",
    wanted: "2001:db8::1",
    unwanted: "2001:db8::2",
    subscription: "[2001:db8::1]@[ff3e::1]:5000",
};

fn deliver(mode: ReceiveMode, family: &Family, rate: u64) {
    deliver_by(mode, wanted_verdict(mode), |builder| builder, family, rate);
}

fn deliver_by(
    mode: ReceiveMode,
    way: Verdict,
    build: fn(receiver::Builder) -> receiver::Builder,
    family: &Family,
    rate: u64,
) {
    let lab = Lab::new().expect("lab");
    let receiver = open(&lab, |builder| {
        build(builder)
            .subscribe(subscription(family.subscription))
            .mode(ModeRequest::Exactly(mode))
            .ring_size(65_536)
            .frames(262_144)
            .socket_buffer(256 << 20)
    })
    .expect("receiver");
    assert_eq!(receiver.handle().mode(), mode);
    let checking = Checking::start(receiver);
    let mut config = stream(&lab, family.group, 5000, &[family.wanted, family.unwanted]);
    config.traffic.count = Some(2 * COUNT);
    config.traffic.rate = rate;
    config.bypass_qdisc = true;
    config.spoof = true;
    let received = Arc::clone(&checking.received);
    // The sources take turns.
    let may_send = move |sent| sent / 2 < received.load(Ordering::Relaxed) + WINDOW;
    let sent = Sending::start_paced(&lab, config, may_send).wait();
    let handle = checking.handle.clone();
    let (report, ledger, _workers) = checking.finish();
    let message = format!("{report}\n{}", causes(&ledger));
    assert_eq!(sent.packets, 2 * COUNT, "{message}");
    assert_eq!(report.received, COUNT, "{message}");
    assert_eq!(report.flows.len(), 1, "none from another source: {message}");
    // In generic mode a checksum that is the pseudo header's by chance takes another path, and overtakes or is
    // overtaken, by so much that the report may have given up what comes late. All have come, and none twice.
    let by_other_path = ledger.count("passed_partial_checksum").expect("a cause");
    assert!(by_other_path < COUNT / 10_000, "one in 65,536 is expected: {message}");
    assert_eq!(report.duplicated + report.untracked, 0, "{message}");
    assert!(report.is_clean() || by_other_path > 0, "{message}");
    assert_eq!(ledger.unaccounted(), 0, "{message}");
    assert_eq!(ledger.lost(), 0, "{message}");
    let subscriptions = handle.subscriptions().expect("subscriptions");
    assert_eq!(subscriptions[0].packets, COUNT);
    if mode != ReceiveMode::Socket {
        assert_eq!(ledger.verdict(way) + by_other_path, COUNT, "{message}");
        assert_eq!(subscriptions[0].blocked, Some(COUNT), "the unwanted source was dropped by XDP: {message}");
    }
}

#[test]
fn copy_v4() {
    deliver(ReceiveMode::Copy, &V4, 300_000);
}

#[test]
fn copy_v6() {
    deliver(ReceiveMode::Copy, &V6, 300_000);
}

#[test]
fn mapped_v4() {
    deliver(ReceiveMode::Mapped, &V4, 300_000);
}

#[test]
fn mapped_v6() {
    deliver(ReceiveMode::Mapped, &V6, 300_000);
}

#[test]
fn generic_v4() {
    deliver(ReceiveMode::Generic, &V4, 300_000);
}

#[test]
fn generic_v6() {
    deliver(ReceiveMode::Generic, &V6, 300_000);
}

/// Busy polling takes an AF_XDP socket.
#[test]
fn generic_v4_with_busy_polling() {
    let build = |builder: receiver::Builder| builder.busy_poll(Some(BUSY_POLL));
    deliver_by(ReceiveMode::Generic, Verdict::Redirected, build, &V4, 300_000);
}

#[test]
fn socket_v4() {
    deliver(ReceiveMode::Socket, &V4, 250_000);
}

#[test]
fn socket_v6() {
    deliver(ReceiveMode::Socket, &V6, 250_000);
}
