//! Mode `mapped` alone: sleeps, packets that are longer than a frame or that were not copied, full rings, what the mode
//! refuses.

mod support;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use netlab::Lab;
use receiver::{Error, Path, ReceiveMode, Receiver, Verdict, Wait};
use receiver_common::mapped::{FRAME_SIZE, Frame};
use receiver_send::probe::ProbePayload;
use support::fdinfo::{number, of_this_process};
use support::members::wait_for_warning;
use support::{BUSY_POLL, PATIENCE, Sending, burst, causes, open, receive, stream, subscription};

const WANTED: &str = "10.0.0.1@232.1.1.1:5000";

/// The consumer sleeps between packets, which come at irregular times: each wakes it long before its timeout.
#[test]
fn no_sleep_is_missed() {
    const COUNT: u64 = 30_000;
    let lab = Lab::new().expect("lab");
    let mut receiver =
        open(&lab, |builder| builder.subscribe(subscription(WANTED)).mode(ReceiveMode::Mapped)).expect("receiver");
    let mut config = stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
    (config.traffic.count, config.traffic.rate) = (Some(COUNT), 10_000);
    let sending = Sending::start(&lab, config);
    let (mut next, mut sleeps) = (0, 0);
    while next < COUNT {
        let start = Instant::now();
        let count = receiver.poll(Wait::For(PATIENCE), |datagram| {
            assert_eq!(ProbePayload::parse(datagram.payload()).map(|probe| probe.sequence), Some(next));
            next += 1;
        });
        sleeps += u64::from(count.expect("poll") > 0);
        assert!(start.elapsed() < PATIENCE / 2, "slept through a packet, after {next}");
    }
    assert_eq!(sending.wait().packets, COUNT);
    println!("{sleeps} polls for {COUNT} packets");
    assert!(sleeps > COUNT / 10, "{sleeps} polls: it hardly slept");
    // Woken by nothing while nothing comes.
    let start = Instant::now();
    assert_eq!(receiver.poll(Wait::For(Duration::from_millis(200)), |_| {}).expect("poll"), 0);
    assert!(start.elapsed() >= Duration::from_millis(200));
    let ledger = receiver.handle().ledger().expect("ledger");
    assert_eq!((ledger.unaccounted(), ledger.lost()), (0, 0), "{}", causes(&ledger));
}

/// A packet that no frame holds comes by the kernel path: the MTU grew after the rings were made.
#[test]
fn long_packets_pass_to_the_kernel_path() {
    let lab = Lab::new().expect("lab");
    let mut receiver =
        open(&lab, |builder| builder.subscribe(subscription(WANTED)).mode(ReceiveMode::Mapped)).expect("receiver");
    let handle = receiver.handle();
    lab.rx().ip(&["link", "set", lab.rx_interface(), "mtu", "9000"]).expect("the MTU");
    wait_for_warning(&handle, &["MTU of 9000"]);
    let warning = handle.warnings().pop().expect("a warning");
    assert!(warning.contains("Start the receiver anew") && warning.contains("mtu 1994"), "{warning}");
    lab.tx().ip(&["link", "set", lab.tx_interface(), "mtu", "9000"]).expect("the MTU");
    let check = |receiver: &mut Receiver, size: usize, path: Path| {
        let mut config = stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
        (config.traffic.size, config.traffic.rate) = (size, 20_000);
        let came = burst(&lab, receiver, config, 100, |datagram| {
            assert_eq!((datagram.path(), datagram.payload().len()), (path, size));
        });
        assert_eq!(came, 100, "{size} bytes");
    };
    check(&mut receiver, 1900, Path::Xdp);
    check(&mut receiver, 8000, Path::Kernel);
    let ledger = receiver.handle().ledger().expect("ledger");
    assert_eq!((ledger.verdict(Verdict::Mapped), ledger.verdict(Verdict::PassedTooLong)), (100, 100));
    assert_eq!(ledger.unaccounted(), 0, "{}", causes(&ledger));
    assert_eq!((ledger.lost(), ledger.link().outages), (0, 0), "{}", causes(&ledger));
    // Anew, it takes both by the ring.
    drop(receiver);
    let mut receiver =
        open(&lab, |builder| builder.subscribe(subscription(WANTED)).mode(ReceiveMode::Mapped)).expect("receiver");
    check(&mut receiver, 1900, Path::Xdp);
    check(&mut receiver, 8000, Path::Xdp);
}

/// The frames of the only receiver in this process with this number of them.
fn frames_map(frames: u32) -> Array<MapData, Frame> {
    let shape = [Some(frames.into()), Some(FRAME_SIZE as u64)];
    let found =
        of_this_process().find(|info| ["max_entries:", "value_size:"].map(|label| number(info, label)) == shape);
    let id = found.and_then(|info| number(&info, "map_id:")).expect("the map of the frames");
    Array::try_from(Map::Array(MapData::from_id(id as u32).expect("a map"))).expect("an array")
}

/// The program marks a packet that it could not copy by a length of 0. No real packet gets there, so the test writes
/// that into the ring's memory. The ledger has it under a name of its own.
#[test]
fn a_packet_that_was_not_copied_is_counted_and_lost() {
    const FRAMES: u32 = 512;
    let lab = Lab::new().expect("lab");
    let mut receiver = open(&lab, |builder| {
        builder.subscribe(subscription(WANTED)).mode(ReceiveMode::Mapped).ring_size(128).frames(FRAMES)
    })
    .expect("receiver");
    let mut config = stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
    (config.traffic.count, config.traffic.rate) = (Some(5), 1_000);
    Sending::start(&lab, config).wait();
    let mut frames = frames_map(FRAMES);
    // The frame of the third packet, by its sequence number. The length follows that.
    let is_third = |number: &u32| frames.get(number, 0).expect("a frame")[0] == 3;
    let number = (0..FRAMES).find(is_third).expect("the third packet");
    let mut frame = frames.get(&number, 0).expect("a frame");
    assert!(frame[1] > 0);
    frame[1] = 0;
    frames.set(number, frame, 0).expect("the frame");
    let mut came = Vec::new();
    receive(&mut receiver, &[], |datagram| {
        came.push(ProbePayload::parse(datagram.payload()).map(|probe| probe.sequence));
    });
    assert_eq!(came, [0, 1, 3, 4].map(Some));
    let ledger = receiver.handle().ledger().expect("ledger");
    let message = causes(&ledger);
    assert_eq!((ledger.count("ring_not_copied"), ledger.count("xsk_refused_descs")), (Some(1), Some(0)), "{message}");
    assert_eq!((ledger.verdict(Verdict::Mapped), ledger.delivered(), ledger.lost()), (5, 4, 1), "{message}");
    assert_eq!(ledger.unaccounted(), 0, "{message}");
}

/// What finds no room is counted, and no more than that is lost.
#[test]
fn a_full_ring_is_counted() {
    const RING: u64 = 256;
    let lab = Lab::new().expect("lab");
    let receiver = open(&lab, |builder| {
        builder.subscribe(subscription(WANTED)).mode(ReceiveMode::Mapped).ring_size(RING as u32).frames(1_024)
    })
    .expect("receiver");
    let handle = receiver.handle();
    let mut worker = receiver.into_workers().pop().expect("a worker");
    let mut config = stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
    (config.traffic.count, config.traffic.rate) = (Some(4 * RING), 50_000);
    Sending::start(&lab, config).wait();
    let ledger = handle.ledger().expect("ledger");
    let message = causes(&ledger);
    assert_eq!(ledger.verdict(Verdict::Mapped), RING, "{message}");
    assert_eq!((ledger.verdict(Verdict::DroppedRingFull), ledger.lost()), (3 * RING, 3 * RING), "{message}");
    assert_eq!((ledger.in_flight(), ledger.unaccounted()), (RING, 0), "{message}");
    let mut next = 0;
    while next < RING {
        let polled = worker.poll_while(Wait::Never, |datagram| {
            assert_eq!(ProbePayload::parse(datagram.payload()).map(|probe| probe.sequence), Some(next));
            next += 1;
            ControlFlow::Continue(())
        });
        polled.expect("poll");
    }
    // What is in the ring at the stop is still handed over.
    let mut config = stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
    (config.traffic.count, config.traffic.rate) = (Some(RING), 50_000);
    Sending::start(&lab, config).wait();
    handle.shutdown().expect("shutdown");
    let mut rest = 0;
    while !matches!(worker.poll(Wait::Forever, |_| rest += 1), Err(Error::Stopped)) {}
    assert_eq!(rest, RING);
    drop(worker);
    let ledger = handle.ledger().expect("ledger");
    assert_eq!((ledger.delivered(), ledger.unaccounted()), (2 * RING, 0), "{}", causes(&ledger));
}

/// What this mode cannot do is the next mode's: `auto` goes on, with the reason.
#[test]
fn auto_goes_on_to_copy_where_a_setting_needs_it() {
    let lab = Lab::new().expect("lab");
    let opened = |build: fn(receiver::Builder) -> receiver::Builder| {
        let mut receiver = open(&lab, |builder| build(builder.subscribe(subscription(WANTED)))).expect("receiver");
        let refused: Vec<_> = receiver.handle().refused().to_vec();
        let modes: Vec<ReceiveMode> = refused.iter().map(|refused| refused.mode).collect();
        let came = burst(&lab, &mut receiver, stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]), 100, |datagram| {
            assert_eq!(datagram.path(), Path::Xdp);
        });
        let handle = receiver.handle();
        let ledger = handle.ledger().expect("ledger");
        assert_eq!((came, ledger.unaccounted()), (100, 0), "{}", causes(&ledger));
        let ways = [Verdict::Mapped, Verdict::Redirected].map(|way| ledger.verdict(way));
        (handle.mode(), modes, refused.last().expect("zero-copy at least").reason.clone(), ways)
    };
    let (mode, refused, _, ways) = opened(|builder| builder);
    assert_eq!((mode, refused, ways), (ReceiveMode::Mapped, vec![ReceiveMode::ZeroCopy], [100, 0]));
    let (mode, refused, reason, ways) = opened(|builder| builder.busy_poll(Some(BUSY_POLL)));
    assert_eq!((mode, refused), (ReceiveMode::Copy, vec![ReceiveMode::ZeroCopy, ReceiveMode::Mapped]));
    assert!(reason.contains("busy polling needs an AF_XDP socket"), "{reason}");
    assert_eq!(ways, [0, 100]);
}

#[test]
fn what_the_mode_cannot_do_is_refused_with_the_reason() {
    let lab = Lab::new().expect("lab");
    let refused = |build: fn(receiver::Builder) -> receiver::Builder| {
        let opened = open(&lab, |builder| build(builder.subscribe(subscription(WANTED)).mode(ReceiveMode::Mapped)));
        match opened.map(drop) {
            Err(error @ Error::ModeUnavailable { mode: ReceiveMode::Mapped, .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert!(refused(|builder| builder.busy_poll(Some(BUSY_POLL))).contains("busy polling"));
}
