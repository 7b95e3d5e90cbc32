//! The metrics against their documents, and the bounds of their labels.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::encode::{Format, encode};
use super::families::families;
use super::family::Family;
use super::kind::Kind;
use super::scrape::Scrape;
use super::series::{Labelled, OTHER};
use crate::view::feeds::tests::with_gaps;
use receiver::{Handle, ReceiveMode, Receiver, SubscriptionId};
use serde_json::json;

/// A file of the tree.
fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The name of a family's samples.
fn sample(family: &Family) -> String {
    match family.kind {
        Kind::Counter => format!("{}_total", family.name),
        Kind::Gauge => family.name.to_owned(),
        Kind::Info => format!("{}_info", family.name),
    }
}

#[test]
fn every_metric_has_one_name_and_words() {
    let names: BTreeSet<&str> = families().map(|family| family.name).collect();
    assert_eq!(names.len(), families().count());
    for Family { name, help, .. } in families() {
        assert!(name.starts_with("receiver_") && !name.ends_with("_total") && !name.ends_with("_info"), "{name}");
        assert!(!help.is_empty() && !help.contains(['\n', '\\', '|']) && !help.ends_with('.'), "{name}: {help}");
    }
}

/// The list of docs/operations.md has each metric as it is. On failure the test prints the list.
#[test]
fn the_documentation_has_every_metric() {
    let items: Vec<String> = families()
        .map(|family| {
            let labels = match family.labels {
                [] => String::new(),
                labels => format!("{{{}}}", labels.join(",")),
            };
            let kind = format!("{:?}", family.kind).to_lowercase();
            format!("`{}{labels}` ({kind}): {}.", sample(family), family.help)
        })
        .collect();
    let text = file("docs/operations.md");
    let section = text.split("\n### All metrics\n").nth(1).expect("the section");
    let section = section.split("\n#").next().unwrap_or(section);
    let documented: Vec<String> =
        section.split("\n- ").skip(1).map(|item| item.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(documented == items, "the list of docs/operations.md is to be:\n- {}", items.join("\n- "));
}

/// The names of metrics in a text: words that begin with `receiver_`.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    words.filter(|word| word.starts_with("receiver_")).map(str::to_owned).collect()
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_exist() {
    let samples: BTreeSet<String> = families().map(sample).collect();
    for path in
        ["deploy/grafana/receiver.json", "deploy/prometheus/receiver.rules.yml", "deploy/prometheus/receiver.test.yml"]
    {
        let asked = named(&file(path));
        let unknown: Vec<_> = asked.difference(&samples).collect();
        assert!(!asked.is_empty() && unknown.is_empty(), "{path}: {unknown:?}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&file("deploy/grafana/receiver.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    for panel in panels {
        for target in panel["targets"].as_array().expect("targets") {
            assert!(!named(target["expr"].as_str().expect("a query")).is_empty(), "{target}");
        }
    }
}

#[test]
fn every_alert_is_tested_to_fire_and_to_be_quiet() {
    let (rules, tests) = (file("deploy/prometheus/receiver.rules.yml"), file("deploy/prometheus/receiver.test.yml"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 6, "{alerts:?}");
    for alert in alerts {
        for what in ["fires", "is quiet"] {
            assert!(tests.contains(&format!("- name: {alert} {what}\n")), "{alert} {what}");
        }
        let rule = rules.split("- alert: ").find(|rule| rule.lines().next() == Some(alert)).expect("the rule");
        for part in ["severity: ", "summary: ", "action: "] {
            assert!(rule.contains(part), "{alert} has no {part}");
        }
    }
}

#[test]
fn the_format_is_the_one_that_is_asked_for() {
    let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, format) in [
        (None, Format::OpenMetrics),
        (Some("*/*"), Format::OpenMetrics),
        (Some(prometheus), Format::OpenMetrics),
        (Some("text/html,application/xhtml+xml,*/*;q=0.8"), Format::Text),
        (Some("text/plain"), Format::Text),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept:?}");
    }
}

/// A receiver in mode `socket` on loopback of a namespace of its own.
fn receiver() -> (netlab::Lab, Receiver) {
    let lab = netlab::Lab::new().expect("lab");
    let builder = Receiver::builder(lab.rx_interface()).mode(ReceiveMode::Socket);
    let receiver = lab.rx().run(|| builder.build()).expect("a thread").expect("a receiver");
    (lab, receiver)
}

fn join(lab: &netlab::Lab, handle: &Handle, subscription: &str) -> SubscriptionId {
    let subscription = subscription.parse().expect("a subscription");
    lab.rx().run(|| handle.join(&subscription)).expect("a thread").expect("joined")
}

#[test]
fn the_counters_of_the_others_never_fall() {
    let (lab, receiver) = receiver();
    let handle = receiver.handle();
    let mut labelled = Labelled::new(1);
    let first = join(&lab, &handle, "10.0.0.1@232.1.1.1:5000");
    let second = join(&lab, &handle, "10.0.0.1@232.1.1.2:5000");
    let mut counted = 0;
    let mut series = |handle: &Handle| {
        counted += 10;
        let mut reports = handle.subscriptions().expect("reports");
        for report in &mut reports {
            (report.packets, report.bytes, report.blocked) = (counted, counted, Some(counted));
        }
        let series = labelled.series(&reports, |id| (id == first).then(|| "first".to_owned()));
        let of = |series: &super::series::Series| {
            (series.subscription.clone(), series.name.clone(), series.packets, series.blocked)
        };
        series.iter().map(of).collect::<Vec<_>>()
    };
    let own = |subscription: &str, name: &str, count| (subscription.to_owned(), name.to_owned(), count, Some(count));
    let other = |count| own(OTHER, "", count);
    assert_eq!(series(&handle), [own("10.0.0.1@232.1.1.1:5000", "first", 10), other(10)]);
    handle.leave(first).expect("left");
    assert_eq!(series(&handle), [other(20)], "the second keeps its place among the others");
    join(&lab, &handle, "10.0.0.1@232.1.1.3:5000");
    assert_eq!(series(&handle), [own("10.0.0.1@232.1.1.3:5000", "", 30), other(30)], "a new one takes the free place");
    handle.leave(second).expect("left");
    assert_eq!(series(&handle), [own("10.0.0.1@232.1.1.3:5000", "", 40), other(30)], "what it had counted stays");
    join(&lab, &handle, "10.0.0.1@232.1.1.4:5000");
    assert_eq!(series(&handle), [own("10.0.0.1@232.1.1.3:5000", "", 50), other(80)]);
}

#[test]
fn unwanted_frames_of_one_group_are_summed_once() {
    let (lab, receiver) = receiver();
    let handle = receiver.handle();
    for source in 1..=3 {
        join(&lab, &handle, &format!("10.0.0.{source}@232.1.1.1:5000"));
    }
    let mut reports = handle.subscriptions().expect("reports");
    for report in &mut reports {
        (report.packets, report.blocked, report.passed_shared) = (1, Some(7), Some(5));
    }
    let series = Labelled::new(0).series(&reports, |_| None);
    let sums: Vec<_> = series.iter().map(|one| (one.packets, one.blocked, one.passed_shared)).collect();
    assert_eq!(sums, [(3, Some(7), Some(5))]);
}

#[test]
fn a_feed_has_its_counts_and_those_of_its_legs_and_streams() {
    let mut feed = with_gaps();
    let leg = &mut feed.legs[0];
    leg.peak_bits_per_second = Some([3_000_000, 2_000_000, 1_000_000]);
    leg.rtp = Some(json!({"jitter_nanoseconds": 1_500_000}));
    leg.transport_stream = Some(json!({"bits_per_second": 4e6, "priority_1": {"continuity": 3},
        "priority_2": {"pcr_accuracy": null, "crc": 1}}));
    leg.delivery_index = Some(json!({"delay_factor_nanoseconds": 2_000_000, "media_loss_rate": 0.5}));
    feed.transport_stream = Some(json!({"bits_per_second": null, "priority_1": {"continuity": 0}}));
    let text = encode(Scrape::of_feeds(vec![feed], 1), Format::OpenMetrics).expect("text");
    for line in [
        r#"receiver_feed_info{feed="itch",protocol="moldudp64"} 1"#,
        r#"receiver_feed_state{feed="itch",state="recovering"} 1"#,
        r#"receiver_feed_state{feed="itch",state="live"} 0"#,
        r#"receiver_feed_streams{feed="itch"} 2"#,
        r#"receiver_feed_messages_total{feed="itch"} 1000"#,
        r#"receiver_feed_gaps_total{feed="itch"} 3"#,
        // 12 are missing, and 2 came late.
        r#"receiver_feed_missing_total{feed="itch"} 14"#,
        r#"receiver_feed_recovered_total{feed="itch"} 2"#,
        r#"receiver_feed_lost_messages{feed="itch",cause="network"} 9"#,
        r#"receiver_feed_stream_messages_total{feed="itch",stream="MORNING001"} 1000"#,
        r#"receiver_feed_stream_missing_total{feed="itch",stream="other"} 14"#,
        r#"receiver_feed_leg_info{feed="itch",leg="b",subscription="10.0.0.1@232.1.1.9:5000"} 1"#,
        r#"receiver_feed_leg_lost{feed="itch",leg="b"} 1"#,
        r#"receiver_feed_leg_missing_total{feed="itch",leg="a"} 10"#,
        r#"receiver_feed_leg_lag_seconds{feed="itch",leg="a",quantile="0.99"} 0.00003"#,
        r#"receiver_feed_leg_peak_bits_per_second{feed="itch",leg="a",window="0.001"} 2000000"#,
        r#"receiver_feed_rtp_jitter_seconds{feed="itch",leg="a"} 0.0015"#,
        r#"receiver_feed_ts_bits_per_second{feed="itch",leg="a"} 4000000.0"#,
        r#"receiver_feed_ts_errors_total{feed="itch",leg="a",priority="1",error="continuity"} 3"#,
        r#"receiver_feed_ts_errors_total{feed="itch",leg="",priority="1",error="continuity"} 0"#,
        r#"receiver_feed_mdi_media_loss_rate{feed="itch",leg="a"} 0.5"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(
        !text.contains("pcr_accuracy") && !text.contains(r#"receiver_feed_rtp_jitter_seconds{feed="itch",leg="b""#)
    );
    assert!(text.contains("receiver_feed_last_gap_timestamp_seconds{feed=\"itch\"} "), "{text}");
}
