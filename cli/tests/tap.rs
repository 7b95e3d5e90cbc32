//! Recordings of what was not delivered (`--capture`): each frame that XDP dropped is in the file with its verdict, or
//! in a count; tshark reads it; `receiver analyze` and `receiver replay` leave it out. The built command in two
//! namespaces. Needs root.

mod command;
mod payloads;
mod recorded;

use std::process::Command;

use command::{Folder, Run, last_object, source};
use netlab::Lab;
use payloads::{FIRST, Source, joined, number, payload, sink, until};
use recorded::{Recorded, tshark};
use rustix::process::Signal;
use serde_json::Value;

/// The interface of the frames that were not delivered: the third.
const UNDELIVERED: u32 = 2;

/// Sends payloads that nobody wants: from another source.
fn send_unwanted(lab: &Lab, numbers: std::ops::Range<u32>) {
    Source::at(lab, 2).send(0, numbers);
}

/// Waits until at least this number of packets is in the recording, ends the run, and returns its summary.
fn end(mut run: Run, file: &str, at_least: u64) -> Value {
    until(&mut run, |object| number(&sink(object, file)["packets"]) >= at_least);
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "{err}");
    last_object(&out)
}

fn of_ledger(summary: &Value, names: &[&str]) -> u64 {
    names.iter().map(|name| number(&summary["ledger"][*name])).sum()
}

/// Frames that the tap lost.
fn lost(summary: &Value) -> u64 {
    of_ledger(summary, &["tap_ring_full", "tap_ring_busy", "tap_closed", "tap_not_copied"])
}

/// The number of packets of a file that `receiver analyze` or another command finds: a field of its JSON.
fn count(lab: &Lab, words: &[&str], field: &str) -> u64 {
    let mut command = lab.tx().command(env!("CARGO_BIN_EXE_receiver"));
    let output = command.args(words).arg("--json").env_remove("RUST_LOG").output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = command::object(&String::from_utf8(output.stdout).expect("UTF-8"));
    match field {
        "streams" => report["streams"].as_array().expect("streams").iter().map(|s| number(&s["packets"])).sum(),
        field => number(&report[field]),
    }
}

#[test]
fn blocked_frames_are_recorded_with_their_verdict_in_each_mode() {
    for mode in ["mapped", "copy", "generic"] {
        let lab = Lab::new().expect("a lab");
        let folder = Folder::new();
        let file = folder.text("a.pcapng");
        let run = joined(&lab, &["--mode", mode, "--record", &file, "--capture", "blocked", FIRST]);
        Source::new(&lab).send(0, 0..100);
        send_unwanted(&lab, 0..500);
        let summary = end(run, &file, 100);
        let blocked = ["dropped_not_included", "dropped_blocked", "dropped_malformed", "dropped_martian"];
        let tapped = of_ledger(&summary, &["tap_frames"]);
        assert_eq!(of_ledger(&summary, &blocked), tapped + lost(&summary), "{mode}: {summary}");
        let report = sink(&summary, &file);
        assert_eq!(number(&report["packets"]) + number(&report["dropped"]), tapped, "{mode}: {summary}");

        let recorded = Recorded::file(&file);
        assert_eq!(recorded.torn, 0, "{mode}");
        assert_eq!(recorded.packets.len() as u64, number(&report["packets"]), "{mode}: the wanted ones are not there");
        assert_eq!(recorded.interfaces.len(), 3, "{mode}");
        assert!(recorded.interfaces[2].description.starts_with("not delivered: "), "{mode}");
        for packet in &recorded.packets {
            assert_eq!((packet.interface, packet.source.to_string().as_str()), (UNDELIVERED, "10.0.0.2"), "{mode}");
            assert!(packet.comment.starts_with("dropped_not_included"), "{mode}: {}", packet.comment);
            packet.number();
        }
        assert!(recorded.packets.is_sorted_by_key(|packet| packet.time_ns), "{mode}");
        let statistics = recorded.last();
        assert_eq!(statistics.accepted, tapped + lost(&summary), "{mode}: the last block is of the tap");
        assert_eq!(statistics.accepted, statistics.delivered + statistics.dropped, "{mode}");

        let (lines, complaints) = tshark(&file, &["frame.comment", "frame.interface_id", "udp.length"]);
        assert_eq!((lines.len(), complaints.as_str()), (recorded.packets.len(), ""), "{mode}");
        assert!(lines[0].starts_with("dropped_not_included\t2\t1324"), "{mode}: {}", lines[0]);
    }
}

#[test]
fn wanted_and_blocked_frames_share_a_file_and_readers_leave_the_latter_out() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let file = folder.text("a.pcapng");
    let run = joined(&lab, &["--mode", "mapped", "--record", &file, "--capture", "wanted,blocked", FIRST]);
    Source::new(&lab).send(0, 0..50);
    send_unwanted(&lab, 1_000..1_100);
    let summary = end(run, &file, 60);
    let recorded = Recorded::file(&file);
    let (blocked, wanted): (Vec<_>, Vec<_>) =
        recorded.packets.iter().partition(|packet| packet.interface == UNDELIVERED);
    assert_eq!(wanted.len() as u64, number(&summary["packets"]), "{summary}");
    assert_eq!(blocked.len() as u64, of_ledger(&summary, &["tap_frames"]), "{summary}");
    assert!(blocked.iter().all(|packet| packet.comment == "dropped_not_included"), "{summary}");
    assert!(wanted.iter().all(|packet| packet.comment.is_empty() && packet.number() < 50));
    assert!(!blocked.is_empty() && !wanted.is_empty(), "{summary}");

    let (all, delivered) = (recorded.packets.len() as u64, wanted.len() as u64);
    assert_eq!(count(&lab, &["analyze", &file], "streams"), delivered);
    assert_eq!(count(&lab, &["analyze", &file], "undelivered"), all - delivered);
    assert_eq!(count(&lab, &["analyze", "--undelivered", &file], "streams"), all);
    assert_eq!(count(&lab, &["analyze", "--undelivered", &file], "undelivered"), 0);
    let replay = ["replay", "-i", lab.tx_interface(), "--speed", "max", &file];
    assert_eq!(count(&lab, &replay, "packets"), delivered);
    assert_eq!(count(&lab, &replay, "undelivered"), all - delivered);
    assert_eq!(count(&lab, &[&replay[..], &["--undelivered"]].concat(), "packets"), all);
}

/// The frames that pass are those of the kernel too, such as MLD.
#[test]
fn passed_frames_are_recorded() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let file = folder.text("a.pcapng");
    let run = joined(&lab, &["--mode", "mapped", "--record", &file, "--capture", "all", FIRST]);
    let socket = source(&lab, 1);
    for number in 0..50 {
        socket.send_to(&payload(number), "232.1.1.9:5000").expect("sent");
    }
    let summary = end(run, &file, 10);
    let report = sink(&summary, &file);
    let (lines, complaints) = tshark(&file, &["frame.comment"]);
    assert_eq!((lines.len() as u64, complaints.as_str()), (number(&report["packets"]), ""), "{summary}");
    let passed = lines.iter().filter(|line| line.starts_with("passed_other_group")).count() as u64;
    assert!(passed >= 1 && passed <= of_ledger(&summary, &["passed_other_group"]), "{passed}: {summary}");
}

/// A stopped process reads nothing: the tap's ring fills, and the loss is in the stream.
#[test]
fn what_the_tap_loses_is_in_the_file() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let file = folder.text("a.pcapng");
    let mut run = joined(&lab, &["--mode", "mapped", "--record", &file, "--capture", "blocked", FIRST]);
    send_unwanted(&lab, 0..10);
    until(&mut run, |object| number(&sink(object, &file)["packets"]) > 0);
    run.signal(Signal::STOP);
    // The ring has 4,096 slots; a veth device may drop some frames under load.
    send_unwanted(&lab, 10..8_000);
    run.signal(Signal::CONT);
    command::wait_for("the loss is noticed", || {
        Recorded::file(&file).statistics.iter().any(|one| one.comment.contains("tap_ring_full"))
    });
    let before = Recorded::file(&file).packets.len();
    send_unwanted(&lab, 8_000..8_200);
    command::wait_for("frames after it are recorded", || Recorded::file(&file).packets.len() > before);
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "{err}");
    let summary = last_object(&out);
    let recorded = Recorded::file(&file);
    let all = of_ledger(&summary, &["dropped_not_included"]);
    assert!(lost(&summary) > 0, "{summary}");
    assert_eq!(recorded.packets.len() as u64 + lost(&summary), all, "{summary}");
    assert_eq!(recorded.drop_count(), lost(&summary), "{summary}");
    let last = recorded.last();
    assert_eq!((last.accepted, last.dropped), (all, lost(&summary)), "{summary}");
    assert!(last.comment.contains("tap_ring_full"), "{}", last.comment);
}

#[test]
fn what_cannot_be_captured_is_refused_with_the_remedy() {
    let folder = Folder::new();
    let file = folder.text("a.pcapng");
    let refused = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_receiver"))
            .args(["run", "-i", "lo", FIRST])
            .args(words)
            .env_remove("RUST_LOG")
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let error = refused(&["--capture", "blocked"]);
    assert!(error.contains("takes a recording; add --record FILE"), "{error}");
    let error = refused(&["--capture", "everything", "--record", &file]);
    assert!(error.contains("`everything` cannot be captured; write wanted, blocked"), "{error}");
    let error = refused(&["--capture", "blocked", "--mode", "socket", "--record", &file]);
    assert!(error.contains("mode socket has no XDP program") && error.contains("--capture"), "{error}");
}
