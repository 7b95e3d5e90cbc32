//! The outcome of a datagram is counted once, when it is known, whatever the consumer does with it: the counters only
//! grow, and the ledger balances.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use netlab::Lab;
use receiver::{Handle, Ledger, ReceiveMode, Receiver, Wait};
use support::{PATIENCE, Sending, burst, causes, open, stream, subscription};

const COUNT: u64 = 40;
/// The causes that are gauges.
const GAUGES: [&str; 3] = ["held", "xsk_in_ring", "xsk_leased"];

fn open_with(lab: &Lab, mode: ReceiveMode, copies: u64) -> Receiver {
    // A copy of up to 256 bytes counts as 256 bytes.
    open(lab, |builder| builder.subscribe(subscription("!10.0.0.9@239.1.1.1:5000")).mode(mode).copy_limit(copies * 256))
        .expect("receiver")
}

fn send(lab: &Lab) {
    let mut config = stream(lab, "239.1.1.1", 5000, &["10.0.0.1"]);
    (config.traffic.rate, config.traffic.count) = (20_000, Some(COUNT));
    Sending::start(lab, config).wait();
}

fn ledger(handle: &Handle) -> Ledger {
    handle.ledger().expect("ledger")
}

fn count(ledger: &Ledger, cause: &str) -> u64 {
    ledger.count(cause).expect(cause)
}

/// Looks at all counters before and after each attempt to keep a datagram: most fail, as the copies have no room.
#[test]
fn counters_only_grow() {
    let lab = Lab::new().expect("lab");
    let mut receiver = open_with(&lab, ReceiveMode::Socket, 5);
    let handle = receiver.handle();
    let mut before: Vec<(&str, u64)> = Vec::new();
    let mut check = |handle: &Handle| {
        let now: Vec<_> = ledger(handle).causes().filter(|(cause, _)| !GAUGES.contains(cause)).collect();
        for (old, new) in before.iter().zip(&now) {
            assert!(old.0 == new.0 && old.1 <= new.1, "{old:?} became {new:?}");
        }
        before = now;
    };
    let mut kept = Vec::new();
    let mut config = stream(&lab, "239.1.1.1", 5000, &["10.0.0.1"]);
    config.traffic.rate = 20_000;
    let came = burst(&lab, &mut receiver, config, COUNT, |datagram| {
        check(&handle);
        kept.extend(datagram.into_owned());
        check(&handle);
    });
    let ledger = ledger(&handle);
    assert_eq!((came, kept.len()), (COUNT, 5));
    assert_eq!((ledger.delivered(), count(&ledger, "not_kept")), (5, COUNT - 5), "{}", causes(&ledger));
    assert_eq!(handle.subscriptions().expect("subscriptions")[0].packets, 5);
    assert_eq!(ledger.unaccounted(), 0, "{}", causes(&ledger));
}

fn a_consumer_panics(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let receiver = open_with(&lab, mode, 1_000);
    let handle = receiver.handle();
    let mut worker = receiver.into_workers().remove(0);
    send(&lab);
    let mut seen = 0;
    let poll = || {
        worker.poll(Wait::For(PATIENCE), |_| {
            seen += 1;
            assert!(seen < COUNT / 2, "the consumer's fault");
        })
    };
    catch_unwind(AssertUnwindSafe(poll)).expect_err("the consumer panics");
    assert_eq!(ledger(&handle).delivered(), COUNT / 2, "the one in hand is done with");
    while worker.poll(Wait::For(Duration::from_millis(50)), |_| seen += 1).expect("poll") > 0 {}
    let ledger = ledger(&handle);
    assert_eq!(ledger.delivered(), seen, "{}", causes(&ledger));
    if mode != ReceiveMode::Socket {
        assert_eq!((seen, ledger.unaccounted()), (COUNT, 0), "{}", causes(&ledger));
    }
}

#[test]
fn a_consumer_panics_in_mode_copy() {
    a_consumer_panics(ReceiveMode::Copy);
    a_consumer_panics(ReceiveMode::Mapped);
}

#[test]
fn a_consumer_panics_in_mode_socket() {
    a_consumer_panics(ReceiveMode::Socket);
}

/// The async receiver takes a batch at a time. What its user has not received yet is held, and not delivered.
fn an_async_receiver_holds_the_rest(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let receiver = open_with(&lab, mode, 1_000);
    let handle = receiver.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let mut receiver = receiver.into_async().expect("async");
        send(&lab);
        receiver.recv().await.expect("recv").expect("not stopped");
        let first = ledger(&handle);
        assert_eq!((first.delivered(), first.in_flight()), (1, COUNT - 1), "{}", causes(&first));
        assert_eq!((count(&first, "held"), first.unaccounted()), (COUNT - 1, 0), "{}", causes(&first));
        assert_eq!(handle.subscriptions().expect("subscriptions")[0].packets, 1);

        let id = handle.subscriptions().expect("subscriptions")[0].id;
        handle.block(id, "10.0.0.1".parse().expect("an address")).expect("block");
        tokio::time::timeout(Duration::from_millis(50), receiver.recv()).await.expect_err("the source is blocked");
        let blocked = ledger(&handle);
        assert_eq!((blocked.delivered(), count(&blocked, "revoked")), (1, COUNT - 1), "{}", causes(&blocked));
        assert_eq!((count(&blocked, "held"), blocked.unaccounted()), (0, 0), "{}", causes(&blocked));

        handle.unblock(id, "10.0.0.1".parse().expect("an address")).expect("unblock");
        send(&lab);
        receiver.recv().await.expect("recv").expect("not stopped");
        drop(receiver);
    });
    let ledger = ledger(&handle);
    assert_eq!((ledger.delivered(), count(&ledger, "undelivered_at_stop")), (2, COUNT - 1), "{}", causes(&ledger));
    assert_eq!((count(&ledger, "held"), ledger.unaccounted()), (0, 0), "{}", causes(&ledger));
    assert_eq!(handle.subscriptions().expect("subscriptions")[0].packets, 2);
}

#[test]
fn an_async_receiver_holds_the_rest_in_mode_copy() {
    an_async_receiver_holds_the_rest(ReceiveMode::Copy);
}

#[test]
fn an_async_receiver_holds_the_rest_in_mode_mapped() {
    an_async_receiver_holds_the_rest(ReceiveMode::Mapped);
}

#[test]
fn an_async_receiver_holds_the_rest_in_mode_socket() {
    an_async_receiver_holds_the_rest(ReceiveMode::Socket);
}
