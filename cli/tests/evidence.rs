//! The command explains why nothing came: the findings of the library, each with the option that helps.

mod command;
#[path = "../../receiver/tests/support/mod.rs"]
mod support;

use std::thread::sleep;
use std::time::Duration;

use command::Run;
use netlab::Lab;
use rustix::process::Signal;
use serde_json::Value;
use support::frame::{Frame, damaged, send, tagged};
use support::quiet_lab;

const WANTED: &str = "10.0.0.1@232.1.1.1:5000";
const WANTED_V6: &str = "[2001:db8::1]@[ff3e::1]:5000";

/// Runs the command, sends 20 frames, and ends it. Returns its standard output after the first line.
fn run(lab: &Lab, arguments: &[&str], frame: &[u8]) -> String {
    let (run, _) = Run::joined(lab, arguments);
    send(lab, frame, 20);
    sleep(Duration::from_millis(300));
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    out
}

#[test]
fn the_command_explains_with_its_own_remedies() {
    ["mapped", "copy"].into_iter().for_each(explains);
}

fn explains(mode: &str) {
    let lab = quiet_lab();
    let frame = tagged(&Frame::udp("10.0.0.1:4000", "232.1.1.1:5000", b"tagged").bytes, 100);
    let text = run(&lab, &["--mode", mode, WANTED, WANTED_V6], &frame);
    for line in [
        "nothing came for 2 of 2 subscriptions:\n",
        "  20 frames on veth-rx carried a VLAN tag, and untagged ones are wanted; receive them with --vlan ID\n",
    ] {
        assert!(text.contains(line), "{line} is missing: {text}");
    }

    let frame = Frame::udp("10.0.0.3:4000", "232.1.1.1:5000", b"unwanted").bytes;
    let text = run(&lab, &["--mode", mode, WANTED, "10.0.0.3@232.1.1.1:5000"], &frame);
    for line in [
        "nothing came for 1 of 2 subscriptions:\n",
        "  10.0.0.1@232.1.1.1:5000: no frame of group 232.1.1.1, port 5000, arrived on veth-rx from a source of this \
         subscription\n",
    ] {
        assert!(text.contains(line), "{line} is missing: {text}");
    }

    let text = run(&lab, &["--mode", mode, WANTED], &frame);
    let line = "  10.0.0.1@232.1.1.1:5000: 20 frames of group 232.1.1.1, port 5000, came from sources that are not \
                wanted, the latest from 10.0.0.3; for that one, subscribe to 10.0.0.3@232.1.1.1:5000\n";
    assert!(text.contains(line), "{line} is missing: {text}");

    let other = Frame::udp("10.0.0.1:4000", "232.1.1.1:5009", b"port").bytes;
    let text = run(&lab, &["--mode", mode, WANTED], &other);
    let line = "  10.0.0.1@232.1.1.1:5000: frames of group 232.1.1.1 arrived for port 5009, not for 5000; for those, \
                subscribe to 10.0.0.1@232.1.1.1:5009\n";
    assert!(text.contains(line), "{line} is missing: {text}");

    let text = run(&lab, &["--mode", mode, "10.0.0.3@232.1.1.1:5000"], &frame);
    assert!(!text.contains("nothing came"), "{text}");
}

#[test]
fn json_has_the_evidence_and_null_for_what_is_not_known() {
    let lab = quiet_lab();
    let frame = damaged("10.0.0.1:4000", "232.1.1.1:5000");
    let text = run(&lab, &["--json", "--interval", "0.1", "--mode", "socket", WANTED], &frame);
    let summary: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("an object");
    assert_eq!(summary["blocked"], Value::Null);
    assert_eq!(summary["subscriptions"][0]["blocked_per_second"], Value::Null);
    assert_eq!(summary["ledger"]["host_udp_checksum"], 20);
    let evidence = summary["evidence"].as_array().expect("an array");
    let found = evidence.iter().find(|finding| finding["name"] == "host_wrong_checksum").expect("the finding");
    assert!(found["text"].as_str().is_some_and(|text| text.contains("20 datagrams")), "{found}");
    let interval: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("an object");
    assert!(interval["evidence"].is_null(), "only the summary explains: {interval}");

    let text = run(&lab, &["--interval", "0.1", "--mode", "socket", WANTED], &frame);
    assert!(text.contains(": 0 packets, 0 B, blocked not known in this mode, nothing came\n"), "{text}");
    assert!(!text.contains("0 blocked"), "{text}");
}
