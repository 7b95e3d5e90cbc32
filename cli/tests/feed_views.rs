//! How a run shows its feeds: summary, `receiver ctl`, metrics and dashboard have the same counts, and name a leg that
//! is lost. The built command in two namespaces. Needs root.

mod command;
mod legs;
mod openmetrics;
mod payloads;

use std::net::UdpSocket;
use std::thread::sleep;
use std::time::{Duration, Instant};

use command::{PATIENCE, Run, Scratch, last_object, source};
use legs::{A, B, GROUPS, header};
use netlab::Lab;
use openmetrics::{Metrics, scrape};
use payloads::{joined, until};
use rustix::process::Signal;
use serde_json::Value;

/// A datagram of MoldUDP64 with one message.
fn datagram(session: &str, sequence: u64) -> Vec<u8> {
    let mut bytes = header(session, sequence, 1);
    bytes.extend([0, 2, b'h', b'i']);
    bytes
}

/// The sockets of the two legs.
fn sources(lab: &Lab) -> [UdpSocket; 2] {
    [1, 2].map(|last| source(lab, last))
}

/// A configuration with the feed `itch` of the legs a and b.
fn configuration() -> Scratch {
    let file = Scratch::new();
    let text = format!(
        "[[subscription]]\nname = \"a\"\naddress = \"{A}\"\n[[subscription]]\nname = \"b\"\naddress = \"{B}\"\n\
         [[feed]]\nname = \"itch\"\nprotocol = \"moldudp64\"\nlegs = [\"a\", \"b\"]\n"
    );
    std::fs::write(&file.0, text).expect("written");
    file
}

fn ctl(lab: &Lab, name: &str, arguments: &[&str]) -> String {
    let mut command = lab.rx().command(env!("CARGO_BIN_EXE_receiver"));
    let output = command.args(["ctl", "-n", name]).args(arguments).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Asks until the answer has this text.
fn ctl_until(lab: &Lab, name: &str, request: &str, text: &str, mut meanwhile: impl FnMut()) -> String {
    let start = Instant::now();
    loop {
        let out = ctl(lab, name, &[request]);
        if out.contains(text) {
            return out;
        }
        assert!(start.elapsed() < PATIENCE, "no `{text}` in {out}");
        meanwhile();
    }
}

#[test]
fn summary_control_and_metrics_have_the_same_counts() {
    let (lab, file) = (Lab::new().expect("a lab"), configuration());
    let name = format!("feed-views-{}", std::process::id());
    let arguments = ["-m", "socket", "--config", file.name(), "-n", &name, "--metrics", ":9100"];
    let mut run = joined(&lab, &arguments);
    let legs = sources(&lab);
    for sequence in 1..=201 {
        for (leg, socket) in legs.iter().enumerate() {
            // a loses 10, b loses 8, and both lose 2 of them, in one stream of two.
            let is_lost = sequence % [20, 25][leg] == 0;
            for session in if is_lost { &["EVENING"][..] } else { &["MORNING", "EVENING"] } {
                socket.send_to(&datagram(session, sequence), GROUPS[leg]).expect("sent");
            }
        }
        sleep(Duration::from_millis(1));
    }
    until(&mut run, |object| {
        let total = &object["feeds"][0]["total"];
        total["messages"] == 400 && total["missing"] == 2
    });
    let text = ctl(&lab, &name, &["feeds"]);
    for part in [
        "feed itch: ",
        "400 messages in 2 streams, 2 missing in 2 gaps (longest 1)",
        "a lost 10 (2.5 %), b lost 8 (2.0 %)",
        "\n  leg a: 392 packets, first ",
        "199 messages, 2 missing in 2 gaps",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(ctl(&lab, &name, &["stats"]).contains("\n  stream MORNING"), "a row of the stream in trouble");
    let reply: Value = serde_json::from_str(&ctl(&lab, &name, &["--json", "feeds"])).expect("JSON");
    let metrics = scrape(&lab);
    run.signal(Signal::INT);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "{err}");
    let summary = last_object(&out);
    let feed = &summary["feeds"][0];
    for key in ["name", "feed", "missing_by"] {
        assert_eq!(feed[key], reply["result"]["feeds"][0][key], "{key}");
    }
    assert_eq!(metrics.get(r#"receiver_feed_info{feed="itch",protocol="moldudp64"}"#), Some(1.0));
    let of_feed = |name: &str| metrics.get(&format!("receiver_feed_{name}{{feed=\"itch\"}}"));
    for (name, key) in [
        ("messages_total", "messages"),
        ("gaps_total", "gaps"),
        ("missing_total", "missing"),
        ("recovered_total", "recovered"),
        ("duplicate_packets_total", "duplicates"),
    ] {
        assert_eq!(of_feed(name), feed["total"][key].as_f64(), "{name}");
    }
    let lost = |metrics: &Metrics, cause: &str| {
        metrics.get(&format!("receiver_feed_lost_messages{{feed=\"itch\",cause=\"{cause}\"}}")).unwrap_or(0.0)
    };
    let causes = feed["missing_by"].as_object().expect("causes");
    assert_eq!(causes.keys().map(|cause| lost(&metrics, cause)).sum::<f64>(), 2.0);
    for leg in feed["legs"].as_array().expect("legs") {
        let labels = format!("{{feed=\"itch\",leg={}}}", leg["name"]);
        for (name, key) in [
            ("packets_total", "packets"),
            ("missing_total", "missing"),
            ("first_arrivals_total", "first_arrivals"),
            ("duplicates_total", "duplicates"),
        ] {
            assert_eq!(metrics.get(&format!("receiver_feed_leg_{name}{labels}")), leg[key].as_f64(), "{name}");
        }
        let labels = format!("{{feed=\"itch\",leg={},subscription={}}}", leg["name"], leg["subscription"]);
        assert_eq!(metrics.get(&format!("receiver_feed_leg_info{labels}")), Some(1.0));
    }
    let stream = "receiver_feed_stream_missing_total{feed=\"itch\",stream=\"MORNING\"}";
    assert_eq!((metrics.get(stream), metrics.count("receiver_feed_stream_gaps_total")), (Some(2.0), 2));
}

#[test]
fn a_lost_leg_is_named_with_its_subscription() {
    let (lab, file) = (Lab::new().expect("a lab"), configuration());
    let name = format!("feed-leg-{}", std::process::id());
    let (run, _) = Run::joined(&lab, &["-m", "socket", "--config", file.name(), "-n", &name, "--view", "lines"]);
    let legs = sources(&lab);
    for (leg, socket) in legs.iter().enumerate() {
        socket.send_to(&datagram("MORNING", 1), GROUPS[leg]).expect("sent");
    }
    // The second leg sends no more.
    let mut sequence = 1;
    let evidence = ctl_until(&lab, &name, "evidence", "LOST", || {
        sequence += 1;
        legs[0].send_to(&datagram("MORNING", sequence), GROUPS[0]).expect("sent");
        sleep(Duration::from_millis(20));
    });
    assert!(evidence.contains(&format!("feed itch: leg b ({B}) is LOST\n  ")), "{evidence}");
    assert!(evidence.contains(&format!("`receiver doctor -i {} '{B}'`", lab.rx_interface())), "{evidence}");
    run.signal(Signal::INT);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "{err}");
    let line = out.lines().rfind(|line| line.starts_with("feed itch: ")).expect("the feed");
    assert!(line.contains("messages, complete; ") && line.contains(&format!("leg b ({B}) is LOST")), "{line}");
}
