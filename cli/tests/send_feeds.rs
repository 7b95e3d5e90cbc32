//! `receiver send --feed`: its options, its refusals and its report. The built command in two namespaces. Needs root.

mod command;

use std::process::Output;

use command::object;
use netlab::Lab;

fn send(lab: &Lab, arguments: &str) -> Output {
    let mut command = lab.tx().command(env!("CARGO_BIN_EXE_receiver"));
    command.args(["send", "-i", lab.tx_interface()]).args(arguments.split_whitespace()).output().expect("it runs")
}

const LEGS: &str = "--leg 10.0.0.1@232.1.1.1:5000?loss=2% --leg 10.0.0.2@232.1.1.2:5000";

#[test]
fn a_seed_gives_one_report() {
    let lab = Lab::new().expect("a lab");
    let report = |more: &str| {
        let line = format!("--feed moldudp64 {LEGS} --loss 1% --rate 0 --count 20k --session 7 --json {more}");
        let output = send(&lab, &line);
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
        object(&String::from_utf8(output.stdout).expect("text"))
    };
    let first = report("");
    assert_eq!((&first["type"], &first["feed"]), (&"send".into(), &"moldudp64".into()));
    assert_eq!((first["messages"].as_u64(), &first["streams"][0]["stream"]), (Some(20_000), &"0000000007".into()));
    let missing = |leg: usize| first["legs"][leg]["missing"].as_u64().expect("a number");
    assert!((300..500).contains(&missing(0)) && (130..270).contains(&missing(1)), "{first}");
    let counts = |report: &serde_json::Value| {
        let legs = report["legs"].as_array().expect("legs");
        (report["streams"].clone(), legs.iter().map(|leg| leg["gaps"].clone()).collect::<Vec<_>>())
    };
    assert_eq!(counts(&report("")), counts(&first), "the same seed");
    assert_ne!(counts(&report("--seed 2")), counts(&first), "another seed");
    assert_eq!(report("--exclusive-loss")["missing"].as_u64(), Some(0));
}

#[test]
fn the_report_in_words() {
    let lab = Lab::new().expect("a lab");
    let output = send(&lab, &format!("--feed iex-tp {LEGS} --count 300 --rate 10k --session 5"));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("iex-tp: 300 sequence numbers on veth-tx in "), "{text}");
    assert!(lines[0].contains("; seed 1; lost on all legs: 0 in 0 gaps"), "{text}");
    assert!(lines[1].starts_with("  10.0.0.1:") && lines[1].contains(" (own) to 232.1.1.1:5000: "), "{text}");
    assert_eq!(lines[3], "  stream 1/5: sequence 1 to 300, lost on all legs: 0 in 0 gaps");
}

#[test]
fn refusals_come_before_anything_is_sent() {
    let lab = Lab::new().expect("a lab");
    for (arguments, message) in [
        ("--feed itch --leg 232.1.1.1:5000", "there is no feed protocol `itch`; known are moldudp64, "),
        ("--feed moldudp64", "--leg <[S@]G:PORT[?KEY=VALUE&...]>"),
        ("--group 232.1.1.1 --port 5000 --loss 1%", "--feed <PROTOCOL>"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --loss 1", "`1` is not a share of packets; write a percentage"),
        ("--feed moldudp64 --leg 232.1.1.1", "`232.1.1.1` is no leg; write [SOURCE@]GROUP:PORT"),
        ("--feed moldudp64 --leg 232.1.1.1:5000?los=1%", "the key `los` is unknown; did you mean `loss`?"),
        ("--feed moldudp64 --leg 10.1.1.1:5000", "10.1.1.1 is not a multicast"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --loss 60% --reorder 50%", "add up to more than 100 %"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --exclusive-loss", "needs two legs; add a leg"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --repack", "repacking needs two legs and a range"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --delay 11s", "delayed by more than 10s"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --delay 9s --rate 1M", "take a shorter delay, a lower rate"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --messages 0", "0 messages per packet are asked for; moldudp64 takes"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --messages 8..1", "`8..1` is no number or range"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --messages 99 --message-size 9000", "and UDP carries 65507"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --heartbeat 0", "heartbeats every 0ns are asked for; take 1ms"),
        (
            "--feed moldudp64 --leg 232.1.1.1:5000 --engine xdp",
            "a feed is not possible with this engine; use the engine socket",
        ),
    ] {
        let output = send(&lab, arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {error}");
        assert!(error.contains(message), "{arguments}: {error}");
    }
}
