//! Jumbo frames: packets that need several buffers arrive once, in order and byte for byte, among those that need one.

mod support;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::ControlFlow;
use std::time::Duration;

use netlab::Lab;
use receiver::{Datagram, Ledger, ModeRequest, OwnedDatagram, Path, ReceiveMode, Receiver, Wait};
use receiver_common::Verdict;
use socket2::{Domain, Protocol, Socket, Type};
use support::{NATIVE, causes, open, subscription, wanted_verdict};

/// Bytes of payload: within one buffer, over two, three, and as many as the MTU asks for.
const SIZES: [usize; 5] = [100, 1472, 3000, 4000, 8972];
/// The longest IPv6 payload is 20 bytes shorter.
const LONGEST_V6: usize = 8952;
/// Rounds of all sizes in both families: less than a ring holds in one go, where a packet takes up to five slots of an
/// RX ring, and one of a mapped ring.
const ROUNDS: usize = 60;
const COUNT: usize = ROUNDS * SIZES.len() * 2;

/// What a datagram is to carry: its number, then bytes that follow from number and place.
fn payload(number: usize) -> Vec<u8> {
    let v6 = number % 2 == 1;
    let size = SIZES[number / 2 % SIZES.len()].min(if v6 { LONGEST_V6 } else { usize::MAX });
    let mut bytes: Vec<u8> = (0..size).map(|at| (number * 131 + at * 7 + at / 251) as u8).collect();
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    bytes
}

fn source(number: usize) -> IpAddr {
    if number % 2 == 1 { "2001:db8::1".parse().expect("address") } else { "10.0.0.1".parse().expect("address") }
}

fn jumbo_lab() -> Lab {
    Lab::builder().mtu(9000).build().expect("lab")
}

fn jumbo_receiver(lab: &Lab, mode: ReceiveMode, build: fn(receiver::Builder) -> receiver::Builder) -> Receiver {
    let ring = if mode == ReceiveMode::Mapped { 1024 } else { 8192 };
    let receiver = open(lab, |builder| {
        build(
            builder
                .subscribe(subscription("10.0.0.1@232.1.1.1:5000"))
                .subscribe(subscription("[2001:db8::1]@[ff3e::1]:5000"))
                .mode(ModeRequest::Exactly(mode))
                .ring_size(ring)
                .frames(4 * ring)
                .huge_pages(receiver::HugePages::Never),
        )
    })
    .expect("receiver");
    assert_eq!(receiver.handle().mode(), mode);
    receiver
}

fn sender(lab: &Lab, v6: bool) -> UdpSocket {
    let index = lab.tx().interface_index(lab.tx_interface()).expect("index");
    let open = move || {
        let (domain, from): (_, SocketAddr) = match v6 {
            true => (Domain::IPV6, "[2001:db8::1]:4000".parse().expect("address")),
            false => (Domain::IPV4, "10.0.0.1:4000".parse().expect("address")),
        };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).expect("socket");
        socket.bind(&from.into()).expect("bind");
        socket.set_send_buffer_size(4 << 20).expect("send buffer");
        if v6 {
            socket.set_multicast_if_v6(index).expect("interface");
        }
        UdpSocket::from(socket)
    };
    lab.tx().run(open).expect("a thread in tx")
}

/// Sends all datagrams, the families in turn.
fn send(lab: &Lab) {
    let (v4, v6) = (sender(lab, false), sender(lab, true));
    for number in 0..COUNT {
        let bytes = payload(number);
        let (socket, group) = if number % 2 == 1 { (&v6, "[ff3e::1]:5000") } else { (&v4, "232.1.1.1:5000") };
        assert_eq!(socket.send_to(&bytes, group).expect("send"), bytes.len());
        if number % 64 == 63 {
            // Room for the queue between the namespaces.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn check(number: usize, from: IpAddr, bytes: &[u8]) {
    assert_eq!(from, source(number), "datagram {number}");
    let expected = payload(number);
    assert_eq!(bytes.len(), expected.len(), "datagram {number}");
    assert!(bytes == expected, "the bytes of datagram {number} differ");
}

/// Everything came by XDP, and the ledger balances.
fn check_books(ledger: &Ledger, mode: ReceiveMode) {
    let message = causes(ledger);
    assert_eq!(ledger.count("xdp_delivered").expect("a cause"), COUNT as u64, "{message}");
    assert_eq!(ledger.verdict(wanted_verdict(mode)), COUNT as u64, "{message}");
    let others = ["passed_too_long", "ring_not_copied", "kernel_delivered"].map(|name| ledger.count(name));
    assert_eq!(others, [Some(0); 3], "{message}");
    assert_eq!(
        (ledger.unaccounted(), ledger.lost(), ledger.count("xsk_refused_descs").expect("a cause")),
        (0, 0, 0),
        "{message}"
    );
}

fn poll_all(receiver: &mut Receiver, mut each: impl FnMut(Datagram<'_>)) {
    let mut quiet = 0;
    while quiet < 5 {
        let count = receiver.poll(Wait::For(Duration::from_millis(20)), &mut each).expect("poll");
        quiet = if count == 0 { quiet + 1 } else { 0 };
    }
}

/// Polls and compares until nothing more comes. Returns how many datagrams came.
fn check_all(receiver: &mut Receiver) -> usize {
    let mut number = 0;
    poll_all(receiver, |datagram| {
        check(number, datagram.source().ip(), datagram.payload());
        number += 1;
    });
    number
}

fn lent(mode: ReceiveMode, build: fn(receiver::Builder) -> receiver::Builder) -> Ledger {
    let lab = jumbo_lab();
    let generic = mode == ReceiveMode::Generic;
    // Generic mode takes whole checksums alone by XDP.
    lab.tx().set_feature(lab.tx_interface(), "tx-checksum-ip-generic", !generic).expect("the feature");
    let mut receiver = jumbo_receiver(&lab, mode, build);
    send(&lab);
    let number = check_all(&mut receiver);
    let ledger = receiver.handle().ledger().expect("ledger");
    assert_eq!(number, COUNT, "{}", causes(&ledger));
    check_books(&ledger, mode);
    let partial = if generic { 0 } else { COUNT as u64 };
    assert_eq!(
        ledger.count("checksum_partial").expect("a cause"),
        partial,
        "local senders leave the sum to the NIC: {}",
        causes(&ledger)
    );
    ledger
}

#[test]
fn lent_in_copy_mode() {
    let ledger = lent(ReceiveMode::Copy, |builder| builder);
    assert!(ledger.count("xsk_further_descs").expect("a cause") > COUNT as u64, "{}", causes(&ledger));
    assert_eq!(ledger.count("copied").expect("a cause"), 0, "nothing was kept");
}

#[test]
fn lent_in_mapped_mode() {
    let ledger = lent(ReceiveMode::Mapped, |builder| builder);
    assert_eq!(ledger.count("xsk_further_descs"), Some(0), "the program gathers: {}", causes(&ledger));
    assert_eq!(ledger.count("copied"), Some(0), "nothing was kept, nor copied in user space");
}

/// The MTU decides how large the frames are.
#[test]
fn lent_in_mapped_mode_whatever_the_frame_size() {
    lent(ReceiveMode::Mapped, |builder| builder.frame_size(4096));
}

#[test]
fn lent_in_copy_mode_from_larger_frames() {
    lent(ReceiveMode::Copy, |builder| builder.frame_size(4096));
}

#[test]
fn lent_in_generic_mode() {
    lent(ReceiveMode::Generic, |builder| builder);
}

#[test]
fn stamped_by_the_program() {
    for mode in NATIVE {
        let ledger = lent(mode, |builder| builder.timestamps(true));
        assert_eq!(ledger.count("unstamped").expect("a cause"), 0, "{mode}: {}", causes(&ledger));
    }
}

/// Keeps all datagrams until the last one came, and compares the bytes. Returns the ledger while all are kept.
fn owned(mode: ReceiveMode) -> Ledger {
    let lab = jumbo_lab();
    let mut receiver = jumbo_receiver(&lab, mode, |builder| builder);
    send(&lab);
    let mut kept: Vec<OwnedDatagram> = Vec::new();
    poll_all(&mut receiver, |datagram| kept.push(datagram.into_owned().expect("within the limit of copies")));
    let ledger = receiver.handle().ledger().expect("ledger");
    let message = causes(&ledger);
    assert_eq!(kept.len(), COUNT, "{message}");
    // Read after all came: nothing was written over.
    for (number, datagram) in kept.iter().enumerate() {
        check(number, datagram.source.ip(), &datagram.payload);
    }
    check_books(&ledger, mode);
    // All frames come back, and packets come as before.
    drop(kept);
    send(&lab);
    let number = check_all(&mut receiver);
    let after = receiver.handle().ledger().expect("ledger");
    assert_eq!((number, after.count("xsk_leased"), after.lost()), (COUNT, Some(0), 0), "{}", causes(&after));
    ledger
}

#[test]
fn owned_in_mapped_mode() {
    let ledger = owned(ReceiveMode::Mapped);
    let message = causes(&ledger);
    assert_eq!(ledger.count("copied"), Some(0), "{message}");
    assert_eq!(ledger.count("xsk_leased"), Some(COUNT as u64), "{message}");
}

#[test]
fn owned_in_copy_mode() {
    let ledger = owned(ReceiveMode::Copy);
    let message = causes(&ledger);
    // Sizes over one buffer are three of five.
    assert_eq!(ledger.count("copied").expect("a cause"), (COUNT / 5 * 3) as u64, "{message}");
    assert_eq!(ledger.count("xsk_leased").expect("a cause"), (COUNT / 5 * 2) as u64, "{message}");
}

/// A consumer that stops after each datagram loses none of the packets behind it.
fn one_at_a_time_in(mode: ReceiveMode) {
    let lab = jumbo_lab();
    let receiver = jumbo_receiver(&lab, mode, |builder| builder);
    send(&lab);
    let mut workers = receiver.into_workers();
    let mut number = 0;
    while number < COUNT {
        let count = workers[0].poll_while(Wait::For(Duration::from_secs(1)), |datagram| {
            check(number, datagram.source().ip(), datagram.payload());
            number += 1;
            ControlFlow::Break(())
        });
        assert_eq!(count.expect("poll"), 1, "after {number}");
    }
}

#[test]
fn one_at_a_time() {
    one_at_a_time_in(ReceiveMode::Copy);
}

#[test]
fn one_at_a_time_in_mapped_mode() {
    one_at_a_time_in(ReceiveMode::Mapped);
}

#[test]
fn auto_takes_mode_mapped() {
    let lab = jumbo_lab();
    let receiver = open(&lab, |builder| builder.subscribe(subscription("10.0.0.1@232.1.1.1:5000"))).expect("receiver");
    assert_eq!(receiver.handle().mode(), ReceiveMode::Mapped, "{:?}", receiver.handle().refused());
}

/// The interface's own MTU asks for one buffer, but veth goes by its peer's.
#[test]
fn the_peer_alone_is_jumbo() {
    let lab = jumbo_lab();
    lab.rx().ip(&["link", "set", lab.rx_interface(), "mtu", "1500"]).expect("mtu");
    for mode in NATIVE {
        let receiver = jumbo_receiver(&lab, mode, |builder| builder);
        assert_eq!(receiver.handle().interface().mtu, 1500);
    }
}

/// A driver without native XDP is named with the MTU and the remedy, and nothing was joined.
#[test]
fn a_refusal_tells_the_mtu_before_anything_is_joined() {
    let lab = jumbo_lab();
    for arguments in [
        &["link", "add", "jumbo0", "mtu", "9000", "type", "bridge"][..],
        &["link", "set", "jumbo0", "multicast", "on", "up"],
    ] {
        lab.rx().ip(arguments).expect("a bridge");
    }
    let refuse = |mode: ReceiveMode| {
        let builder = Receiver::builder("jumbo0").subscribe(subscription("10.0.0.1@232.1.1.1:5000"));
        let error = builder.mode(mode).build().expect_err("refused").to_string();
        (error, std::fs::read_to_string("/proc/thread-self/net/igmp").expect("the groups joined"))
    };
    for mode in NATIVE {
        let (error, joined) = lab.rx().run(|| refuse(mode)).expect("a thread in rx");
        for part in ["jumbo0", "MTU", "9000", "ip link set jumbo0 mtu 1770", "mode generic"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!joined.contains("010101E8"), "{joined}");
    }
}

/// An MTU that the driver takes as one buffer, and the packet memory's frames do not.
fn between_the_limits_in(mode: ReceiveMode) {
    let lab = Lab::builder().mtu(3400).build().expect("lab");
    let mut receiver = jumbo_receiver(&lab, mode, |builder| builder);
    let v4 = sender(&lab, false);
    let bytes: Vec<u8> = (0..3372_u32).map(|at| at as u8).collect();
    v4.send_to(&bytes, "232.1.1.1:5000").expect("send");
    let mut seen = 0;
    poll_all(&mut receiver, |datagram| {
        assert!(datagram.payload() == bytes);
        seen += 1;
    });
    let ledger = receiver.handle().ledger().expect("ledger");
    assert_eq!((seen, ledger.lost(), ledger.unaccounted()), (1, 0, 0), "{}", causes(&ledger));
    assert_eq!(ledger.count("xdp_delivered"), Some(1), "{}", causes(&ledger));
}

#[test]
fn between_the_limits() {
    between_the_limits_in(ReceiveMode::Copy);
}

#[test]
fn between_the_limits_in_mapped_mode() {
    between_the_limits_in(ReceiveMode::Mapped);
}

/// The longest packet that fits a large frame, and packets that are longer.
#[test]
fn the_longest_packet_of_a_mapped_ring() {
    /// Of UDP in IPv4: a large frame less the headers.
    const FITS: usize = receiver_common::mapped::LARGE_MAX_PACKET - 14 - 28;
    let lab = Lab::builder().mtu(16_000).build().expect("lab");
    let mut receiver = jumbo_receiver(&lab, ReceiveMode::Mapped, |builder| builder);
    let v4 = sender(&lab, false);
    for (size, path) in [(FITS, Path::Xdp), (FITS + 1, Path::Kernel), (15_972, Path::Kernel)] {
        let bytes: Vec<u8> = (0..size).map(|at| (at * 7 + at / 251) as u8).collect();
        v4.send_to(&bytes, "232.1.1.1:5000").expect("send");
        let mut seen = 0;
        poll_all(&mut receiver, |datagram| {
            assert!(datagram.payload() == bytes && datagram.path() == path, "{size} bytes by {:?}", datagram.path());
            seen += 1;
        });
        assert_eq!(seen, 1, "{size} bytes");
    }
    let ledger = receiver.handle().ledger().expect("ledger");
    let message = causes(&ledger);
    assert_eq!((ledger.verdict(Verdict::Mapped), ledger.verdict(Verdict::PassedTooLong)), (1, 2), "{message}");
    assert_eq!((ledger.lost(), ledger.unaccounted()), (0, 0), "{message}");
}
