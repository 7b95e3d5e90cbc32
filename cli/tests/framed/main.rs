//! Framed streams (docs/framed.md): the reader of the document reads a live run; losses and sums are in the stream;
//! readers that are slow or gone; files that rotate. The built command in two namespaces. Needs root.

#[path = "../command/mod.rs"]
mod command;
#[path = "../payloads/mod.rs"]
mod payloads;
mod reader;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use command::{Folder, Run, Scratch, last_object, wait_for};
use netlab::Lab;
use payloads::{FIRST, SECOND, Source, number, payload, sink};
use reader::{Fault, Loss, Packet, Reader, Record, Sums};
use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The block of the document in this language.
fn block(language: &str) -> String {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/framed.md")).expect("a file");
    let (_, rest) = document.split_once(&format!("```{language}\n")).expect("a block");
    rest.split_once("```").expect("its end").0.to_owned()
}

/// Reads a stream that is whole.
fn whole(bytes: &[u8]) -> Vec<Record<'_>> {
    Reader::new(bytes).expect("a stream").collect::<Result<_, _>>().expect("whole records")
}

fn packets<'a>(records: &'a [Record<'a>]) -> Vec<&'a Packet<'a>> {
    let packet = |record: &'a Record<'a>| if let Record::Packet(packet) = record { Some(packet) } else { None };
    records.iter().filter_map(packet).collect()
}

fn losses(records: &[Record<'_>]) -> Vec<Loss> {
    records
        .iter()
        .filter_map(|record| if let Record::Loss { loss, .. } = record { Some(*loss) } else { None })
        .collect()
}

fn end(records: &[Record<'_>]) -> Sums {
    let Some(Record::End(sums)) = records.last() else { panic!("no end: {:?}", records.last()) };
    *sums
}

/// Each packet is there, or is in the loss before the next one.
fn numbers_are_complete(records: &[Record<'_>]) {
    let mut expected = 0;
    for record in records {
        match record {
            Record::Packet(packet) => {
                assert_eq!(packet.number, expected);
                expected += 1;
            }
            Record::Loss { loss, causes } if loss.unwritten > 0 => {
                assert_eq!((loss.number, loss.lost), (expected, 0));
                assert!(causes.ends_with(" slow_reader"), "{causes}");
                expected += loss.unwritten;
            }
            _ => {}
        }
    }
}

#[test]
fn the_reader_of_the_document_reads_a_live_run() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let (program, summary) = (folder.text("reader.py"), folder.text("summary.json"));
    let code = block("python");
    assert!((8..=14).contains(&code.lines().count()), "a short one: {code}");
    fs::write(&program, code).expect("a file");
    let words = format!(
        "{} run -i {} {FIRST} {SECOND} --mode socket --output-format framed --summary {summary} --json | \
         python3 {program}",
        env!("CARGO_BIN_EXE_receiver"),
        lab.rx_interface()
    );
    // A number of a process, and then the pipe.
    let (mut shell, mut err) = command::shell(&lab, &format!("echo $$; {words}"));
    let mut out = BufReader::new(shell.stdout.take().expect("a pipe"));
    let mut line = String::new();
    err.read_line(&mut line).expect("standard error");
    assert!(line.contains("\"start\""), "{line}");
    // Objects go to standard error, and nobody else reads them.
    let reading_err = std::thread::spawn(move || err.lines().map_while(Result::ok).collect::<Vec<_>>());
    line.clear();
    out.read_line(&mut line).expect("standard output");
    let pid = children(line.trim().parse().expect("a number"));

    let source = Source::new(&lab);
    let (lines, read) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        out.lines().map_while(Result::ok).for_each(|line| lines.send(line).unwrap_or_default());
    });
    let (mut all, deadline, mut next) = (Vec::new(), Instant::now() + PATIENCE, 0);
    let count = |all: &[String]| all.iter().filter(|line| line.starts_with("packet ")).count();
    while count(&all) < 100 || !all.iter().any(|line| line.contains("232.1.1.2")) {
        assert!(Instant::now() < deadline, "{all:?}");
        source.send(0, next..next + 20);
        source.send(1, next + 20..next + 25);
        next += 25;
        sleep(Duration::from_millis(10));
        all.extend(read.try_iter());
    }
    let receiver = pid.into_iter().find(|&pid| is_receiver(pid)).expect("the receiver");
    kill_process(Pid::from_raw(receiver).expect("a process id"), Signal::TERM).expect("a signal");
    assert!(shell.wait().expect("a shell").success());
    reading.join().expect("a thread");
    let err = reading_err.join().expect("a thread");
    all.extend(read.try_iter());

    let object = last_object(&fs::read_to_string(&summary).expect("a summary"));
    let report = sink(&object, "standard output");
    assert_eq!(number(&report["packets"]), count(&all) as u64, "{object} {err:?}");
    let lines: Vec<Vec<&str>> = all.iter().map(|line| line.split_whitespace().collect()).collect();
    // Words: packet, number, time, source, group, port, subscription, bytes.
    for (place, words) in lines.iter().filter(|words| words[0] == "packet").enumerate() {
        assert_eq!(words[1], place.to_string(), "{words:?}");
        let subscription = match words[4] {
            "232.1.1.1" => "0",
            _ => "1",
        };
        assert_eq!((words[3], words[5], words[6], words[7]), ("10.0.0.1", "5000", subscription, "1316"));
    }
    let last = lines.last().expect("a line");
    assert_eq!((last[0], last[2]), ("end", count(&all).to_string().as_str()), "{last:?}");
}

/// The processes that this one has started.
fn children(of: i32) -> Vec<i32> {
    let read = || fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    wait_for("the pipe", || read().split_whitespace().count() == 2);
    read().split_whitespace().map(|word| word.parse().expect("a number")).collect()
}

fn is_receiver(pid: i32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == Path::new(env!("CARGO_BIN_EXE_receiver")))
}

#[test]
fn records_hold_what_was_received_in_each_mode() {
    for mode in ["mapped", "socket"] {
        let lab = Lab::new().expect("a lab");
        let folder = Folder::new();
        let file = folder.text("a.framed");
        let mut run = payloads::joined(&lab, &["--mode", mode, "--output", &format!("framed:{file}"), FIRST, SECOND]);
        let source = Source::new(&lab);
        source.send(0, 0..50);
        // Each group has a socket, and sockets are read in any order.
        payloads::received(&mut run, 50);
        source.send(1, 50..60);
        wait_for("packets of both groups are written", || {
            let bytes = fs::read(&file).expect("a file");
            let records: Vec<_> = Reader::new(&bytes).expect("a stream").map_while(Result::ok).collect();
            packets(&records).iter().any(|packet| packet.subscription == 1)
        });
        run.signal(Signal::TERM);
        let (out, err, code) = run.end();
        assert_eq!(code, Some(0), "{mode}: {err}");
        let report = last_object(&out);
        let bytes = fs::read(&file).expect("a file");
        let records = whole(&bytes);
        let subscriptions: Vec<_> = records
            .iter()
            .filter_map(
                |record| if let Record::Subscription { number, text } = record { Some((*number, *text)) } else { None },
            )
            .collect();
        assert!(subscriptions.contains(&(0, FIRST)) && subscriptions.contains(&(1, SECOND)), "{subscriptions:?}");
        let found = packets(&records);
        assert_eq!(found.len() as u64, number(&sink(&report, &file)["packets"]), "{mode}");
        for packet in &found {
            let sent = u32::from_be_bytes(packet.payload[..4].try_into().expect("four bytes"));
            assert_eq!(packet.payload, payload(sent), "{mode}");
            assert_eq!((packet.by_xdp, packet.subscription), (mode == "mapped", u32::from(sent >= 50)), "{mode}");
            assert_eq!(packet.source, IpAddr::from([10, 0, 0, 1]), "{mode}");
            assert_eq!(packet.group, IpAddr::from([232, 1, 1, if sent < 50 { 1 } else { 2 }]), "{mode}");
            assert_eq!((packet.source_port, packet.port), (4000, 5000), "{mode}");
        }
        assert!(found.is_sorted_by_key(|packet| packet.time), "{mode}");
        numbers_are_complete(&records);
        let sums = end(&records);
        assert_eq!((sums.received, sums.unwritten), (found.len() as u64, 0), "{mode}");
    }
}

#[test]
fn what_is_lost_in_a_ring_is_a_record() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let file = folder.text("a.framed");
    let target = format!("framed:{file}");
    let small = ["--mode", "mapped", "--ring-size", "64", "--frames", "128", "--output", &target, FIRST];
    let mut run = payloads::joined(&lab, &small);
    let source = Source::new(&lab);
    source.send(0, 0..10);
    payloads::until(&mut run, |object| number(&object["packets"]) > 0);
    run.signal(Signal::STOP);
    source.send(0, 10..1010);
    run.signal(Signal::CONT);
    let records = || fs::read(&file).expect("a file");
    wait_for("the loss is noticed", || {
        Reader::new(&records()).expect("a stream").any(|record| matches!(record, Ok(Record::Loss { .. })))
    });
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "{err}");
    let bytes = records();
    let records = whole(&bytes);
    let lost: u64 = losses(&records).iter().map(|loss| loss.lost).sum();
    let sums = end(&records);
    let causes = records
        .iter()
        .any(|record| matches!(record, Record::Loss { causes, .. } if causes.contains(" dropped_ring_full")));
    assert!(lost > 100 && causes, "{records:?}");
    let ledger = &last_object(&out)["ledger"];
    let of_rings = ["dropped_ring_full", "dropped_ring_busy"].map(|name| ledger[name].as_u64().unwrap_or(0));
    assert_eq!((lost, sums.lost), (of_rings.iter().sum(), lost), "{out}");
    assert_eq!(sums.received, packets(&records).len() as u64);
}

#[test]
fn a_reader_that_does_not_read_costs_counted_packets() {
    let lab = Lab::new().expect("a lab");
    let summary = Scratch::new();
    let mut run =
        Run::start(&lab, &["--output=-?limit=64KiB", "--output-format=framed", "--summary", summary.name(), FIRST]);
    let mut line = String::new();
    run.err.read_line(&mut line).expect("standard error");
    assert!(line.contains("1 subscription"), "{line}");
    let source = Source::new(&lab);
    for from in (0..1000).step_by(100) {
        source.send(0, from..from + 100);
        sleep(Duration::from_millis(20));
    }
    // What fits into the pipe is read once, so that packets follow the loss.
    let mut bytes = vec![0; 48 << 10];
    run.out.read_exact(&mut bytes).expect("a stream");
    sleep(Duration::from_millis(300));
    source.send(0, 1000..1010);
    sleep(Duration::from_millis(300));
    run.signal(Signal::TERM);
    assert_eq!(run.end_unread(), Some(0), "a slow reader is no failure");
    run.out.read_to_end(&mut bytes).expect("a stream");
    let records = whole(&bytes);
    numbers_are_complete(&records);
    let object = last_object(&String::from_utf8(summary.read()).expect("text"));
    let report = sink(&object, "standard output");
    let found = packets(&records).len() as u64;
    assert_eq!(found, number(&report["packets"]), "{object}");
    assert_eq!(found + number(&report["dropped"]), number(&object["packets"]), "{object}");
    assert!(number(&report["dropped"]) > 100, "{object}");
}

#[test]
fn a_reader_that_is_gone_ends_the_run() {
    let lab = Lab::new().expect("a lab");
    let words = format!(
        "{} run -i {} {FIRST} --output framed:- | head -c 8",
        env!("CARGO_BIN_EXE_receiver"),
        lab.rx_interface()
    );
    let (mut shell, mut err) = command::shell(&lab, &words);
    command::until_subscribed(&mut err);
    let source = Source::new(&lab);
    let deadline = Instant::now() + PATIENCE;
    while shell.try_wait().expect("a shell").is_none() {
        assert!(Instant::now() < deadline, "it does not end");
        source.send(0, 0..5);
        sleep(Duration::from_millis(20));
    }
    let mut out = Vec::new();
    shell.stdout.take().expect("a pipe").read_to_end(&mut out).expect("bytes");
    assert_eq!(out, reader::PREAMBLE);
}

#[test]
fn each_file_of_a_rotation_is_a_whole_stream() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let file = folder.text("a.framed");
    let target = format!("framed:{file}?rotate=50k");
    let run = payloads::joined(&lab, &["--output", &target, FIRST]);
    let source = Source::new(&lab);
    let deadline = Instant::now() + PATIENCE;
    let mut next = 0;
    while folder.names().len() < 4 {
        assert!(Instant::now() < deadline, "{:?}", folder.names());
        source.send(0, next..next + 10);
        next += 10;
        sleep(Duration::from_millis(10));
    }
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "{err}");
    let mut found = 0;
    for name in folder.names() {
        let bytes = fs::read(folder.file(&name)).expect("a file");
        let records = whole(&bytes);
        assert!(matches!(records[0], Record::Subscription { number: 0, text: FIRST }), "{name}: {:?}", records[0]);
        assert!(end(&records).received >= packets(&records).len() as u64, "{name}");
        found += packets(&records).len() as u64;
    }
    assert_eq!(found, number(&sink(&last_object(&out), &file)["packets"]));
}

#[test]
fn what_is_no_stream_is_refused() {
    assert_eq!(Reader::new(b"SSMF\x02\0\0\0").err(), Some(Fault::Preamble));
    let read = |bytes: &[u8]| {
        let stream = [&reader::PREAMBLE[..], bytes].concat();
        let records = Reader::new(&stream).expect("a stream");
        records.map(|record| record.map(|record| format!("{record:?}"))).collect::<Result<Vec<_>, _>>()
    };
    assert_eq!(read(b"\x01\0\0\0\x09\0\0\0x"), Ok(vec!["Other(9)".to_owned()]), "a type of a later version");
    assert_eq!(read(b"\x02\0\0\0\x09\0\0\0x"), Err(Fault::Torn));
    assert_eq!(read(b"\x02\0\0"), Err(Fault::Torn));
    assert_eq!(read(b"\x01\0\0\0\x01\0\x04\0x"), Err(Fault::Length));
    assert_eq!(read(b"\x04\0\0\0\x02\0\x04\0abcd"), Err(Fault::Length));
    assert_eq!(read(b"\xff\xff\xff\xff\x09\0\0\0"), Err(Fault::Length));
    assert_eq!(read(b"\x05\0\0\0\x01\0\x04\0\x01\0\0\0\xff"), Err(Fault::Text));
}
