//! The interface: its link, what it belongs to, its queues, its offloads, and the modes of its driver.

use netlab::Lab;

use crate::WANTED;
use crate::answer::{Answer, QUICK, apply, assert_mended, doctor, quick};

#[test]
fn a_link_that_is_down_and_one_without_multicast() {
    let lab = Lab::new().expect("lab");
    for (fault, text) in [
        (["link", "set", "veth-rx", "down"].as_slice(), "is down"),
        (&["link", "set", "veth-rx", "multicast", "off"], "does not do multicast"),
    ] {
        lab.rx().ip(fault).expect("a fault");
        let answer = quick(&lab, &[WANTED]);
        let (found, remedy) = answer.line("link", "fail");
        assert!(found.contains(text), "{found}");
        apply(&lab, remedy);
        lab.rx().ip(&["route", "replace", "224.0.0.0/4", "dev", "veth-rx"]).expect("route");
        quick(&lab, &[WANTED]).assert_ok("link");
    }
}

#[test]
fn ipv6_that_is_disabled_or_has_no_room() {
    let lab = Lab::new().expect("lab");
    let wanted = "[2001:db8::1]@[ff3e::1]:5000";
    quick(&lab, &[wanted]).assert_ok("link");
    lab.rx().sysctl("net/ipv6/conf/veth-rx/disable_ipv6", "1").expect("sysctl");
    let answer = quick(&lab, &[wanted]);
    let (text, remedy) = answer.line("link", "fail");
    assert!(text.contains("IPv6 is disabled"), "{text}");
    apply(&lab, remedy);
    lab.rx().ip(&["address", "add", "fe80::64/64", "dev", "veth-rx", "nodad"]).expect("address");
    quick(&lab, &[wanted]).assert_ok("link");
    lab.rx().ip(&["link", "set", "veth-rx", "mtu", "1000"]).expect("mtu");
    let answer = quick(&lab, &[wanted]);
    let (text, remedy) = answer.line("link", "fail");
    assert!(text.contains("below 1280"), "{text}");
    apply(&lab, remedy);
    lab.rx().ip(&["address", "add", "fe80::64/64", "dev", "veth-rx", "nodad"]).expect("address");
    quick(&lab, &[wanted]).assert_ok("link");
}

#[test]
fn a_bridge_and_a_macvlan_in_place_of_the_interface() {
    let lab = Lab::new().expect("lab");
    quick(&lab, &[]).assert_ok("master");
    lab.rx().ip(&["link", "add", "br0", "type", "bridge"]).expect("bridge");
    lab.rx().ip(&["link", "set", "br0", "up"]).expect("up");
    lab.rx().ip(&["link", "set", "veth-rx", "master", "br0"]).expect("master");
    let on = |name: &str| {
        let mut command = lab.rx().command(env!("CARGO_BIN_EXE_receiver"));
        Answer::of(&command.args(["doctor", "-i", name, "--json"]).args(QUICK).output().expect("the doctor runs"))
    };
    let answer = on("br0");
    let (text, remedy) = answer.line("master", "warn");
    assert!(text.contains("bridge of veth-rx"), "{text}");
    assert_eq!(remedy, "receiver doctor -i veth-rx");
    let answer = on("veth-rx");
    let (text, remedy) = answer.line("master", "warn");
    assert!(text.contains("belongs to the bridge br0"), "{text}");
    let querier = answer.lines("querier");
    assert!(querier.iter().all(|line| line["remedy"] == "ip link set br0 type bridge mcast_querier 1"), "{querier:?}");
    apply(&lab, remedy);
    on("veth-rx").assert_ok("master");
    lab.rx().ip(&["link", "add", "mac0", "link", "veth-rx", "type", "macvlan"]).expect("macvlan");
    let answer = on("mac0");
    let (text, remedy) = answer.line("master", "warn");
    assert!(text.contains("macvlan interface on veth-rx"), "{text}");
    assert_eq!(remedy, "receiver doctor -i veth-rx");
    assert!(on("veth-rx").line("master", "warn").0.contains("mac0"));
}

#[test]
fn queues_that_nobody_serves() {
    let lab = Lab::builder().queues(2).build().expect("lab");
    quick(&lab, &["--queues", "2"]).assert_ok("queues");
    assert_mended(&lab, &["--queues", "1"], "queues", "warn", "packets reach queue 1 of veth-rx");
    assert_mended(
        &lab,
        &["--queues", "2"],
        "queues",
        "fail",
        "1 receive queue, numbered from 0, and queue 1 is to be served",
    );
}

#[test]
fn offloads_that_are_in_the_way() {
    let lab = Lab::new().expect("lab");
    quick(&lab, &[]).assert_ok("offloads");
    for feature in ["rx-gro-list", "rx-udp-gro-forwarding"] {
        lab.rx().set_feature("veth-rx", feature, true).expect("a feature");
        assert_mended(&lab, &[], "offloads", "warn", feature);
    }
    // veth removes tags by default.
    assert_mended(&lab, &["--vlan", "7"], "offloads", "fail", "removes VLAN tags");
    lab.rx().ip(&["link", "set", "veth-rx", "mtu", "20000"]).expect("mtu");
    assert_mended(&lab, &[], "offloads", "warn", "20000");
}

/// Native XDP takes as many receive queues as the other end has transmit queues.
#[test]
fn modes_that_the_driver_refuses() {
    let lab = Lab::builder().rx_queues(1).tx_queues(2).build().expect("lab");
    let answer = doctor(&lab, &["--wait", "0.05"]);
    let (text, _) = answer.line("modes", "warn");
    assert!(text.starts_with("mode generic works on veth-rx, which is slow; zero-copy, mapped, copy not: "), "{text}");
    assert!(answer.line("occupied", "ok").0.starts_with("no XDP program"));
    lab.tx().set_channels("veth-tx", netlab::Channels::Tx, 1).expect("channels");
    doctor(&lab, &["--wait", "0.05"]).assert_ok("modes");
}

#[test]
fn an_interface_that_does_not_exist() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_receiver")).args(["doctor", "-i", "eth99"]).output();
    let output = output.expect("start");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`eth99` does not exist"));
}
