//! The filter changed under load: no wanted packet is lost (sequences checked), and none comes from a source after
//! `block`, or of a subscription after `leave`, returned.

mod support;

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use netlab::Lab;
use receiver::{Error, Handle, ModeRequest, ReceiveMode, Receiver, SubscriptionId, Wait};
use receiver_send::probe::ProbeChecker;
use support::pace::{Follower, Progress};
use support::{Sending, causes, each_came_once, observe, open, stream, subscription};

/// How often each change is made.
const ROUNDS: u32 = 100;

/// The queue's ring. [`WINDOW`] packets of the steady stream and twice as many of the switched one fit into it.
const RING: u32 = 16_384;

/// Packets of the steady stream that may be under way.
const WINDOW: u64 = 2_048;

/// What the consumer saw of the stream that is switched on and off.
#[derive(Default)]
struct Seen {
    /// Set while nothing of it may be handed over.
    forbidden: AtomicBool,
    /// Handed over while forbidden.
    trespassed: AtomicU64,
    /// Handed over in all.
    count: AtomicU64,
}

/// Runs `change` while a steady stream and a switched one flow, and checks that the steady one lost nothing and the
/// switched one never trespassed.
fn under_load(
    mode: ReceiveMode,
    steady: &str,
    switched: (&str, u16, &str),
    open_with: &[&str],
    change: impl FnOnce(&Handle, &[SubscriptionId], &Seen) + Send,
) {
    let lab = Lab::new().expect("lab");
    let receiver: Receiver = open(&lab, |mut builder| {
        for text in open_with {
            builder = builder.subscribe(subscription(text));
        }
        builder.mode(ModeRequest::Exactly(mode)).ring_size(RING).frames(4 * RING).socket_buffer(64 << 20)
    })
    .expect("receiver");
    let handle = receiver.handle();
    let ids: Vec<_> = handle.subscriptions().expect("subscriptions").iter().map(|report| report.id).collect();
    let seen = Arc::new(Seen::default());
    let (steady_source, steady_group) = steady.split_once('@').expect("SOURCE@GROUP");
    let switched_group: IpAddr = switched.0.parse().expect("group");
    let switched_source: IpAddr = switched.2.parse().expect("source");

    let progress = Arc::new(Progress::default());
    let consumer = {
        let (seen, progress, mut workers) = (Arc::clone(&seen), Arc::clone(&progress), receiver.into_workers());
        std::thread::spawn(move || {
            let mut checker = ProbeChecker::new();
            loop {
                let polled = workers[0].poll_while(Wait::For(Duration::from_millis(20)), |datagram| {
                    if datagram.group() == switched_group && datagram.source().ip() == switched_source {
                        seen.count.fetch_add(1, Ordering::Relaxed);
                        if seen.forbidden.load(Ordering::SeqCst) {
                            seen.trespassed.fetch_add(1, Ordering::Relaxed);
                        }
                    } else {
                        observe(&mut checker, &datagram);
                        progress.count();
                    }
                    ControlFlow::Continue(())
                });
                match polled {
                    Ok(_) => {}
                    Err(Error::Stopped) => return (checker, workers),
                    Err(error) => panic!("{error}"),
                }
            }
        })
    };

    let mut config = stream(&lab, steady_group, 5000, &[steady_source]);
    config.traffic.rate = 50_000;
    let steady_sending = {
        let progress = Arc::clone(&progress);
        Sending::start_paced(&lab, config, move |sent| progress.may_send(sent, WINDOW))
    };
    let mut config = stream(&lab, switched.0, switched.1, &[switched.2]);
    config.traffic.rate = 50_000;
    config.spoof = true;
    let follower = Follower::new(&progress, WINDOW);
    let switched_sending = Sending::start_paced(&lab, config, move |sent| follower.may_send(sent));
    std::thread::sleep(Duration::from_millis(100));

    lab.rx().run(|| change(&handle, &ids, &seen)).expect("a thread in rx");

    let sent = steady_sending.stop();
    switched_sending.stop();
    progress.wait_for(sent.packets);
    handle.shutdown().expect("shutdown");
    let (checker, workers) = consumer.join().expect("consumer");
    let ledger = handle.ledger().expect("ledger");
    let report = checker.report();
    let message = format!("{report}\n{}", causes(&ledger));
    drop(workers);
    assert_eq!(seen.trespassed.load(Ordering::Relaxed), 0, "handed over after the call returned: {message}");
    assert!(seen.count.load(Ordering::Relaxed) > 0, "the switched stream was never on: {message}");
    assert_eq!(report.received, sent.packets, "a wanted packet was lost: {message}");
    assert!(each_came_once(&report, &ledger), "{message}");
    assert_eq!(ledger.unaccounted(), 0, "{message}");
}

/// A moment in which packets flow under the new filter.
fn dwell() {
    std::thread::sleep(Duration::from_millis(2));
}

fn block_and_unblock(mode: ReceiveMode, v6: bool) {
    let (steady, group, source, any) = if v6 {
        ("2001:db8::1@ff3e::1", "ff15::2", "2001:db8::9", "![2001:db8::8]@[ff15::2]:5001")
    } else {
        ("10.0.0.1@232.1.1.1", "239.1.1.2", "10.0.0.9", "!10.0.0.8@239.1.1.2:5001")
    };
    let ssm = if v6 { "[2001:db8::1]@[ff3e::1]:5000" } else { "10.0.0.1@232.1.1.1:5000" };
    under_load(mode, steady, (group, 5001, source), &[ssm, any], |handle, ids, seen| {
        let address: IpAddr = source.parse().expect("source");
        for _ in 0..ROUNDS {
            handle.block(ids[1], address).expect("block");
            seen.forbidden.store(true, Ordering::SeqCst);
            dwell();
            seen.forbidden.store(false, Ordering::SeqCst);
            handle.unblock(ids[1], address).expect("unblock");
            dwell();
        }
        assert!(matches!(handle.unblock(ids[1], address), Err(Error::SourceState { .. })), "it is not blocked now");
        assert!(matches!(handle.block(ids[0], address), Err(Error::WrongFilterMode { .. })));
    });
}

fn join_and_leave(mode: ReceiveMode) {
    under_load(
        mode,
        "10.0.0.1@232.1.1.1",
        ("232.1.1.2", 5001, "10.0.0.9"),
        &["10.0.0.1@232.1.1.1:5000"],
        |handle, _, seen| {
            let asked = subscription("10.0.0.9@232.1.1.2:5001");
            for _ in 0..ROUNDS {
                seen.forbidden.store(false, Ordering::SeqCst);
                let id = handle.join(&asked).expect("join");
                assert!(matches!(handle.join(&asked), Err(Error::Overlap { .. })));
                dwell();
                handle.leave(id).expect("leave");
                seen.forbidden.store(true, Ordering::SeqCst);
                dwell();
                assert!(matches!(handle.leave(id), Err(Error::UnknownSubscription { .. })));
            }
        },
    );
}

/// A source is added to and removed from the very group and port of the steady stream, once in its own subscription and
/// once in another: the group's entry stays, the steady source is never without its own.
fn sources_of_one_group(mode: ReceiveMode) {
    under_load(
        mode,
        "10.0.0.1@232.1.1.1",
        ("232.1.1.1", 5000, "10.0.0.9"),
        &["10.0.0.1@232.1.1.1:5000"],
        |handle, ids, seen| {
            let address: IpAddr = "10.0.0.9".parse().expect("source");
            for _ in 0..ROUNDS / 2 {
                seen.forbidden.store(false, Ordering::SeqCst);
                handle.join_source(ids[0], address).expect("join_source");
                dwell();
                handle.leave_source(ids[0], address).expect("leave_source");
                seen.forbidden.store(true, Ordering::SeqCst);
                dwell();
                seen.forbidden.store(false, Ordering::SeqCst);
                let second = handle.join(&subscription("10.0.0.9@232.1.1.1:5000")).expect("join");
                dwell();
                handle.leave(second).expect("leave");
                seen.forbidden.store(true, Ordering::SeqCst);
                dwell();
            }
            let reports = handle.subscriptions().expect("subscriptions");
            assert_eq!(reports.len(), 1);
        },
    );
}

#[test]
fn block_and_unblock_copy_v4() {
    block_and_unblock(ReceiveMode::Copy, false);
}

#[test]
fn block_and_unblock_copy_v6() {
    block_and_unblock(ReceiveMode::Copy, true);
}

#[test]
fn block_and_unblock_mapped_v4() {
    block_and_unblock(ReceiveMode::Mapped, false);
}

#[test]
fn block_and_unblock_mapped_v6() {
    block_and_unblock(ReceiveMode::Mapped, true);
}

#[test]
fn join_and_leave_mapped() {
    join_and_leave(ReceiveMode::Mapped);
}

#[test]
fn sources_of_one_group_mapped() {
    sources_of_one_group(ReceiveMode::Mapped);
}

#[test]
fn block_and_unblock_socket_v4() {
    block_and_unblock(ReceiveMode::Socket, false);
}

#[test]
fn join_and_leave_copy() {
    join_and_leave(ReceiveMode::Copy);
}

#[test]
fn join_and_leave_generic() {
    join_and_leave(ReceiveMode::Generic);
}

#[test]
fn join_and_leave_socket() {
    join_and_leave(ReceiveMode::Socket);
}

#[test]
fn sources_of_one_group_copy() {
    sources_of_one_group(ReceiveMode::Copy);
}

#[test]
fn sources_of_one_group_socket() {
    sources_of_one_group(ReceiveMode::Socket);
}

/// A callback that is under way when `block` is called has ended when it returns.
#[test]
fn block_waits_for_the_callback_under_way() {
    let lab = Lab::new().expect("lab");
    let receiver = open(&lab, |builder| {
        builder.subscribe(subscription("239.1.1.2:5001")).mode(ModeRequest::Exactly(ReceiveMode::Copy))
    })
    .expect("receiver");
    let handle = receiver.handle();
    let id = handle.subscriptions().expect("subscriptions")[0].id;
    let inside = Arc::new(AtomicBool::new(false));
    let consumer = {
        let (inside, mut worker) = (Arc::clone(&inside), receiver.into_workers().remove(0));
        std::thread::spawn(move || {
            while worker
                .poll(Wait::Forever, |_| {
                    inside.store(true, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                    inside.store(false, Ordering::SeqCst);
                })
                .is_ok()
            {}
        })
    };
    let mut config = stream(&lab, "239.1.1.2", 5001, &["10.0.0.1"]);
    config.traffic.rate = 1_000;
    let sending = Sending::start(&lab, config);
    let source = IpAddr::from([10, 0, 0, 1]);
    for _ in 0..20 {
        while !inside.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
        handle.block(id, source).expect("block");
        assert!(!inside.load(Ordering::SeqCst), "the callback still has the datagram");
        std::thread::sleep(Duration::from_millis(5));
        assert!(!inside.load(Ordering::SeqCst), "another came");
        handle.unblock(id, source).expect("unblock");
    }
    sending.stop();
    handle.shutdown().expect("shutdown");
    consumer.join().expect("consumer");
}

/// A consumer that steers from within its callback does not wait for itself.
#[test]
fn steering_from_the_callback() {
    let lab = Lab::new().expect("lab");
    let receiver = open(&lab, |builder| {
        builder.subscribe(subscription("239.1.1.2:5001")).mode(ModeRequest::Exactly(ReceiveMode::Copy))
    })
    .expect("receiver");
    let handle = receiver.handle();
    let id = handle.subscriptions().expect("subscriptions")[0].id;
    let mut config = stream(&lab, "239.1.1.2", 5001, &["10.0.0.1", "10.0.0.2"]);
    config.traffic.count = Some(2_000);
    config.traffic.rate = 20_000;
    let sending = Sending::start(&lab, config);
    let mut worker = receiver.into_workers().remove(0);
    let mut counts: HashMap<IpAddr, u64> = HashMap::new();
    support::drain(&mut worker, Duration::from_millis(500), |datagram| {
        let source = datagram.source().ip();
        let count = counts.entry(source).or_default();
        *count += 1;
        if source == IpAddr::from([10, 0, 0, 2]) && *count == 1 {
            handle.block(id, source).expect("block from the callback");
        }
    });
    sending.wait();
    assert_eq!(counts[&IpAddr::from([10, 0, 0, 1])], 1_000);
    assert_eq!(counts[&IpAddr::from([10, 0, 0, 2])], 1, "the one in hand was the last");
}
