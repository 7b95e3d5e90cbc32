//! When a datagram came, and who took the time.

mod support;

use std::time::{Duration, Instant};

use netlab::Lab;
use receiver::{ModeRequest, Path, ReceiveMode, Receiver, TimeOrigin};
use rustix::time::{DynamicClockId, clock_gettime_dynamic};
use support::frame::{Frame, FrameSocket};
use support::{PATIENCE, Sending, burst, causes, open, receive, stream, subscription};

/// Kernel and user space may disagree by so much: XDP's clock is the lock-free one.
const SLACK: u64 = 1_000_000;

fn tai() -> u64 {
    let now = clock_gettime_dynamic(DynamicClockId::Tai).expect("CLOCK_TAI");
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn check(mode: ReceiveMode, stamped: bool, origin: TimeOrigin) {
    const COUNT: u64 = 1_000;
    let lab = Lab::new().expect("lab");
    let mut receiver = open(&lab, |builder| {
        builder
            .subscribe(subscription("10.0.0.1@232.1.1.1:5000"))
            .subscribe(subscription("[2001:db8::1]@[ff3e::1]:5000"))
            .mode(ModeRequest::Exactly(mode))
            .timestamps(stamped)
    })
    .expect("receiver");
    let warm_up = if origin == TimeOrigin::Kernel { until_the_kernel_stamps(&lab, &mut receiver) } else { 0 };
    for (group, source) in [("232.1.1.1", "10.0.0.1"), ("ff3e::1", "2001:db8::1")] {
        let mut config = stream(&lab, group, 5000, &[source]);
        config.traffic.rate = 20_000;
        // With a whole checksum, so that generic mode takes it by XDP.
        config.spoof = mode == ReceiveMode::Generic;
        let (begin, mut last, mut latest, mut by_kernel) = (tai(), 0, 0, 0);
        let came = burst(&lab, &mut receiver, config, COUNT, |datagram| {
            let time = datagram.time();
            latest = latest.max(time.nanoseconds);
            // Of whole checksums, one in 65,536 looks partial, and generic mode leaves that frame to the kernel.
            if mode == ReceiveMode::Generic && datagram.path() == Path::Kernel {
                by_kernel += 1;
                return;
            }
            assert_eq!(time.origin, origin);
            let now = tai();
            assert!(
                (begin - SLACK..=now + SLACK).contains(&time.nanoseconds),
                "{} is not between {begin}, when nothing was sent, and now, {now}",
                time.nanoseconds
            );
            assert!(time.nanoseconds + 1_000 >= last, "{} after {last}", time.nanoseconds);
            last = time.nanoseconds;
        });
        assert_eq!(came, COUNT);
        assert!(by_kernel <= 3, "{by_kernel} by the kernel");
        // By the ledger as well.
        let reports = receiver.handle().subscriptions().expect("subscriptions");
        let report = reports.iter().find(|report| report.subscription.group().is_ipv4() == (group == "232.1.1.1"));
        assert_eq!(report.and_then(|report| report.last), Some(latest));
    }
    let ledger = receiver.handle().ledger().expect("ledger");
    assert_eq!(ledger.count("unstamped").expect("a cause"), 0, "{}", causes(&ledger));
    assert_eq!((ledger.delivered(), ledger.unaccounted()), (warm_up + 2 * COUNT, 0), "{}", causes(&ledger));
}

/// The first socket that asks for time stamps makes the kernel take them, a moment later. What came before is stamped
/// when it is read (`__sock_recv_timestamp`), and so after what comes next. Returns how many datagrams it took.
fn until_the_kernel_stamps(lab: &Lab, receiver: &mut Receiver) -> u64 {
    let start = Instant::now();
    for sent in 1.. {
        let mut config = stream(lab, "232.1.1.1", 5000, &["10.0.0.1"]);
        config.traffic.count = Some(1);
        Sending::start(lab, config).wait();
        std::thread::sleep(Duration::from_millis(5));
        let (before_it_was_read, mut stamped) = (tai(), false);
        receive(receiver, &[], |datagram| stamped = datagram.time().nanoseconds < before_it_was_read);
        if stamped {
            return sent;
        }
        assert!(start.elapsed() < PATIENCE, "the kernel stamps nothing");
    }
    0
}

#[test]
fn copy() {
    check(ReceiveMode::Copy, true, TimeOrigin::Xdp);
}

#[test]
fn mapped() {
    check(ReceiveMode::Mapped, true, TimeOrigin::Xdp);
    check(ReceiveMode::Mapped, false, TimeOrigin::UserSpace);
}

#[test]
fn generic() {
    check(ReceiveMode::Generic, true, TimeOrigin::Xdp);
}

#[test]
fn socket() {
    check(ReceiveMode::Socket, true, TimeOrigin::Kernel);
}

#[test]
fn copy_without() {
    check(ReceiveMode::Copy, false, TimeOrigin::UserSpace);
}

#[test]
fn socket_without() {
    check(ReceiveMode::Socket, false, TimeOrigin::UserSpace);
}

/// The kernel path beside XDP is stamped too, by the kernel.
#[test]
fn the_kernel_path_beside_xdp() {
    let lab = Lab::new().expect("lab");
    let mut receiver = open(&lab, |builder| {
        builder.subscribe(subscription("10.0.0.1@232.1.1.1:5000")).mode(ReceiveMode::Copy).timestamps(true)
    })
    .expect("receiver");
    let mut origins = Vec::new();
    FrameSocket::open(&lab).send(&Frame::with_options("10.0.0.1:4000", "232.1.1.1:5000", b"", &[0x94, 4, 0, 0]).bytes);
    let mut config = stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
    config.traffic.count = Some(1);
    receive(&mut receiver, &[Sending::start(&lab, config)], |datagram| origins.push(datagram.time().origin));
    origins.sort_by_key(|origin| *origin == TimeOrigin::Xdp);
    assert_eq!(origins, [TimeOrigin::Kernel, TimeOrigin::Xdp]);
}
