//! Consumers that keep what they get: zero-copy first, then copies, then counted losses, and never a stall. What is
//! held stays as it was, and once it is let go the queue is as good as new.
//!
//! Everything is sent in bursts that fit the ring, so that nothing depends on how fast anybody is.

mod support;

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use netlab::Lab;
use receiver::{Builder, OwnedDatagram, Path, ReceiveMode, Receiver, Wait};
use receiver_send::SendConfig;
use receiver_send::probe::ProbePayload;
use support::{PATIENCE, Sending, burst, causes, open, stream, subscription};

const RING: u32 = 256;
const FRAMES: u32 = 1_024;
/// Half of the frames are never leased out, so that the kernel always has some.
const LEASES: u64 = FRAMES as u64 / 2;
/// A copy of up to 256 bytes is counted as 256.
const COPIES: u64 = 100;
const COPY_LIMIT: u64 = COPIES * 256;
const BURST: u64 = 200;

fn builder(builder: Builder, mode: ReceiveMode) -> Builder {
    builder
        .subscribe(subscription("10.0.0.1@232.1.1.1:5000"))
        .mode(mode)
        .ring_size(RING)
        .frames(FRAMES)
        .copy_limit(COPY_LIMIT)
}

fn config(lab: &Lab) -> SendConfig {
    let mut config = stream(lab, "232.1.1.1", 5000, &["10.0.0.1"]);
    (config.traffic.size, config.traffic.rate) = (200, 20_000);
    config
}

/// What was kept, each beside a copy of what it was.
#[derive(Default)]
struct Held(Vec<(OwnedDatagram, Vec<u8>)>);

impl Held {
    fn keep(&mut self, datagram: receiver::Datagram<'_>) -> bool {
        let before = datagram.payload().to_vec();
        let owned = datagram.into_owned();
        let kept = owned.is_some();
        self.0.extend(owned.map(|owned| (owned, before)));
        kept
    }

    fn check(&self) {
        for (owned, before) in &self.0 {
            assert_eq!(owned.payload, before[..], "a held payload was overwritten");
        }
    }
}

fn count(receiver: &Receiver, name: &str) -> u64 {
    receiver.handle().ledger().expect("ledger").count(name).expect("a cause")
}

fn lets_nothing_go(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let mut receiver = open(&lab, |b| builder(b, mode)).expect("receiver");
    let mut held = Held::default();
    let (mut came, mut kept) = (0, 0);
    const BURSTS: u64 = 6;
    for _ in 0..BURSTS {
        came += burst(&lab, &mut receiver, config(&lab), BURST, |datagram| kept += u64::from(held.keep(datagram)));
        held.check();
        let ledger = receiver.handle().ledger().expect("ledger");
        let message = causes(&ledger);
        assert_eq!(ledger.count("xsk_leased").expect("a cause"), came.min(LEASES), "{message}");
        assert_eq!(ledger.count("copied").expect("a cause"), came.saturating_sub(LEASES).min(COPIES), "{message}");
        assert_eq!(ledger.count("not_kept").expect("a cause"), came.saturating_sub(LEASES + COPIES), "{message}");
        assert_eq!((ledger.unaccounted(), ledger.lost()), (0, 0), "{message}");
    }
    assert_eq!(came, BURSTS * BURST, "no stall: all were shown");
    assert_eq!(kept, LEASES + COPIES);
    assert_eq!(
        receiver.handle().subscriptions().expect("subscriptions")[0].packets,
        kept,
        "lost ones are not received"
    );

    // Half goes on another thread.
    let half = held.0.split_off(held.0.len() / 2);
    std::thread::spawn(move || drop(half)).join().expect("drop");
    drop(held);
    receiver.poll(Wait::Never, |_| {}).expect("poll");
    assert_eq!(count(&receiver, "xsk_leased"), 0, "as soon as the queue was looked at");

    // As good as new: as many leases again, and no copy before.
    let mut held = Held::default();
    for _ in 0..LEASES / BURST {
        assert_eq!(burst(&lab, &mut receiver, config(&lab), BURST, |datagram| assert!(held.keep(datagram))), BURST);
    }
    assert_eq!(count(&receiver, "copied"), COPIES, "zero-copy again");
    assert_eq!(count(&receiver, "xsk_leased"), LEASES / BURST * BURST);
    held.check();
    // The copies' room is there again too.
    let rest = LEASES % BURST + COPIES;
    assert_eq!(burst(&lab, &mut receiver, config(&lab), rest, |datagram| assert!(held.keep(datagram))), rest);
    assert_eq!(count(&receiver, "copied"), 2 * COPIES);
    drop(held);
    assert_eq!(burst(&lab, &mut receiver, config(&lab), BURST, |_| {}), BURST);
    let ledger = receiver.handle().ledger().expect("ledger");
    assert_eq!((ledger.count("xsk_leased").expect("a cause"), ledger.unaccounted()), (0, 0), "{}", causes(&ledger));
}

#[test]
fn a_consumer_that_lets_nothing_go() {
    lets_nothing_go(ReceiveMode::Copy);
}

#[test]
fn a_consumer_that_lets_nothing_go_in_mode_mapped() {
    lets_nothing_go(ReceiveMode::Mapped);
}

/// The kernel path has nothing to lease: copies from the first, and the same end.
#[test]
fn a_consumer_that_lets_nothing_go_in_mode_socket() {
    let lab = Lab::new().expect("lab");
    let mut receiver = open(&lab, |b| builder(b, ReceiveMode::Socket)).expect("receiver");
    let mut held = Held::default();
    assert_eq!(
        burst(&lab, &mut receiver, config(&lab), BURST, |datagram| {
            held.keep(datagram);
        }),
        BURST
    );
    assert_eq!(held.0.len() as u64, COPIES);
    held.check();
    let ledger = receiver.handle().ledger().expect("ledger");
    assert_eq!(ledger.count("not_kept").expect("a cause"), BURST - COPIES);
    assert_eq!(ledger.unaccounted(), 0, "{}", causes(&ledger));
    drop(held);
    let mut held = Held::default();
    assert_eq!(burst(&lab, &mut receiver, config(&lab), COPIES, |datagram| assert!(held.keep(datagram))), COPIES);
}

fn bytes_outlive(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let mut receiver = open(&lab, |b| builder(b, mode)).expect("receiver");
    let mut held = Held::default();
    burst(&lab, &mut receiver, config(&lab), BURST, |datagram| assert!(held.keep(datagram)));
    let slices: Vec<Bytes> = held.0.iter().map(|(owned, _)| owned.payload.slice(..22)).collect();
    drop(receiver);
    held.check();
    // The queue is free for the next receiver, whatever is held of the last one.
    let mut second = open(&lab, |b| builder(b, mode)).expect("a second receiver");
    assert_eq!(burst(&lab, &mut second, config(&lab), BURST, |_| {}), BURST);
    held.check();
    drop(held);
    let numbers: Vec<u64> = slices.iter().map(|bytes| ProbePayload::parse(bytes).expect("a probe").sequence).collect();
    assert_eq!(numbers, (0..BURST).collect::<Vec<_>>());
    std::thread::spawn(move || drop(slices)).join().expect("drop");
}

#[test]
fn bytes_outlive_the_receiver() {
    bytes_outlive(ReceiveMode::Copy);
}

#[test]
fn bytes_outlive_the_mapped_ring() {
    bytes_outlive(ReceiveMode::Mapped);
}

fn break_leaves_the_rest(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let receiver = open(&lab, |b| builder(b, mode).copy_limit(1 << 20)).expect("receiver");
    let handle = receiver.handle();
    let mut worker = receiver.into_workers().pop().expect("a worker");
    let mut config = config(&lab);
    config.traffic.count = Some(BURST);
    Sending::start(&lab, config).wait();
    for expected in 0..BURST {
        let mut number = None;
        let count = worker.poll_while(Wait::For(PATIENCE), |datagram| {
            assert_eq!(number, None, "no more after Break");
            number = ProbePayload::parse(datagram.payload()).map(|probe| probe.sequence);
            ControlFlow::Break(())
        });
        assert_eq!((count.expect("poll"), number), (1, Some(expected)));
        let ledger = handle.ledger().expect("ledger");
        assert_eq!(ledger.delivered(), expected + 1);
        assert_eq!(ledger.unaccounted(), 0, "{}", causes(&ledger));
    }
    assert_eq!(worker.poll(Wait::For(Duration::from_millis(50)), |_| {}).expect("poll"), 0);
    assert_eq!(handle.subscriptions().expect("subscriptions")[0].packets, BURST);
}

#[test]
fn break_leaves_the_rest_in_the_ring() {
    break_leaves_the_rest(ReceiveMode::Copy);
}

#[test]
fn break_leaves_the_rest_in_the_mapped_ring() {
    break_leaves_the_rest(ReceiveMode::Mapped);
}

#[test]
fn break_leaves_the_rest_of_the_kernel_path() {
    break_leaves_the_rest(ReceiveMode::Socket);
}

fn across_await_points(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let receiver = open(&lab, |b| builder(b, mode)).expect("receiver");
    let handle = receiver.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let held = runtime.block_on(async {
        let mut receiver = receiver.into_async().expect("async");
        let mut held: Vec<OwnedDatagram> = Vec::new();
        for _ in 0..2 {
            let mut config = config(&lab);
            config.traffic.count = Some(BURST);
            let sending = Sending::start(&lab, config);
            for _ in 0..BURST {
                let received = tokio::time::timeout(PATIENCE, receiver.recv()).await.expect("in time");
                held.push(received.expect("recv").expect("not stopped"));
                tokio::task::yield_now().await;
            }
            sending.wait();
        }
        let ledger = handle.ledger().expect("ledger");
        assert_eq!(
            (ledger.count("xsk_leased").expect("a cause"), ledger.count("copied").expect("a cause")),
            (2 * BURST, 0),
            "{}",
            causes(&ledger)
        );
        assert_eq!(ledger.unaccounted(), 0, "{}", causes(&ledger));
        held
    });
    for (at, datagram) in held.iter().enumerate() {
        let probe = ProbePayload::parse(&datagram.payload).expect("a probe");
        assert_eq!((probe.sequence, datagram.path), (at as u64 % BURST, Path::Xdp));
    }
}

#[test]
fn leases_across_await_points() {
    across_await_points(ReceiveMode::Copy);
}

#[test]
fn leases_of_the_mapped_ring_across_await_points() {
    across_await_points(ReceiveMode::Mapped);
}
