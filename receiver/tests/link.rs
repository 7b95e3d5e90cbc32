//! Link life under a probe stream at 10,000 packets/s: down and up, the address removed, the interface deleted and made
//! again. The stream is received again at once, and the outage is recorded.

mod support;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use netlab::{End, Lab, LinkOptions, connect};
use receiver::{LinkChange, ReceiveMode, Receiver};
use receiver_host::Netlink;
use receiver_membership::tables::KernelTables;
use support::counting::{Counting, sending};
use support::{Sending, stream};

/// What a link's return may take until packets come again. The requirement is one second; what is measured here is some
/// milliseconds.
const SOON: Duration = Duration::from_secs(1);

fn down_and_up(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let counting = Counting::open(&lab, mode);
    let stream = sending(&lab);
    counting.next_packet();
    for round in 1..=3 {
        lab.rx().ip(&["link", "set", "veth-rx", "down"]).expect("down");
        // An outage is timed from when the receiver sees it, which is later on a busy machine.
        let noticed = || counting.handle.link_events().count(LinkChange::Down) >= round;
        counting.wait_until("the link is seen to be down", noticed);
        std::thread::sleep(Duration::from_millis(200));
        lab.rx().ip(&["link", "set", "veth-rx", "up"]).expect("up");
        let waited = counting.next_packet();
        assert!(waited < SOON, "{waited:?}");
        let recorded = || counting.handle.ledger().expect("ledger").link();
        let start = Instant::now();
        while recorded().outages < round {
            assert!(start.elapsed() < support::PATIENCE, "the outage is not recorded: {:?}", recorded());
            std::thread::sleep(Duration::from_millis(5));
        }
        let link = recorded();
        assert!(link.outage_milliseconds >= 200 * round && link.recovery_milliseconds < 1_000 * round, "{link:?}");
    }
    drop(stream.stop());
    std::thread::sleep(Duration::from_millis(100));
    counting.finish();
}

fn address_removed(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let counting = Counting::open(&lab, mode);
    let stream = sending(&lab);
    counting.next_packet();
    lab.rx().ip(&["addr", "flush", "dev", "veth-rx"]).expect("flush");
    let waited = counting.next_packet();
    assert!(waited < SOON, "{waited:?}");
    lab.rx().ip(&["addr", "add", "10.0.0.100/24", "dev", "veth-rx"]).expect("add");
    let waited = counting.next_packet();
    assert!(waited < SOON, "{waited:?}");
    stream.stop();
    std::thread::sleep(Duration::from_millis(100));
    counting.finish();
}

fn deleted_and_made_again(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let counting = Counting::open(&lab, mode);
    for round in 1..=3 {
        let mut config = stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
        config.traffic.rate = 10_000;
        config.spoof = true;
        config.traffic.count = Some(2_000);
        Sending::start(&lab, config).wait();
        let index = counting.handle.interface().index;
        lab.rx().ip(&["link", "del", "veth-rx"]).expect("delete");
        std::thread::sleep(Duration::from_millis(200));
        connect(
            End { namespace: lab.rx(), interface: "veth-rx" },
            End { namespace: lab.tx(), interface: "veth-tx" },
            LinkOptions::default(),
        )
        .expect("connect");
        let returned = Instant::now();
        while counting.handle.interface().index == index {
            assert!(returned.elapsed() < support::PATIENCE, "the receiver did not follow");
            std::thread::sleep(Duration::from_millis(1));
        }
        let stream = sending(&lab);
        counting.next_packet();
        assert!(returned.elapsed() < SOON, "{:?}", returned.elapsed());
        stream.stop();
        std::thread::sleep(Duration::from_millis(100));
        let link = counting.handle.ledger().expect("ledger").link();
        assert_eq!(link.outages, round, "{link:?}");
        let igmp =
            lab.rx().run(|| std::fs::read_to_string("/proc/thread-self/net/mcfilter")).expect("run").expect("mcfilter");
        assert!(igmp.lines().any(|line| line.contains("0xe8010101 0x0a000001")), "{igmp}");
    }
    let link = counting.handle.ledger().expect("ledger").link();
    assert_eq!((link.ipv4_outages, link.ipv6_outages), (0, 0), "both went with the link: {link:?}");
    assert_eq!(counting.handle.warnings(), Vec::<String>::new());
    assert!(counting.count(None) > 0);
    let id = counting.handle.subscriptions().expect("subscriptions")[0].id;
    counting.handle.leave(id).expect("it can still be steered");
    counting.finish();
}

/// An IGMPv2 general query from the other end: the kernel turns to group reports, and the receiver says so.
#[test]
fn an_older_querier_is_told() {
    let lab = Lab::new().expect("lab");
    let counting = Counting::open(&lab, ReceiveMode::Copy);
    assert_eq!(counting.handle.warnings(), Vec::<String>::new());
    // Type 0x11, ten seconds, its checksum, group 0.0.0.0 (RFC 2236, section 2).
    let query = [0x11, 100, 0xee, 0x9b, 0, 0, 0, 0];
    lab.tx()
        .run(|| {
            let socket =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::RAW, Some(2.into())).expect("raw socket");
            socket.set_multicast_if_v4(&[10, 0, 0, 1].into()).expect("interface");
            let all_hosts = std::net::SocketAddr::from(([224, 0, 0, 1], 0));
            socket.send_to(&query, &all_hosts.into()).expect("query");
        })
        .expect("a thread in tx");
    let start = Instant::now();
    let warnings = loop {
        let warnings = counting.handle.warnings();
        if !warnings.is_empty() {
            break warnings;
        }
        assert!(start.elapsed() < support::PATIENCE, "no warning");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("IGMPv2") && warnings[0].contains("/proc/net/igmp"), "{warnings:?}");
    let igmp = lab.rx().run(|| std::fs::read_to_string("/proc/thread-self/net/igmp")).expect("run").expect("igmp");
    assert!(igmp.lines().any(|line| line.contains("veth-rx") && line.contains("V2")), "{igmp}");
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(counting.handle.warnings().len(), 1, "it is reported once");
    counting.finish();
}

/// The kernel joins a group of its own for the address, and then hides the sources of all others
/// (`igmp6_mcf_get_first`).
#[test]
fn an_ipv6_address_that_is_added_loses_no_membership() {
    let lab = Lab::new().expect("lab");
    let receiver = support::open(&lab, |builder| {
        builder.subscribe(support::subscription("[2001:db8::1]@[ff3e::1]:5000")).mode(ReceiveMode::Socket)
    })
    .expect("a receiver");
    lab.rx().ip(&["addr", "add", "2001:db8::65/64", "dev", "veth-rx", "nodad"]).expect("add");
    // The tables are read each second, and a group is lost if it is missing twice.
    std::thread::sleep(Duration::from_millis(3500));
    let warnings = receiver.handle().warnings();
    assert!(!warnings.iter().any(|warning| warning.contains("no longer has")), "{warnings:#?}");
}

/// A receiver in mode `socket`, and its link down and up. `meanwhile` is called while it is down.
fn come_up(lab: &Lab, meanwhile: impl FnOnce(&Receiver)) -> Receiver {
    let receiver = support::open(lab, |builder| {
        builder.subscribe(support::subscription("10.0.0.1@232.1.1.1:5000")).mode(ReceiveMode::Socket)
    })
    .expect("a receiver");
    let handle = receiver.handle();
    let wait_until = |what: &str, holds: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < support::PATIENCE, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    lab.rx().ip(&["link", "set", "veth-rx", "down"]).expect("down");
    wait_until("the link is seen to be down", &|| handle.link_events().count(LinkChange::Down) == 1);
    meanwhile(&receiver);
    lab.rx().ip(&["link", "set", "veth-rx", "up"]).expect("up");
    wait_until("the outage is recorded", &|| handle.ledger().expect("ledger").link().outages == 1);
    receiver
}

/// A stream arrives. Not at once: the sender's queue drops packets until the kernel has noticed the carrier.
fn expect_stream(lab: &Lab, receiver: &mut Receiver) {
    let start = Instant::now();
    while support::burst(lab, receiver, stream(lab, "232.1.1.1", 5000, &["10.0.0.1"]), 300, |_| {}) < 300 {
        assert!(start.elapsed() < support::PATIENCE, "the stream does not arrive");
    }
}

/// The kernel joins 224.0.0.1 again when a link comes up, and then hides the sources of all other groups
/// (`igmp_mcf_get_first`). They are not lost. To leave them would interrupt the stream, on NICs that filter by MAC
/// address in every mode.
#[test]
fn a_link_that_comes_up_loses_no_membership() {
    let lab = Lab::new().expect("lab");
    let mut receiver = come_up(&lab, |_| {});
    // The tables are read each second, and a group is lost if it is missing twice.
    std::thread::sleep(Duration::from_millis(3500));
    let handle = receiver.handle();
    assert_eq!(handle.link_events().count(LinkChange::MembershipsLost), 0, "{:#?}", handle.warnings());
    expect_stream(&lab, &mut receiver);
}

/// The receiver asks the kernel for sources that its tables do not show: of a source that is lost, or was never joined,
/// the answer is another one. The stream is received, also if its group was left and joined while the link was down.
#[test]
fn sources_that_are_hidden_are_told_from_those_that_are_lost() {
    let lab = Lab::new().expect("lab");
    let mut receiver = come_up(&lab, |receiver| {
        let handle = receiver.handle();
        let id = handle.subscriptions().expect("subscriptions")[0].id;
        let again = support::subscription("10.0.0.1@232.1.1.1:5000");
        let change = || handle.leave(id).and_then(|()| handle.join(&again));
        lab.rx().run(change).expect("run").expect("left and joined");
    });
    let tables = lab.rx().run(KernelTables::read).expect("run").expect("tables");
    let index = lab.rx().interface_index("veth-rx").expect("an index");
    assert!(!tables.shows_sources(index, false), "{tables:?}");
    let netlink = lab.rx().run(Netlink::open).expect("run").expect("netlink");
    let refuses = |source| netlink.refuses_source(source, Ipv4Addr::new(232, 1, 1, 1), index).expect("an answer");
    let [joined, other] = [1, 2].map(|n| Ipv4Addr::new(10, 0, 0, n));
    assert_eq!((refuses(joined), refuses(other)), (false, true));
    expect_stream(&lab, &mut receiver);
}

#[test]
fn down_and_up_mapped() {
    down_and_up(ReceiveMode::Mapped);
}

#[test]
fn down_and_up_generic() {
    down_and_up(ReceiveMode::Generic);
}

#[test]
fn deleted_and_made_again_mapped() {
    deleted_and_made_again(ReceiveMode::Mapped);
}

#[test]
fn down_and_up_copy() {
    down_and_up(ReceiveMode::Copy);
}

#[test]
fn down_and_up_socket() {
    down_and_up(ReceiveMode::Socket);
}

#[test]
fn address_removed_copy() {
    address_removed(ReceiveMode::Copy);
}

#[test]
fn address_removed_mapped() {
    address_removed(ReceiveMode::Mapped);
}

#[test]
fn address_removed_socket() {
    address_removed(ReceiveMode::Socket);
}

#[test]
fn deleted_and_made_again_copy() {
    deleted_and_made_again(ReceiveMode::Copy);
}

#[test]
fn deleted_and_made_again_generic() {
    deleted_and_made_again(ReceiveMode::Generic);
}

#[test]
fn deleted_and_made_again_socket() {
    deleted_and_made_again(ReceiveMode::Socket);
}
