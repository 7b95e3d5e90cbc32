//! The checker against scripts, and against a model that remembers everything.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::super::{PROBE_LEN, WINDOW};
use super::*;

const GROUP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(232, 1, 1, 1));

fn sender(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn payload(stream: u32, sequence: u64, sent_ns: u64) -> [u8; PROBE_LEN] {
    let mut payload = [0; PROBE_LEN];
    assert!(ProbePayload { stream, sequence, sent_ns }.write_into(&mut payload));
    payload
}

fn observe(checker: &mut ProbeChecker, stream: u32, sequence: u64, sent_ns: u64) -> Observation {
    checker.observe(sender(1), GROUP, 5000, &payload(stream, sequence, sent_ns), sent_ns + 100)
}

#[test]
fn each_datagram_is_one_thing() {
    use Observation as O;
    let mut checker = ProbeChecker::new();
    // Sequence s is sent at 10 s.
    let script =
        [(5, O::NewFlow), (6, O::InOrder), (9, O::InOrder), (8, O::Reordered), (8, O::Duplicate), (4, O::Reordered)];
    for (sequence, expected) in script {
        assert_eq!(observe(&mut checker, 1, sequence, 10 * sequence), expected, "{sequence}");
    }
    let flow = checker.report().flows.remove(0);
    assert_eq!((flow.received, flow.lost, flow.duplicated, flow.reordered), (6, 1, 1, 2), "7 is missing");
    assert_eq!((flow.first_sequence, flow.last_sequence), (4, 9));

    assert_eq!(observe(&mut checker, 1, 9 + WINDOW, 10 * (9 + WINDOW)), O::InOrder);
    assert_eq!(observe(&mut checker, 1, 9, 90), O::Late);
    assert_eq!(observe(&mut checker, 1, 10, 100), O::Reordered, "the window reaches just this far");
    assert_eq!(checker.report().late, 1);
    assert_eq!(checker.report().lost, 1 + WINDOW - 2);
}

#[test]
fn restarts() {
    use Observation as O;
    let mut checker = ProbeChecker::new();
    observe(&mut checker, 1, 0, 10);
    observe(&mut checker, 1, 2, 12);
    assert_eq!(observe(&mut checker, 1, 0, 10), O::Duplicate, "sent before: a copy");
    assert_eq!(observe(&mut checker, 1, 0, 20), O::Restart, "sent later: anew");
    assert_eq!(observe(&mut checker, 1, 1, 21), O::InOrder);
    assert_eq!(observe(&mut checker, 1, 3, 23), O::InOrder);
    let report = checker.report();
    assert_eq!((report.restarts, report.lost, report.duplicated, report.reordered), (1, 2, 1, 0), "lost 1, then 2");
    assert_eq!(observe(&mut checker, 2, 0, 30), O::NewFlow, "another stream of the same sender");
    let report = checker.report();
    assert_eq!((report.restarts, report.lost), (2, 2));
    assert_eq!(report.flows[1].succeeds, Some(1));
    assert_eq!(report.flows[0].succeeds, None);
}

#[test]
fn flows_are_told_apart_by_every_part() {
    let mut checker = ProbeChecker::new();
    let v6: IpAddr = "ff3e::1".parse().expect("address");
    let other: SocketAddr = "10.0.0.2:1".parse().expect("address");
    let six: SocketAddr = "[2001:db8::1]:1".parse().expect("address");
    for (source, group, port, stream) in [
        (sender(1), GROUP, 5000, 1),
        (sender(2), GROUP, 5000, 1),
        (other, GROUP, 5000, 1),
        (sender(1), "232.1.1.2".parse().expect("address"), 5000, 1),
        (sender(1), GROUP, 5001, 1),
        (sender(1), GROUP, 5000, 2),
        (six, v6, 5000, 1),
    ] {
        assert_eq!(checker.observe(source, group, port, &payload(stream, 7, 1), 2), Observation::NewFlow);
        assert_eq!(checker.observe(source, group, port, &payload(stream, 7, 1), 2), Observation::Duplicate);
    }
    assert_eq!(checker.report().flows.len(), 7);
}

#[test]
fn flows_are_bounded_and_what_is_not_checked_is_counted() {
    let mut checker = ProbeChecker::with_max_flows(2);
    for stream in 0..5 {
        observe(&mut checker, stream, 0, 1);
    }
    assert_eq!(checker.observe(sender(1), GROUP, 5000, b"something else altogether", 1), Observation::Foreign);
    assert_eq!(observe(&mut checker, 1, 1, 2), Observation::InOrder, "known flows go on");
    let report = checker.report();
    assert_eq!((report.flows.len(), report.received, report.untracked, report.foreign), (2, 3, 3, 1));
    assert!(!report.is_clean());
}

#[test]
fn latency() {
    let mut checker = ProbeChecker::new();
    for n in 0..1000u64 {
        checker.observe(sender(1), GROUP, 5000, &payload(1, n, n), n + 1000 * (n + 1));
    }
    // A copy that comes late says nothing of the path.
    checker.observe(sender(1), GROUP, 5000, &payload(1, 3, 3), 50_000_000_000);
    checker.observe(sender(1), GROUP, 5000, &payload(1, 1000, 1001), 1000);
    let latency = checker.report().latency;
    assert_eq!((latency.count, latency.negative), (1000, 1));
    let near = |value: u64, expected: u64| value.abs_diff(expected) * 1000 <= expected;
    assert!(near(latency.min_ns, 1000) && near(latency.max_ns, 1_000_000), "{latency:?}");
    assert!(near(latency.p50_ns, 500_000) && near(latency.p90_ns, 900_000), "{latency:?}");
    assert!(near(latency.p99_ns, 990_000) && near(latency.p99_9_ns, 999_000), "{latency:?}");
}

#[test]
fn the_report_in_json_keeps_its_names() {
    let mut checker = ProbeChecker::new();
    observe(&mut checker, 7, 0, 10);
    let json = serde_json::to_value(checker.report()).expect("serializes");
    let names = |value: &serde_json::Value| -> HashSet<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    let set = |names: &str| -> HashSet<String> { names.split(' ').map(str::to_owned).collect() };
    assert_eq!(names(&json), set("received lost duplicated reordered late restarts untracked foreign latency flows"));
    assert_eq!(names(&json["latency"]), set("count negative min_ns mean_ns p50_ns p90_ns p99_ns p99_9_ns max_ns"));
    assert_eq!(json["flows"][0]["source"], "10.0.0.1:1");
}

/// One step of a sender and of the network behind it.
#[derive(Clone, Debug)]
enum Step {
    Deliver,
    Lose,
    /// Deliver, and again after this many other datagrams.
    Copy(usize),
    /// Deliver after this many other datagrams.
    Delay(usize),
    /// The sender begins anew at 0 with the same stream id.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        20 => Just(Step::Deliver),
        3 => Just(Step::Lose),
        3 => (0usize..20).prop_map(Step::Copy),
        3 => (0usize..20).prop_map(Step::Delay),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec((0usize..3, step), 1..400)
}

/// What the network hands over, in order: (flow, run, sequence, send time).
fn play(script: &[(usize, Step)]) -> Vec<(usize, u64, u64, u64)> {
    let mut next = [(0u64, 0u64); 3];
    let mut queue: Vec<(usize, (usize, u64, u64, u64))> = Vec::new();
    let mut out = Vec::new();
    for (now, (flow, step)) in script.iter().enumerate() {
        let (run, sequence) = next[*flow];
        let datagram = (*flow, run, sequence, now as u64 + 1);
        match step {
            Step::Restart => {
                // Datagrams on their way come first: two runs that interleave cannot be distinguished.
                let (gone, held): (Vec<_>, Vec<_>) = queue.drain(..).partition(|(_, datagram)| datagram.0 == *flow);
                out.extend(gone.into_iter().map(|(_, datagram)| datagram));
                queue = held;
                next[*flow] = (run + 1, 0);
                continue;
            }
            Step::Deliver => out.push(datagram),
            Step::Lose => {}
            Step::Copy(after) => {
                out.push(datagram);
                queue.push((now + after, datagram));
            }
            Step::Delay(after) => queue.push((now + after, datagram)),
        }
        next[*flow].1 += 1;
        let (due, held): (Vec<_>, Vec<_>) = queue.drain(..).partition(|(at, _)| *at <= now);
        out.extend(due.into_iter().map(|(_, datagram)| datagram));
        queue = held;
    }
    out.extend(queue.into_iter().map(|(_, datagram)| datagram));
    out
}

#[derive(Default)]
struct Model {
    received: u64,
    duplicated: u64,
    reordered: u64,
    runs: Vec<HashSet<u64>>,
    run: u64,
}

proptest! {
    #[test]
    fn as_a_model_that_remembers_everything(script in steps()) {
        let mut checker = ProbeChecker::new();
        let mut models: HashMap<usize, Model> = HashMap::new();
        for (flow, run, sequence, sent_ns) in play(&script) {
            checker.observe(sender(flow as u16), GROUP, 5000, &payload(flow as u32, sequence, sent_ns), sent_ns);
            let model = models.entry(flow).or_default();
            model.received += 1;
            // A run of which nothing was seen before the next leaves no trace, and a run that goes on above the
            // highest of the run before cannot be distinguished from it: both are the same flow.
            let above = model.runs.last().is_none_or(|seen| seen.iter().all(|&before| sequence > before));
            if model.runs.is_empty() || (run != model.run && !above) {
                model.runs.push(HashSet::new());
            }
            model.run = run;
            let seen = model.runs.last_mut().expect("one was pushed");
            if seen.contains(&sequence) {
                model.duplicated += 1;
            } else if seen.iter().any(|&before| before > sequence) {
                model.reordered += 1;
            }
            seen.insert(sequence);
        }
        let report = checker.report();
        prop_assert_eq!(report.flows.len(), models.len());
        for flow in &report.flows {
            let model = &models[&usize::from(flow.source.port())];
            let lost: u64 = model.runs.iter().map(|seen| {
                let (low, high) = (seen.iter().min().expect("not empty"), seen.iter().max().expect("not empty"));
                high - low + 1 - seen.len() as u64
            }).sum();
            prop_assert_eq!(
                (flow.received, flow.lost, flow.duplicated, flow.reordered, flow.late, flow.restarts),
                (model.received, lost, model.duplicated, model.reordered, 0, model.runs.len() as u64 - 1)
            );
        }
    }

    #[test]
    fn any_payload_is_taken(
        datagrams in prop::collection::vec((any::<u32>(), any::<u64>(), 0..1u64 << 63, any::<u64>()), 0..50),
    ) {
        let mut checker = ProbeChecker::with_max_flows(3);
        let count = datagrams.len() as u64;
        for (stream, sequence, sent_ns, received_ns) in datagrams {
            checker.observe(sender(1), GROUP, 5000, &payload(stream % 5, sequence, sent_ns), received_ns);
        }
        let report = checker.report();
        prop_assert_eq!(report.received + report.untracked + report.foreign, count);
    }
}
