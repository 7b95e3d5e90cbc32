//! Changes of a link under a running receiver that are no outage, many outages, or somebody else's doing: a new name,
//! flaps at either end, a program that is detached, other queues, a larger MTU, a foreign program.

mod support;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::programs::{Xdp, XdpMode};
use netlab::{End, Lab, LinkOptions, Namespace, connect, move_interface};
use receiver::{LinkLedger, ReceiveMode, Wait};
use support::bpf_link::detach;
use support::counting::{Counting, is_joined_v6, sending, sending_v6, table};
use support::traces::interface;
use support::{BUSY_POLL, Checking, PATIENCE, causes, each_came_once, open, queue_end, subscription};

static FOREIGN: &[u8] = aya::include_bytes_aligned!("../../receiver-ebpf/object/baseline.bpf.o");
const FOREIGN_NAME: &str = "drop_all";

fn link(counting: &Counting) -> LinkLedger {
    counting.handle.ledger().expect("ledger").link()
}

fn warnings_with(counting: &Counting, part: &str) -> usize {
    counting.handle.warnings().iter().filter(|warning| warning.contains(part)).count()
}

/// No outage, no leave and no join: a stream goes on without a loss.
fn renamed(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let receiver = open(&lab, |builder| {
        builder
            .subscribe(subscription("10.0.0.1@232.1.1.1:5000"))
            .subscribe(subscription("[2001:db8::1]@[ff3e::1]:5000"))
            .mode(mode)
    });
    let checking = Checking::start(receiver.expect("receiver"));
    let streams = [sending(&lab), sending_v6(&lab)];
    let delivered = || checking.handle.ledger().expect("ledger").delivered();
    for (from, to) in [("veth-rx", "feed0"), ("feed0", "feed1"), ("feed1", "veth-rx")] {
        lab.rx().ip(&["link", "set", from, "name", to]).expect("rename");
        wait_until("the name is followed", || checking.handle.interface().name == to);
        let before = delivered();
        wait_until("packets come", || delivered() > before);
    }
    let sent: u64 = streams.into_iter().map(|stream| stream.stop().packets).sum();
    wait_until("all came", || delivered() >= sent);
    assert_eq!(checking.handle.warnings(), Vec::<String>::new());
    let (report, ledger, _workers) = checking.finish();
    assert!(each_came_once(&report, &ledger), "{report}\n{}", causes(&ledger));
    assert_eq!((ledger.link(), ledger.unaccounted()), (LinkLedger::default(), 0), "{}", causes(&ledger));
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "not so until now: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One flap: which ends go down and up, in which order.
fn flap(lab: &Lab, number: usize) {
    let set = |rx: bool, state: &str| {
        let (namespace, name) = if rx { (lab.rx(), "veth-rx") } else { (lab.tx(), "veth-tx") };
        namespace.ip(&["link", "set", name, state]).expect(state);
    };
    let steps: &[(bool, &str)] = match number % 6 {
        0 | 3 => &[(true, "down"), (true, "up")],
        1 | 2 => &[(false, "down"), (false, "up")],
        4 => &[(true, "down"), (false, "down"), (true, "up"), (false, "up")],
        _ => &[(false, "down"), (true, "down"), (true, "up"), (false, "up")],
    };
    for (rx, state) in steps {
        set(*rx, state);
    }
}

/// No pause between them: what the receiver cannot see in time is in the kernel's count.
fn flaps(mode: ReceiveMode) {
    const FLAPS: usize = 50;
    let lab = Lab::new().expect("lab");
    let counting = Counting::open(&lab, mode);
    for number in 0..FLAPS {
        flap(&lab, number);
    }
    counting.wait_for_outages(FLAPS as u64);
    let stream = sending(&lab);
    counting.next_packet();
    drop(stream.stop());
    counting.next_look(&lab);
    assert_eq!(link(&counting).outages, FLAPS as u64, "{:?}", link(&counting));
    counting.finish();
}

/// One `ip` process for all of them: messages come faster than they are read, are merged, and may be lost (ENOBUFS).
fn many_flaps(rx: bool) {
    const FLAPS: usize = 1_000;
    let lab = Lab::new().expect("lab");
    let counting = Counting::open(&lab, ReceiveMode::Copy);
    let (namespace, name) = if rx { (lab.rx(), "veth-rx") } else { (lab.tx(), "veth-tx") };
    let file = std::env::temp_dir().join(format!("receiver-flaps-{name}-{}", std::process::id()));
    std::fs::write(&file, format!("link set {name} down\nlink set {name} up\n").repeat(FLAPS)).expect("write");
    let done = namespace.ip(&["-batch", file.to_str().expect("a path")]);
    std::fs::remove_file(&file).expect("remove");
    done.expect("flaps");
    counting.wait_for_outages(FLAPS as u64);
    counting.next_look(&lab);
    let stream = sending(&lab);
    counting.next_packet();
    drop(stream.stop());
    assert_eq!(link(&counting).outages, FLAPS as u64, "{:?}", link(&counting));
    counting.finish();
}

fn detached(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let counting = Counting::open(&lab, mode);
    let stream = sending(&lab);
    counting.next_packet();
    // Each round but the first begins with a pause that is twice as long.
    for round in 1..=3 {
        let before = interface(&lab).xdp_program.expect("attached");
        detach(before);
        counting.wait_for_outages(round);
        assert!(interface(&lab).xdp_program.is_some(), "attached again");
        counting.next_packet();
    }
    drop(stream.stop());
    let link = link(&counting);
    assert_eq!(link.outages, 3, "{link:?}");
    let warnings = counting.handle.warnings();
    assert_eq!(warnings.len(), 2, "the same again and again is reported once: {warnings:?}");
    assert!(warnings[0].contains("another program or user detached"), "{warnings:?}");
    assert!(warnings[1].contains("waits longer each time"), "{warnings:?}");
    counting.finish();
}

fn more_queues(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let counting = Counting::open(&lab, mode);
    lab.rx().ip(&["link", "del", "veth-rx"]).expect("delete");
    connect(
        End { namespace: lab.rx(), interface: "veth-rx" },
        End { namespace: lab.tx(), interface: "veth-tx" },
        LinkOptions { rx_queues: 4, tx_queues: 4, ..LinkOptions::default() },
    )
    .expect("connect");
    counting.wait_for_outages(1);
    let end = queue_end(mode);
    counting.wait_for_warning(&format!("veth-rx has 4 receive queues now, 1 before; 3 have no {end}"));
    assert_eq!(warnings_with(&counting, "receive queues"), 1);
    counting.finish();
}

fn foreign(ebpf: &mut Ebpf) -> &mut Xdp {
    let program: &mut Xdp = ebpf.program_mut(FOREIGN_NAME).expect("program").try_into().expect("XDP");
    program.load().expect("load");
    program
}

/// The interface is made again, and another program has it before the receiver.
fn make_again_with(lab: &Lab, ebpf: &mut Ebpf) {
    lab.rx().ip(&["link", "del", "veth-rx"]).expect("delete");
    connect(
        End { namespace: lab.rx(), interface: "other0" },
        End { namespace: lab.tx(), interface: "veth-tx" },
        LinkOptions { rx_queues: 2, tx_queues: 2, ..LinkOptions::default() },
    )
    .expect("connect");
    let index = lab.rx().interface_index("other0").expect("index");
    let program = foreign(ebpf);
    lab.rx().run(|| program.attach_to_if_index(index, XdpMode::Driver)).expect("run").expect("attach");
    lab.rx().ip(&["link", "set", "other0", "name", "veth-rx"]).expect("rename");
}

fn foreign_after_a_relink(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let counting = Counting::open(&lab, mode);
    let mut ebpf = Ebpf::load(FOREIGN).expect("load");
    make_again_with(&lab, &mut ebpf);
    counting.wait_for_warning("`drop_all`");
    let message = counting.handle.warnings();
    assert_eq!(message.len(), 1, "{message:?}");
    for _ in 0..3 {
        counting.next_look(&lab);
    }
    assert_eq!(counting.handle.warnings(), message, "the same cause is reported once");
    assert_eq!(link(&counting).outages, 0, "it lasts");
    drop(ebpf);
    counting.wait_for_outages(1);
    let queues = format!("2 receive queues now, 1 before; 1 have no {}", queue_end(mode));
    assert_eq!(warnings_with(&counting, &queues), 1);
    let stream = sending(&lab);
    counting.next_packet();
    drop(stream.stop());
    counting.finish();
}

/// The device that another program had goes, too: what was joined there is joined on the third one, which has its
/// index.
fn foreign_between_two_relinks(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let counting = Counting::open(&lab, mode);
    let mut ebpf = Ebpf::load(FOREIGN).expect("load");
    make_again_with(&lab, &mut ebpf);
    counting.wait_for_warning("`drop_all`");
    let index = lab.rx().interface_index("veth-rx").expect("index").to_string();
    lab.rx().ip(&["link", "del", "veth-rx"]).expect("delete");
    lab.rx().ip(&["link", "add", "veth-rx", "index", &index, "type", "veth", "peer", "name", "veth-tx"]).expect("make");
    move_interface(lab.rx(), End { namespace: lab.tx(), interface: "veth-tx" }).expect("the other end");
    lab.tx().ip(&["link", "set", "veth-tx", "up"]).expect("up");
    lab.rx().ip(&["link", "set", "veth-rx", "up"]).expect("up");
    counting.wait_for_outages(1);
    // IPv6 is there a moment later than the link.
    wait_until("both groups are joined again", || {
        table(lab.rx(), "mcfilter").contains("0xe8010101 0x0a000001")
            && is_joined_v6(lab.rx(), "ff3e0000000000000000000000000001")
    });
    let stream = sending(&lab);
    counting.next_packet();
    drop(stream.stop());
    counting.finish();
}

/// The MTU is raised on both ends under a receiver whose packets all fitted one buffer. In mode `generic` it has AF_XDP
/// sockets: the frames of mapped rings stay as they are.
fn jumbo_frames_under_way(mode: ReceiveMode) {
    const SIZES: [usize; 4] = [100, 1_472, 3_000, 8_000];
    let lab = Lab::new().expect("lab");
    // Generic mode takes whole checksums alone by XDP.
    let is_partial = mode != ReceiveMode::Generic;
    lab.tx().set_feature(lab.tx_interface(), "tx-checksum-ip-generic", is_partial).expect("the feature");
    let busy_poll = (mode == ReceiveMode::Generic).then_some(BUSY_POLL);
    let receiver = open(&lab, |builder| {
        builder.subscribe(subscription("10.0.0.1@232.1.1.1:5000")).mode(mode).busy_poll(busy_poll)
    });
    let mut receiver = receiver.expect("receiver");
    let handle = receiver.handle();
    let jumbo = |namespace: &Namespace, name: &str| namespace.ip(&["link", "set", name, "mtu", "9000"]);
    if mode == ReceiveMode::Copy {
        assert!(jumbo(lab.tx(), "veth-tx").is_err(), "veth sends its peer no more than the peer's program takes");
    }
    jumbo(lab.rx(), "veth-rx").expect("mtu");
    wait_until("the MTU is followed", || handle.interface().mtu == 9000);
    jumbo(lab.tx(), "veth-tx").expect("mtu");
    let socket = lab.tx().run(|| UdpSocket::bind("10.0.0.1:4000").expect("bind")).expect("run");
    let payload = |size: usize| -> Vec<u8> { (0..size).map(|at| (at * 7 + at / 251) as u8).collect() };
    for size in SIZES {
        socket.send_to(&payload(size), "232.1.1.1:5000").expect("send");
    }
    let mut came = Vec::new();
    while came.len() < SIZES.len() {
        let count =
            receiver.poll(Wait::For(PATIENCE), |datagram| came.push(datagram.payload().to_vec())).expect("poll");
        assert!(count > 0, "{came:?}\n{}", causes(&handle.ledger().expect("ledger")));
    }
    assert!(came == SIZES.map(payload), "the bytes differ");
    let ledger = handle.ledger().expect("ledger");
    let message = causes(&ledger);
    let by_xdp = if mode == ReceiveMode::Socket { 0 } else { SIZES.len() as u64 };
    assert_eq!(ledger.count("xdp_delivered").expect("a cause"), by_xdp, "{message}");
    assert_eq!((ledger.lost(), ledger.unaccounted(), ledger.link().outages), (0, 0, 0), "{message}");
    assert_eq!(handle.warnings(), Vec::<String>::new());
}

#[test]
fn jumbo_frames_under_way_copy() {
    jumbo_frames_under_way(ReceiveMode::Copy);
}

#[test]
fn jumbo_frames_under_way_generic() {
    jumbo_frames_under_way(ReceiveMode::Generic);
}

#[test]
fn jumbo_frames_under_way_socket() {
    jumbo_frames_under_way(ReceiveMode::Socket);
}

#[test]
fn renamed_copy() {
    renamed(ReceiveMode::Copy);
}

#[test]
fn renamed_mapped() {
    renamed(ReceiveMode::Mapped);
}

#[test]
fn renamed_generic() {
    renamed(ReceiveMode::Generic);
}

#[test]
fn renamed_socket() {
    renamed(ReceiveMode::Socket);
}

#[test]
fn flaps_copy() {
    flaps(ReceiveMode::Copy);
}

#[test]
fn flaps_mapped() {
    flaps(ReceiveMode::Mapped);
}

#[test]
fn flaps_generic() {
    flaps(ReceiveMode::Generic);
}

#[test]
fn flaps_socket() {
    flaps(ReceiveMode::Socket);
}

#[test]
fn more_queues_copy() {
    more_queues(ReceiveMode::Copy);
}

#[test]
fn more_queues_mapped() {
    more_queues(ReceiveMode::Mapped);
}

#[test]
fn more_queues_generic() {
    more_queues(ReceiveMode::Generic);
}

#[test]
fn many_flaps_of_the_receiving_end() {
    many_flaps(true);
}

#[test]
fn many_flaps_of_the_other_end() {
    many_flaps(false);
}

#[test]
fn detached_copy() {
    detached(ReceiveMode::Copy);
}

#[test]
fn detached_mapped() {
    detached(ReceiveMode::Mapped);
}

#[test]
fn detached_generic() {
    detached(ReceiveMode::Generic);
}

#[test]
fn foreign_after_a_relink_copy() {
    foreign_after_a_relink(ReceiveMode::Copy);
}

#[test]
fn foreign_after_a_relink_mapped() {
    foreign_after_a_relink(ReceiveMode::Mapped);
}

#[test]
fn foreign_after_a_relink_generic() {
    foreign_after_a_relink(ReceiveMode::Generic);
}

#[test]
fn foreign_between_two_relinks_copy() {
    foreign_between_two_relinks(ReceiveMode::Copy);
}

#[test]
fn foreign_between_two_relinks_mapped() {
    foreign_between_two_relinks(ReceiveMode::Mapped);
}

#[test]
fn foreign_between_two_relinks_generic() {
    foreign_between_two_relinks(ReceiveMode::Generic);
}
