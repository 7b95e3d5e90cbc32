//! `receiver run --metrics`: the values are those of the summary, the answer is OpenMetrics, its size is bounded, and
//! no client hurts another one or the receiver. Needs root.

mod command;
mod openmetrics;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use command::{PATIENCE, Run, Scratch, WANTED, last_object, output, send};
use netlab::Lab;
use openmetrics::{Metrics, connect, get, request, scrape};
use rustix::process::Signal;

/// A sample of the subscription of these tests.
fn of_wanted(metric: &str, name: &str) -> String {
    format!(r#"{metric}{{subscription="{WANTED}",name="{name}",interface="veth-rx"}}"#)
}

/// Scrapes until this is so.
fn scrape_until(lab: &Lab, what: &str, is_so: impl Fn(&Metrics) -> bool) -> Metrics {
    let start = Instant::now();
    loop {
        let metrics = scrape(lab);
        if is_so(&metrics) {
            return metrics;
        }
        assert!(start.elapsed() < PATIENCE, "not so until now: {what}\n{:#?}", metrics.samples);
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn values_are_those_of_the_summary(mode: &str) {
    let lab = Lab::new().expect("lab");
    let name = format!("metrics-{mode}-{}", std::process::id());
    let (run, _) =
        Run::joined(&lab, &[WANTED, "-m", mode, "--json", "--metrics", ":9100", "-n", &name, "-o", "discard:"]);
    let before = scrape(&lab);
    assert_eq!(before.get(&of_wanted("receiver_subscription_packets_total", "")), Some(0.0));
    assert_eq!(before.get("receiver_last_packet_timestamp_seconds"), None, "nothing came");
    let wall = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs_f64();
    let begin = wall();
    // A third of them is of a source that is not wanted.
    send(&lab, &["10.0.0.1", "10.0.0.2", "10.0.0.3"], 1_500);
    let blocked = |metrics: &Metrics| metrics.get(&of_wanted("receiver_subscription_blocked_frames_total", ""));
    let at_rest = scrape_until(&lab, "everything came and is accounted for", |metrics| {
        metrics.get(&of_wanted("receiver_subscription_packets_total", "")) == Some(1_000.0)
            && (mode == "socket" || blocked(metrics) == Some(500.0))
            && metrics.get("receiver_unaccounted_frames") == Some(0.0)
    });
    let last = at_rest.get("receiver_last_packet_timestamp_seconds").expect("packets came");
    assert!(last >= begin - 0.1 && last <= wall() + 0.1, "{begin} {last}");
    run.signal(Signal::INT);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "{err}");
    let summary = last_object(&out);
    let stream = &summary["subscriptions"][0];
    for (metric, field) in [
        ("receiver_subscription_packets_total", "packets"),
        ("receiver_subscription_bytes_total", "bytes"),
        ("receiver_subscription_blocked_frames_total", "blocked"),
        ("receiver_subscription_passed_frames_total", "passed_shared"),
        ("receiver_subscription_other_members", "other_members"),
    ] {
        assert_eq!(at_rest.get(&of_wanted(metric, "")), stream[field].as_f64(), "{metric}");
    }
    for (cause, count) in summary["ledger"].as_object().expect("the ledger") {
        let sample = match cause.as_str() {
            "xsk_in_ring" | "xsk_leased" | "tap_in_ring" | "held" => {
                format!("receiver_ledger_current_frames{{cause=\"{cause}\"}}")
            }
            "link_outages" => "receiver_link_outages_total{part=\"link\"}".to_owned(),
            "link_ipv4_outages" => "receiver_link_outages_total{part=\"ipv4\"}".to_owned(),
            "link_ipv6_outages" => "receiver_link_outages_total{part=\"ipv6\"}".to_owned(),
            "link_outage_milliseconds" => "receiver_link_outage_seconds_total{part=\"link\"}".to_owned(),
            "link_ipv4_outage_milliseconds" => "receiver_link_outage_seconds_total{part=\"ipv4\"}".to_owned(),
            "link_ipv6_outage_milliseconds" => "receiver_link_outage_seconds_total{part=\"ipv6\"}".to_owned(),
            "link_recovery_milliseconds" => "receiver_link_recovery_seconds_total".to_owned(),
            "link_missed_estimate" => "receiver_link_missed_packets_total".to_owned(),
            _ => format!("receiver_ledger_frames_total{{cause=\"{cause}\"}}"),
        };
        let value = at_rest.get(&sample).unwrap_or_else(|| panic!("{sample} is absent"));
        // What the host counts, and frames of nobody's group, go on until the end.
        if !cause.starts_with("host_") && !cause.starts_with("interface_") && !cause.starts_with("passed_") {
            assert_eq!(Some(value), count.as_f64(), "{cause}");
        }
    }
    assert_eq!(at_rest.get(r#"receiver_sink_packets_total{sink="discard:"}"#), Some(1_000.0), "{:#?}", at_rest.samples);
    assert_eq!(at_rest.get(r#"receiver_sink_dropped_total{sink="discard:"}"#), Some(0.0));
    assert_eq!(at_rest.get("receiver_lost_frames_total"), summary["lost"].as_f64());
    let info =
        format!(r#"receiver_mode_info{{mode="{mode}",interface="veth-rx",share="false",instance_name="{name}"}}"#);
    assert_eq!(at_rest.get(&info), Some(1.0), "{:#?}", at_rest.samples);
    assert_eq!(at_rest.count("receiver_build_info"), 1);
    assert_eq!(at_rest.get("receiver_link_up"), Some(1.0));
    assert_eq!(at_rest.get(r#"receiver_link_events_total{event="down"}"#), Some(0.0));
    assert_eq!(at_rest.get("receiver_membership_joined"), Some(1.0));
    assert_eq!(at_rest.get(r#"receiver_membership_older_querier{protocol="igmp"}"#), Some(0.0));
    let xsk = ["rx_dropped", "rx_invalid_descs", "tx_invalid_descs", "rx_ring_full"]
        .into_iter()
        .chain(["rx_fill_ring_empty_descs", "tx_ring_empty_descs"]);
    for name in xsk {
        let expected = (mode == "copy").then_some(0.0);
        let sample = format!("receiver_queue_xsk_{name}_total{{queue=\"0\"}}");
        // How often the fill ring was empty depends on the machine.
        if name != "rx_fill_ring_empty_descs" {
            assert_eq!(at_rest.get(&sample), expected, "{sample}");
        }
        assert_eq!(at_rest.get(&sample).is_some(), mode == "copy", "{sample}");
    }
    if mode != "socket" {
        assert_eq!(at_rest.get(r#"receiver_queue_delivered_packets_total{queue="0"}"#), Some(1_000.0));
    }
}

#[test]
fn values_are_those_of_the_summary_copy() {
    values_are_those_of_the_summary("copy");
}

#[test]
fn values_are_those_of_the_summary_mapped() {
    values_are_those_of_the_summary("mapped");
}

#[test]
fn values_are_those_of_the_summary_socket() {
    values_are_those_of_the_summary("socket");
}

/// Mode generic has AF_XDP sockets with busy polling alone.
#[test]
fn what_the_kernel_counts_of_a_socket_is_there_with_a_socket() {
    for (mode, option, is_there) in [("generic", "--json", false), ("generic", "--busy-poll", true)] {
        let lab = Lab::new().expect("lab");
        let (run, _) = Run::joined(&lab, &[WANTED, "-m", mode, option, "--metrics", ":9100"]);
        let metrics = scrape(&lab);
        let sample = metrics.get(r#"receiver_queue_xsk_rx_dropped_total{queue="0"}"#);
        assert_eq!(sample, is_there.then_some(0.0), "{option}: {:#?}", metrics.samples);
        assert_eq!(metrics.get(r#"receiver_queue_in_ring_packets{queue="0"}"#), Some(0.0), "{option}");
        run.signal(Signal::INT);
        run.end();
    }
}

/// With 10,000 subscriptions the answer has as many labels as it may, and counts all packets.
#[test]
fn labels_are_bounded() {
    let lab = Lab::new().expect("lab");
    let mut subscriptions = String::new();
    for number in 0..10_000 {
        let (high, low) = (1 + number / 200, 1 + number % 200);
        writeln!(subscriptions, "10.0.0.1@232.1.{high}.{low}:5000").expect("text");
    }
    // One with labels of its own, and one without.
    subscriptions = format!("10.0.0.1@232.1.1.1:5000\n{}", subscriptions.replace("10.0.0.1@232.1.1.1:5000\n", ""));
    subscriptions += "10.0.0.2@232.1.1.1:5000\n";
    let file = Scratch::with(&subscriptions);
    let arguments =
        ["-m", "copy", "--subscriptions", file.name(), "--metrics", "9100", "--metrics-subscriptions", "100"];
    let (run, _) = Run::joined(&lab, &arguments);
    send(&lab, &["10.0.0.1", "10.0.0.2"], 200);
    let other = r#"receiver_subscription_packets_total{subscription="other",name="",interface="veth-rx"}"#;
    let own =
        r#"receiver_subscription_packets_total{subscription="10.0.0.1@232.1.1.1:5000",name="",interface="veth-rx"}"#;
    let metrics = scrape_until(&lab, "both have come", |metrics| {
        metrics.get(own) == Some(100.0) && metrics.get(other) == Some(100.0)
    });
    assert_eq!(metrics.get("receiver_subscriptions"), Some(10_001.0));
    assert_eq!(metrics.count("receiver_subscription_packets_total"), 101);
    let (_, body) = get(&lab, "/metrics", "*/*").expect("an answer");
    assert!(body.len() < 101 * 1_000 + 50_000, "{} bytes", body.len());
    // 50 ms are asked for; this build is not optimized, and the machine has other work.
    let reading = metrics.get("receiver_scrape_seconds").expect("a duration");
    println!("10,001 subscriptions: {} bytes, read in {reading} s", body.len());
    assert!(reading < 5.0, "{reading}");
    run.signal(Signal::INT);
    let (_, err, code) = run.end();
    assert_eq!(code, Some(0), "{err}");
}

/// Connections that send nothing, half a request, garbage, or do not read their answer: others are answered, and the
/// receiver keeps none of them.
#[test]
fn no_client_hurts_another() {
    let lab = Lab::new().expect("lab");
    let (run, _) = Run::joined(&lab, &[WANTED, "-m", "copy", "--metrics", "9100"]);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", run.child.id())).expect("descriptors").count();
    scrape(&lab);
    let before = descriptors();

    let silent: Vec<_> = (0..100).map(|_| connect(&lab).expect("accepted by the kernel")).collect();
    let mut half = connect(&lab).expect("a connection");
    half.write_all(b"GET /metrics HTT").expect("sent");
    let mut unread = connect(&lab).expect("a connection");
    unread.write_all(b"GET /metrics HTTP/1.1\r\nHost: lab\r\n\r\n").expect("sent");
    let begin = Instant::now();
    scrape(&lab);
    assert!(begin.elapsed() < Duration::from_secs(10), "Prometheus would have given up: {:?}", begin.elapsed());
    drop((silent, half, unread));

    for garbage in [&b"\0\xff\xfe\r\n\r\n"[..], b"GET\r\n\r\n", b"\r\n\r\n\r\n", &[b'x'; 100_000]] {
        // It may close before it has read everything.
        if let Ok((head, _)) = request(&lab, garbage) {
            assert!(head.is_empty() || head.starts_with("HTTP/1.1 4"), "{head}");
        }
    }
    let huge = format!("GET /metrics HTTP/1.1\r\nHost: lab\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    if let Ok((head, _)) = request(&lab, huge.as_bytes()) {
        assert!(head.starts_with("HTTP/1.1 431"), "{head}");
    }
    let (head, _) = get(&lab, "/", "*/*").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    let (head, _) =
        request(&lab, b"POST /metrics HTTP/1.1\r\nHost: lab\r\nContent-Length: 0\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 405") && head.to_lowercase().contains("allow: get, head"), "{head}");
    let (head, body) = get(&lab, "/healthz", "*/*").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200") && body == "ok\n", "{head}\n{body}");
    let (head, body) = get(&lab, "/metrics", "text/html,*/*").expect("an answer");
    assert!(head.contains("text/plain; version=0.0.4") && !body.contains("# EOF"), "a browser gets text: {head}");

    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..200).map(|_| scope.spawn(|| scrape(&lab))).collect();
        for client in clients {
            assert_eq!(client.join().expect("answered").get("receiver_link_up"), Some(1.0));
        }
    });

    send(&lab, &["10.0.0.1"], 500);
    scrape_until(&lab, "packets still come", |metrics| {
        metrics.get(&of_wanted("receiver_subscription_packets_total", "")) == Some(500.0)
    });
    let start = Instant::now();
    while descriptors() > before {
        assert!(start.elapsed() < PATIENCE, "{} descriptors, {before} before", descriptors());
        std::thread::sleep(Duration::from_millis(50));
    }
    run.signal(Signal::INT);
    let (_, err, code) = run.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(!err.contains("WARN"), "{err}");
}

#[test]
fn an_address_that_cannot_be_had_is_an_error_before_the_start() {
    let lab = Lab::new().expect("lab");
    let (first, _) = Run::joined(&lab, &[WANTED, "-m", "socket", "--metrics", "9100"]);
    let second = output(&lab, &["-i", "veth-rx", WANTED, "-m", "copy", "--metrics", "9100"]);
    let err = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{err}");
    assert!(err.contains("cannot serve the metrics at 127.0.0.1:9100 (--metrics)") && err.contains("in use"), "{err}");
    assert_eq!(second.stdout, b"", "nothing was joined");
    let wrong = output(&lab, &["-i", "veth-rx", WANTED, "--metrics", "veth-rx:9100"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", String::from_utf8_lossy(&wrong.stderr));
    drop(first);
}

/// An address that others can reach is used if it is given in full, and a warning is logged.
#[test]
fn others_can_be_let_in() {
    let lab = Lab::new().expect("lab");
    let (mut run, _) = Run::joined(&lab, &[WANTED, "-m", "socket", "--metrics", "0.0.0.0:9100"]);
    let mut line = String::new();
    run.err.read_line(&mut line).expect("the log");
    assert!(line.contains("http://0.0.0.0:9100/metrics, for everyone"), "{line}");
    scrape(&lab);
}

/// Prometheus' own checker, which `cargo xtask setup` installs. The step of `cargo xtask ci` names it by `PROMTOOL`.
#[test]
fn promtool_accepts_the_metrics() {
    let promtool = std::env::var_os("PROMTOOL").unwrap_or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/promtool/bin/promtool").into_os_string()
    });
    if !Path::new(&promtool).exists() && std::env::var_os("PROMTOOL").is_none() {
        println!("promtool is missing: `cargo xtask setup` installs it");
        return;
    }
    let lab = Lab::new().expect("lab");
    let (_run, _) = Run::joined(&lab, &[WANTED, "-m", "copy", "--metrics", "9100", "--output", "discard:"]);
    send(&lab, &["10.0.0.1", "10.0.0.3"], 200);
    let (_, text) = get(&lab, "/metrics", "text/plain").expect("an answer");
    let mut check = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    check.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
    let mut said = String::new();
    check.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    check.stdout.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert!(check.wait().expect("it ends").success() && said.is_empty(), "{said}\n{text}");
}
