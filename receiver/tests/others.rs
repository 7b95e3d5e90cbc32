//! Other programs on the host that use the groups of a receiver in an XDP mode: kernel sockets of this process. Those
//! of another process are tested with the command.

mod support;

use std::net::{IpAddr, SocketAddr};

use netlab::{End, Lab, LinkOptions, connect};
use receiver::{DropUnwanted, Handle, ReceiveMode, Receiver, Verdict};
use support::members::{Member, report, start, wait, wait_for_warning};
use support::{NATIVE, Sending, burst, causes, stream, subscription};

/// The receiver takes it from 10.0.0.1.
const GROUP: &str = "239.1.1.1";
const WANTED: &str = "10.0.0.1@239.1.1.1:5000";
const GROUP_V6: &str = "ff15::1";
const WANTED_V6: &str = "[2001:db8::1]@[ff15::1]:5000";
/// Frames of each burst.
const COUNT: u64 = 50;

/// Sends a burst from each source, one after the other. Returns the number of datagrams that the receiver took.
fn send(lab: &Lab, receiver: &mut Receiver, group: &str, port: u16, sources: &[&str]) -> u64 {
    let mut taken = 0;
    for source in sources {
        let mut config = stream(lab, group, port, &[source]);
        // Frames of a UDP socket have a partial checksum here, which mode generic leaves to the kernel.
        config.spoof = receiver.handle().mode() == ReceiveMode::Generic;
        taken += burst(lab, receiver, config, COUNT, |_| {});
    }
    taken
}

/// Waits until the receiver reports this number of other members.
fn wait_for_members(handle: &Handle, of: &str, count: u64) {
    wait(handle, &format!("{count} others in {of}"), || report(handle, of).other_members == Some(count));
}

/// The frames of unwanted sources that were dropped, and those that passed, by the counts of the verdicts.
fn unwanted(handle: &Handle) -> (u64, u64) {
    let ledger = handle.ledger().expect("ledger");
    let count = |verdict| ledger.verdict(verdict);
    let dropped = count(Verdict::DroppedNotIncluded) + count(Verdict::DroppedBlocked);
    (dropped, count(Verdict::PassedShared))
}

fn this_process() -> String {
    format!("(pid {}, this process) uses ", std::process::id())
}

/// What only the other program wants reaches it while it is a member, and is dropped once it has left. Each is reported
/// once.
fn passes_while_shared(mode: ReceiveMode, group: &str, wanted: &str, sources: [&str; 2]) {
    let lab = Lab::new().expect("lab");
    let member = Member::join(&lab, group, 5000);
    let mut receiver = start(&lab, mode, DropUnwanted::default(), &[wanted]);
    let handle = receiver.handle();
    let key = SocketAddr::new(group.parse().expect(group), 5000);
    let begins = format!("{}{key} on veth-rx too", this_process());
    let warnings = handle.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains(&begins), "at the start: {warnings:?}");
    assert!(warnings[0].contains("run this receiver in mode socket, or have the other program take"), "{warnings:?}");

    assert_eq!(send(&lab, &mut receiver, group, 5000, &sources), COUNT);
    // A whole checksum looks partial once in 65,536 frames.
    let partial = handle.ledger().expect("ledger").count("passed_partial_checksum").expect("a cause");
    let theirs = member.receive(COUNT + partial);
    let other: IpAddr = sources[1].parse().expect("an address");
    let taken = theirs.iter().filter(|source| **source != other).count();
    assert_eq!(taken as u64, partial, "the receiver has taken the others: {theirs:?}");
    assert!(partial < COUNT, "{partial}");
    assert_eq!(unwanted(&handle), (0, COUNT), "{}", causes(&handle.ledger().expect("ledger")));
    let shared = report(&handle, wanted);
    assert_eq!((shared.blocked, shared.passed_shared, shared.other_members), (Some(0), Some(COUNT), Some(1)));

    drop(member);
    wait_for_members(&handle, wanted, 0);
    assert_eq!(send(&lab, &mut receiver, group, 5000, &sources), COUNT);
    assert_eq!(unwanted(&handle), (COUNT, COUNT));
    let alone = report(&handle, wanted);
    assert_eq!((alone.blocked, alone.passed_shared), (Some(COUNT), Some(COUNT)));
    wait_for_warning(&handle, &[&format!("this process) no longer uses {key} on veth-rx")]);

    let again = Member::join(&lab, group, 5000);
    wait_for_members(&handle, wanted, 1);
    assert_eq!(send(&lab, &mut receiver, group, 5000, &sources), COUNT);
    again.receive(COUNT);
    assert_eq!(unwanted(&handle), (COUNT, 2 * COUNT));
    wait(&handle, "the third report", || handle.warnings().len() == 3);
    let ledger = handle.ledger().expect("ledger");
    assert_eq!(ledger.unaccounted(), 0, "{}", causes(&ledger));
}

#[test]
fn passes_while_shared_copy_v4() {
    passes_while_shared(ReceiveMode::Copy, GROUP, WANTED, ["10.0.0.1", "10.0.0.2"]);
}

#[test]
fn passes_while_shared_mapped_v4() {
    passes_while_shared(ReceiveMode::Mapped, GROUP, WANTED, ["10.0.0.1", "10.0.0.2"]);
}

#[test]
fn passes_while_shared_generic_v4() {
    passes_while_shared(ReceiveMode::Generic, GROUP, WANTED, ["10.0.0.1", "10.0.0.2"]);
}

#[test]
fn passes_while_shared_copy_v6() {
    passes_while_shared(ReceiveMode::Copy, GROUP_V6, WANTED_V6, ["2001:db8::1", "2001:db8::2"]);
}

#[test]
fn passes_while_shared_mapped_v6() {
    passes_while_shared(ReceiveMode::Mapped, GROUP_V6, WANTED_V6, ["2001:db8::1", "2001:db8::2"]);
}

#[test]
fn each_policy() {
    NATIVE.into_iter().for_each(each_policy_in);
}

fn each_policy_in(mode: ReceiveMode) {
    for (policy, member, expected) in [
        (DropUnwanted::Always, true, (COUNT, 0)),
        (DropUnwanted::Always, false, (COUNT, 0)),
        (DropUnwanted::UnlessShared, true, (0, COUNT)),
        (DropUnwanted::UnlessShared, false, (COUNT, 0)),
        (DropUnwanted::Never, true, (0, COUNT)),
        (DropUnwanted::Never, false, (0, COUNT)),
    ] {
        let lab = Lab::new().expect("lab");
        let member = member.then(|| Member::join(&lab, GROUP, 5000));
        let mut receiver = start(&lab, mode, policy, &[WANTED]);
        let handle = receiver.handle();
        assert_eq!(send(&lab, &mut receiver, GROUP, 5000, &["10.0.0.1", "10.0.0.2"]), COUNT);
        assert_eq!(unwanted(&handle), expected, "{policy}, {member:?}");
        if let Some(member) = &member {
            member.receive(expected.1);
        }
        // Who else gets nothing of what is wanted is reported in any case.
        // A check that another thread has begun warns when it ends.
        if member.is_some() {
            wait(&handle, "a warning", || !handle.warnings().is_empty());
        }
        let warnings = handle.warnings();
        assert_eq!(warnings.len(), usize::from(member.is_some()), "{policy}: {warnings:?}");
        let warns_of_drops = warnings.iter().any(|warning| warning.contains("it is set to drop them always"));
        assert_eq!(warns_of_drops, policy == DropUnwanted::Always && member.is_some(), "{policy}: {warnings:?}");
    }
}

/// A member that exists when the receiver joins a group later loses nothing: frames pass from the first one.
#[test]
fn joins_under_way_look_first() {
    NATIVE.into_iter().for_each(joins_under_way_in);
}

fn joins_under_way_in(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let mut receiver = start(&lab, mode, DropUnwanted::default(), &[WANTED_V6]);
    let handle = receiver.handle();
    let member = Member::join(&lab, GROUP, 5000);
    let sending = {
        let mut config = stream(&lab, GROUP, 5000, &["10.0.0.2"]);
        (config.traffic.rate, config.traffic.count) = (50_000, Some(25_000));
        Sending::start(&lab, config)
    };
    member.receive(50);
    lab.rx().run(|| handle.join(&subscription(WANTED))).expect("run").expect("joined");
    assert_eq!(report(&handle, WANTED).other_members, Some(1));
    assert_eq!(handle.warnings().len(), 1, "{:?}", handle.warnings());
    sending.wait();
    member.received();
    let (dropped, passed) = unwanted(&handle);
    assert!(dropped == 0 && passed > 0, "{dropped} {passed}");
    assert_eq!(send(&lab, &mut receiver, GROUP, 5000, &["10.0.0.1"]), COUNT);
    // A group that nobody shares reuses the slot of a group that was left.
    let id = report(&handle, WANTED).id;
    handle.leave(id).expect("left");
    let alone = "10.0.0.1@239.1.1.9:5000";
    lab.rx().run(|| handle.join_all(&[subscription(alone)])).expect("run").expect("joined");
    assert_eq!(send(&lab, &mut receiver, "239.1.1.9", 5000, &["10.0.0.1", "10.0.0.2"]), COUNT);
    let alone = report(&handle, alone);
    assert_eq!(
        (alone.blocked, alone.passed_shared),
        (Some(COUNT), Some(0)),
        "what the slot counted before is left out"
    );
}

/// Whatever changes in the filter or on the link, frames of unwanted sources pass while there is a member.
#[test]
fn changes_keep_it_shared() {
    NATIVE.into_iter().for_each(changes_keep_it_shared_in);
}

fn changes_keep_it_shared_in(mode: ReceiveMode) {
    let any = "!10.0.0.9@239.1.1.2:5001";
    let lab = Lab::new().expect("lab");
    let members = [Member::join(&lab, GROUP, 5000), Member::join(&lab, "239.1.1.2", 5001)];
    let mut receiver = start(&lab, mode, DropUnwanted::default(), &[WANTED, any]);
    let handle = receiver.handle();
    let [included, excluded] = [report(&handle, WANTED).id, report(&handle, any).id];
    let ip = |text: &str| -> IpAddr { text.parse().expect(text) };
    let mut passed = 0;
    let mut check = |what: &str, receiver: &mut Receiver, blocked: &str| {
        assert_eq!(send(&lab, receiver, GROUP, 5000, &["10.0.0.2"]), 0, "{what}");
        assert_eq!(send(&lab, receiver, "239.1.1.2", 5001, &[blocked]), 0, "{what}");
        passed += 2 * COUNT;
        assert_eq!(unwanted(&receiver.handle()), (0, passed), "{what}");
        for member in &members {
            member.receive(COUNT);
        }
    };
    check("start", &mut receiver, "10.0.0.9");
    handle.block(excluded, ip("10.0.0.8")).expect("block");
    check("block", &mut receiver, "10.0.0.8");
    handle.unblock(excluded, ip("10.0.0.8")).expect("unblock");
    handle.set_sources(excluded, [ip("10.0.0.7")].into()).expect("set sources");
    check("other blocked sources", &mut receiver, "10.0.0.7");
    handle.set_sources(included, [ip("10.0.0.3"), ip("10.0.0.4")].into()).expect("set sources");
    handle.join_source(included, ip("10.0.0.5")).expect("join source");
    handle.leave_source(included, ip("10.0.0.3")).expect("leave source");
    check("other sources", &mut receiver, "10.0.0.7");
    let second = lab.rx().run(|| handle.join(&subscription("10.0.0.6@239.1.1.1:5000"))).expect("run").expect("join");
    check("a second subscription", &mut receiver, "10.0.0.7");
    handle.leave(second).expect("left");
    check("and its end", &mut receiver, "10.0.0.7");

    let outages = handle.ledger().expect("ledger").link().outages;
    lab.rx().ip(&["link", "set", "veth-rx", "down"]).expect("down");
    lab.rx().ip(&["link", "set", "veth-rx", "up"]).expect("up");
    wait(&handle, "the outage is recorded", || handle.ledger().expect("ledger").link().outages > outages);
    check("down and up", &mut receiver, "10.0.0.7");

    let outages = handle.ledger().expect("ledger").link().outages;
    lab.rx().ip(&["link", "del", "veth-rx"]).expect("delete");
    let ends = [End { namespace: lab.rx(), interface: "veth-rx" }, End { namespace: lab.tx(), interface: "veth-tx" }];
    connect(ends[0], ends[1], LinkOptions::default()).expect("connect");
    lab.tx().ip(&["addr", "add", "10.0.0.2/24", "dev", "veth-tx"]).expect("address");
    lab.tx().ip(&["addr", "add", "10.0.0.7/24", "dev", "veth-tx"]).expect("address");
    lab.tx().ip(&["route", "add", "224.0.0.0/4", "dev", "veth-tx"]).expect("route");
    lab.rx().ip(&["addr", "add", "10.0.0.100/24", "dev", "veth-rx"]).expect("address");
    wait(&handle, "the outage is recorded", || handle.ledger().expect("ledger").link().outages > outages);
    // The kernel has ended the memberships of the members as well.
    for (member, group) in members.iter().zip([GROUP, "239.1.1.2"]) {
        member.join_again(lab.rx(), "veth-rx", group);
    }
    for id in [included, excluded] {
        wait(&handle, "the members are seen", || {
            let reports = handle.subscriptions().expect("subscriptions");
            reports.iter().any(|report| report.id == id && report.other_members == Some(1))
        });
    }
    check("made again", &mut receiver, "10.0.0.7");
}

/// A member on another interface does not count; nor does one that is bound to another port get a warning.
#[test]
fn other_interfaces_and_ports() {
    NATIVE.into_iter().for_each(other_interfaces_and_ports_in);
}

fn other_interfaces_and_ports_in(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    lab.rx().ip(&["link", "add", "veth-b", "type", "veth", "peer", "name", "veth-c"]).expect("a second interface");
    lab.rx().ip(&["link", "set", "veth-b", "up"]).expect("up");
    let _elsewhere = Member::join_on(lab.rx(), "veth-b", GROUP, 5000);
    let port = Member::join(&lab, "239.1.1.2", 6000);
    let wanted = [WANTED, "10.0.0.1@239.1.1.2:5001", "10.0.0.1@239.1.1.3:5000"];
    let mut receiver = start(&lab, mode, DropUnwanted::default(), &wanted);
    let handle = receiver.handle();
    assert_eq!(handle.warnings(), [""; 0]);
    assert_eq!(wanted.map(|of| report(&handle, of).other_members), [Some(0), Some(1), Some(0)]);
    assert_eq!(send(&lab, &mut receiver, GROUP, 5000, &["10.0.0.2"]), 0);
    assert_eq!(unwanted(&handle), (COUNT, 0));
    // Its own port was never touched.
    send(&lab, &mut receiver, "239.1.1.2", 6000, &["10.0.0.1"]);
    port.receive(COUNT);
    // Once this one is reported, the memberships have been read again.
    let _third = Member::join(&lab, "239.1.1.3", 5000);
    wait_for_warning(&handle, &[&this_process(), "239.1.1.3:5000"]);
    let warnings = handle.warnings();
    assert!(
        warnings.len() == 1 && !warnings[0].contains("239.1.1.1") && !warnings[0].contains("239.1.1.2"),
        "{warnings:?}"
    );
}

#[test]
fn mode_socket_needs_no_look() {
    let lab = Lab::new().expect("lab");
    let member = Member::join(&lab, GROUP, 5000);
    let mut receiver = start(&lab, ReceiveMode::Socket, DropUnwanted::Always, &[WANTED]);
    assert_eq!(send(&lab, &mut receiver, GROUP, 5000, &["10.0.0.1", "10.0.0.2"]), COUNT);
    assert_eq!(member.receive(2 * COUNT).len() as u64, 2 * COUNT, "each program gets its own copy");
    let of = report(&receiver.handle(), WANTED);
    assert_eq!((of.blocked, of.passed_shared, of.other_members), (None, None, None));
    assert_eq!(receiver.handle().warnings(), [""; 0]);
}
