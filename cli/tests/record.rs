//! Recordings: the packets with their times, in each mode; what was lost, where it was lost; files that rotate, a full
//! disk, a reader that does not read, `kill -9`. tshark, capinfos and `receiver analyze` read them. Each packet is in
//! the file or in a drop record. The built command in two namespaces. Needs root.

mod command;
mod payloads;
mod recorded;

use std::fs;
use std::io::{BufRead, Read};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use command::{Disk, Folder, Run, last_object, wait_for};
use netlab::Lab;
use payloads::{FIRST, SECOND, Source, joined, number, received, sink, until};
use recorded::{Recorded, capinfos, files, tshark};
use rustix::process::Signal;

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64
}

/// `receiver analyze`: its exit code, standard output and standard error.
fn analyze(path: impl AsRef<Path>) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_receiver"));
    let output = command.arg("analyze").arg(path.as_ref()).env_remove("RUST_LOG").output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn packets_are_recorded_with_their_times_in_each_mode() {
    for (mode, interfaces) in [("mapped", 2), ("copy", 2), ("socket", 1)] {
        let lab = Lab::new().expect("a lab");
        let folder = Folder::new();
        let file = folder.text("a.pcapng");
        let target = format!("{file}?comments=yes");
        let before = now_ns();
        let mut run = joined(&lab, &["--mode", mode, "--count", "300", "--record", &target, FIRST, SECOND]);
        let source = Source::new(&lab);
        source.send(0, 0..200);
        // Each group has a socket, and sockets are read in any order.
        received(&mut run, 200);
        source.send(1, 200..300);
        let (out, err, code) = run.end();
        let after = now_ns();
        assert_eq!((code, err.as_str()), (Some(0), ""), "{mode}");
        let report = last_object(&out);
        assert_eq!(number(&sink(&report, &file)["packets"]), 300, "{mode}: {report}");

        let recorded = Recorded::file(&file);
        assert_eq!(recorded.torn, 0, "{mode}");
        assert_eq!(recorded.numbers(), (0..300).collect::<Vec<_>>(), "{mode}");
        assert!(recorded.packets.is_sorted_by_key(|packet| packet.time_ns), "{mode}");
        let (first, last) = (&recorded.packets[0], &recorded.packets[299]);
        assert!(before < first.time_ns && last.time_ns < after, "{mode}: {before} {} {after}", first.time_ns);
        assert_eq!((first.source.to_string(), first.group.to_string()), ("10.0.0.1".into(), "232.1.1.1".into()));
        assert_eq!(last.group.to_string(), "232.1.1.2");
        assert_eq!(first.comment, format!("wanted by {FIRST}"));
        assert_eq!(last.comment, format!("wanted by {SECOND}"));
        assert_eq!(recorded.drop_count(), 0, "{mode}");
        let statistics = recorded.last();
        assert_eq!((statistics.accepted, statistics.dropped, statistics.delivered), (300, 0, 300), "{mode}");
        assert_eq!((statistics.after, statistics.comment.as_str()), (300, ""), "the last block: {mode}");
        assert_eq!(recorded.interfaces.len(), interfaces, "{mode}");
        assert!(recorded.interfaces.iter().all(|interface| interface.name == lab.rx_interface()));
        assert_eq!(
            recorded.interfaces[0].filter,
            "(dst host 232.1.1.1 and udp dst port 5000 and (src host 10.0.0.1)) or \
             (dst host 232.1.1.2 and udp dst port 5000 and (src host 10.0.0.1))"
        );
        let description = &recorded.interfaces[first.interface as usize].description;
        assert_eq!(description.contains("rebuilt"), mode == "socket", "{description}");

        let fields = ["ip.src", "ip.dst", "udp.srcport", "udp.dstport", "udp.length", "ip.checksum.status"];
        let (lines, complaints) = tshark(&file, &fields);
        assert_eq!((lines.len(), complaints.as_str()), (300, ""), "{mode}");
        assert!(lines[0].starts_with("10.0.0.1\t232.1.1.1\t4000\t5000\t1324"), "{mode}: {}", lines[0]);
        let about = capinfos(&file);
        assert!(about.contains("Number of packets:   300\n"), "{mode}: {about}");
        assert!(about.contains("File encapsulation:  ether\n"), "{mode}: {about}");
    }
}

#[test]
fn checksums_of_rebuilt_headers_are_right() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let file = folder.text("a.pcapng");
    let run = joined(&lab, &["--mode", "socket", "--count", "20", "--record", &file, FIRST]);
    Source::new(&lab).send(0, 0..20);
    assert_eq!(run.end().2, Some(0));
    let checked = ["-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-r", &file];
    let output = Command::new("tshark")
        .args(checked)
        .args(["-Y", "udp.checksum.status == 1 && ip.checksum.status == 1"])
        .output()
        .expect("tshark (Debian: tshark)");
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(lines.lines().count(), 20, "{lines}");
}

#[test]
fn each_file_of_a_rotation_is_a_whole_one() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let file = folder.text("a.pcapng");
    fs::write(&file, "of an earlier run").expect("a file");
    let target = format!("{file}?rotate=100k");
    let mut run = joined(&lab, &["--record", &target, FIRST]);
    let source = Source::new(&lab);
    source.send(0, 0..300);
    received(&mut run, 300);
    until(&mut run, |object| number(&sink(object, &file)["packets"]) == 300);
    let before = files(&folder, "a.pcapng").len();
    run.signal(Signal::HUP);
    wait_for("SIGHUP begins the next file", || files(&folder, "a.pcapng").len() == before + 1);
    source.send(0, 300..310);
    received(&mut run, 310);
    run.signal(Signal::TERM);
    let (_, err, code) = run.end();
    assert_eq!((code, err.as_str()), (Some(0), ""));

    let mut names = files(&folder, "a.pcapng");
    // 68 packets fit into a file.
    assert_eq!(names.len(), 1 + 5 + 1, "{names:?}");
    let of_earlier = names.iter().position(|name| fs::read(folder.file(name)).expect("a file") == b"of an earlier run");
    names.remove(of_earlier.expect("the file that was there is kept"));
    let all: Vec<Recorded> = names.iter().map(|name| Recorded::file(folder.file(name))).collect();
    let numbers: Vec<u32> = all.iter().flat_map(Recorded::numbers).collect();
    assert_eq!(numbers, (0..310).collect::<Vec<_>>(), "{names:?}");
    assert_eq!(all[5].numbers(), (300..310).collect::<Vec<_>>(), "{names:?}");
    let mut so_far = 0;
    for (name, recorded) in names.iter().zip(&all) {
        so_far += recorded.packets.len() as u64;
        assert!(fs::metadata(folder.file(name)).expect("a file").len() <= 100_000, "{name}");
        assert_eq!(recorded.last().after, recorded.packets.len(), "its end are statistics: {name}");
        assert!(recorded.last().delivered <= so_far, "{name}");
        let (lines, complaints) = tshark(folder.file(name), &["frame.number"]);
        assert_eq!((lines.len(), complaints.as_str()), (recorded.packets.len(), ""), "{name}");
    }
    assert_eq!((all[5].last().accepted, all[5].last().delivered), (310, 310));
}

#[test]
fn a_full_disk_costs_counted_packets_where_they_were_lost() {
    let lab = Lab::new().expect("a lab");
    let mounted = Disk::new("1m");
    let disk = &mounted.0;
    fs::write(disk.file("filler"), vec![0; 800 << 10]).expect("a file");
    let file = disk.text("a.pcapng");
    let target = format!("{file}?limit=300k");
    let mut run = joined(&lab, &["--record", &target, FIRST]);
    let source = Source::new(&lab);
    source.send(0, 0..600);
    let full = |object: &serde_json::Value| sink(object, &file)["dropped_by"]["full_disk"].as_u64() > Some(0);
    until(&mut run, |object| object["packets"] == 600 && full(object) && number(&sink(object, &file)["packets"]) > 0);
    // What is there is readable while the disk is full.
    let early = Recorded::file(&file);
    assert!(early.torn == 0 && !early.packets.is_empty(), "{} {}", early.torn, early.packets.len());
    fs::remove_file(disk.file("filler")).expect("removed");
    until(&mut run, |object| {
        let report = sink(object, &file);
        report["state"] == "ok" && number(&report["packets"]) + number(&report["dropped"]) == 600
    });
    for first in (600..700).step_by(25) {
        source.send(0, first..first + 25);
        received(&mut run, u64::from(first) + 25);
    }
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(1), "{err}");
    let summary = last_object(&out);
    let report = sink(&summary, &file);
    let recorded = Recorded::file(&file);
    assert_eq!(recorded.packets.len() as u64, number(&report["packets"]), "{summary}");
    assert_eq!(recorded.drop_count(), number(&report["dropped"]), "{summary}");
    let mut expected = 0;
    for packet in &recorded.packets {
        assert_eq!(packet.number() - expected, packet.drop_count as u32, "where it was lost");
        assert_eq!(packet.comment.contains("not written ("), packet.drop_count > 0, "{}", packet.comment);
        expected = packet.number() + 1;
    }
    assert_eq!(expected, 700);
    let last = recorded.last();
    assert_eq!((last.accepted, last.dropped), (700, recorded.drop_count()));
    assert!(last.comment.contains("full_disk"), "{}", last.comment);
}

#[test]
fn what_a_ring_or_a_socket_loses_is_in_the_stream() {
    for (mode, room) in [
        ("mapped", ["--ring-size", "64", "--frames", "128"]),
        ("socket", ["--socket-buffer", "64k", "--max-flows", "64"]),
    ] {
        let lab = Lab::new().expect("a lab");
        let folder = Folder::new();
        let file = folder.text("a.pcapng");
        let mut run = joined(&lab, &[&["--mode", mode, "--record", &file][..], &room, &[FIRST]].concat());
        let source = Source::new(&lab);
        source.send(0, 0..10);
        received(&mut run, 10);
        run.signal(Signal::STOP);
        source.send(0, 10..1010);
        run.signal(Signal::CONT);
        // A ring that is still full would lose the packets after it as well.
        until(&mut run, |object| number(&object["packets"]) + number(&object["lost"]) == 1010);
        // The statistics that have the loss are in the file.
        wait_for("the loss is noticed", || {
            Recorded::file(&file).statistics.iter().any(|one| one.comment.contains("lost"))
        });
        source.send(0, 1010..1020);
        wait_for("the packets after it are recorded", || Recorded::file(&file).numbers().last() == Some(&1019));
        run.signal(Signal::TERM);
        let (out, err, code) = run.end();
        assert_eq!(code, Some(0), "{mode}: {err}");
        let recorded = Recorded::file(&file);
        let missing = 1020 - recorded.packets.len() as u64;
        assert!(missing > 100, "{mode}: {out}");
        assert_eq!(recorded.drop_count(), missing, "{mode}");
        let last = recorded.last();
        assert_eq!((last.accepted, last.dropped, last.delivered), (1020, missing, 1020 - missing), "{mode}");
        let marked = recorded.packets.iter().find(|packet| packet.drop_count > 0).expect("a packet after the loss");
        assert!(marked.comment.starts_with("lost before this packet: "), "{mode}: {}", marked.comment);
    }
}

#[test]
fn a_recording_that_was_killed_is_readable() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let file = folder.text("a.pcapng");
    let run = joined(&lab, &["--record", &file, FIRST]);
    let source = Source::new(&lab);
    source.send(0, 0..500);
    wait_for("packets are written", || Recorded::file(&file).packets.len() > 100);
    run.signal(Signal::KILL);
    drop(run);
    let recorded = Recorded::file(&file);
    let count = recorded.packets.len();
    assert_eq!(recorded.numbers(), (0..count as u32).collect::<Vec<_>>());
    // A kill can stop a write in its middle. So that this is seen each time, the last block is torn here.
    let mut bytes = fs::read(&file).expect("a recording");
    let last = bytes.len() - recorded.torn;
    let keep = if recorded.torn > 0 { bytes.len() } else { last - 10 };
    bytes.truncate(keep);
    fs::write(&file, &bytes).expect("a file");
    let torn = Recorded::file(&file);
    assert!(torn.torn > 0);
    let (lines, complaints) = tshark(&file, &["frame.number"]);
    assert_eq!(lines.len(), torn.packets.len(), "{complaints}");
    assert!(complaints.contains("cut short"), "{complaints}");
    let (code, out, err) = analyze(&file);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("a.pcapng: it ends in the middle of a packet; what came before is analyzed"), "{err}");
    assert!(out.contains("10.0.0.1 > 232.1.1.1:5000"), "{out}");
}

#[test]
fn a_compressed_recording_has_the_same_packets() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let file = folder.text("a.pcapng.zst");
    let mut run = joined(&lab, &["--record", &file, FIRST]);
    let source = Source::new(&lab);
    source.send(0, 0..300);
    until(&mut run, |object| number(&sink(object, &file)["packets"]) == 300);
    // Whole frames are readable at any time, and so after `kill -9`.
    let decompressed = |bytes: &[u8]| zstd::stream::decode_all(bytes).expect("frames of zstd");
    assert_eq!(Recorded::of(&decompressed(&fs::read(&file).expect("a recording"))).packets.len(), 300);
    source.send(0, 300..310);
    received(&mut run, 310);
    run.signal(Signal::TERM);
    let (_, err, code) = run.end();
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let bytes = fs::read(&file).expect("a recording");
    let whole = decompressed(&bytes);
    let recorded = Recorded::of(&whole);
    assert_eq!(recorded.numbers(), (0..310).collect::<Vec<_>>());
    assert_eq!((recorded.last().delivered, recorded.torn), (310, 0));
    assert!(2 * bytes.len() < whole.len(), "{} of {}", bytes.len(), whole.len());
    let (code, out, err) = analyze(&file);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    fs::write(&file, &bytes[..bytes.len() - 1]).expect("a file");
    let (code, _, err) = analyze(&file);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("it ends in the middle of a compressed frame; what came before is analyzed"), "{err}");
}

#[test]
fn record_ends_with_what_was_recorded_and_lost() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let record = |words: &[&str]| {
        let mut command = lab.rx().command(env!("CARGO_BIN_EXE_receiver"));
        command.current_dir(&folder.0).args(["record", "-i", lab.rx_interface(), "--view", "lines"]).args(words);
        Run::spawn(&mut command)
    };
    let (run, _) = record(&["--count", "20", FIRST]).until_joined();
    Source::new(&lab).send(0, 0..20);
    let (out, err, code) = run.end();
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let words = out.lines().last().expect("a line");
    let form = format!("recorded 20 packets to {}-%Y%m%d-%H%M%S.pcapng; nothing was lost", lab.rx_interface());
    assert_eq!(words, form);
    let names = files(&folder, "");
    assert!(names.len() == 1 && names[0].ends_with(".pcapng"), "{names:?}");
    assert_eq!(Recorded::file(folder.file(&names[0])).packets.len(), 20);

    let (out, err, code) = record(&["--config", "x.toml", FIRST]).end();
    assert_eq!(code, Some(2), "{out}{err}");
    assert!(err.starts_with("receiver: `receiver record` reads no configuration; "), "{err}");
}

#[test]
fn a_reader_of_standard_output_that_does_not_read_delays_nobody() {
    let lab = Lab::new().expect("a lab");
    let summary = command::Scratch::new();
    let arguments = ["--record=-?limit=64KiB", "--summary", summary.name(), FIRST];
    let mut run = Run::start(&lab, &arguments);
    let mut line = String::new();
    run.err.read_line(&mut line).expect("standard error");
    assert!(line.contains("1 subscription"), "{line}");
    let source = Source::new(&lab);
    source.send(0, 0..1000);
    sleep(Duration::from_millis(300));
    run.signal(Signal::TERM);
    let start = Instant::now();
    assert_eq!(run.end_unread(), Some(0), "a slow reader is no failure");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let mut bytes = Vec::new();
    run.out.read_to_end(&mut bytes).expect("a stream");
    let recorded = Recorded::of(&bytes);
    let summary = last_object(&String::from_utf8(summary.read()).expect("text"));
    let report = sink(&summary, "standard output");
    assert_eq!(number(&report["packets"]) + number(&report["dropped"]), 1000, "{summary}");
    assert_eq!(recorded.packets.len() as u64, number(&report["packets"]), "{summary}");
    assert_eq!(recorded.torn, 0, "no packet is torn");
    assert!(number(&report["dropped"]) > 500, "{summary}");
}

#[test]
fn a_pipe_to_tshark_shows_packets_as_they_come() {
    let lab = Lab::new().expect("a lab");
    let words = format!(
        "{} record -w - -i {} {FIRST} --count 50 | tshark -r - -T fields -e udp.length",
        env!("CARGO_BIN_EXE_receiver"),
        lab.rx_interface()
    );
    let (shell, mut err) = command::shell(&lab, &words);
    command::until_subscribed(&mut err);
    // The last line.
    let reading = std::thread::spawn(move || err.lines().map_while(Result::ok).last().unwrap_or_default());
    Source::new(&lab).send(0, 0..50);
    let output = shell.wait_with_output().expect("an output");
    assert_eq!(String::from_utf8(output.stdout).expect("UTF-8"), "1324\n".repeat(50));
    assert_eq!(reading.join().expect("a thread"), "recorded 50 packets to standard output; nothing was lost");
}

#[test]
fn a_replay_sends_what_was_recorded_with_its_gaps() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let (first, second) = (folder.text("first.pcapng.zst"), folder.text("second.pcapng"));
    let run = joined(&lab, &["--mode", "socket", "--count", "40", "--record", &first, FIRST]);
    let source = Source::new(&lab);
    for from in [0, 10, 20, 30] {
        source.send(0, from..from + 10);
        sleep(Duration::from_millis(30));
    }
    assert_eq!(run.end().2, Some(0));
    let replay = |words: &[&str]| {
        let mut command = lab.tx().command(env!("CARGO_BIN_EXE_receiver"));
        let command = command.args(["replay", "-i", lab.tx_interface(), &first]).args(words).env_remove("RUST_LOG");
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        command::object(&String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let run = joined(&lab, &["--mode", "copy", "--count", "80", "--record", &second, FIRST]);
    let report = replay(&["--json"]);
    assert_eq!((&report["packets"], &report["left_out"]), (&40.into(), &0.into()), "{report}");
    let fast = replay(&["--json", "--speed", "max"]);
    assert_eq!((&fast["packets"], &fast["late"]), (&40.into(), &0.into()), "{fast}");
    assert_eq!(run.end().2, Some(0));

    let of_first = Recorded::of(&zstd::stream::decode_all(&fs::read(&first).expect("a file")[..]).expect("frames"));
    let of_second = Recorded::file(&second);
    let once: Vec<u32> = (0..40).collect();
    assert_eq!(of_second.numbers(), [once.clone(), once].concat());
    // No packet leaves before its time.
    let whole = |packets: &[recorded::Packet]| packets[39].time_ns - packets[0].time_ns;
    let (recorded, replayed) = (whole(&of_first.packets), whole(&of_second.packets[..40]));
    assert!(replayed + 5_000_000 > recorded && recorded > 80_000_000, "{recorded} {replayed}");
}
