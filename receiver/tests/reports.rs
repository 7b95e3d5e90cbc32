//! The reports by queue, of the link and of the memberships: they agree with the ledger, with what happened to the
//! interface, and with the kernel's tables. Needs root.

mod support;

use std::time::SystemTime;

use netlab::{End, Lab, move_interface};
use receiver::{Handle, LinkChange, ModeRequest, ReceiveMode};
use support::counting::{Counting, sending};
use support::frame::{Frame, FrameSocket};
use support::{Sending, causes, open, receive, stream, subscription};

/// The sum of one count over the queues.
fn total(handle: &Handle, count: impl Fn(&receiver::QueueReport) -> u64) -> u64 {
    handle.queues().expect("queues").iter().map(count).sum()
}

fn queues_agree_with_the_ledger(mode: ReceiveMode) {
    let lab = Lab::builder().queues(4).build().expect("lab");
    let mut receiver = open(&lab, |builder| {
        builder.subscribe(subscription("10.0.0.1@232.1.1.1:5000")).mode(ModeRequest::Exactly(mode))
    })
    .expect("receiver");
    let handle = receiver.handle();
    // With one port they would all come by one queue.
    let mut config = stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
    (config.traffic.source_ports, config.traffic.rate, config.traffic.count) = (64, 5_000, Some(1_000));
    let mut damaged = Frame::udp("10.0.0.1:4000", "232.1.1.1:5000", b"damaged");
    damaged.udp_checksum()[1] ^= 1;
    FrameSocket::open(&lab).send(&damaged.bytes);
    let delivered = receive(&mut receiver, &[Sending::start(&lab, config)], |_| {});
    let (ledger, queues) = (handle.ledger().expect("ledger"), handle.queues().expect("queues"));
    let message = causes(&ledger);
    assert_eq!(queues.iter().map(|queue| queue.queue).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(queues.iter().filter(|queue| queue.taken > 0).count() > 1, "{queues:?}");
    assert_eq!(total(&handle, |queue| queue.delivered), delivered, "{message}");
    let count = |name: &str| ledger.count(name);
    assert_eq!(count("xdp_taken"), Some(total(&handle, |queue| queue.taken)), "{message}");
    assert_eq!(count("udp_checksum"), Some(1), "{message}");
    for (reason, _) in queues[0].drops() {
        let of_reason =
            |queue: &receiver::QueueReport| queue.drops().find(|(name, _)| *name == reason).map(|one| one.1);
        assert_eq!(count(reason), Some(total(&handle, |queue| of_reason(queue).expect("a reason"))), "{reason}");
    }
    for queue in &queues {
        let dropped: u64 = queue.drops().map(|(_, count)| count).sum();
        assert_eq!(queue.taken, queue.delivered + queue.held + dropped, "{queue:?}");
        assert_eq!(queue.ring.queue, queue.queue);
        assert!(ledger.sockets().contains(&queue.ring), "{queue:?}\n{message}");
    }
}

#[test]
fn queues_agree_with_the_ledger_copy() {
    queues_agree_with_the_ledger(ReceiveMode::Copy);
}

#[test]
fn queues_agree_with_the_ledger_mapped() {
    queues_agree_with_the_ledger(ReceiveMode::Mapped);
}

#[test]
fn mode_socket_has_no_queues() {
    let lab = Lab::new().expect("lab");
    let receiver = open(&lab, |builder| builder.mode(ReceiveMode::Socket)).expect("receiver");
    assert_eq!(receiver.handle().queues().expect("queues"), []);
}

/// What happens to the interface is counted under its name, once each time.
#[test]
fn changes_of_the_link_are_counted() {
    let start = SystemTime::now();
    let mut lab = Lab::new().expect("lab");
    let elsewhere = lab.add_namespace("elsewhere").expect("namespace");
    let counting = Counting::open(&lab, ReceiveMode::Copy);
    let stream = sending(&lab);
    counting.next_packet();
    let count = |change| counting.handle.link_events().count(change);
    let happens = |change: LinkChange, times| counting.wait_until(change.name(), || count(change) == times);
    assert!(counting.handle.link_events().is_up());
    assert_eq!(counting.handle.link_events().counts().map(|one| one.count).sum::<u64>(), 0);
    let rx = lab.rx();
    for round in 1..=2 {
        rx.ip(&["link", "set", "veth-rx", "down"]).expect("down");
        happens(LinkChange::Down, round);
        assert!(!counting.handle.link_events().is_up());
        rx.ip(&["link", "set", "veth-rx", "up"]).expect("up");
        happens(LinkChange::Up, round);
        counting.next_packet();
    }
    rx.ip(&["link", "set", "veth-rx", "mtu", "1200"]).expect("mtu");
    happens(LinkChange::Ipv6Gone, 1);
    happens(LinkChange::MtuChanged, 1);
    rx.ip(&["link", "set", "veth-rx", "mtu", "1500"]).expect("mtu");
    happens(LinkChange::Ipv6Back, 1);
    happens(LinkChange::MtuChanged, 2);
    move_interface(rx, End { namespace: &elsewhere, interface: "veth-rx" }).expect("there");
    happens(LinkChange::Moved, 1);
    assert!(!counting.handle.link_events().is_up());
    move_interface(&elsewhere, End { namespace: rx, interface: "veth-rx" }).expect("back");
    rx.ip(&["link", "set", "veth-rx", "up"]).expect("up");
    happens(LinkChange::Back, 1);
    counting.next_packet();
    stream.stop();
    rx.ip(&["link", "del", "veth-rx"]).expect("delete");
    happens(LinkChange::Gone, 1);
    let history = counting.handle.link_events();
    let moved = history.counts().find(|one| one.change == LinkChange::Moved).and_then(|one| one.last);
    assert!(moved.is_some_and(|moved| moved >= start && moved <= SystemTime::now()), "{history:?}");
    assert_eq!(history.recent().last().map(|(_, change)| change), Some(LinkChange::Gone), "{history:?}");
    assert_eq!(history.recent().len() as u64, history.counts().map(|one| one.count).sum::<u64>(), "{history:?}");
    counting.finish();
}

#[test]
fn memberships_are_those_of_the_kernel() {
    let lab = Lab::new().expect("lab");
    let counting = Counting::open(&lab, ReceiveMode::Copy);
    let handle = &counting.handle;
    let second_port = subscription("10.0.0.1@232.1.1.1:5001");
    let second_port = lab.rx().run(|| handle.join(&second_port)).expect("a thread").expect("joined");
    counting.wait_until("the tables are read", || handle.memberships().missing == Some(0));
    let report = handle.memberships();
    assert_eq!((report.interface.as_str(), report.joined, report.groups), ("veth-rx", 3, 2), "{report:?}");
    assert!(!report.older_igmp && !report.older_mld && report.checked.is_some(), "{report:?}");
    assert_eq!(report.igmp, Some(receiver::IgmpVersion::V3), "{report:?}");
    lab.rx().sysctl("net/ipv6/conf/veth-rx/disable_ipv6", "1").expect("disable");
    counting.wait_until("the IPv6 group is missing", || handle.memberships().missing == Some(1));
    lab.rx().sysctl("net/ipv6/conf/veth-rx/disable_ipv6", "0").expect("enable");
    counting.wait_until("it is there again", || handle.memberships().missing == Some(0));
    lab.rx().sysctl("net/ipv4/conf/veth-rx/force_igmp_version", "2").expect("force");
    lab.rx().sysctl("net/ipv6/conf/veth-rx/force_mld_version", "1").expect("force");
    counting.wait_until("the older versions are seen", || {
        let report = handle.memberships();
        report.older_igmp && report.older_mld && report.igmp == Some(receiver::IgmpVersion::V2)
    });
    handle.leave(second_port).expect("left");
    assert_eq!((handle.memberships().joined, handle.memberships().groups), (2, 2));
    counting.finish();
}
