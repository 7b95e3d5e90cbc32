//! Sinks: several at once, each with its own subscriptions; files that rotate, a full disk, readers that stop, come
//! late or go; a relay. Each byte is written or counted as dropped. The built command in two namespaces. Needs root.

mod command;

use std::fs::{self, File};
use std::io::{BufRead, Read};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use command::{PATIENCE, Run, Scratch, last_object, object, output};
use netlab::Lab;
use rustix::process::Signal;
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

/// Two subscriptions, each to one source.
const FIRST: &str = "10.0.0.1@232.1.1.1:5000";
const SECOND: &str = "10.0.0.1@232.1.1.2:5000";
const GROUPS: [&str; 2] = ["232.1.1.1:5000", "232.1.1.2:5000"];

/// Bytes of each payload. No size of a pipe or page is a multiple of it.
const SIZE: usize = 1316;

/// A payload that its number tells from all others.
fn payload(number: u32) -> Vec<u8> {
    number.to_be_bytes().repeat(SIZE / 4)
}

fn payloads(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
    numbers.into_iter().flat_map(payload).collect()
}

/// The numbers of payloads that follow each other in a file.
fn numbers(bytes: &[u8]) -> Vec<u32> {
    assert_eq!(bytes.len() % SIZE, 0, "each datagram is whole");
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"));
    bytes
        .chunks(SIZE)
        .inspect(|chunk| assert_eq!(*chunk, payload(number(chunk)), "no datagram is torn"))
        .map(number)
        .collect()
}

/// Sends payloads to one of the groups, from 10.0.0.1, with pauses that a receiver with a small ring keeps up with.
struct Source(UdpSocket);

impl Source {
    fn new(lab: &Lab) -> Self {
        let socket = lab.tx().run(|| UdpSocket::bind((Ipv4Addr::new(10, 0, 0, 1), 4000))).expect("the namespace");
        Self(socket.expect("a socket"))
    }

    fn send(&self, group: usize, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            self.0.send_to(&payload(number), GROUPS[group]).expect("sent");
            if number % 64 == 63 {
                sleep(Duration::from_millis(2));
            }
        }
    }
}

/// The report of a sink in an object of `--json`.
fn sink<'a>(object: &'a Value, name: &str) -> &'a Value {
    let sinks = object["sinks"].as_array().expect("sinks");
    sinks.iter().find(|sink| sink["name"] == name).unwrap_or_else(|| panic!("no {name}: {object}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Reads objects until one is as it should be.
fn until(run: &mut Run, is_right: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut line = String::new();
        run.out.read_line(&mut line).expect("standard output");
        assert!(!line.is_empty(), "it ended early");
        let object = object(&line);
        if object["type"] == "interval" && is_right(&object) {
            return object;
        }
        assert!(Instant::now() < deadline, "it does not come to that: {object}");
    }
}

/// Waits until the run has received this number of datagrams.
fn received(run: &mut Run, count: u64) -> Value {
    until(run, |object| object["packets"] == count)
}

/// Starts a run that prints objects often, and waits until it has joined.
fn joined(lab: &Lab, arguments: &[&str]) -> Run {
    Run::joined(lab, &[&["--json", "--interval", "0.05"], arguments].concat()).0
}

/// A folder. Dropping this value removes it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = Scratch::new().0.clone();
        fs::create_dir(&path).expect("a folder");
        Self(path)
    }

    /// With a file system of this size of its own.
    fn small(size: &str) -> Self {
        let this = Self::new();
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&this.0).status();
        assert!(mounted.expect("mount").success());
        this
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.file(name).to_str().expect("UTF-8").to_owned()
    }

    /// The names of its files, in order.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Fails where nothing is mounted.
        let _ = Command::new("umount").arg(&self.0).stderr(Stdio::null()).status();
        let _ = fs::remove_dir_all(&self.0);
    }
}

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

fn wait_for(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(10));
    }
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
    let (disk, other) = (Folder::small("512k"), Folder::new());
    fs::write(disk.file("filler"), vec![0; 400 << 10]).expect("a file");
    let (full, good) = (disk.text("full"), other.text("good"));
    let target = format!("file:{full}?limit=100k");
    let mut run = joined(&lab, &["-o", &target, "-o", &good, FIRST]);
    let source = Source::new(&lab);
    // The disk has room for 85 of them, and another 76 may wait.
    source.send(0, 0..400);
    let failing = until(&mut run, |object| object["packets"] == 400 && number(&sink(object, &full)["dropped"]) > 0);
    assert_eq!(sink(&failing, &full)["state"], "failing: No space left on device (os error 28)");
    assert!(number(&sink(&failing, &full)["dropped_by"]["full_disk"]) > 0, "{failing}");
    wait_for("the other file gets all", || length(Path::new(&good)) == 400 * SIZE as u64);

    fs::remove_file(disk.file("filler")).expect("removed");
    until(&mut run, |object| {
        sink(object, &full)["state"] == "ok" && length(Path::new(&full)).is_multiple_of(SIZE as u64)
    });
    source.send(0, 400..500);
    received(&mut run, 500);
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

/// A UDP packet as it was on the wire, and when it was seen.
#[derive(Debug)]
struct Seen {
    at: Instant,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    port: u16,
    ttl: u8,
    payload: Vec<u8>,
}

/// Sees each IPv4 packet of the sending end of the lab, sent and received.
fn tap(lab: &Lab) -> Socket {
    const ETH_P_ALL: u16 = 3;
    let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
    let tap = lab.tx().run(|| Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))).expect("the namespace");
    let tap = tap.expect("a packet socket");
    tap.set_read_timeout(Some(Duration::from_millis(1000))).expect("a timeout");
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&tap, 8 << 20).expect("a buffer");
    tap
}

/// Takes what the tap sees, until nothing comes for a second.
fn see(mut tap: Socket) -> Vec<Seen> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 70_000]);
    while let Ok(length) = tap.read(&mut buffer) {
        let (at, packet) = (Instant::now(), &buffer[..length]);
        let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).expect("four bytes"));
        if length > 28 && packet[0] == 0x45 && packet[9] == 17 {
            let port = u16::from_be_bytes([packet[22], packet[23]]);
            let (source, destination, ttl) = (address(12), address(16), packet[8]);
            all.push(Seen { at, source, destination, port, ttl, payload: packet[28..].to_vec() });
        }
    }
    all
}

#[test]
fn a_relay_keeps_order_and_spacing() {
    const COUNT: u32 = 200;
    let lab = Lab::new().expect("a lab");
    let i = lab.rx_interface();
    let group = format!("udp://239.9.9.9:6000?interface={i}&ttl=7&source={}&delay=30ms", lab.rx_v4());
    let arguments =
        ["-o", &group, "-o", "udp://10.0.0.2:6001", "-o", "udp://10.0.0.3:6002?delay=0&only=232.1.1.2:5000"];
    let mut run = joined(&lab, &[&arguments[..], &[FIRST, SECOND]].concat());
    let tap = tap(&lab);
    let watching = std::thread::spawn(|| see(tap));
    let source = Source::new(&lab);
    let mut sent_at = Vec::new();
    for number in 0..COUNT {
        sent_at.push(Instant::now());
        source.send(0, number..number + 1);
        // Uneven on purpose.
        sleep(Duration::from_micros(u64::from(number * 7919 % 8) * 1000 + 500));
    }
    source.send(1, COUNT..COUNT + 1);
    received(&mut run, u64::from(COUNT) + 1);
    let seen = watching.join().expect("a thread");
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!((code, err.as_str()), (Some(0), ""));

    let of = |destination: &str, port: u16| -> Vec<&Seen> {
        let destination: Ipv4Addr = destination.parse().expect("an address");
        seen.iter().filter(|seen| seen.destination == destination && seen.port == port).collect()
    };
    let (sent, relayed) = (of("232.1.1.1", 5000), of("239.9.9.9", 6000));
    assert_eq!((sent.len(), relayed.len()), (COUNT as usize, COUNT as usize + 1));
    assert!(sent.iter().zip(&relayed).all(|(sent, relayed)| sent.payload == relayed.payload), "in order");
    assert!(relayed.iter().all(|seen| (seen.source, seen.ttl) == (lab.rx_v4(), 7)));
    let host = of("10.0.0.2", 6001);
    assert!(host.len() == COUNT as usize + 1 && host.iter().all(|seen| seen.ttl == 64));
    let only = of("10.0.0.3", 6002);
    assert!(only.len() == 1 && only[0].payload == payload(COUNT), "{only:?}");

    let summary = last_object(&out);
    let report = sink(&summary, "udp://239.9.9.9:6000");
    assert_eq!((number(&report["packets"]), &report["dropped"]), (u64::from(COUNT) + 1, &0.into()), "{report}");
    // By how much more than the delay each one is seen after it was sent.
    let mut errors: Vec<f64> = sent_at
        .iter()
        .zip(&relayed)
        .map(|(sent, relayed)| (relayed.at - *sent).as_secs_f64() * 1e6 - 30_000.0)
        .collect();
    errors.sort_by(f64::total_cmp);
    let at = |part: f64| errors[((errors.len() - 1) as f64 * part) as usize];
    println!(
        "spacing error in microseconds: least {:.0}, 10 % {:.0}, median {:.0}, 90 % {:.0}, 99 % {:.0}, most {:.0}; \
         late {}",
        at(0.0),
        at(0.1),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        report["late"],
    );
    assert!(at(0.0) > -100.0, "none leaves early");
    assert!(at(0.5) < 20_000.0, "half of them leave in time, on a busy machine too");
}

#[test]
fn a_kill_leaves_whole_datagrams() {
    const WHOLE: usize = 1024;
    for _ in 0..5 {
        let lab = Lab::new().expect("a lab");
        let folder = Folder::new();
        let file = folder.text("file");
        let run = joined(&lab, &["-o", &file, FIRST]);
        let socket = lab.tx().run(|| UdpSocket::bind((Ipv4Addr::new(10, 0, 0, 1), 4000))).expect("the namespace");
        let socket = socket.expect("a socket");
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
