//! `--trace-verdicts` logs each verdict by its name, and counts those that were not logged. Needs root.

mod command;

use command::{Run, WANTED, last_object, send_with};
use netlab::Lab;
use receiver::Verdict;
use serde_json::Value;

/// All verdicts of a summary's ledger.
fn verdicts(summary: &Value) -> u64 {
    Verdict::ALL.into_iter().map(|verdict| summary["ledger"][verdict.name()].as_u64().expect("a number")).sum()
}

/// Lines of the log that name this verdict.
fn lines(log: &str, verdict: Verdict) -> u64 {
    log.lines().filter(|line| line.ends_with(&format!(" receiver::xdp: queue 0: {}", verdict.name()))).count() as u64
}

/// Lines of the log that name any verdict.
fn all_lines(log: &str) -> u64 {
    Verdict::ALL.into_iter().map(|verdict| lines(log, verdict)).sum()
}

#[test]
fn each_verdict_is_logged_by_its_name() {
    let lab = Lab::new().expect("a lab");
    for (mode, way) in [("mapped", Verdict::Mapped), ("copy", Verdict::Redirected)] {
        let (run, _) = Run::joined(&lab, &["--json", "--trace-verdicts", "--mode", mode, "--duration", "3", WANTED]);
        send_with(&lab, &["10.0.0.1", "10.0.0.3"], 200, |config| config.traffic.rate = 1000);
        let (out, err, code) = run.end();
        assert_eq!(code, Some(0), "{err}");
        let summary = last_object(&out);
        assert_eq!((&summary["verdicts_not_logged"], &summary["log_dropped"]), (&0.into(), &0.into()), "{summary}");
        let logged = [lines(&err, way), lines(&err, Verdict::DroppedNotIncluded)];
        assert_eq!(logged, [100, 100], "{err}");
    }
}

#[test]
fn what_is_not_logged_is_counted() {
    let lab = Lab::new().expect("a lab");
    for json in [true, false] {
        let mut arguments = vec!["--trace-verdicts", "--duration", "5", WANTED];
        if json {
            arguments.push("--json");
        }
        let (run, _) = Run::joined(&lab, &arguments);
        send_with(&lab, &["10.0.0.1", "10.0.0.3"], 200_000, |config| config.traffic.rate = 1_000_000);
        let (out, err, code) = run.end();
        assert_eq!(code, Some(0), "{err}");
        if !json {
            let line = out.lines().find(|line| line.starts_with("trace: ")).expect("a line");
            assert!(line.ends_with(" verdicts were not logged"), "{line}");
            continue;
        }
        let summary = last_object(&out);
        let count = |name: &str| summary[name].as_u64().expect(name);
        let written = all_lines(&err);
        let (unlogged, dropped) = (count("verdicts_not_logged"), count("log_dropped"));
        println!("{written} written, {unlogged} not logged, {dropped} dropped");
        assert_eq!(written + unlogged + dropped, verdicts(&summary), "each is written or counted: {summary}");
        assert!(verdicts(&summary) >= 200_000, "{summary}");
    }
}

/// The program of mode `zero-copy`, which veth does not have, is given up with its counters.
#[test]
fn frames_that_arrive_while_the_mode_is_selected() {
    let lab = Lab::new().expect("a lab");
    std::thread::scope(|scope| {
        scope.spawn(|| send_with(&lab, &["10.0.0.1"], 6000, |config| config.traffic.rate = 2000));
        let (run, _) = Run::joined(&lab, &["--json", "--trace-verdicts", "--duration", "1", WANTED]);
        let (out, err, code) = run.end();
        assert_eq!(code, Some(0), "{err}");
        let summary = last_object(&out);
        let written = all_lines(&err);
        assert_eq!((&summary["verdicts_not_logged"], &summary["log_dropped"]), (&0.into(), &0.into()), "{summary}");
        assert!(summary["refused_modes"][0]["mode"] == "zero-copy" && written > 0, "{summary}");
        assert_eq!(written, verdicts(&summary), "{summary}");
    });
}

#[test]
fn without_the_option_nothing_is_logged() {
    let lab = Lab::new().expect("a lab");
    let (run, _) = Run::joined(&lab, &["--json", "--duration", "0.2", WANTED]);
    let (out, err, _) = run.end();
    assert!(last_object(&out)["verdicts_not_logged"].is_null() && err.is_empty(), "{out}{err}");
}
