//! Datagrams through the kernel path: the right ones, whole, once, and every drop counted.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use netlab::Lab;
use receiver_membership::udp::{KernelPath, SocketOptions, TimeOrigin, UdpDataSocket};
use receiver_membership::{MembershipSocket, OptionStyle, Options, Request};

use crate::support::{Receiving, exclude, include, interface, ip, sender, sending_socket};

const PORT: u16 = 5000;

fn filters(group: IpAddr) {
    let lab = Lab::new().expect("lab");
    let [a, b, c] = [1, 2, 3].map(|n| sender(&lab, group, n));
    let senders = [a, b, c].map(|source| (source, sending_socket(&lab, source)));
    let mut r = Receiving::new(&lab, Options::default());

    r.with(&lab, |set| set.join(group, PORT, &include(&[a]))).expect("join");
    assert_eq!(r.heard(&senders, group, PORT), [a].into());
    r.with(&lab, |set| set.add_source(group, PORT, b)).expect("add");
    assert_eq!(r.heard(&senders, group, PORT), [a, b].into());
    r.with(&lab, |set| set.set_filter(group, PORT, &include(&[b, c]))).expect("set");
    assert_eq!(r.heard(&senders, group, PORT), [b, c].into());
    r.with(&lab, |set| set.remove_source(group, PORT, b)).expect("remove");
    assert_eq!(r.heard(&senders, group, PORT), [c].into());

    // A second port of the group, with another filter, receives nothing of the first, nor the first of it.
    r.with(&lab, |set| set.join(group, PORT + 1, &exclude(&[]))).expect("join");
    assert_eq!(r.heard(&senders, group, PORT + 1), [a, b, c].into());
    assert_eq!(r.heard(&senders, group, PORT), [c].into());
    r.with(&lab, |set| set.block(group, PORT + 1, a)).expect("block");
    assert_eq!(r.heard(&senders, group, PORT + 1), [b, c].into());
    r.with(&lab, |set| set.unblock(group, PORT + 1, a)).expect("unblock");
    assert_eq!(r.heard(&senders, group, PORT + 1), [a, b, c].into());
    r.with(&lab, |set| set.leave(group, PORT + 1)).expect("leave");
    assert_eq!(r.heard(&senders, group, PORT + 1), [].into());
    assert_eq!(r.heard(&senders, group, PORT), [c].into());

    let stats = r.path.exact_stats();
    assert_eq!((stats.received, stats.drops), (stats.delivered, 0));
}

#[test]
fn filters_v4() {
    filters(ip("239.1.1.1"));
}

#[test]
fn filters_v6() {
    filters(ip("ff15::1"));
}

/// More sources than one socket can name: still each of them once.
#[test]
fn parts_receive_each_source_once() {
    let lab = Lab::builder().sources(25).build().expect("lab");
    let group = ip("232.1.1.1");
    let sources: Vec<IpAddr> = (1..=25).map(|n| sender(&lab, group, n)).collect();
    let senders: Vec<_> = sources.iter().map(|&source| (source, sending_socket(&lab, source))).collect();
    let mut r = Receiving::new(&lab, Options::default());
    r.with(&lab, |set| set.join(group, PORT, &include(&sources[..24]))).expect("join");
    assert_eq!(r.set.sockets().len(), 3);
    assert_eq!(r.heard(&senders, group, PORT), sources[..24].iter().copied().collect());
}

fn whole_and_described(group: IpAddr) {
    let lab = Lab::new().expect("lab");
    let source = sender(&lab, group, 1);
    let socket = sending_socket(&lab, source);
    let options = SocketOptions { timestamps: true, ..SocketOptions::default() };
    let mut r = Receiving::new(&lab, Options { socket: options, ..Options::default() });
    r.with(&lab, |set| set.join(group, PORT, &include(&[source]))).expect("join");
    // The kernel starts stamping a moment after the first socket asks.
    std::thread::sleep(Duration::from_millis(100));
    let nanoseconds =
        || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    let largest = if group.is_ipv4() { 65_507 } else { 65_527 };
    for length in [0, 1, 1_400, 8_000, largest] {
        let payload: Vec<u8> = (0..length).map(|i: usize| ((i * 7) >> 3) as u8).collect();
        let before = nanoseconds();
        socket.send_to(&payload, (group, PORT)).expect("send");
        let received = r.collect(1);
        assert_eq!(received.len(), 1, "{length} bytes");
        let datagram = &received[0];
        assert!(datagram.payload == payload, "{length} bytes");
        assert_eq!(datagram.source.ip(), source);
        assert_eq!(datagram.source.port(), socket.local_addr().expect("address").port());
        assert_eq!((datagram.group, datagram.port), (group, PORT));
        assert_eq!(datagram.interface_index, r.set.interface().index);
        assert_eq!(datagram.received.origin, TimeOrigin::Kernel);
        assert!((before..=nanoseconds()).contains(&datagram.received.nanoseconds));
    }
    assert_eq!(r.path.stats().truncated, 0);
}

#[test]
fn whole_and_described_v4() {
    whole_and_described(ip("232.1.1.1"));
}

#[test]
fn whole_and_described_v6() {
    whole_and_described(ip("ff3e::1"));
}

#[test]
fn link_local_group_and_source() {
    let lab = Lab::new().expect("lab");
    let group = ip("ff12::1");
    let source: IpAddr = lab.sources_link_local()[0].into();
    let index = lab.tx().interface_index(lab.tx_interface()).expect("index");
    let socket = lab
        .tx()
        .run(|| {
            let IpAddr::V6(v6) = source else { panic!() };
            UdpSocket::bind(SocketAddr::from(std::net::SocketAddrV6::new(v6, 0, 0, index)))
        })
        .expect("run")
        .expect("bind");
    let mut r = Receiving::new(&lab, Options::default());
    r.with(&lab, |set| set.join(group, PORT, &include(&[source]))).expect("join");
    let IpAddr::V6(v6) = group else { panic!() };
    socket.send_to(b"hello", std::net::SocketAddrV6::new(v6, PORT, 0, index)).expect("send");
    let received = r.collect(1);
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].source.ip(), source);
}

/// With a buffer much smaller than what is sent, each datagram is received or counted as dropped. The drops are known
/// without a datagram after the last drop, and for a socket that was closed.
fn drops(group: IpAddr) {
    const SENT: u64 = 5_000;
    let lab = Lab::new().expect("lab");
    let source = sender(&lab, group, 1);
    let socket = sending_socket(&lab, source);
    let options = SocketOptions { receive_buffer: 64 << 10, ..SocketOptions::default() };
    let mut r = Receiving::new(&lab, Options { socket: options, ..Options::default() });
    r.with(&lab, |set| set.join(group, PORT, &include(&[source]))).expect("join");
    let send = || {
        for n in 0..SENT {
            socket.send_to(&n.to_ne_bytes(), (group, PORT)).expect("send");
        }
    };
    send();
    let received = r.collect(usize::MAX).len() as u64;
    let stats = r.path.exact_stats();
    assert!(received > 0 && stats.drops > 0, "{stats:?}");
    assert_eq!(stats.received + stats.drops, SENT, "{stats:?}");

    // Now with datagrams still queued when the socket goes.
    send();
    r.with(&lab, |set| set.leave(group, PORT)).expect("leave");
    let stats = r.path.stats();
    assert!(stats.left_behind > 0);
    assert_eq!(stats.received, stats.delivered + stats.left_behind);
    assert_eq!(stats.received + stats.drops, 2 * SENT, "{stats:?}");
}

#[test]
fn drops_v4() {
    drops(ip("232.1.1.1"));
}

#[test]
fn drops_v6() {
    drops(ip("ff3e::1"));
}

#[test]
fn received_buffer_is_reported() {
    let lab = Lab::new().expect("lab");
    let mut r = Receiving::new(&lab, Options::default());
    r.with(&lab, |set| set.join(ip("232.1.1.1"), PORT, &include(&[ip("10.0.0.1")]))).expect("join");
    assert_eq!(
        r.set.sockets().filter_map(|socket| socket.receive_buffer().ok()).collect::<Vec<_>>(),
        [8 << 20],
        "as root"
    );
}

/// A datagram that came by another interface than the socket is for.
#[test]
fn foreign_interface_is_refused() {
    let lab = Lab::new().expect("lab");
    let group = ip("232.1.1.1");
    let source = sender(&lab, group, 1);
    let options = SocketOptions { bind_to_interface: false, ..SocketOptions::default() };
    let real = interface(&lab);
    let socket = lab
        .rx()
        .run(|| {
            let other = real.index + 1000;
            let socket = Arc::new(UdpDataSocket::open((group, PORT).into(), other, &options).expect("open"));
            let mut membership = MembershipSocket::new(Arc::clone(&socket), real, OptionStyle::Mcast);
            membership.request(group, &Request::JoinSource(source)).expect("join");
            socket.bind().expect("bind");
            socket
        })
        .expect("run");
    let mut path = KernelPath::new().expect("epoll");
    path.add(socket).expect("add");
    sending_socket(&lab, source).send_to(b"x", (group, PORT)).expect("send");
    let delivered = path.poll(Some(Duration::from_secs(2)), |_| {}).expect("poll");
    assert_eq!((delivered, path.stats().foreign_interface, path.stats().received), (0, 1, 1));
}

/// `set_filter` {1,2} → {2,3} and back under load: source 2 loses nothing.
#[test]
fn replacement_loses_nothing() {
    let lab = Lab::new().expect("lab");
    let group = ip("232.1.1.1");
    let [a, b, c] = [1, 2, 3].map(|n| sender(&lab, group, n));
    let socket = sending_socket(&lab, b);
    let mut r = Receiving::new(&lab, Options::default());
    r.with(&lab, |set| set.join(group, PORT, &include(&[a, b]))).expect("join");
    let (mut sent, mut next) = (0_u64, 0_u64);
    for round in 0..1_000 {
        for _ in 0..5 {
            socket.send_to(&sent.to_ne_bytes(), (group, PORT)).expect("send");
            sent += 1;
        }
        let filter = if round % 2 == 0 { include(&[b, c]) } else { include(&[a, b]) };
        // In the caller's thread: sockets exist already, and a thread each time would hide the race.
        r.set.set_filter(group, PORT, &filter).expect("set");
        r.path
            .poll(Some(Duration::ZERO), |datagram| {
                assert_eq!(datagram.payload, next.to_ne_bytes());
                next += 1;
            })
            .expect("poll");
    }
    for datagram in r.collect(usize::MAX) {
        assert_eq!(datagram.payload, next.to_ne_bytes());
        next += 1;
    }
    assert_eq!((next, r.path.exact_stats().drops), (sent, 0));
}
