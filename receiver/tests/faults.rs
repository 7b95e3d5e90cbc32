//! Faults and endings: after any end of a receiver the interface is as it was before, and the next receiver starts.

mod support;

use std::time::{Duration, Instant};

use netlab::Lab;
use receiver::{Error, ModeRequest, ReceiveMode, Receiver, Wait};
use support::traces::{Traces, interface};
use support::{PATIENCE, Sending, XDP, burst, causes, open, stream, subscription};

const V4: &str = "10.0.0.1@232.1.1.1:5000";
const V6: &str = "[2001:db8::1]@[ff3e::1]:5000";
const ANY: &str = "!10.0.0.9@239.1.1.1:5001";

fn open_all(lab: &Lab, mode: ReceiveMode) -> Result<Receiver, Error> {
    open(lab, |mut builder| {
        for text in [V4, V6, ANY] {
            builder = builder.subscribe(subscription(text));
        }
        builder.mode(ModeRequest::Exactly(mode))
    })
}

fn dropping_leaves_nothing(mode: ReceiveMode) {
    let lab = Lab::builder().queues(2).build().expect("lab");
    let before = Traces::of(&lab);
    let receiver = open_all(&lab, mode).expect("receiver");
    let during = Traces::of(&lab);
    assert_eq!(during.xdp_program.is_some(), mode != ReceiveMode::Socket);
    for group in ["232.1.1.1", "239.1.1.1", "ff3e::1"] {
        assert!(during.groups.contains(group) && !before.groups.contains(group), "{group}: {during:?}");
    }
    assert_ne!(during.filters, before.filters);
    let handle = receiver.handle();
    drop(receiver);
    assert_eq!(Traces::settled(&lab, &before), before, "after the drop of a receiver, with a handle still there");
    let refused = lab.rx().run(|| handle.join(&subscription("10.0.0.2@232.1.1.2:5000"))).expect("run");
    assert!(matches!(refused, Err(Error::Stopped)), "{refused:?}");
    assert_eq!(handle.ledger().expect("the ledger can still be read").unaccounted(), 0);

    // Worker by worker: the last one ends it.
    let mut workers = open_all(&lab, mode).expect("receiver").into_workers();
    while workers.len() > 1 {
        workers.pop();
        assert_eq!(Traces::of(&lab).groups, during.groups);
        assert_eq!(interface(&lab).xdp_program.is_some(), mode != ReceiveMode::Socket);
    }
    drop(workers);
    assert_eq!(Traces::settled(&lab, &before), before, "after the drop of the last worker");
}

#[test]
fn dropping_leaves_nothing_of_mode_copy() {
    dropping_leaves_nothing(ReceiveMode::Copy);
}

#[test]
fn dropping_leaves_nothing_of_mode_mapped() {
    dropping_leaves_nothing(ReceiveMode::Mapped);
}

#[test]
fn dropping_leaves_nothing_of_mode_generic() {
    dropping_leaves_nothing(ReceiveMode::Generic);
}

#[test]
fn dropping_leaves_nothing_of_mode_socket() {
    dropping_leaves_nothing(ReceiveMode::Socket);
}

fn shutdown_hands_over_the_rest(mode: ReceiveMode) {
    const COUNT: u64 = 500;
    let lab = Lab::new().expect("lab");
    let before = Traces::of(&lab);
    let mut receiver = open_all(&lab, mode).expect("receiver");
    let handle = receiver.handle();
    let mut config = stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
    (config.traffic.count, config.traffic.rate) = (Some(COUNT), 20_000);
    Sending::start(&lab, config).wait();
    // Everything is in the ring or the socket. The ring reports its content; a socket does not.
    let start = Instant::now();
    let there = || handle.ledger().expect("ledger").count("xsk_in_ring").expect("a cause") == COUNT;
    while mode != ReceiveMode::Socket && !there() {
        assert!(start.elapsed() < PATIENCE, "{}", causes(&handle.ledger().expect("ledger")));
        std::thread::sleep(Duration::from_millis(1));
    }
    if mode == ReceiveMode::Socket {
        std::thread::sleep(Duration::from_millis(300));
    }
    handle.shutdown().expect("shutdown");
    assert_eq!(Traces::settled(&lab, &before), before, "gone before the last datagram was fetched");
    let mut total = 0;
    let end = loop {
        match receiver.poll(Wait::Forever, |_| total += 1) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(end, Error::Stopped), "{end}");
    assert!(end.to_string().contains("shut down"), "{end}");
    let ledger = handle.ledger().expect("ledger");
    assert_eq!(total, COUNT, "{}", causes(&ledger));
    assert_eq!(ledger.unaccounted(), 0, "{}", causes(&ledger));
    handle.shutdown().expect("a second time is no error");
}

#[test]
fn shutdown_hands_over_the_rest_of_the_ring() {
    shutdown_hands_over_the_rest(ReceiveMode::Copy);
}

#[test]
fn shutdown_hands_over_the_rest_of_the_mapped_ring() {
    shutdown_hands_over_the_rest(ReceiveMode::Mapped);
}

#[test]
fn shutdown_hands_over_the_rest_of_the_sockets() {
    shutdown_hands_over_the_rest(ReceiveMode::Socket);
}

#[test]
fn shutdown_wakes_who_waits() {
    for mode in XDP {
        let lab = Lab::new().expect("lab");
        let mut receiver = open_all(&lab, mode).expect("receiver");
        let handle = receiver.handle();
        let waiting = std::thread::spawn(move || while receiver.poll(Wait::Forever, |_| {}).is_ok() {});
        std::thread::sleep(Duration::from_millis(50));
        handle.shutdown().expect("shutdown");
        waiting.join().expect("it ended");
    }
}

fn two_on_one_interface(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let mut first = open_all(&lab, mode).expect("receiver");
    let found = Traces::of(&lab);
    let program = found.xdp_program.expect("attached");
    let asked = "10.0.0.2@232.1.1.2:5002";
    let modes = [ReceiveMode::Mapped, ReceiveMode::Copy, ReceiveMode::Generic, ReceiveMode::ZeroCopy];
    for mode in modes.map(ModeRequest::from).into_iter().chain([ModeRequest::Auto]) {
        let refused = open(&lab, |builder| builder.subscribe(subscription(asked)).mode(mode));
        let error = refused.expect_err("refused");
        assert!(matches!(error, Error::XdpOccupied { program: named, .. } if named == program), "{mode:?}: {error}");
        let message = error.to_string();
        for part in [lab.rx_interface(), &program.to_string(), "mode socket"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(Traces::of(&lab), found, "nothing of the first one has changed");
    }
    let mut second =
        open(&lab, |builder| builder.subscribe(subscription(asked)).mode(ReceiveMode::Socket)).expect("beside it");
    let (one, other) = (stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]), stream(&lab, "232.1.1.2", 5002, &["10.0.0.2"]));
    assert_eq!(burst(&lab, &mut first, one, 100, |_| {}), 100);
    assert_eq!(burst(&lab, &mut second, other, 100, |_| {}), 100);
    drop(second);
    assert_eq!(Traces::of(&lab), found);
}

#[test]
fn two_on_one_interface_copy() {
    two_on_one_interface(ReceiveMode::Copy);
}

#[test]
fn two_on_one_interface_mapped() {
    two_on_one_interface(ReceiveMode::Mapped);
}

#[test]
fn two_on_one_interface_generic() {
    two_on_one_interface(ReceiveMode::Generic);
}

fn interface_goes_down(mode: ReceiveMode) {
    const COUNT: u64 = 200;
    let lab = Lab::new().expect("lab");
    let before = Traces::of(&lab);
    let mut receiver = open_all(&lab, mode).expect("receiver");
    let config = || {
        let mut config = stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
        (config.traffic.rate, config.spoof) = (20_000, true);
        config
    };
    assert_eq!(burst(&lab, &mut receiver, config(), COUNT, |_| {}), COUNT);
    lab.rx().ip(&["link", "set", lab.rx_interface(), "down"]).expect("down");
    for wait in [Wait::Never, Wait::For(Duration::from_millis(20)), Wait::Never] {
        assert_eq!(receiver.poll(wait, |_| {}).expect("poll goes on"), 0);
    }
    // Joining and leaving still work.
    let handle = receiver.handle();
    let id = lab.rx().run(|| handle.join(&subscription("10.0.0.3@232.1.1.3:5003"))).expect("run").expect("join");
    lab.rx().run(|| handle.leave(id)).expect("run").expect("leave");
    let ledger = handle.ledger().expect("ledger");
    assert_eq!(ledger.unaccounted(), 0, "{}", causes(&ledger));

    lab.rx().ip(&["link", "set", lab.rx_interface(), "up"]).expect("up");
    let start = Instant::now();
    while !lab.tx().ip(&["-oneline", "link", "show", "dev", lab.tx_interface()]).expect("ip").contains("state UP") {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(burst(&lab, &mut receiver, config(), COUNT, |_| {}), COUNT, "up again");
    let ledger = handle.ledger().expect("ledger");
    assert_eq!(ledger.unaccounted(), 0, "{}", causes(&ledger));
    drop(receiver);
    assert_eq!(Traces::settled(&lab, &before).xdp_program, None);
}

#[test]
fn interface_goes_down_in_mode_copy() {
    interface_goes_down(ReceiveMode::Copy);
}

#[test]
fn interface_goes_down_in_mode_mapped() {
    interface_goes_down(ReceiveMode::Mapped);
}

#[test]
fn interface_goes_down_in_mode_generic() {
    interface_goes_down(ReceiveMode::Generic);
}

#[test]
fn interface_goes_down_in_mode_socket() {
    interface_goes_down(ReceiveMode::Socket);
}

/// The interface is gone for good: the receiver ends without a panic.
#[test]
fn interface_is_deleted() {
    for mode in XDP {
        let lab = Lab::new().expect("lab");
        let mut receiver = open_all(&lab, mode).expect("receiver");
        lab.rx().ip(&["link", "delete", lab.rx_interface()]).expect("delete");
        for _ in 0..3 {
            assert_eq!(receiver.poll(Wait::For(Duration::from_millis(20)), |_| {}).expect("poll goes on"), 0);
        }
        let handle = receiver.handle();
        assert_eq!(handle.ledger().expect("ledger").unaccounted(), 0);
        handle.shutdown().expect("shutdown");
    }
}
