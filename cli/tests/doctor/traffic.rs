//! What comes over the wire: queries, the wrong stream, and more than a stage takes.

use std::time::Duration;

use netlab::Lab;
use rustix::process::{Pid, Signal, kill_process};

use crate::WANTED;
use crate::answer::{Answer, command, doctor, quick};
use crate::command::send;
use crate::support;
use crate::wire::{IGMPV3_QUERY, Repeating, sending};

#[test]
fn no_querier() {
    let lab = Lab::new().expect("lab");
    let answer = quick(&lab, &[WANTED]);
    let (text, remedy) = answer.line("querier", "warn");
    assert!(text.contains("260 s") && text.contains("no IGMP query"), "{text}");
    assert_eq!(remedy, "receiver doctor -i veth-rx --wait 260");
    let _querier = Repeating::igmp(&lab, &IGMPV3_QUERY);
    doctor(&lab, &["--no-probe", "--wait", "0.5", WANTED]).assert_ok("querier");
}

#[test]
fn the_wrong_source_port_and_group_on_the_wire() {
    let lab = Lab::new().expect("lab");
    let _traffic = sending(&lab, "232.1.1.1", 5000, &["10.0.0.2"]);
    let look = |wanted: &str| doctor(&lab, &["--wait", "0.7", wanted]);
    for (wanted, reason, remedy) in [
        (WANTED, "the latest from 10.0.0.2", "receiver run -i veth-rx 10.0.0.2@232.1.1.1:5000"),
        (
            "10.0.0.2@232.1.1.1:5001",
            "arrived for port 5000, not for 5001",
            "receiver run -i veth-rx 10.0.0.2@232.1.1.1:5000",
        ),
        ("10.0.0.2@232.1.1.2:5000", "not subscribed to", "tcpdump -n -i veth-rx 'udp and dst host 232.1.1.2'"),
    ] {
        let answer = look(wanted);
        let (text, found) = answer.line("stages", "fail");
        assert!(text.starts_with(&format!("{wanted} received nothing: ")) && text.contains(reason), "{text}");
        assert_eq!(found, remedy, "{text}");
    }
    look("10.0.0.2@232.1.1.1:5000").assert_ok("stages");
    // Blocked: any source but that one.
    drop(_traffic);
    let _traffic = sending(&lab, "239.1.1.1", 5000, &["10.0.0.2"]);
    let answer = look("!10.0.0.2@239.1.1.1:5000");
    assert!(answer.line("stages", "fail").0.contains("sources that are not wanted"));
    look("!10.0.0.1@239.1.1.1:5000").assert_ok("stages");
}

/// The doctor itself is stopped while packets come: rings and sockets fill up.
#[test]
fn a_slow_stage() {
    let lab = Lab::new().expect("lab");
    let mut command = command(&lab, &["--wait", "4", WANTED]);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
    let child = child.expect("the doctor runs");
    let start = std::time::Instant::now();
    while !support::traces::Traces::of(&lab).filters.contains("0xe8010101") {
        assert!(start.elapsed() < support::PATIENCE, "it joined nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Both receivers have joined soon after.
    std::thread::sleep(Duration::from_millis(500));
    let pid = Pid::from_raw(child.id() as i32).expect("a pid");
    kill_process(pid, Signal::STOP).expect("stopped");
    send(&lab, &["10.0.0.1"], 30_000);
    kill_process(pid, Signal::CONT).expect("continued");
    let answer = Answer::of(&child.wait_with_output().expect("it ends"));
    let lines = answer.lines("stages");
    let texts: Vec<&str> = lines.iter().filter_map(|line| line["text"].as_str()).collect();
    assert!(texts.iter().any(|text| text.contains("lost because the ring was full")), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("at the sockets: their buffers were full")), "{texts:?}");
}
