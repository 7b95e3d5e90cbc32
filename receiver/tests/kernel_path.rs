//! What XDP must leave to the kernel arrives all the same, by the kernel path, beside XDP's own traffic: fragments,
//! IPv4 options, extension headers, queues without a socket. And what the kernel's sockets drop is counted to the last
//! one.

mod support;

use netlab::Lab;
use receiver::{ModeRequest, Path, Queues, ReceiveMode};
use receiver_common::Verdict;
use receiver_send::probe::ProbeChecker;
use support::frame::{Frame, FrameSocket};
use support::{NATIVE, Sending, causes, observe, open, receive, stream, subscription, wanted_verdict};

/// A payload that takes six fragments at an MTU of 1500, in both families.
const LARGE: usize = 8_000;
const FRAGMENTS: u64 = 6;

struct Family {
    group: &'static str,
    sources: [&'static str; 2],
    subscription: &'static str,
}

const V4: Family =
    Family { group: "232.1.1.1", sources: ["10.0.0.1", "10.0.0.2"], subscription: "10.0.0.1,10.0.0.2@232.1.1.1:5000" };

const V6: Family = Family {
    group: "ff3e::1",
    sources: ["2001:db8::1", "2001:db8::2"],
    subscription: "[2001:db8::1],[2001:db8::2]@[ff3e::1]:5000",
};

fn fragments(mode: ReceiveMode, family: &Family) {
    const LARGE_COUNT: u64 = 400;
    const SMALL_COUNT: u64 = 20_000;
    let lab = Lab::new().expect("lab");
    let mut receiver = open(&lab, |builder| {
        builder
            .subscribe(subscription(family.subscription))
            .mode(mode)
            .ring_size(16_384)
            .frames(65_536)
            .socket_buffer(64 << 20)
    })
    .expect("receiver");
    let mut large = stream(&lab, family.group, 5000, &family.sources[..1]);
    // 1.6 s each: on a busy machine too the receiver looks at both many times.
    (large.traffic.size, large.traffic.rate, large.traffic.count) = (LARGE, 250, Some(LARGE_COUNT));
    let mut small = stream(&lab, family.group, 5000, &family.sources[1..]);
    (small.traffic.rate, small.traffic.count) = (12_500, Some(SMALL_COUNT));
    let sending = [large, small].map(|config| Sending::start(&lab, config));

    let mut checker = ProbeChecker::new();
    let (mut whole, mut changes, mut last) = (0, 0, Path::Xdp);
    receive(&mut receiver, &sending, |datagram| {
        observe(&mut checker, &datagram);
        let large = datagram.payload().len() == LARGE;
        assert_eq!(datagram.path(), if large { Path::Kernel } else { Path::Xdp });
        assert!(large || datagram.payload().len() == receiver_send::probe::PROBE_LEN, "none in part");
        whole += u64::from(large);
        changes += u64::from(datagram.path() != last);
        last = datagram.path();
    });
    let (report, ledger) = (checker.report(), receiver.handle().ledger().expect("ledger"));
    let message = format!("{report}\n{}", causes(&ledger));
    assert!(report.is_clean(), "{message}");
    assert_eq!((whole, report.received), (LARGE_COUNT, LARGE_COUNT + SMALL_COUNT), "{message}");
    assert!(changes > 10, "the two came in turns: {changes} changes");
    assert_eq!(ledger.verdict(Verdict::PassedFragment), LARGE_COUNT * FRAGMENTS, "{message}");
    assert_eq!(ledger.verdict(wanted_verdict(mode)), SMALL_COUNT, "{message}");
    assert_eq!((ledger.unaccounted(), ledger.lost()), (0, 0), "{message}");
}

#[test]
fn fragments_v4() {
    NATIVE.into_iter().for_each(|mode| fragments(mode, &V4));
}

#[test]
fn fragments_v6() {
    NATIVE.into_iter().for_each(|mode| fragments(mode, &V6));
}

#[test]
fn options_and_extension_headers() {
    NATIVE.into_iter().for_each(options_and_extensions);
}

fn options_and_extensions(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let mut receiver = open(&lab, |builder| {
        builder.subscribe(subscription(V4.subscription)).subscribe(subscription(V6.subscription)).mode(mode)
    })
    .expect("receiver");
    let socket = FrameSocket::open(&lab);
    let router_alert = [0x94, 4, 0, 0];
    let (v4, v6) = ("232.1.1.1:5000", "[ff3e::1]:5000");
    socket.send(&Frame::with_options("10.0.0.1:4000", v4, b"options", &router_alert).bytes);
    socket.send(&Frame::udp("10.0.0.1:4000", v4, b"plain").bytes);
    socket.send(&Frame::with_extension("[2001:db8::1]:4000", v6, b"extension").bytes);
    socket.send(&Frame::udp("[2001:db8::1]:4000", v6, b"plain6").bytes);
    // From a source that nobody asked for, the kernel's filter is what keeps it out.
    socket.send(&Frame::with_options("10.0.0.3:4000", v4, b"unwanted", &router_alert).bytes);
    let mut got = Vec::new();
    receive(&mut receiver, &[], |datagram| {
        got.push((String::from_utf8_lossy(datagram.payload()).into_owned(), datagram.path()));
    });
    got.sort_by(|a, b| a.0.cmp(&b.0));
    let expected =
        [("extension", Path::Kernel), ("options", Path::Kernel), ("plain", Path::Xdp), ("plain6", Path::Xdp)];
    assert_eq!(got, expected.map(|(text, path)| (text.to_owned(), path)));
    let ledger = receiver.handle().ledger().expect("ledger");
    assert_eq!(ledger.verdict(Verdict::PassedOptions), 2);
    assert_eq!(ledger.verdict(Verdict::PassedExtensionHeader), 1);
    assert_eq!(ledger.unaccounted(), 0, "{}", causes(&ledger));
}

#[test]
fn a_queue_without_a_socket() {
    NATIVE.into_iter().for_each(a_queue_that_nobody_serves);
}

fn a_queue_that_nobody_serves(mode: ReceiveMode) {
    const COUNT: u64 = 8_000;
    let lab = Lab::builder().queues(2).build().expect("lab");
    let mut receiver = open(&lab, |builder| {
        builder
            .subscribe(subscription(V4.subscription))
            .mode(mode)
            .queues(Queues::These(vec![0]))
            .ring_size(8_192)
            .frames(32_768)
            .socket_buffer(64 << 20)
    })
    .expect("receiver");
    let mut config = stream(&lab, V4.group, 5000, &V4.sources);
    (config.traffic.source_ports, config.traffic.rate, config.traffic.count) = (32, 20_000, Some(COUNT));
    let sending = [Sending::start(&lab, config)];
    let mut checker = ProbeChecker::new();
    let mut by_kernel = 0;
    receive(&mut receiver, &sending, |datagram| {
        observe(&mut checker, &datagram);
        by_kernel += u64::from(datagram.path() == Path::Kernel);
    });
    let (report, ledger) = (checker.report(), receiver.handle().ledger().expect("ledger"));
    let message = format!("{report}\n{}", causes(&ledger));
    assert!(report.is_clean(), "{message}");
    assert_eq!((report.received, report.flows.len()), (COUNT, 64), "{message}");
    let passed = ledger.verdict(Verdict::PassedNoSocket);
    assert!(passed > 0 && passed == by_kernel, "{by_kernel} by the kernel path\n{message}");
    assert_eq!(ledger.verdict(wanted_verdict(mode)), COUNT - passed, "{message}");
    assert!(ledger.verdict(wanted_verdict(mode)) > 0, "{message}");
    assert_eq!((ledger.unaccounted(), ledger.lost()), (0, 0), "{message}");
}

/// A socket whose buffer holds a few datagrams only: what is dropped is known exactly, also when no datagram comes
/// after the last drop to tell of it.
fn drops(mode: ReceiveMode, queues: Queues) {
    const COUNT: u64 = 4_000;
    let lab = Lab::builder().queues(2).build().expect("lab");
    let mut receiver = open(&lab, |builder| {
        builder
            .subscribe(subscription(V4.subscription))
            .mode(ModeRequest::Exactly(mode))
            .queues(queues)
            .ring_size(8_192)
            .frames(32_768)
            .socket_buffer(8_192)
    })
    .expect("receiver");
    let mut config = stream(&lab, V4.group, 5000, &V4.sources);
    (config.traffic.source_ports, config.traffic.rate, config.traffic.count) = (16, 40_000, Some(COUNT));
    let sending = Sending::start(&lab, config);
    while !sending.is_done() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let received = receive(&mut receiver, &[sending], |_| {});
    let ledger = receiver.handle().ledger().expect("ledger");
    let message = causes(&ledger);
    let dropped = ledger.kernel().dropped;
    assert!(dropped > 0, "{message}");
    assert_eq!(received + dropped, COUNT, "{message}");
    assert_eq!(ledger.unaccounted(), 0, "{message}");
}

#[test]
fn drops_of_mode_socket_are_exact() {
    drops(ReceiveMode::Socket, Queues::All);
}

#[test]
fn drops_beside_xdp_are_exact() {
    NATIVE.into_iter().for_each(|mode| drops(mode, Queues::These(vec![1])));
}

/// `ss -K` aborts the socket as an administrator would: the next call reports it, and the socket goes on.
#[test]
fn an_error_of_a_socket_is_counted() {
    let lab = Lab::new().expect("lab");
    let mut receiver = open(&lab, |builder| builder.subscribe(subscription(V4.subscription)).mode(ReceiveMode::Socket))
        .expect("receiver");
    let handle = receiver.handle();
    let abort = || std::process::Command::new("ss").args(["-K", "-uan", "sport", "=", ":5000"]).output();
    let aborted = lab.rx().run(abort).expect("a thread in rx").expect("ss");
    assert!(String::from_utf8_lossy(&aborted.stdout).contains(":5000"), "{aborted:?}");
    let config = stream(&lab, V4.group, 5000, &V4.sources[..1]);
    assert_eq!(support::burst(&lab, &mut receiver, config, 20, |_| {}), 20);
    let ledger = handle.ledger().expect("ledger");
    assert_eq!(ledger.kernel().receive_errors, 1, "{}", causes(&ledger));
    assert_eq!(ledger.count("kernel_receive_errors"), Some(1));
    assert_eq!((ledger.delivered(), ledger.unaccounted()), (20, 0), "{}", causes(&ledger));
}
