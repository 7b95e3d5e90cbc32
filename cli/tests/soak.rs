//! A run under load while operators, scrapers and broken clients work on it at random: subscriptions that nobody
//! touches lose no packet, every frame has a cause, and neither memory nor descriptors grow. Needs root.
//!
//! 15 seconds at 40,000 packets/s, or as RECEIVER_SOAK_SECONDS, RECEIVER_SOAK_RATE and RECEIVER_SOAK_SEED ask:
//! docs/operations.md, "Under load".

mod command;
mod openmetrics;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use command::{Run, Scratch, asked, last_object, object};
use netlab::Lab;
use rustix::process::Signal;
use serde_json::{Value, json};

/// Streams of subscriptions that nobody touches.
const STEADY: u8 = 4;
/// Streams of subscriptions that come, go and change.
const MOVING: u8 = 4;
/// Kibibytes by which the memory of the process may differ between two moments.
const MEMORY_SPAN: u64 = 6 << 10;

/// Numbers by xorshift, so that a seed gives the same run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn rest(&mut self, longest_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.below(longest_ms)));
    }
}

/// A folder for the configuration and the socket.
struct Home {
    config: Scratch,
    socket: Scratch,
}

impl Home {
    fn write(&self, text: &str) {
        let new = format!("{}.new", self.config.name());
        fs::write(&new, text).expect("a file");
        fs::rename(new, self.config.name()).expect("in its place");
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket.0).expect("the control socket");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
        stream
    }
}

/// A configuration with the subscriptions that stay, and some others.
fn configuration(extra: u64) -> String {
    let mut text = "probe = true\njson = true\ninterval = \"1s\"\nring_size = 16384\nmetrics = \"9100\"\n".to_owned();
    for number in 1..=STEADY {
        let address = format!("10.0.0.{number}@232.1.1.{number}:5000");
        text.push_str(&format!("[[subscription]]\nname = \"steady-{number}\"\naddress = \"{address}\"\n"));
    }
    for number in (1..=6).filter(|number| extra & (1 << number) != 0) {
        let address = format!("10.0.0.{}@232.2.2.{number}:5002", 1 + extra % 5);
        text.push_str(&format!("[[subscription]]\nname = \"extra-{number}\"\naddress = \"{address}\"\n"));
    }
    text
}

/// One request, and its reply.
fn ask(stream: &mut BufReader<UnixStream>, request: &Value) -> Value {
    stream.get_mut().write_all(format!("{request}\n").as_bytes()).expect("a request");
    let mut line = String::new();
    stream.read_line(&mut line).expect("a reply");
    object(&line)
}

/// Requests at random. Some are refused: a subscription that is there is joined, one that is not is left.
fn steer(home: &Home, random: &mut Random, stop: &AtomicBool, done: &AtomicU64) {
    let mut stream = BufReader::new(home.connect());
    while !stop.load(Ordering::Relaxed) {
        let number = 1 + random.below(MOVING.into());
        let subscription = format!("239.1.1.{number}:5001");
        let source = format!("10.0.0.{number}");
        let request = match random.below(10) {
            0 | 1 => json!({"request": "join", "subscription": subscription, "name": format!("moving-{number}")}),
            2 => json!({"request": "leave", "subscription": subscription}),
            3 => json!({"request": "block", "subscription": format!("moving-{number}"), "source": source}),
            4 => json!({"request": "unblock", "subscription": format!("moving-{number}"), "source": source}),
            5 => json!({"request": "set-sources", "subscription": format!("moving-{number}"), "sources": [source]}),
            6 => json!({"request": "list"}),
            7 => json!({"request": "stats"}),
            8 => json!({"request": "ledger"}),
            _ => json!({"request": "mode"}),
        };
        let reply = ask(&mut stream, &request);
        let refused_by_the_machine = reply["kind"] == "failed" || reply["kind"] == "busy";
        assert!(reply["ok"] == true || !refused_by_the_machine, "{request}: {reply}");
        done.fetch_add(1, Ordering::Relaxed);
        random.rest(20);
        if random.below(50) == 0 {
            stream = BufReader::new(home.connect());
        }
    }
}

fn reload(home: &Home, run: &Run, random: &mut Random, stop: &AtomicBool, done: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        if random.below(8) == 0 {
            home.write("mode = \"fast\"\n");
            let reply = ask(&mut BufReader::new(home.connect()), &json!({"request": "reload"}));
            assert_eq!(reply["ok"], false, "{reply}");
        }
        home.write(&configuration(random.below(128)));
        if random.below(3) == 0 {
            run.signal(Signal::HUP);
        } else {
            let reply = ask(&mut BufReader::new(home.connect()), &json!({"request": "reload"}));
            assert_eq!(reply["ok"], true, "{reply}");
        }
        done.fetch_add(1, Ordering::Relaxed);
        random.rest(300);
    }
}

fn scrape(lab: &Lab, random: &mut Random, stop: &AtomicBool, done: &AtomicU64) {
    let mut before = 0.0;
    while !stop.load(Ordering::Relaxed) {
        let metrics = openmetrics::scrape(lab);
        let taken = metrics.get("receiver_queue_taken_packets_total{queue=\"0\"}").expect("a queue");
        assert!(taken >= before, "a counter fell from {before} to {taken}");
        before = taken;
        assert!(metrics.samples.len() > 50, "{}", metrics.samples.len());
        done.fetch_add(1, Ordering::Relaxed);
        random.rest(200);
    }
}

/// Clients that hang, send garbage, read nothing, or leave in the middle.
fn disturb(home: &Home, lab: &Lab, random: &mut Random, stop: &AtomicBool, done: &AtomicU64) {
    let mut hanging = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut stream = home.connect();
        let words: &[u8] = match random.below(5) {
            0 => b"{\"request\":\"li",
            1 => b"garbage \xff\xfe\n\n\n{}\n",
            2 => &b"{\"request\":\"stats\"}\n".repeat(200),
            3 => &[b'x'; 70_000],
            _ => b"",
        };
        // The run may close such a connection.
        let _ = stream.write_all(words);
        if let (0, Ok(mut web)) = (random.below(2), openmetrics::connect(lab)) {
            let _ = web.write_all(&words[..words.len().min(100)]);
            let _ = web.set_read_timeout(Some(Duration::from_millis(1)));
            let _ = web.read(&mut [0; 100]);
        }
        hanging.push(stream);
        if hanging.len() > 20 {
            hanging.drain(..random.below(20) as usize);
        }
        done.fetch_add(1, Ordering::Relaxed);
        random.rest(100);
    }
}

/// Resident memory in kibibytes, and the number of open descriptors.
fn resources(run: &Run) -> (u64, usize) {
    let process = format!("/proc/{}", run.child.id());
    let status = fs::read_to_string(format!("{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let memory = line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number");
    (memory, fs::read_dir(format!("{process}/fd")).expect("descriptors").count())
}

fn load(lab: &Lab, rate: u64, seconds: u64) -> std::process::Child {
    let steady = (1..=STEADY).map(|number| format!("10.0.0.{number}@232.1.1.{number}:5000=4"));
    let moving = (1..=MOVING).map(|number| format!("10.0.0.{number}@239.1.1.{number}:5001=1"));
    let mut command = lab.tx().command(env!("CARGO_BIN_EXE_receiver"));
    command.args(["send", "-i", lab.tx_interface(), "--engine", "xdp", "--json"]);
    command.args(["--rate", &rate.to_string(), "--duration", &seconds.to_string()]);
    steady.chain(moving).for_each(|stream| {
        command.args(["--stream", &stream]);
    });
    command.stdout(std::process::Stdio::piped()).spawn().expect("the load")
}

#[test]
fn nothing_is_lost_and_nothing_grows() {
    let seconds = asked("RECEIVER_SOAK_SECONDS", 15);
    let rate = asked("RECEIVER_SOAK_RATE", 40_000);
    let seed = asked("RECEIVER_SOAK_SEED", 1 + u64::from(std::process::id()));
    println!("{seconds} s at {rate} packets/s, seed {seed}");
    let lab = Lab::new().expect("lab");
    let home = Home { config: Scratch::new(), socket: Scratch::new() };
    home.write(&configuration(0));
    let (run, _) = Run::joined(&lab, &["--config", home.config.name(), "--control", home.socket.name()]);
    // All that is read and written once is in memory by now.
    let counts: [AtomicU64; 4] = Default::default();
    let stop = AtomicBool::new(false);
    let mut sender = load(&lab, rate, seconds);
    let mut samples: Vec<(u64, usize)> = Vec::new();
    std::thread::scope(|scope| {
        let (home, lab, run, stop, counts) = (&home, &lab, &run, &stop, &counts);
        let threads = [
            scope.spawn(move || steer(home, &mut Random(seed), stop, &counts[0])),
            scope.spawn(move || reload(home, run, &mut Random(seed + 1), stop, &counts[1])),
            scope.spawn(move || scrape(lab, &mut Random(seed + 2), stop, &counts[2])),
            scope.spawn(move || disturb(home, lab, &mut Random(seed + 3), stop, &counts[3])),
        ];
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end && threads.iter().all(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(500));
            samples.push(resources(run));
        }
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let mut report = String::new();
    sender.stdout.take().expect("a pipe").read_to_string(&mut report).expect("a report");
    assert!(sender.wait().expect("the load").success(), "{report}");
    let sent = last_object(&report);

    // What was drained of the rings, and what clients left behind, settles within a moment.
    std::thread::sleep(Duration::from_secs(2));
    let rest = resources(&run);
    run.signal(Signal::INT);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "{err}");
    let summary = last_object(&out);
    let counts = counts.map(AtomicU64::into_inner);
    println!(
        "requests, reloads, scrapes, disturbances: {counts:?}; memory and descriptors: {samples:?}, at rest {rest:?}"
    );
    println!("ledger {}", summary["ledger"]);
    assert!(counts.iter().all(|&count| count > 5), "{counts:?}");
    assert_eq!(summary["unaccounted"], 0, "{summary}");

    let flows = summary["probe"]["flows"].as_array().expect("flows");
    for number in 1..=STEADY {
        let is = |flow: &&Value| flow["group"] == format!("232.1.1.{number}");
        let sent = sent["flows"].as_array().and_then(|all| all.iter().find(is)).expect("it was sent");
        let came = flows.iter().find(is).unwrap_or_else(|| panic!("nothing came of {number}: {summary}"));
        println!("steady {number}: {} of {}", came["received"], sent["packets"]);
        let counts = ["lost", "duplicated", "late"].map(|name| came[name].as_u64().expect("a number"));
        assert_eq!((&came["received"], counts), (&sent["packets"], [0; 3]), "{came}; {}", summary["ledger"]);
    }

    // The first quarter warms up: buffers reach the size that they keep.
    let warm = samples.len() / 4;
    let before = samples[warm..samples.len() / 2].iter().map(|(memory, _)| *memory).max().expect("samples");
    let after = samples[samples.len() / 2..].iter().map(|(memory, _)| *memory).max().expect("samples");
    assert!(after < before + MEMORY_SPAN, "memory grows from {before} KiB to {after} KiB: {samples:?}");
    let fewest = samples.iter().map(|(_, descriptors)| *descriptors).min().expect("samples");
    assert!(rest.1 <= fewest + usize::from(MOVING) + 8, "descriptors stay open: {fewest} to {}", rest.1);
}
