//! Mode `generic`: mapped rings behind XDP in the network stack. Each payload is known beforehand, and no checksum
//! looks partial, so that every frame comes by XDP.

mod support;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver::{Builder, Datagram, Error, Ledger, OwnedDatagram, Path, ReceiveMode, Receiver, Verdict, Wait};
use support::frame::{Frame, FrameSocket};
use support::members::wait_for_warning;
use support::numbered::{Tally, mixed, payload};
use support::{BUSY_POLL, PATIENCE, causes, open, receive, subscription};

const GROUP: &str = "232.1.1.1:5000";
const WANTED: &str = "10.0.0.1@232.1.1.1:5000";

fn receiver(lab: &Lab, build: impl FnOnce(Builder) -> Builder + Send) -> Receiver {
    let receiver =
        open(lab, |builder| build(builder.subscribe(subscription(WANTED)).mode(ReceiveMode::Generic))).expect("one");
    assert_eq!(receiver.handle().mode(), ReceiveMode::Generic);
    receiver
}

/// Frames with these payloads. Those whose checksum looks partial are left out.
fn frames(payloads: impl Iterator<Item = Vec<u8>>) -> impl Iterator<Item = Vec<u8>> {
    let frame = |payload: Vec<u8>| Frame::udp("10.0.0.1:4000", GROUP, &payload);
    payloads.map(frame).filter(|frame| !frame.looks_partial()).map(|frame| frame.bytes)
}

/// Frames with a payload of this many bytes, a multiple of 8.
fn sized(size: usize, count: usize) -> Vec<Vec<u8>> {
    frames((0..).map(|number| mixed(number).to_be_bytes().repeat(size / 8))).take(count).collect()
}

/// The first frames of sender 0.
fn numbered(count: usize) -> Vec<Vec<u8>> {
    frames((0..).map(|number| payload(0, number))).take(count).collect()
}

fn send(lab: &Lab, frames: &[Vec<u8>]) {
    let socket = FrameSocket::open(lab);
    frames.iter().for_each(|frame| socket.send(frame));
}

/// Every frame came by the mapped rings, and the ledger balances.
fn check(receiver: &Receiver, count: u64) -> Ledger {
    let handle = receiver.handle();
    let ledger = handle.ledger().expect("ledger");
    let message = causes(&ledger);
    let ways = [Verdict::Mapped, Verdict::Redirected, Verdict::PassedPartialChecksum];
    assert_eq!(ways.map(|way| ledger.verdict(way)), [count, 0, 0], "{message}");
    assert_eq!(ledger.unaccounted(), 0, "{message}");
    assert!(handle.queues().expect("queues").iter().all(|queue| queue.is_mapped));
    ledger
}

/// The consumer sleeps between packets, which come at irregular times: each wakes it long before its timeout.
#[test]
fn no_sleep_is_missed() {
    const COUNT: usize = 10_000;
    let lab = Lab::new().expect("lab");
    let mut receiver = receiver(&lab, |builder| builder);
    let (frames, socket) = (numbered(COUNT), FrameSocket::open(&lab));
    let sending = std::thread::spawn(move || {
        for (number, frame) in (0..).zip(frames) {
            socket.send(&frame);
            std::thread::sleep(Duration::from_micros(mixed(number) % 100));
        }
    });
    let (mut tally, mut polls) = (Tally::<1>::default(), 0);
    while tally.total() < COUNT as u64 {
        let start = Instant::now();
        let each = |datagram: Datagram<'_>| _ = tally.take(datagram.payload(), |_, _| 1);
        assert!(receiver.poll(Wait::For(PATIENCE), each).expect("poll") > 0, "after {}", tally.total());
        assert!(start.elapsed() < PATIENCE / 2, "slept through a packet, after {}", tally.total());
        polls += 1;
    }
    sending.join().expect("the sender");
    println!("{polls} polls for {COUNT} packets");
    assert!(polls > COUNT / 10, "{polls} polls: it hardly slept");
    assert_eq!(check(&receiver, COUNT as u64).lost(), 0);
}

/// What finds no room is counted, and no more than that is lost. What is in the ring at the stop is handed over.
#[test]
fn a_full_ring_is_counted() {
    const RING: usize = 256;
    let lab = Lab::new().expect("lab");
    let mut receiver = receiver(&lab, |builder| builder.ring_size(RING as u32));
    send(&lab, &numbered(4 * RING));
    let ledger = check(&receiver, RING as u64);
    let message = causes(&ledger);
    let full = ledger.verdict(Verdict::DroppedRingFull);
    assert_eq!((full, ledger.lost(), ledger.in_flight()), (3 * RING as u64, 3 * RING as u64, RING as u64), "{message}");
    assert_eq!((ledger.count("xsk_rx_ring_full"), ledger.count("xsk_rx_dropped")), (Some(0), Some(0)), "{message}");
    let mut tally = Tally::<1>::default();
    assert_eq!(receive(&mut receiver, &[], |datagram| _ = tally.take(datagram.payload(), |_, _| 1)), RING as u64);
    send(&lab, &numbered(RING));
    receiver.handle().shutdown().expect("shutdown");
    let mut rest = 0;
    while !matches!(receiver.poll(Wait::Forever, |_| rest += 1), Err(Error::Stopped)) {}
    assert_eq!(rest, RING);
    let ledger = check(&receiver, 2 * RING as u64);
    assert_eq!(ledger.delivered(), 2 * RING as u64, "{}", causes(&ledger));
}

/// A consumer that keeps all it gets: leases without a copy, then copies, then counted losses, and no stall.
#[test]
fn a_consumer_that_lets_nothing_go() {
    const FRAMES: u32 = 1_024;
    const COPIES: u64 = 100;
    const COUNT: usize = 800;
    /// A copy of up to 256 bytes counts as 256.
    const SIZE: usize = 200;
    let lab = Lab::new().expect("lab");
    let mut receiver = receiver(&lab, |b| b.ring_size(256).frames(FRAMES).copy_limit(COPIES * 256));
    let sent = sized(SIZE, COUNT);
    let mut kept: Vec<OwnedDatagram> = Vec::new();
    for burst in sent.chunks(200) {
        send(&lab, burst);
        assert_eq!(receive(&mut receiver, &[], |datagram| kept.extend(datagram.into_owned())), burst.len() as u64);
    }
    let leases = u64::from(FRAMES) / 2;
    let ledger = check(&receiver, COUNT as u64);
    let counts = ["xsk_leased", "copied", "not_kept"].map(|cause| ledger.count(cause));
    let expected = [leases, COPIES, COUNT as u64 - leases - COPIES];
    assert_eq!(counts, expected.map(Some), "{}", causes(&ledger));
    // Nothing was written over.
    assert_eq!(kept.len() as u64, leases + COPIES);
    assert!(kept.iter().zip(&sent).all(|(kept, sent)| sent.ends_with(&kept.payload)));
    drop(kept);
    send(&lab, &sent[..200]);
    assert_eq!(receive(&mut receiver, &[], |_| {}), 200);
    let ledger = check(&receiver, COUNT as u64 + 200);
    assert_eq!((ledger.count("xsk_leased"), ledger.lost()), (Some(0), 0), "{}", causes(&ledger));
}

/// A packet that no frame holds comes by the kernel path: the MTU grew after the rings were made.
#[test]
fn long_packets_pass_to_the_kernel_path() {
    const EACH: usize = 10;
    let lab = Lab::new().expect("lab");
    let mut opened = receiver(&lab, |builder| builder);
    lab.rx().ip(&["link", "set", lab.rx_interface(), "mtu", "9000"]).expect("the MTU");
    wait_for_warning(&opened.handle(), &["MTU of 9000", "Start the receiver anew", "mtu 1994"]);
    lab.tx().ip(&["link", "set", lab.tx_interface(), "mtu", "9000"]).expect("the MTU");
    let come_by = |receiver: &mut Receiver, size: usize, path: Path| {
        let sent = sized(size, EACH);
        send(&lab, &sent);
        let mut number = 0;
        receive(receiver, &[], |datagram| {
            assert_eq!((datagram.path(), datagram.payload().len()), (path, size));
            assert!(sent[number].ends_with(datagram.payload()), "{size} bytes, number {number}");
            number += 1;
        });
        assert_eq!(number, EACH, "{size} bytes");
    };
    come_by(&mut opened, 1_896, Path::Xdp);
    come_by(&mut opened, 8_000, Path::Kernel);
    let ledger = check(&opened, EACH as u64);
    let too_long = ledger.verdict(Verdict::PassedTooLong);
    assert_eq!((too_long, ledger.lost()), (EACH as u64, 0), "{}", causes(&ledger));
    // Anew, it takes both by the ring.
    drop(opened);
    let mut opened = receiver(&lab, |builder| builder);
    come_by(&mut opened, 1_896, Path::Xdp);
    come_by(&mut opened, 8_000, Path::Xdp);
    check(&opened, 2 * EACH as u64);
}

/// Flows that are spread over four queues come each by one queue, in order.
#[test]
fn four_queues() {
    const QUEUES: u32 = 4;
    const FLOWS: u32 = 64;
    const EACH: u64 = 50;
    let lab = Lab::builder().queues(QUEUES).build().expect("lab");
    let mut receiver = receiver(&lab, |builder| builder.ring_size(4_096));
    let socket = FrameSocket::open(&lab);
    let mut sent = 0;
    for (number, flow) in (0..EACH).flat_map(|number| (0..FLOWS).map(move |flow| (number, flow))) {
        let frame = Frame::udp(&format!("10.0.0.1:{}", 4_000 + flow), GROUP, &payload(flow, number));
        if !frame.looks_partial() {
            socket.send(&frame.bytes);
            sent += 1;
        }
    }
    let mut tally = Tally::<{ FLOWS as usize }>::default();
    receive(&mut receiver, &[], |datagram| {
        let flow = tally.take(datagram.payload(), |_, _| 1);
        assert_eq!(u32::from(datagram.source().port()), 4_000 + flow);
    });
    assert_eq!(tally.total(), sent);
    let queues = receiver.handle().queues().expect("queues");
    // Which queue a flow takes is the kernel's choice.
    let used = queues.iter().filter(|queue| queue.delivered > 0).count();
    assert!(queues.len() == 4 && used > 1, "{queues:?}");
    assert_eq!(check(&receiver, sent).lost(), 0);
}

/// A bridge has no XDP of its own. `auto` goes on to mode `generic`: with mapped rings, or with AF_XDP for busy
/// polling.
#[test]
fn auto_takes_it_where_the_driver_has_no_xdp() {
    let native = [ReceiveMode::ZeroCopy, ReceiveMode::Mapped, ReceiveMode::Copy];
    for (busy_poll, way) in [(None, Verdict::Mapped), (Some(BUSY_POLL), Verdict::Redirected)] {
        let lab = Lab::new().expect("lab");
        for arguments in [
            &["link", "add", "bridge0", "type", "bridge", "mcast_snooping", "0"][..],
            &["link", "set", lab.rx_interface(), "master", "bridge0"],
            &["link", "set", "bridge0", "multicast", "on", "up"],
        ] {
            lab.rx().ip(arguments).expect("a bridge");
        }
        let builder = Receiver::builder("bridge0").subscribe(subscription(WANTED)).busy_poll(busy_poll);
        let mut receiver = lab.rx().run(|| builder.build()).expect("run").expect("a receiver");
        let handle = receiver.handle();
        let refused: Vec<ReceiveMode> = handle.refused().iter().map(|refused| refused.mode).collect();
        assert_eq!((handle.mode(), refused), (ReceiveMode::Generic, native.to_vec()), "{:?}", handle.refused());
        send(&lab, &numbered(100));
        let mut tally = Tally::<1>::default();
        let came = receive(&mut receiver, &[], |datagram| {
            assert_eq!(datagram.path(), Path::Xdp);
            tally.take(datagram.payload(), |_, _| 1);
        });
        let ledger = handle.ledger().expect("ledger");
        assert_eq!((came, ledger.verdict(way), ledger.unaccounted()), (100, 100, 0), "{}", causes(&ledger));
    }
}

/// A consumer that stops after each datagram loses none of the packets behind it.
#[test]
fn one_at_a_time() {
    const COUNT: usize = 500;
    let lab = Lab::new().expect("lab");
    let receiver = receiver(&lab, |builder| builder);
    send(&lab, &numbered(COUNT));
    let mut worker = receiver.into_workers().remove(0);
    let mut tally = Tally::<1>::default();
    for number in 0..COUNT {
        let count = worker.poll_while(Wait::For(PATIENCE), |datagram| {
            tally.take(datagram.payload(), |_, _| 1);
            ControlFlow::Break(())
        });
        assert_eq!(count.expect("poll"), 1, "after {number}");
    }
}
