//! Sinks: several at once, each with its own subscriptions; files that rotate, a full disk, readers that stop, come
//! late or go. Each byte is written or counted as dropped. The built command in two namespaces. Needs root.

mod command;
mod payloads;

use std::fs::{self, File};
use std::io::{BufRead, Read};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use command::{Disk, Folder, PATIENCE, Run, Scratch, last_object, output, source, wait_for};
use netlab::Lab;
use payloads::{FIRST, GROUPS, SECOND, SIZE, Source, joined, number, numbers, payloads, received, sink, until};
use rustix::process::Signal;

/// A process that reads a FIFO. Dropping this value kills it.
struct Reader(Child);

impl Reader {
    fn of(fifo: &Scratch) -> Self {
        Self(Command::new("cat").arg(&fifo.0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("cat"))
    }

    fn stop(&self) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), Signal::STOP).expect("a signal");
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[test]
fn several_sinks_get_what_is_theirs_and_each_byte_is_accounted_for() {
    for mode in ["mapped", "copy", "socket"] {
        let lab = Lab::new().expect("a lab");
        let folder = Folder::new();
        let (all, first) = (folder.text("all"), folder.text("first"));
        let second = UnixDatagram::bind(folder.file("second")).expect("a socket");
        let (first_target, second_name) =
            (format!("file:{first}?only={FIRST}"), format!("unix:{}", folder.text("second")));
        // A group and port name all their subscriptions.
        let second_target = format!("{second_name}?only={}", GROUPS[1]);
        let targets = ["-o", &all, "-o", &first_target, "-o", &second_target, "-o", "discard:"];
        let arguments = [&["--mode", mode, "--count", "300"], &targets[..], &[FIRST, SECOND]].concat();
        let run = joined(&lab, &arguments);
        let reading = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            second.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            for _ in 0..100 {
                let mut buffer = [0; 2 * SIZE];
                let count = second.recv(&mut buffer).expect("a datagram");
                assert_eq!(count, SIZE);
                bytes.extend_from_slice(&buffer[..count]);
            }
            bytes
        });
        let source = Source::new(&lab);
        source.send(0, 0..200);
        source.send(1, 200..300);
        let (out, err, code) = run.end();
        assert_eq!((code, err.as_str()), (Some(0), ""), "{mode}");
        assert!(fs::read(&all).expect("a file") == payloads(0..300), "{mode}");
        assert!(fs::read(&first).expect("a file") == payloads(0..200), "{mode}");
        assert!(reading.join().expect("a thread") == payloads(200..300), "{mode}");
        let summary = last_object(&out);
        for (name, packets) in [(all.as_str(), 300), (&first, 200), (&second_name, 100), ("discard:", 300)] {
            let report = sink(&summary, name);
            assert_eq!(
                (number(&report["packets"]), &report["dropped"], &report["state"]),
                (packets, &0.into(), &"ok".into())
            );
            assert_eq!(number(&report["bytes"]), packets * SIZE as u64, "{mode} {name}");
        }
    }
}

#[test]
fn a_full_disk_is_survived_and_what_it_cost_is_counted() {
    let lab = Lab::new().expect("a lab");
    let (mounted, other) = (Disk::new("1m"), Folder::new());
    let disk = &mounted.0;
    fs::write(disk.file("filler"), vec![0; 912 << 10]).expect("a file");
    let (full, good) = (disk.text("full"), other.text("good"));
    let target = format!("file:{full}?limit=300k");
    let mut run = joined(&lab, &["-o", &target, "-o", &good, FIRST]);
    let source = Source::new(&lab);
    // The disk has room for 85 of them, and up to 227 more may wait.
    source.send(0, 0..400);
    let failing = until(&mut run, |object| object["packets"] == 400 && number(&sink(object, &full)["dropped"]) > 0);
    assert_eq!(sink(&failing, &full)["state"], "failing: No space left on device (os error 28)");
    assert!(number(&sink(&failing, &full)["dropped_by"]["full_disk"]) > 0, "{failing}");
    wait_for("the other file gets all", || length(Path::new(&good)) == 400 * SIZE as u64);

    fs::remove_file(disk.file("filler")).expect("removed");
    until(&mut run, |object| {
        let report = sink(object, &full);
        let nothing_waits = number(&report["packets"]) + number(&report["dropped"]) == 400;
        report["state"] == "ok" && nothing_waits && length(Path::new(&full)).is_multiple_of(SIZE as u64)
    });
    // Fewer at once than may wait: on a busy machine the sink may not write between two batches.
    for first in (400..500).step_by(25) {
        source.send(0, first..first + 25);
        received(&mut run, u64::from(first) + 25);
    }
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(1), "{err}");
    let summary = last_object(&out);
    let report = sink(&summary, &full);
    let written = numbers(&fs::read(&full).expect("a file"));
    assert_eq!(number(&report["packets"]) + number(&report["dropped"]), 500, "{summary}");
    assert_eq!(written.len() as u64, number(&report["packets"]), "{summary}");
    assert!(written.is_sorted() && written.ends_with(&(400..500).collect::<Vec<_>>()), "it went on: {written:?}");
    assert!(fs::read(&good).expect("a file") == payloads(0..500), "the other file has all");
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines[0].contains(&format!("output {full} fails and is tried again: No space left on device")), "{err}");
    assert!(lines.iter().filter(|line| line.contains("fails")).count() <= 2, "a line for each change: {err}");
    assert!(
        err.contains(&format!("receiver: cannot write to {full}: No space left on device (os error 28); ")),
        "{err}"
    );
}

#[test]
fn readers_that_are_stopped_delay_nobody() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let fifo = Scratch::fifo();
    let unread = UnixDatagram::bind(folder.file("unread")).expect("a socket");
    let reader = Reader::of(&fifo);
    let summary = Scratch::new();
    let (good, unix) = (folder.text("good"), format!("unix:{}", folder.text("unread")));
    let fifo_target = format!("file:{}?limit=64KiB", fifo.name());
    let unix_target = format!("{unix}?limit=64KiB");
    let mut run = Run::start(
        &lab,
        &[
            "-o",
            &fifo_target,
            "-o",
            &unix_target,
            "--output=-?limit=64KiB",
            "-o",
            &good,
            "--summary",
            summary.name(),
            FIRST,
        ],
    );
    // Standard output is taken: nobody reads it.
    let mut line = String::new();
    run.err.read_line(&mut line).expect("standard error");
    assert!(line.contains("2 subscriptions") || line.contains("1 subscription"), "{line}");
    let source = Source::new(&lab);
    source.send(0, 0..1);
    // The reader has opened the FIFO.
    wait_for("the first datagram is written", || length(Path::new(&good)) == SIZE as u64);
    sleep(Duration::from_millis(200));
    reader.stop();
    source.send(0, 1..1000);
    wait_for("the others get all", || length(Path::new(&good)) == 1000 * SIZE as u64);
    run.signal(Signal::TERM);
    let start = Instant::now();
    assert_eq!(run.end_unread(), Some(0), "slow readers are no failure");
    assert!(start.elapsed() < Duration::from_secs(10), "they are waited for together: {:?}", start.elapsed());
    let summary = last_object(&String::from_utf8(summary.read()).expect("text"));
    let total: u64 = [fifo.name(), &unix, "standard output"]
        .into_iter()
        .map(|name| {
            let report = sink(&summary, name);
            assert_eq!(number(&report["packets"]) + number(&report["dropped"]), 1000, "{report}");
            assert!(number(&report["dropped_by"]["slow_reader"]) > 500, "{report}");
            number(&report["dropped"])
        })
        .sum();
    assert_eq!(summary["output_dropped"], total);
    assert!(fs::read(&good).expect("a file") == payloads(0..1000));
    drop(unread);
}

#[test]
fn readers_come_late_go_and_come_back() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let fifo = Scratch::fifo();
    let (path, unix) = (folder.file("reader"), format!("unix:{}", folder.text("reader")));
    let mut run = joined(&lab, &["-o", &unix, "-o", fifo.name(), FIRST]);
    let source = Source::new(&lab);
    source.send(0, 0..5);
    let waiting = received(&mut run, 5);
    assert_eq!(sink(&waiting, fifo.name())["state"], "waiting for a reader");
    until(&mut run, |object| sink(object, &unix)["state"] == "waiting for a reader");
    let take = |reader: &UnixDatagram, numbers: std::ops::Range<u32>| {
        reader.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        for number in numbers {
            let mut buffer = [0; 2 * SIZE];
            assert_eq!(reader.recv(&mut buffer).expect("a datagram"), SIZE);
            assert_eq!(buffer[..4], number.to_be_bytes());
        }
    };
    let read = |file: &mut File, numbers: std::ops::Range<u32>| {
        let mut bytes = vec![0; numbers.len() * SIZE];
        file.read_exact(&mut bytes).expect("the FIFO");
        assert!(bytes == payloads(numbers));
    };
    // What waited comes first.
    let reader = UnixDatagram::bind(&path).expect("a socket");
    let mut file = File::open(&fifo.0).expect("the FIFO");
    take(&reader, 0..5);
    read(&mut file, 0..5);
    drop(reader);
    drop(file);
    fs::remove_file(&path).expect("removed");
    source.send(0, 5..10);
    until(&mut run, |object| {
        [&unix, fifo.name()].iter().all(|name| sink(object, name)["state"] == "waiting for a reader")
    });
    let reader = UnixDatagram::bind(&path).expect("a socket");
    let mut file = File::open(&fifo.0).expect("the FIFO");
    take(&reader, 5..10);
    read(&mut file, 5..10);
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "a reader that goes is no failure: {err}");
    let summary = last_object(&out);
    for name in [&unix, fifo.name()] {
        let report = sink(&summary, name);
        assert_eq!((&report["packets"], &report["dropped"]), (&10.into(), &0.into()), "{report}");
    }
}

#[test]
fn files_turn_by_size_and_by_the_clock_without_a_loss() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let sized = format!("file:{}?rotate=20k", folder.text("sized"));
    let timed = format!("file:{}?every=1s", folder.text("timed-%Y%m%d-%H%M%S.raw"));
    let kept = format!("file:{}?rotate=20k&keep=3", folder.text("kept"));
    // As logrotate does it: the file is moved, and SIGHUP has it opened anew.
    let moved = format!("file:{}", folder.text("moved"));
    let mut run = joined(&lab, &["-o", &sized, "-o", &timed, "-o", &kept, "-o", &moved, FIRST]);
    let source = Source::new(&lab);
    let files = |prefix: &str| -> Vec<String> {
        let of_sink = |name: &String| name.starts_with(prefix);
        folder.names().into_iter().filter(of_sink).collect()
    };
    let mut sent = 0;
    // At least two boundaries of the clock.
    wait_for("the clock turns files", || {
        source.send(0, sent..sent + 20);
        sent += 20;
        sleep(Duration::from_millis(50));
        if !folder.file("moved.1").exists() && length(&folder.file("moved")) > 0 {
            fs::rename(folder.file("moved"), folder.file("moved.1")).expect("moved");
            run.signal(Signal::HUP);
        }
        files("timed-").len() >= 4
    });
    received(&mut run, sent.into());
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(number(&last_object(&out)["output_dropped"]), 0);

    // Files by their names, those of the same second by their number, and the present one last.
    let content = |prefix: &str| -> Vec<Vec<u32>> {
        let mut names = files(prefix);
        names.sort_by_key(|name| {
            let (stem, counted) = match name.rsplit_once('.') {
                Some((stem, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                    (stem, digits.parse().expect("digits"))
                }
                _ => (name.as_str(), 0_u64),
            };
            (name == prefix, stem.to_owned(), counted)
        });
        names.iter().map(|name| numbers(&fs::read(folder.file(name)).expect("a file"))).collect()
    };
    for prefix in ["sized", "timed-", "moved"] {
        let content = content(prefix);
        assert!(content.concat() == (0..sent).collect::<Vec<_>>(), "{prefix}: {:?}", folder.names());
        if prefix == "sized" {
            // 15 of 1,316 bytes fit in 20,000. SIGHUP has turned this file too.
            let (last, finished) = content.split_last().expect("files");
            assert!(finished.iter().filter(|file| file.len() != 15).count() <= 1, "{content:?}");
            assert!(finished.iter().all(|file| file.len() <= 15) && last.len() <= 15, "{content:?}");
        }
    }
    assert_eq!(files("moved"), ["moved", "moved.1"], "SIGHUP ends no run that has a file to open anew");
    let kept = content("kept");
    assert_eq!(kept.len(), 4, "three finished files and the present one: {:?}", folder.names());
    assert!(kept.concat() == (0..sent).collect::<Vec<_>>()[(sent as usize - kept.concat().len())..], "the newest");
}

#[test]
fn sinks_of_a_configuration_take_subscriptions_by_name() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let configuration = folder.text("receiver.toml");
    let write = |names: [&str; 2]| {
        let subscriptions = names.iter().zip([FIRST, SECOND]);
        let tables =
            subscriptions.map(|(name, address)| format!("[[subscription]]\nname = '{name}'\naddress = '{address}'\n"));
        let sink = "[[sink]]\nname = 'chosen'\ntarget = 'file:chosen'\nsubscriptions = ['wanted']\n";
        fs::write(&configuration, tables.collect::<String>() + sink).expect("a file");
    };
    write(["wanted", "other"]);
    let mut run = joined(&lab, &["--config", &configuration, "-o", &folder.text("all")]);
    let source = Source::new(&lab);
    source.send(0, 0..10);
    source.send(1, 10..20);
    let first = received(&mut run, 20);
    assert!(["packets", "dropped"].iter().all(|key| sink(&first, "chosen")[key].is_u64()), "{first}");
    // The names change places, and the sink follows its name.
    write(["other", "wanted"]);
    run.signal(Signal::HUP);
    let mut sent = 20;
    wait_for("the reload takes effect", || {
        source.send(1, sent..sent + 1);
        sent += 1;
        sleep(Duration::from_millis(20));
        length(&folder.file("chosen")) > 10 * SIZE as u64
    });
    let from = sent;
    source.send(0, from..from + 10);
    source.send(1, from + 10..from + 20);
    received(&mut run, (from + 20).into());
    run.signal(Signal::TERM);
    let (_, err, code) = run.end();
    assert_eq!(code, Some(0), "{err}");
    let chosen = numbers(&fs::read(folder.file("chosen")).expect("a file"));
    assert!(chosen.starts_with(&(0..10).collect::<Vec<_>>()) && !chosen.contains(&10), "{chosen:?}");
    let end: Vec<u32> = chosen.iter().copied().filter(|&number| number >= from).collect();
    assert_eq!(end, (from + 10..from + 20).collect::<Vec<_>>());
    assert_eq!(numbers(&fs::read(folder.file("all")).expect("a file")).len() as u32, from + 20);
}

#[test]
fn a_kill_leaves_whole_datagrams() {
    const WHOLE: usize = 1024;
    for _ in 0..5 {
        let lab = Lab::new().expect("a lab");
        let folder = Folder::new();
        let file = folder.text("file");
        let run = joined(&lab, &["-o", &file, FIRST]);
        let socket = source(&lab, 1);
        let sending = std::thread::spawn(move || {
            for number in 0..20_000_u32 {
                socket.send_to(&number.to_be_bytes().repeat(WHOLE / 4), GROUPS[0]).expect("sent");
            }
        });
        wait_for("it writes", || length(Path::new(&file)) > 0);
        run.signal(Signal::KILL);
        sending.join().expect("a thread");
        drop(run);
        // The kernel stops the write of a process that is killed at the end of a page, and no payload here crosses one.
        let bytes = fs::read(&file).expect("a file");
        assert_eq!(bytes.len() % WHOLE, 0, "the last datagram is whole");
        assert!(bytes.chunks(WHOLE).all(|chunk| chunk.chunks(4).all(|part| part == &chunk[..4])));
    }
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let lab = Lab::new().expect("a lab");
    let i = lab.rx_interface();
    let folder = Folder::new();
    let new = folder.text("new");
    let loops = |target: &str| format!("udp://{target}?interface={i}");
    for (target, code, says) in [
        ("file:a?rotat=1".to_owned(), 2, "the key `rotat` is unknown; did you mean `rotate`?"),
        ("discard:?only=232.9.9.9:1".to_owned(), 2, "takes 232.9.9.9:1, which is not subscribed; write a subscription"),
        ("discard:?only=x".to_owned(), 2, "the value of `only` is no subscription: "),
        (loops("232.1.1.1:5000"), 2, "would send into the subscription 10.0.0.1@232.1.1.1:5000 on the same interface"),
        ("udp://239.1.1.1:5000?interface=nope0".to_owned(), 1, "the interface nope0: No such device"),
        ("udp://10.0.0.1:5000?source=10.9.9.9".to_owned(), 1, "the source 10.9.9.9; write an address of this host: "),
        ("unix:/etc/passwd".to_owned(), 2, "unix:/etc/passwd is no socket; name the path of a Unix datagram socket"),
        ("file:/nowhere/file-%Y".to_owned(), 1, "cannot create "),
    ] {
        let refused = output(&lab, &["-i", i, "-o", &new, "-o", &target, FIRST]);
        let err = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(code), "{target}: {err}");
        assert!(err.contains(says), "{target}: {err}");
        assert_eq!(err.lines().count(), 1, "{target}: {err}");
        assert!(folder.names().is_empty(), "{target}");
    }
    // Another source makes no loop, and neither does another port.
    for target in [format!("{}&source=10.0.0.100", loops("232.1.1.1:5000")), loops("232.1.1.1:5001")] {
        let (run, _) = Run::joined(&lab, &["-o", &target, "--count", "1", FIRST]);
        Source::new(&lab).send(0, 0..1);
        let (_, err, code) = run.end();
        assert_eq!((code, err.as_str()), (Some(0), ""), "{target}");
    }
}
