//! Readers that do not read, come late, or go away: the run goes on, ends in time, and counts the datagrams that were
//! not written. The built command in two namespaces. Needs root.

mod command;
#[path = "../../receiver/tests/support/mod.rs"]
mod support;

use std::fs::File;
use std::io::{BufRead, Read};
use std::thread::sleep;
use std::time::{Duration, Instant};

use command::{PATIENCE, Run, Scratch, WANTED, is_in_the_ledger, last_object, object, on_a_terminal, send_payloads};
use netlab::Lab;
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use support::traces::Traces;

/// Bytes of each payload. The size of a pipe is no multiple of it.
const SIZE: usize = 1316;
/// More payloads than a pipe holds.
const COUNT: usize = 500;

fn payloads() -> Vec<Vec<u8>> {
    (0..COUNT).map(|n| vec![n as u8; SIZE]).collect()
}

/// Opens a FIFO for reading without waiting for its writer: a reader that is there and does not read.
fn open_fifo(path: &Scratch) -> File {
    rustix::fs::open(&path.0, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).expect("a FIFO").into()
}

/// Waits for a file that the run writes at its end.
fn written(path: &Scratch) -> Vec<u8> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match std::fs::read(&path.0) {
            Ok(content) if content.ends_with(b"\n") => return content,
            _ if Instant::now() < deadline => sleep(Duration::from_millis(20)),
            other => panic!("the run does not end: {other:?}"),
        }
    }
}

#[test]
fn a_fifo_that_nobody_reads_costs_counted_datagrams_and_no_time() {
    ["mapped", "copy"].into_iter().for_each(a_fifo_that_nobody_reads);
}

fn a_fifo_that_nobody_reads(mode: &str) {
    let lab = Lab::new().expect("a lab");
    let fifo = Scratch::fifo();
    let mut reader = open_fifo(&fifo);
    let arguments = ["--mode", mode, "--json", "--interval", "0.1", "--duration", "2", "--output", fifo.name(), WANTED];
    let start = Instant::now();
    let (run, _) = Run::joined(&lab, &arguments);
    send_payloads(&lab, &payloads());
    let (out, err, code) = run.end();
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.lines().filter(|line| line.contains(r#""type":"interval""#)).count() >= 10, "it is shown: {out}");
    let summary = last_object(&out);
    assert_eq!((&summary["packets"], &summary["unaccounted"]), (&COUNT.into(), &0.into()), "{summary}");
    let elapsed = summary["elapsed_seconds"].as_f64().expect("a number");
    let waited = start.elapsed().as_secs_f64() - elapsed;
    assert!(waited >= 0.95, "the wait for the reader is no time of receiving: {waited}");
    let dropped = summary["output_dropped"].as_u64().expect("a number") as usize;
    assert!(dropped > COUNT / 2, "a pipe holds 64 KiB: {summary}");
    let mut all = Vec::new();
    reader.read_to_end(&mut all).expect("the FIFO");
    assert!(all == payloads()[..COUNT - dropped].concat(), "datagrams are whole, and each one is written or counted");
}

#[test]
fn a_hex_dump_that_nobody_reads_is_counted_likewise() {
    ["mapped", "copy"].into_iter().for_each(a_hex_dump_that_nobody_reads);
}

fn a_hex_dump_that_nobody_reads(mode: &str) {
    let lab = Lab::new().expect("a lab");
    let summary = Scratch::new();
    let mut run = Run::start(&lab, &["--mode", mode, "--hex", "--duration", "2", "--summary", summary.name(), WANTED]);
    run.err.read_line(&mut String::new()).expect("standard error");
    send_payloads(&lab, &payloads());
    assert_eq!(run.end_unread(), Some(0));
    let dropped = last_object(std::str::from_utf8(&summary.read()).expect("text"))["output_dropped"].as_u64();
    let mut out = String::new();
    run.out.read_to_string(&mut out).expect("text");
    let blocks = out.matches(" > 232.1.1.1:5000 ").count();
    assert_eq!(dropped, Some((COUNT - blocks) as u64), "each block is there or counted");
}

#[test]
fn a_fifo_without_a_reader_holds_up_nothing_and_a_late_reader_gets_all() {
    ["mapped", "copy"].into_iter().for_each(a_fifo_without_a_reader);
}

fn a_fifo_without_a_reader(mode: &str) {
    let lab = Lab::new().expect("a lab");
    let before = Traces::of(&lab);
    // A signal ends the run while nobody has opened the FIFO.
    let fifo = Scratch::fifo();
    let (run, _) = Run::joined(&lab, &["--mode", mode, "--json", "--output", fifo.name(), WANTED]);
    send_payloads(&lab, &payloads());
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let summary = last_object(&out);
    assert_eq!(summary["output_dropped"], summary["packets"], "{summary}");
    assert_eq!(Traces::settled(&lab, &before), before);

    let count = COUNT.to_string();
    let (run, _) = Run::joined(&lab, &["--mode", mode, "--json", "--count", &count, "--output", fifo.name(), WANTED]);
    send_payloads(&lab, &payloads());
    let mut all = Vec::new();
    File::open(&fifo.0).and_then(|mut file| file.read_to_end(&mut all)).expect("the FIFO");
    let (out, _, code) = run.end();
    assert_eq!(code, Some(0));
    assert!(all == payloads().concat(), "{} bytes", all.len());
    assert_eq!(last_object(&out)["output_dropped"], 0);
}

#[test]
fn a_display_that_nobody_reads_holds_up_nothing() {
    let lab = Lab::new().expect("a lab");
    let before = Traces::of(&lab);
    let list: String = (0..500).map(|n| format!("10.0.0.1@232.1.{}.{}:5000\n", 1 + n / 250, 1 + n % 250)).collect();
    let list = Scratch::with(list);
    for json in [true, false] {
        let summary = Scratch::new();
        let mut arguments = vec!["--interval", "0.01", "--subscriptions", list.name(), "--summary", summary.name()];
        // An object with 500 subscriptions is longer than a pipe.
        arguments.push(if json { "--json" } else { "--probe" });
        let (mut run, _) = Run::joined(&lab, &arguments);
        sleep(Duration::from_secs(1));
        run.signal(Signal::TERM);
        assert_eq!(run.end_unread(), Some(0));
        let summary = object(std::str::from_utf8(&summary.read()).expect("text"));
        let dropped = summary["display_dropped"].as_u64().expect("a number");
        assert_eq!(dropped > 0, json, "the objects exceed 1 MiB, and the lines do not: {dropped}");
        assert_eq!(Traces::settled(&lab, &before), before);
    }
}

#[test]
fn a_terminal_that_is_stopped_holds_up_nothing() {
    let lab = Lab::new().expect("a lab");
    let summary = Scratch::new();
    let words = format!(
        "exec {} run -i {} --interval 0.01 --duration 3 --summary {} {WANTED}",
        env!("CARGO_BIN_EXE_receiver"),
        lab.rx_interface(),
        summary.name(),
    );
    let mut child = on_a_terminal(&lab, &words);
    let summary = object(std::str::from_utf8(&written(&summary)).expect("text"));
    assert_eq!(summary["type"], "summary");
    child.kill().expect("killed");
    child.wait().expect("a child");
}

#[test]
fn a_reader_that_goes_leaves_the_summary_on_standard_error() {
    let lab = Lab::new().expect("a lab");
    for aside in [&["--output", "-"][..], &["--hex"]] {
        let mut run = Run::start(&lab, &[aside, &[WANTED]].concat());
        run.err.read_line(&mut String::new()).expect("standard error");
        send_payloads(&lab, &payloads()[..2]);
        run.out.read_exact(&mut [0; 1000]).expect("the first bytes");
        // As `head -c 1000` does.
        let mut other = Run::start(&lab, &["--help"]);
        std::mem::swap(&mut run.out, &mut other.out);
        drop(other);
        send_payloads(&lab, &payloads()[..2]);
        let (_, err, code) = run.end();
        assert_eq!(code, Some(0), "{err}");
        assert!(err.contains(" of payload ") && is_in_the_ledger(&err, "xdp_taken"), "the summary: {err}");
    }
}

#[test]
fn a_signal_ends_a_start_that_takes_long() {
    let lab = Lab::new().expect("a lab");
    let before = Traces::of(&lab);
    let list: String = (0..10_000).map(|n| format!("10.0.0.1@232.1.{}.{}:5000\n", n / 250, 1 + n % 250)).collect();
    let list = Scratch::with(list);
    let run = Run::start(&lab, &["--subscriptions", list.name()]);
    // In the middle of the joins.
    let deadline = Instant::now() + PATIENCE;
    while Traces::of(&lab).groups.lines().count() < before.groups.lines().count() + 500 {
        assert!(Instant::now() < deadline, "it does not join");
    }
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    assert_eq!(err, "receiver: the start was cancelled; what had been set up is undone\n");
    assert_eq!(Traces::settled(&lab, &before), before);
}
