//! Many subscriptions joined and left, at once and one by one: all or none, at a cost that grows with their number, and
//! with an ear for signals. Needs root.

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver::{Error, Handle, ReceiveMode, Receiver, SourceFilter, Subscription};
use rustix::time::{ClockId, clock_gettime};
use support::traces::Traces;
use support::{PATIENCE, burst, causes, open, stream, subscription};

/// Time that the calling thread has had on a processor, in the kernel too: what other processes do does not count.
fn busy() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn sources(count: u32) -> impl Iterator<Item = IpAddr> {
    (1..=count).map(|n| Ipv4Addr::from(0x0a01_0000 + n).into())
}

/// One group of N sources, by N subscriptions.
fn one_group(count: u32, subscriptions: u32) -> Vec<Subscription> {
    let all: Vec<IpAddr> = sources(count).collect();
    let of = |sources: &[IpAddr]| {
        let filter = SourceFilter::Include(sources.iter().copied().collect());
        Subscription::new([232, 1, 1, 1].into(), 5000, filter).expect("valid")
    };
    all.chunks((count / subscriptions) as usize).map(of).collect()
}

/// Opens a receiver on a thread in the lab. Returns it, and how long it kept the thread busy.
fn opened(lab: &Lab, mode: ReceiveMode, subscriptions: &[Subscription]) -> (Receiver, Duration) {
    let build = || {
        let builder = Receiver::builder(lab.rx_interface()).mode(mode).max_flows(65_536);
        let builder = subscriptions.iter().fold(builder, |builder, one| builder.subscribe(one.clone()));
        let before = busy();
        let receiver = builder.build().expect("receiver");
        (receiver, busy() - before)
    };
    lab.rx().run(build).expect("run")
}

fn joined(handle: &Handle) -> Vec<Subscription> {
    handle.subscriptions().expect("subscriptions").into_iter().map(|report| report.subscription).collect()
}

#[test]
fn thousands_of_lines_of_one_group_cost_little_more_than_one_line() {
    const SOURCES: u32 = 4000;
    for mode in [ReceiveMode::Socket, ReceiveMode::Copy, ReceiveMode::Mapped] {
        let lab = Lab::new().expect("lab");
        let (receiver, one) = opened(&lab, mode, &one_group(SOURCES, 1));
        drop(receiver);
        let (receiver, many) = opened(&lab, mode, &one_group(SOURCES, SOURCES));
        println!("{mode}: {SOURCES} sources by one subscription {one:?}, by one each {many:?}");
        assert_eq!(joined(&receiver.handle()).len(), SOURCES as usize);
        // One membership change for each line would make it forty times as much.
        assert!(many < 8 * one, "{mode}: {many:?}, and {one:?} by one subscription");
    }
}

#[test]
fn leaving_four_times_as_many_groups_costs_about_four_times_as_much() {
    let time = |count: u32| {
        let lab = Lab::new().expect("lab");
        let of = |n: u32| {
            let group = Ipv6Addr::from((0xff3e_u128 << 112) + 0x8000_0000 + u128::from(n)).into();
            let source: IpAddr = "2001:db8::1".parse().expect("address");
            Subscription::new(group, 5000, SourceFilter::Include([source].into())).expect("valid")
        };
        let all: Vec<Subscription> = (1..=count).map(of).collect();
        let (receiver, _) = opened(&lab, ReceiveMode::Socket, &all);
        let handle = receiver.handle();
        let stop = || {
            let before = busy();
            handle.shutdown().expect("shutdown");
            busy() - before
        };
        lab.rx().run(stop).expect("run")
    };
    // The least of three: other work on the machine makes a run slower, never faster.
    let least = |count| (0..3).map(|_| time(count)).min().expect("three runs");
    let (some, many) = (least(2500), least(10_000));
    println!("2,500 groups left in {some:?}, 10,000 in {many:?}");
    // In the order of joining it is ten times as much and more: the kernel walks its list to the end for each.
    assert!(many < 8 * some, "{many:?}, and {some:?} for a fourth of them");
}

/// `count` groups, from number `first` on.
fn groups(first: u32, count: u32) -> Vec<Subscription> {
    let filter = SourceFilter::Include(sources(1).collect());
    let group = |n| Ipv4Addr::from(0xe801_0000 + n).into();
    (first..first + count).map(|n| Subscription::new(group(n), 5000, filter.clone()).expect("valid")).collect()
}

#[test]
fn a_join_beside_thousands_costs_little_more_than_beside_none() {
    let lab = Lab::new().expect("lab");
    let (receiver, _) = opened(&lab, ReceiveMode::Copy, &groups(0, 1));
    let handle = receiver.handle();
    // The least of three: other work on the machine makes a run slower, never faster.
    let least = |first| {
        let time = |first| {
            let all = groups(first, 100);
            let before = busy();
            for one in &all {
                handle.join(one).expect("join");
            }
            busy() - before
        };
        lab.rx().run(|| (0..3_u32).map(|n| time(first + 100 * n)).min().expect("three runs")).expect("run")
    };
    let alone = least(1000);
    lab.rx().run(|| handle.join_all(&groups(10_000, 8_000))).expect("run").expect("join");
    let beside = least(2000);
    println!("100 joins beside hundreds: {alone:?}, beside thousands: {beside:?}");
    // If each join visited all groups, it would be more than ten times as much.
    assert!(beside < 4 * alone, "{beside:?}, and {alone:?} beside hundreds");
}

fn left_at_once(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let first = "10.0.0.1@232.1.1.1:5000";
    let mut receiver = open(&lab, |builder| builder.subscribe(subscription(first)).mode(mode)).expect("receiver");
    let handle = receiver.handle();
    let before = Traces::of(&lab);
    let texts =
        ["10.0.0.2@232.1.1.1:5000", "10.0.0.1@232.1.1.2:5000", "[2001:db8::1]@[ff3e::1]:5000", "239.1.1.1:5001"];
    let all = texts.map(subscription);
    let ids = lab.rx().run(|| handle.join_all(&all)).expect("run").expect("join");
    handle.leave(ids[3]).expect("leave");
    let error = handle.leave_all(&ids).expect_err("one of them was left");
    assert!(matches!(error, Error::UnknownSubscription { id } if id == ids[3].number()), "{error}");
    assert_eq!(joined(&handle).len(), 4, "the others stay");
    handle.leave_all(&[ids[0], ids[1], ids[2], ids[1]]).expect("leave");
    assert_eq!(joined(&handle), [subscription(first)]);
    let mut count =
        |source: &str, group: &str| burst(&lab, &mut receiver, stream(&lab, group, 5000, &[source]), 50, |_| {});
    assert_eq!(
        [count("10.0.0.1", "232.1.1.1"), count("10.0.0.2", "232.1.1.1"), count("10.0.0.1", "232.1.1.2")],
        [50, 0, 0]
    );
    assert_eq!(Traces::settled(&lab, &before), before);
    handle.leave_all(&[]).expect("nothing");
}

#[test]
fn left_at_once_copy() {
    left_at_once(ReceiveMode::Copy);
}

#[test]
fn left_at_once_mapped() {
    left_at_once(ReceiveMode::Mapped);
}

#[test]
fn left_at_once_socket() {
    left_at_once(ReceiveMode::Socket);
}

fn all_or_none(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let first = "10.0.0.1@232.1.1.1:5000";
    let mut receiver = open(&lab, |builder| builder.subscribe(subscription(first)).mode(mode)).expect("receiver");
    let handle = receiver.handle();
    // A socket that does not share its port: what comes last of these cannot be had.
    let _taken = lab.rx().run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 6000))).expect("run").expect("a port");
    let before = Traces::of(&lab);
    let texts = ["10.0.0.2@232.1.1.1:5000", "10.0.0.3@232.1.1.1:5000", "10.0.0.1@232.1.1.2:5000", "239.1.1.1:5001"];
    let good: Vec<Subscription> = texts.iter().map(|text| subscription(text)).collect();
    let join = |also: &str| {
        let all: Vec<Subscription> = good.iter().cloned().chain([subscription(also)]).collect();
        lab.rx().run(|| handle.join_all(&all)).expect("run")
    };
    for (bad, why) in [
        ("10.0.0.1@232.1.1.3:6000", "another socket holds this port"),
        ("10.0.0.3@232.1.1.1:5000", "a source is in both"),
        ("10.0.0.1@232.1.1.1:5000", "a source is in both"),
    ] {
        let error = join(bad).expect_err(bad).to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(joined(&handle), [subscription(first)], "{bad}");
        assert_eq!(Traces::settled(&lab, &before), before, "{bad}");
    }
    let mut count =
        |source: &str, group: &str, port| burst(&lab, &mut receiver, stream(&lab, group, port, &[source]), 50, |_| {});
    assert_eq!([count("10.0.0.1", "232.1.1.1", 5000), count("10.0.0.2", "232.1.1.1", 5000)], [50, 0]);

    let ids = join("10.0.0.4@232.1.1.1:5000").expect("all of them");
    assert!(ids.len() == 5 && ids.is_sorted(), "{ids:?}");
    assert_eq!(joined(&handle).len(), 6);
    for (source, group, port) in [
        ("10.0.0.1", "232.1.1.1", 5000),
        ("10.0.0.2", "232.1.1.1", 5000),
        ("10.0.0.4", "232.1.1.1", 5000),
        ("10.0.0.1", "232.1.1.2", 5000),
        ("10.0.0.7", "239.1.1.1", 5001),
    ] {
        assert_eq!(count(source, group, port), 50, "{source}@{group}:{port}");
    }
    assert_eq!([count("10.0.0.5", "232.1.1.1", 5000), count("10.0.0.2", "232.1.1.2", 5000)], [0, 0]);
    let ledger = handle.ledger().expect("ledger");
    assert_eq!((ledger.unaccounted(), ledger.lost()), (0, 0), "{}", causes(&ledger));
    assert_eq!(lab.rx().run(|| handle.join_all(&[])).expect("run").expect("nothing"), []);
}

#[test]
fn all_or_none_copy() {
    all_or_none(ReceiveMode::Copy);
}

#[test]
fn all_or_none_mapped() {
    all_or_none(ReceiveMode::Mapped);
}

#[test]
fn all_or_none_socket() {
    all_or_none(ReceiveMode::Socket);
}

#[test]
fn a_join_of_one_group_is_cancelled_on_the_way() {
    let lab = Lab::new().expect("lab");
    let before = Traces::of(&lab);
    let flag = Arc::new(AtomicBool::new(false));
    let filters = || {
        let read = || std::fs::read_to_string("/proc/thread-self/net/mcfilter").expect("/proc");
        lab.rx().run(read).expect("run").lines().count()
    };
    let error = std::thread::scope(|scope| {
        let building = scope.spawn(|| {
            open(&lab, |builder| {
                // So many take longer than the other thread to see the first of them.
                let all = one_group(60_000, 1).remove(0);
                builder.mode(ReceiveMode::Socket).subscribe(all).cancel(Arc::clone(&flag))
            })
        });
        let start = Instant::now();
        while filters() < 100 {
            assert!(start.elapsed() < PATIENCE && !building.is_finished(), "nothing is joined");
        }
        flag.store(true, Ordering::Relaxed);
        building.join().expect("a thread").err()
    });
    assert!(matches!(error, Some(Error::Cancelled)), "{error:?}");
    assert_eq!(Traces::settled(&lab, &before), before);
}
