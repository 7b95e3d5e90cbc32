//! What a receiver costs that sleeps while nothing arrives: its own checks, at most two wake-ups a second, and none of
//! the threads that wait for datagrams. Needs root.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::thread::JoinHandle;
use std::time::Duration;

use netlab::Lab;
use receiver::{Handle, ReceiveMode, Receiver, Subscription, Wait};
use support::threads::sleeps;
use support::{open, subscription};

/// How long wake-ups are counted.
const COUNTED: Duration = Duration::from_secs(5);
/// Before: the link comes up, and duplicate addresses are searched for.
const SETTLED: Duration = Duration::from_secs(3);
/// Wake-ups of a receiver's own threads in a second.
const HOUSEKEEPING: u64 = 2;
/// Wake-ups in the whole time that are not counted as too many: the check at either end, a lock or page that a thread
/// waits for.
const ALLOWANCE: u64 = 2;

/// How often each thread of this process has gone to sleep, with the thread's name.
fn of_each_thread() -> BTreeMap<u32, (String, u64)> {
    let mut all = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").expect("threads") {
        let path = task.expect("a thread").path();
        // A thread that has just ended has neither.
        let (Some(count), Ok(name)) = (sleeps(&path), fs::read_to_string(path.join("comm"))) else { continue };
        let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).expect("an id");
        all.insert(id, (name.trim().to_owned(), count));
    }
    all
}

/// One subscription for each number.
fn subscriptions(count: u32) -> Vec<Subscription> {
    (1..=count).map(|n| subscription(&format!("10.0.0.1@232.1.{}.{}:5000", n / 200, 1 + n % 200))).collect()
}

/// A receiver whose workers sleep, each in a thread with a name that begins with `idle`.
struct Sleeping {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
}

impl Sleeping {
    fn workers(receiver: Receiver) -> Self {
        let handle = receiver.handle();
        let threads = receiver.into_workers().into_iter().map(|mut worker| {
            let run = move || while worker.poll(Wait::Forever, |_| {}).is_ok() {};
            std::thread::Builder::new().name("idle-worker".into()).spawn(run).expect("a thread")
        });
        Self { handle, threads: threads.collect() }
    }

    fn stream(receiver: Receiver) -> Self {
        let handle = receiver.handle();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut receiver = receiver.into_async().expect("async");
                let received = receiver.recv().await.expect("recv");
                assert!(received.is_none(), "the receiver was shut down");
            });
        };
        let thread = std::thread::Builder::new().name("idle-stream".into()).spawn(run).expect("a thread");
        Self { handle, threads: vec![thread] }
    }
}

#[test]
fn a_receiver_without_traffic_sleeps_but_for_its_own_checks() {
    let mut labs = Vec::new();
    let mut sleeping = Vec::new();
    for mode in [ReceiveMode::Mapped, ReceiveMode::Generic, ReceiveMode::Copy, ReceiveMode::Socket] {
        for (count, start) in
            [(1, Sleeping::workers as fn(Receiver) -> Sleeping), (100, Sleeping::workers), (1, Sleeping::stream)]
        {
            let lab = Lab::builder().queues(2).build().expect("lab");
            let receiver = open(&lab, |builder| builder.mode(mode).subscribe_all(subscriptions(count)));
            sleeping.push(start(receiver.expect("receiver")));
            labs.push(lab);
        }
    }
    std::thread::sleep(SETTLED);
    let before = of_each_thread();
    std::thread::sleep(COUNTED);
    let after = of_each_thread();
    let own = std::process::id();
    let (mut waiting, mut housekeeping) = (0, 0);
    for (id, (name, count)) in &after {
        let slept = count - before.get(id).map_or(0, |(_, count)| *count);
        if slept > 0 {
            println!("{name} ({id}): {slept} wake-ups in {} s", COUNTED.as_secs());
        }
        if name.starts_with("idle") {
            waiting += slept;
        } else if name.starts_with("receiver-") {
            housekeeping += slept;
        } else {
            // The test's own thread sleeps once, and the process's first waits for it.
            assert!(*id == own || slept <= 2, "{name}: {slept}");
        }
    }
    let receivers = sleeping.len() as u64;
    println!("{receivers} receivers: {housekeeping} wake-ups of their own threads");
    assert_eq!(waiting, 0, "wake-ups of threads that wait for datagrams");
    let limit = receivers * (HOUSEKEEPING * COUNTED.as_secs() + ALLOWANCE);
    assert!(housekeeping <= limit, "{housekeeping} wake-ups of {receivers} receivers, more than {limit}");
    for one in sleeping {
        one.handle.shutdown().expect("shutdown");
        one.threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
    }
}
