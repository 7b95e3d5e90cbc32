//! `receiver doctor` in namespaces in which a check fails, and in which it does not. Each remedy that can be run here
//! is run, and the check turns ok.

mod answer;
#[path = "../command/mod.rs"]
mod command;
mod interface;
mod kernel;
mod others;
#[path = "../../../receiver/tests/support/mod.rs"]
mod support;
mod traffic;
mod wire;

use answer::{QUICK, doctor};
use netlab::Lab;
use wire::{IGMPV3_QUERY, Repeating, sending};

const WANTED: &str = "10.0.0.1@232.1.1.1:5000";

#[test]
fn a_healthy_host() {
    let lab = Lab::new().expect("lab");
    let traffic = sending(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
    let querier = Repeating::igmp(&lab, &IGMPV3_QUERY);
    let before = support::traces::Traces::of(&lab);
    let answer = doctor(&lab, &["--wait", "1", WANTED]);
    for check in [
        "kernel",
        "privilege",
        "link",
        "driver",
        "master",
        "queues",
        "offloads",
        "occupied",
        "running",
        "reverse_path",
        "firewall",
        "membership",
        "sharing",
        "modes",
        "querier",
        "stages",
    ] {
        answer.assert_ok(check);
    }
    assert_eq!((&answer.value["interface"], &answer.value["subscriptions"][0]), (&"veth-rx".into(), &WANTED.into()));
    let (modes, _) = answer.line("modes", "ok");
    assert!(modes.starts_with("mapped, copy, generic work on veth-rx; zero-copy not: "), "{modes}");
    let (querier_line, _) = answer.line("querier", "ok");
    assert_eq!(querier_line, "the querier 10.0.0.1 asks by IGMPv3");
    let stages = answer.lines("stages");
    let counts = stages[1]["text"].as_str().expect("a text");
    assert!(counts.contains("datagrams by XDP, ") && counts.contains(" by kernel sockets"), "{counts}");
    drop((traffic, querier));
    assert_eq!(support::traces::Traces::of(&lab), before, "the doctor leaves nothing behind");
}

#[test]
fn text_is_for_people_and_the_exit_code_for_scripts() {
    let lab = Lab::new().expect("lab");
    let run = |arguments: &[&str]| {
        let mut command = lab.rx().command(env!("CARGO_BIN_EXE_receiver"));
        let output = command.args(["doctor", "-i", "veth-rx"]).args(arguments).output().expect("the doctor runs");
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text"));
        (output.status.code(), texts)
    };
    let (code, [out, err]) = run(&QUICK);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.lines().any(|line| line.starts_with("ok      kernel       Linux ")), "{out}");
    assert!(out.lines().any(|line| line == "                     $ receiver doctor -i veth-rx --wait 260"), "{out}");
    assert!(out.lines().last().is_some_and(|line| line.contains(" ok, ") && line.contains(" 0 fail")), "{out}");
    lab.rx().ip(&["link", "set", "veth-rx", "down"]).expect("down");
    let (code, [out, err]) = run(&QUICK);
    assert_eq!((code, err.as_str()), (Some(1), "receiver: a check failed\n"), "{out}");
    assert_eq!(run(&["--wait", "261"]).0, Some(2));
    assert_eq!(run(&["10.0.0.1@10.1.1.1:5000"]).0, Some(2));
}

#[test]
fn progress_is_for_terminals() {
    let lab = Lab::new().expect("lab");
    let words = format!("{} doctor -i veth-rx --no-probe --wait 0.2", env!("CARGO_BIN_EXE_receiver"));
    let output = command::on_a_terminal(&lab, &words).wait_with_output().expect("script");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("\rlistening: 0 of 1 s") && text.contains("\r\u{1b}[K"), "{text}");
}
