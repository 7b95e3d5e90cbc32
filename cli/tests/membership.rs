//! `receiver conformance` and `receiver membership` as a user runs them.

use std::process::Command;

use netlab::Lab;
use receiver_membership::{InterfaceRef, MembershipSet, Options, Subscription, conformance};

#[test]
fn conformance_by_the_command() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_receiver")).args(arguments).output().expect("start");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    let (code, text) = run(&["conformance"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("private network namespace") && text.contains("ours differs in 0"), "{text}");
    let (code, text) = run(&["conformance", "--json"]);
    assert_eq!(code, Some(0));
    assert_eq!(text.lines().count(), 2 * 4 * conformance::TABLE.len() + 1);
    assert!(text.lines().last().expect("summary").contains("\"ours_differing\":0"), "{text}");
    // An answer that differs is found: without an IPv4 address, the IP_* options can name no interface.
    let lab = Lab::new().expect("lab");
    lab.rx().ip(&["address", "flush", "dev", lab.rx_interface(), "scope", "global"]).expect("flush");
    let differs = lab
        .rx()
        .command(env!("CARGO_BIN_EXE_receiver"))
        .args(["conformance", "-i", lab.rx_interface()])
        .output()
        .expect("start");
    let text = String::from_utf8_lossy(&differs.stdout);
    assert_eq!(differs.status.code(), Some(1), "{text}");
    assert!(text.contains("DIFFERS"), "{text}");
}

#[test]
fn membership_shows_what_the_kernel_has_joined() {
    let lab = Lab::new().expect("lab");
    let shown = lab
        .rx()
        .command(env!("CARGO_BIN_EXE_receiver"))
        .args(["membership", "-i", lab.rx_interface(), "--json"])
        .output()
        .expect("start");
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success() && text.contains("\"igmp\":\"IGMPv3\""), "{text}");
    for all_hosts in ["\"224.0.0.1\"", "\"ff02::1\""] {
        assert!(text.contains(all_hosts), "{text}");
    }
}

/// The kernel shows the sources of an interface only if the group that was joined last has some.
#[test]
fn a_group_whose_sources_are_hidden_is_not_shown_as_exclude() {
    let lab = Lab::new().expect("lab");
    let shown = |more: &[&str]| {
        let mut command = lab.rx().command(env!("CARGO_BIN_EXE_receiver"));
        let output = command.args(["membership", "-i", lab.rx_interface()]).args(more).output().expect("start");
        String::from_utf8(output.stdout).expect("text")
    };
    let index = lab.rx().run(|| receiver::Interface::lookup(lab.rx_interface())).expect("run").expect("there").index;
    let interface = InterfaceRef::new(index, lab.rx_interface());
    let mut set = lab.rx().run(|| MembershipSet::new(interface, Options::default())).expect("run");
    let mut join = |text: &str| {
        let wanted: Subscription = text.parse().expect("a subscription");
        lab.rx().run(|| set.join(wanted.group(), wanted.port(), wanted.filter())).expect("run").expect("joined");
    };
    let mode = |text: &str, group: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(group)).expect("the group's line");
        line.split_whitespace().next().expect("a mode").to_owned()
    };
    join("10.0.0.1@232.1.1.1:5000");
    assert_eq!(mode(&shown(&[]), "232.1.1.1 "), "INCLUDE");
    join("239.1.1.1:5000");
    let text = shown(&[]);
    assert_eq!(["232.1.1.1 ", "239.1.1.1 "].map(|group| mode(&text, group)), ["?", "EXCLUDE"], "{text}");
    assert!(text.contains("?: the kernel shows no sources of this IP version here"), "{text}");
    assert!(shown(&["--json"]).contains(r#"{"group":"232.1.1.1","mode":"unclear""#), "{}", shown(&["--json"]));
}
