//! Loss attribution: each fault is injected in a run of its own, and each missing sequence number gets the cause that
//! was injected, or `unknown` where the counters do not decide. Prints the confusion matrix. The built command in two
//! namespaces. Needs root.

mod command;
mod legs;
mod payloads;

use std::cell::Cell;
use std::fmt::Write;
use std::net::UdpSocket;
use std::ops::RangeInclusive;
use std::thread::sleep;
use std::time::Duration;

use command::{Run, Scratch, last_object, object, source};
use legs::{GROUPS, LEGS, header};
use netlab::Lab;
use payloads::{joined, number, until};
use rustix::process::Signal;
use serde_json::Value;

const CAUSES: [&str; 6] = ["network", "nic", "ring", "socket", "consumer", "unknown"];

/// Sends legs of a feed of MoldUDP64 with one message in each datagram.
struct Source(Vec<UdpSocket>);

impl Source {
    fn new(lab: &Lab, legs: u8) -> Self {
        Self((1..=legs).map(|last| source(lab, last)).collect())
    }

    /// Sends sequence numbers on each leg that does not lose them, with pauses in which a veth queue empties.
    fn send(&self, sequences: RangeInclusive<u64>, is_lost: impl Fn(usize, u64) -> bool) {
        for sequence in sequences {
            let bytes = [&header("ATTRIBUTED", sequence, 1)[..], &[0, 4], b"data"].concat();
            for (leg, socket) in self.0.iter().enumerate() {
                if !is_lost(leg, sequence) {
                    socket.send_to(&bytes, GROUPS[leg]).expect("sent");
                }
            }
            if sequence % 16 == 0 {
                sleep(Duration::from_millis(1));
            }
        }
    }
}

/// A row of the matrix: what was injected, in which mode, and what it was attributed to.
struct Row {
    fault: &'static str,
    mode: &'static str,
    /// The causes that may be blamed, each with the most sequence numbers that it has lost.
    allowed: Vec<(&'static str, u64)>,
    attributed: [u64; CAUSES.len()],
}

fn feed(object: &Value) -> &Value {
    &object["feeds"][0]
}

/// Losses by cause.
fn by(report: &Value) -> [u64; CAUSES.len()] {
    let by = report["missing_by"].as_object().expect("causes");
    assert!(by.keys().all(|cause| CAUSES.contains(&cause.as_str())), "{report}");
    CAUSES.map(|cause| by.get(cause).map_or(0, number))
}

fn check_sums(object: &Value) {
    let feed = feed(object);
    assert_eq!(by(feed).iter().sum::<u64>(), number(&feed["total"]["missing"]), "{feed}");
    for leg in feed["legs"].as_array().expect("legs") {
        assert_eq!(by(leg).iter().sum::<u64>(), number(&leg["missing"]), "{leg}");
    }
}

/// A run with a feed, in a lab of its own.
struct Trial {
    lab: Lab,
    run: Run,
    source: Source,
    mode: &'static str,
}

impl Trial {
    fn new(mode: &'static str, legs: u8, options: &[&str]) -> Self {
        Self::of(Lab::new().expect("a lab"), mode, "moldudp64", legs, options)
    }

    fn of(lab: Lab, mode: &'static str, protocol: &str, legs: u8, options: &[&str]) -> Self {
        // In mode generic the ring gets no packet whose checksum is left to the device.
        lab.tx().set_feature(lab.tx_interface(), "tx-checksum-ip-generic", false).expect("a feature");
        let feed = ["--mode", mode, "--feed", protocol, "--feed-window", "20s"];
        let run = joined(&lab, &[&feed[..], options, &LEGS[..usize::from(legs)]].concat());
        let source = Source::new(&lab, legs);
        Self { run, source, mode, lab }
    }

    /// Waits until everything up to `last` was delivered or declared missing, and the interval is as it should be.
    fn until(&mut self, last: u64, is_right: impl Fn(&Value) -> bool) -> Value {
        until(&mut self.run, |object| {
            check_sums(object);
            let next = &feed(object)["streams"][0]["next_sequence"];
            next.as_u64() == Some(last + 1) && is_right(object)
        })
    }

    /// The process does nothing while these are sent. Then it takes what its rings and sockets have kept.
    fn stopped(&mut self, sequences: RangeInclusive<u64>, is_lost: impl Fn(usize, u64) -> bool) {
        let before = number(&until(&mut self.run, |_| true)["packets"]);
        self.run.signal(Signal::STOP);
        self.source.send(sequences, is_lost);
        self.run.signal(Signal::CONT);
        let last = Cell::new(before);
        until(&mut self.run, |object| {
            let packets = number(&object["packets"]);
            packets > before && last.replace(packets) == packets
        });
    }

    /// What veth lost before the receiving end, which a loaded machine may do.
    fn lost_on_the_way(&self) -> u64 {
        let text = self.lab.tx().ip(&["-s", "-j", "link", "show", "dev", self.lab.tx_interface()]);
        number(&object(&text.expect("the counters"))[0]["stats64"]["tx"]["dropped"])
    }

    /// Ends the run. `allowed` are the causes and the most that each has lost, of the summary.
    fn end(self, fault: &'static str, allowed: impl Fn(&Value) -> Vec<(&'static str, u64)>) -> Row {
        let on_the_way = self.lost_on_the_way();
        self.run.signal(Signal::INT);
        let (out, err, code) = self.run.end();
        assert_eq!(code, Some(0), "{err}");
        let summary = last_object(&out);
        check_sums(&summary);
        assert_eq!(summary["unaccounted"], 0, "{summary}");
        let mut allowed = allowed(&summary);
        match allowed.iter_mut().find(|(cause, _)| *cause == "network") {
            Some((_, most)) => *most += on_the_way,
            None => allowed.push(("network", on_the_way)),
        }
        Row { fault, mode: self.mode, allowed, attributed: by(feed(&summary)) }
    }
}

fn in_the_ledger(summary: &Value, causes: &[&str]) -> u64 {
    causes.iter().map(|cause| summary["ledger"][*cause].as_u64().unwrap_or(0)).sum()
}

/// The counters of a ring.
const RING: [&str; 3] = ["dropped_ring_full", "xsk_rx_ring_full", "xsk_rx_dropped"];

fn network(mode: &'static str) -> Row {
    let mut trial = Trial::new(mode, 2, &[]);
    // Both lose 20 of 1,000; each loses others that the other leg has.
    let lost = |leg: usize, sequence: u64| sequence % 50 == 49 || (sequence + leg as u64) % 20 == 7;
    trial.source.send(1..=1000, lost);
    trial.until(1000, |object| by(feed(object))[0] >= 20);
    trial.end("network", |_| vec![("network", 20)])
}

fn ring(mode: &'static str) -> Row {
    let mut trial = Trial::new(mode, 2, &["--ring-size", "128"]);
    trial.source.send(1..=40, |_, _| false);
    trial.until(40, |_| true);
    trial.stopped(41..=640, |_, _| false);
    trial.source.send(641..=680, |_, _| false);
    trial.until(680, |object| by(feed(object))[2] > 0);
    trial.end("ring", |summary| vec![("ring", in_the_ledger(summary, &RING))])
}

/// The ring is full, and the sender leaves out sequence numbers at the same time.
fn ring_and_network(mode: &'static str) -> Row {
    let mut trial = Trial::new(mode, 1, &["--ring-size", "128"]);
    trial.source.send(1..=40, |_, _| false);
    trial.until(40, |_| true);
    trial.stopped(41..=900, |_, sequence| (600..650).contains(&sequence));
    trial.source.send(901..=940, |_, _| false);
    trial.until(940, |object| by(feed(object))[2] > 0);
    trial.end("ring, network", |summary| vec![("ring", in_the_ledger(summary, &RING)), ("network", 50)])
}

/// One leg's copies are lost in the network, the other's in the ring.
fn a_leg_each(mode: &'static str) -> Row {
    let mut trial = Trial::new(mode, 2, &["--ring-size", "128"]);
    trial.source.send(1..=40, |_, _| false);
    trial.until(40, |_| true);
    trial.stopped(41..=600, |leg, sequence| leg == 1 && sequence > 50);
    trial.source.send(601..=640, |_, _| false);
    trial.until(640, |object| number(&feed(object)["total"]["missing"]) > 0);
    let lost = |summary: &Value| in_the_ledger(summary, &RING);
    trial.end("ring and network, a leg each", |summary| vec![("ring", lost(summary)), ("network", 0)])
}

/// The driver's queue in front of XDP is full: veth takes frames out of it by a kernel thread, while the load
/// generator sends in bursts.
fn nic(mode: &'static str) -> Row {
    let name = format!("vn{}", std::process::id());
    let lab = Lab::builder().rx_interface(&name).build().expect("a lab");
    let mut trial = Trial::of(lab, mode, "probe", 1, &["--ring-size", "16384"]);
    let threaded = format!("mount -t sysfs lab /sys && echo 1 > /sys/class/net/{name}/threaded");
    let status = trial.lab.rx().command("unshare").args(["-m", "sh", "-c", &threaded]).status().expect("unshare");
    assert!(status.success(), "threaded NAPI");
    let send = |load: &[&str]| {
        let mut sender = trial.lab.tx().command(env!("CARGO_BIN_EXE_receiver"));
        sender.args(["send", "-i", trial.lab.tx_interface(), "--engine", "xdp", "--stream", &format!("{}=1", LEGS[0])]);
        let sent = sender.args(load).output().expect("the sender");
        assert!(sent.status.success(), "{sent:?}");
    };
    // The queue has room for all of them: a thread that waits long for a processor loses none.
    send(&["--rate", "500", "--count", "200"]);
    until(&mut trial.run, |object| number(&object["packets"]) == 200);
    // How much the thread takes is up to the scheduler.
    for _ in 0..20 {
        send(&["--every", "20ms", "--burst", "2000", "--count", "20000"]);
        if by(feed(&until(&mut trial.run, |_| true)))[1] > 0 {
            break;
        }
    }
    trial.end("nic", |summary| {
        let ring = in_the_ledger(summary, &RING);
        vec![("nic", in_the_ledger(summary, &["interface_dropped"])), ("ring", ring)]
    })
}

fn socket() -> Row {
    let mut trial = Trial::new("socket", 2, &["--socket-buffer", "20000"]);
    trial.source.send(1..=40, |_, _| false);
    trial.until(40, |_| true);
    trial.stopped(41..=640, |_, _| false);
    trial.source.send(641..=680, |_, _| false);
    trial.until(680, |object| by(feed(object))[3] > 0);
    trial.end("socket", |summary| vec![("socket", in_the_ledger(summary, &["kernel_dropped"]))])
}

/// More is held than may be copied.
fn consumer(mode: &'static str) -> Row {
    let mut trial = Trial::new(mode, 2, &["--ring-size", "256", "--copy-limit", "1000"]);
    // In parts that the ring takes, whenever it is read.
    for part in 0..6u64 {
        let first = part * 80 + 1;
        trial.source.send(first..=first + 79, |leg, sequence| leg == 1 || sequence == 11);
        until(&mut trial.run, |object| number(&feed(object)["legs"][0]["packets"]) == first + 78);
    }
    trial.source.send(11..=11, |leg, _| leg == 0);
    trial.source.send(481..=500, |_, _| false);
    trial.until(500, |_| true);
    trial.end("consumer", |summary| vec![("consumer", in_the_ledger(summary, &["not_kept"])), ("network", 1)])
}

/// A sink that nobody reads drops what it gets. The feed misses nothing.
fn sink_without_reader() -> Row {
    let fifo = Scratch::fifo();
    let mut trial = Trial::new("socket", 2, &["--output", fifo.name()]);
    trial.source.send(1..=1000, |_, _| false);
    trial.until(1000, |_| true);
    trial.end("sink that is not read", |_| Vec::new())
}

/// Checks the rows, and returns the matrix.
fn matrix(rows: &[Row]) -> String {
    let mut text = format!("{:30} {:8}", "injected", "mode");
    CAUSES.iter().for_each(|cause| write!(text, " {cause:>9}").expect("text"));
    for Row { fault, mode, attributed, .. } in rows {
        write!(text, "\n{fault:30} {mode:8}").expect("text");
        attributed.iter().for_each(|count| write!(text, " {count:9}").expect("text"));
    }
    for Row { fault, mode, allowed, attributed } in rows {
        for (cause, count) in CAUSES.iter().zip(attributed).filter(|(cause, _)| **cause != "unknown") {
            let most = allowed.iter().find(|(allowed, _)| allowed == cause).map_or(0, |(_, most)| *most);
            assert!(*count <= most, "{fault} in mode {mode}: {count} by {cause}, which lost {most}\n{text}");
        }
    }
    text
}

fn unknown(row: &Row) -> u64 {
    row.attributed[CAUSES.len() - 1]
}

#[test]
fn each_loss_gets_the_cause_that_was_injected() {
    let mut rows: Vec<Row> = ["mapped", "copy", "generic", "socket"].map(network).into();
    rows.extend(["mapped", "copy", "generic"].map(ring));
    rows.push(socket());
    rows.push(consumer("mapped"));
    let single = rows.len();
    rows.extend(["mapped", "copy"].map(nic));
    rows.extend(["mapped", "copy", "generic"].map(ring_and_network));
    rows.push(a_leg_each("mapped"));
    rows.push(sink_without_reader());
    println!("{}", matrix(&rows));
    for row in &rows[single..single + 2] {
        assert!(row.attributed[1] > 10 * unknown(row), "the interface receives few other frames");
    }
    for row in &rows[..single] {
        assert_eq!(unknown(row), 0, "{} in mode {}: a single fault is not unknown", row.fault, row.mode);
        assert!(row.attributed.iter().sum::<u64>() > 0, "{} in mode {}: nothing was lost", row.fault, row.mode);
    }
    assert_eq!(rows.last().map(|row| row.attributed), Some([0; CAUSES.len()]), "sinks come after the feed");
}
