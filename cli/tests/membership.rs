//! `receiver conformance` and `receiver membership` as a user runs them.

use std::process::Command;

use netlab::Lab;
use receiver_membership::conformance;

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
