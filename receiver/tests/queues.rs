//! Several queues: flows that the sender spreads over four of them all arrive, each in order, whichever way the
//! receiver is driven: a thread for each queue, one thread for all, an async task, or a stream.

mod support;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_core::Stream;
use netlab::Lab;
use receiver::{AsyncReceiver, Error, Handle, OwnedDatagram, ReceiveMode, Receiver, Wait};
use receiver_send::probe::ProbeChecker;
use support::{NATIVE, PATIENCE, Sending, causes, observe, open, receive, stream, subscription};

const QUEUES: u32 = 4;
/// So many that no queue is left out by the hash of their ports.
const FLOWS: u16 = 64;
const COUNT: u64 = 32_000;

fn four_queues(mode: ReceiveMode) -> (Lab, Receiver) {
    let lab = Lab::builder().queues(QUEUES).build().expect("lab");
    let receiver = open(&lab, |builder| {
        builder.subscribe(subscription("10.0.0.1@232.1.1.1:5000")).mode(mode).ring_size(4_096).frames(16_384)
    })
    .expect("receiver");
    (lab, receiver)
}

fn send(lab: &Lab) -> Sending {
    let mut config = stream(lab, "232.1.1.1", 5000, &["10.0.0.1"]);
    (config.traffic.source_ports, config.traffic.threads, config.traffic.rate, config.traffic.count) =
        (FLOWS, 4, 40_000, Some(COUNT));
    Sending::start(lab, config)
}

/// Everything came, in order and once, and by all queues.
fn check(checkers: &[ProbeChecker], handle: &Handle) {
    let ledger = handle.ledger().expect("ledger");
    let message = causes(&ledger);
    let mut flows = BTreeSet::new();
    let mut received = 0;
    for checker in checkers {
        let report = checker.report();
        assert!(report.is_clean(), "{report}\n{message}");
        received += report.received;
        // A flow is on one queue: no other has seen its source port.
        assert!(report.flows.iter().all(|flow| flows.insert(flow.source)), "{report}\n{message}");
    }
    assert_eq!(received, COUNT, "{message}");
    assert_eq!(flows.len(), usize::from(FLOWS), "{message}");
    let seen: Vec<u32> = ledger.sockets().iter().filter(|s| s.consumer_position > 0).map(|s| s.queue).collect();
    assert_eq!(seen, (0..QUEUES).collect::<Vec<_>>(), "queues that saw packets");
    assert_eq!((ledger.unaccounted(), ledger.lost()), (0, 0), "{message}");
    assert_eq!(handle.subscriptions().expect("subscriptions")[0].packets, COUNT);
}

#[test]
fn a_thread_for_each_queue() {
    NATIVE.into_iter().for_each(a_thread_for_each_queue_in);
}

fn a_thread_for_each_queue_in(mode: ReceiveMode) {
    let (lab, receiver) = four_queues(mode);
    let handle = receiver.handle();
    let total = Arc::new(AtomicU64::new(0));
    let workers = receiver.into_workers();
    assert_eq!(workers.iter().map(|worker| worker.queue()).collect::<Vec<_>>(), [Some(0), Some(1), Some(2), Some(3)]);
    let threads: Vec<_> = workers
        .into_iter()
        .map(|mut worker| {
            let total = Arc::clone(&total);
            std::thread::spawn(move || {
                let mut checker = ProbeChecker::new();
                loop {
                    // Ends by the shutdown below, and by nothing else.
                    match worker.poll(Wait::Forever, |datagram| observe(&mut checker, &datagram)) {
                        Ok(count) => total.fetch_add(count as u64, Ordering::Relaxed),
                        Err(Error::Stopped) => return (checker, worker),
                        Err(error) => panic!("{error}"),
                    };
                }
            })
        })
        .collect();
    send(&lab).wait();
    let start = Instant::now();
    while total.load(Ordering::Relaxed) < COUNT && start.elapsed() < PATIENCE {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    handle.shutdown().expect("shutdown");
    let (checkers, _workers): (Vec<_>, Vec<_>) =
        threads.into_iter().map(|thread| thread.join().expect("worker")).unzip();
    check(&checkers, &handle);
}

#[test]
fn one_thread_for_all() {
    NATIVE.into_iter().for_each(one_thread_for_all_in);
}

fn one_thread_for_all_in(mode: ReceiveMode) {
    let (lab, mut receiver) = four_queues(mode);
    let mut checker = ProbeChecker::new();
    receive(&mut receiver, &[send(&lab)], |datagram| observe(&mut checker, &datagram));
    check(&[checker], &receiver.handle());
}

#[test]
fn an_async_task() {
    NATIVE.into_iter().for_each(an_async_task_in);
}

fn an_async_task_in(mode: ReceiveMode) {
    receives_all(mode, async |receiver| receiver.recv().await.expect("recv"));
}

/// As a stream, read in a task that is woken by the sockets alone.
#[test]
fn a_stream() {
    NATIVE.into_iter().for_each(a_stream_in);
}

fn a_stream_in(mode: ReceiveMode) {
    receives_all(mode, async |receiver| {
        poll_fn(|context| Pin::new(&mut *receiver).poll_next(context))
            .await
            .map(|datagram| datagram.expect("a datagram"))
    });
}

/// `next` gives every datagram, and then the end.
fn receives_all(mode: ReceiveMode, next: impl AsyncFn(&mut AsyncReceiver) -> Option<OwnedDatagram>) {
    let (lab, receiver) = four_queues(mode);
    let handle = receiver.handle();
    let sending = send(&lab);
    let mut checker = ProbeChecker::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let mut receiver = receiver.into_async().expect("async");
        for _ in 0..COUNT {
            let datagram = tokio::time::timeout(PATIENCE, next(&mut receiver)).await.expect("in time");
            let datagram = datagram.expect("not stopped");
            checker.observe(
                datagram.source,
                datagram.group,
                datagram.port,
                &datagram.payload,
                datagram.time.nanoseconds,
            );
        }
        handle.shutdown().expect("shutdown");
        assert_eq!(next(&mut receiver).await, None, "the end, and nothing came twice");
        check(&[checker], &handle);
    });
    sending.wait();
}
