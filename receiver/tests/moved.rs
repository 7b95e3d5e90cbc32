//! A device that goes and comes back with the index that it had: moved to another network namespace and back, or
//! deleted and made again. The index does not tell; the receiver puts everything back, and every frame is accounted
//! for.

mod support;

use netlab::{End, Lab, Namespace, move_interface};
use receiver::ReceiveMode;
use support::counting::{Counting, is_joined_v6, sending, sending_v6, table};

fn address(namespace: &Namespace) {
    for sysctl in ["net/ipv4/conf/all/rp_filter", "net/ipv4/conf/veth-rx/rp_filter", "net/ipv6/conf/veth-rx/accept_dad"]
    {
        namespace.sysctl(sysctl, "0").expect(sysctl);
    }
    namespace.ip(&["addr", "add", "10.0.0.100/24", "dev", "veth-rx"]).expect("address");
    namespace.ip(&["link", "set", "veth-rx", "up"]).expect("up");
}

fn moved_and_back(mode: ReceiveMode) {
    let mut lab = Lab::new().expect("lab");
    let elsewhere = lab.add_namespace("elsewhere").expect("namespace");
    let counting = Counting::open(&lab, mode);
    let streams = [sending(&lab), sending_v6(&lab)];
    counting.next(Some(false));
    counting.next(Some(true));
    let index = counting.handle.interface().index;
    for round in 1..=3 {
        move_interface(lab.rx(), End { namespace: &elsewhere, interface: "veth-rx" }).expect("there");
        if round == 2 {
            // Up for a while in the other namespace: none of its frames is the receiver's.
            elsewhere.ip(&["link", "set", "veth-rx", "up"]).expect("up");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        move_interface(&elsewhere, End { namespace: lab.rx(), interface: "veth-rx" }).expect("back");
        address(lab.rx());
        assert_eq!(lab.rx().interface_index("veth-rx").expect("index"), index, "the test is of an equal index");
        counting.wait_for_outages(round);
        counting.next(Some(false));
        counting.next(Some(true));
        let link = counting.handle.ledger().expect("ledger").link();
        assert_eq!(link.outages, round, "{link:?}");
        counting.wait_until("the sources are joined in the kernel", || {
            table(lab.rx(), "mcfilter").contains("0xe8010101 0x0a000001")
                && is_joined_v6(lab.rx(), "ff3e0000000000000000000000000001")
        });
    }
    for stream in streams {
        drop(stream.stop());
    }
    let link = counting.handle.ledger().expect("ledger").link();
    assert_eq!(link.outages, 3, "{link:?}");
    counting.finish();
}

/// Both in one `ip` process: the receiver finds the new device when it first looks.
fn made_again_with_its_index(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let counting = Counting::open(&lab, mode);
    let index = counting.handle.interface().index.to_string();
    for round in 1..=3 {
        let stream = sending(&lab);
        counting.next_packet();
        drop(stream.stop());
        lab.rx().ip(&["link", "del", "veth-rx"]).expect("delete");
        lab.rx()
            .ip(&["link", "add", "veth-rx", "index", &index, "type", "veth", "peer", "name", "veth-tx"])
            .expect("make");
        move_interface(lab.rx(), End { namespace: lab.tx(), interface: "veth-tx" }).expect("the other end");
        lab.tx().ip(&["link", "set", "veth-tx", "up"]).expect("up");
        address(lab.rx());
        assert_eq!(lab.rx().interface_index("veth-rx").expect("index").to_string(), index);
        counting.wait_for_outages(round);
    }
    let streams = [sending(&lab), sending_v6(&lab)];
    counting.next(Some(false));
    counting.next(Some(true));
    assert!(table(lab.rx(), "mcfilter").contains("0xe8010101 0x0a000001"));
    for stream in streams {
        drop(stream.stop());
    }
    let link = counting.handle.ledger().expect("ledger").link();
    assert_eq!(link.outages, 3, "{link:?}");
    counting.finish();
}

#[test]
fn moved_and_back_copy() {
    moved_and_back(ReceiveMode::Copy);
}

#[test]
fn moved_and_back_mapped() {
    moved_and_back(ReceiveMode::Mapped);
}

#[test]
fn moved_and_back_generic() {
    moved_and_back(ReceiveMode::Generic);
}

#[test]
fn moved_and_back_socket() {
    moved_and_back(ReceiveMode::Socket);
}

#[test]
fn made_again_with_its_index_copy() {
    made_again_with_its_index(ReceiveMode::Copy);
}

#[test]
fn made_again_with_its_index_mapped() {
    made_again_with_its_index(ReceiveMode::Mapped);
}

#[test]
fn made_again_with_its_index_generic() {
    made_again_with_its_index(ReceiveMode::Generic);
}

#[test]
fn made_again_with_its_index_socket() {
    made_again_with_its_index(ReceiveMode::Socket);
}
