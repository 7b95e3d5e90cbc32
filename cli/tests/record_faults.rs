//! Recordings under faults at random: a full disk, `kill -9`, SIGSTOP, a slow reader, files that rotate, compression, a
//! ring that overflows. Each packet that was sent is in the file, or in a drop record where it was lost, or came after
//! the last whole packet of a process that was killed; no packet is there twice; the counts of the run are those of
//! the file. What the kernel dropped before the receiver is read from its counters.
//!
//! 10 runs, or as RECEIVER_RECORD_RUNS and RECEIVER_SEED ask: docs/recording.md, "Faults". Needs root.

mod command;
mod payloads;
mod recorded;

use std::fs;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use command::{Disk, Folder, Run, Scratch, asked, object, until_subscribed};
use netlab::Lab;
use payloads::{FIRST, Source, number, sink, until_within};
use recorded::{Recorded, Statistics, capinfos, files, tshark};
use rustix::process::Signal;
use serde_json::Value;

/// The limit of each wait.
const LIMIT: Duration = Duration::from_secs(60);
/// Slots of a ring that overflows while the process is stopped. Other rings have room for all packets of a run.
const SMALL_RING: [&str; 4] = ["--ring-size", "64", "--frames", "256"];
const LARGE_RING: [&str; 4] = ["--ring-size", "4096", "--socket-buffer", "64M"];
/// The most packets of a run: fewer than slots of the large ring.
const MOST: u64 = 3000;

/// Numbers by SplitMix64, so that a seed gives the same faults.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn happens(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What a run does.
#[derive(Debug)]
struct Plan {
    mode: &'static str,
    /// The packets of each burst, and the pause after it in milliseconds.
    bursts: Vec<(u32, u64)>,
    /// KiB of its disk, and true if that is too small for all packets.
    disk: u64,
    is_small_disk: bool,
    has_real_disk: bool,
    rotate: Option<u64>,
    compresses: bool,
    limit: &'static str,
    has_small_ring: bool,
    /// Reads standard output slowly; there is no file.
    has_slow_reader: bool,
    /// The burst before which the disk is filled, and the one before which it has room again.
    full: Option<(usize, usize)>,
    /// The burst before which the process is stopped, and the one before which it continues.
    stopped: Option<(usize, usize)>,
    /// SIGHUP comes before this burst.
    turns: Option<usize>,
    /// `kill -9` comes during this burst, after this number of milliseconds.
    killed: Option<(usize, u64)>,
}

impl Plan {
    fn new(random: &mut Random) -> Self {
        let count = 8 + random.below(25);
        let mut left = MOST;
        let bursts: Vec<(u32, u64)> = (0..count)
            .map(|_| {
                let packets = (1 + random.below(200)).min(left);
                left -= packets;
                (packets as u32, random.one_of(&[0, 0, 1, 5, 20, 60]))
            })
            .filter(|(packets, _)| *packets > 0)
            .collect();
        let span = |random: &mut Random| {
            let from = random.below(bursts.len() as u64) as usize;
            (from, from + 1 + random.below(8) as usize)
        };
        let has_slow_reader = random.happens(15);
        let has_file = !has_slow_reader;
        let full = (has_file && random.happens(45)).then(|| span(random));
        let stopped = random.happens(30).then(|| span(random));
        let turns = (has_file && random.happens(20)).then(|| span(random).0);
        let killed = random.happens(35).then(|| (span(random).0, random.below(12)));
        let is_small_disk = has_file && random.happens(20);
        Self {
            mode: random.one_of(&["mapped", "mapped", "copy", "socket"]),
            disk: if is_small_disk { 512 + random.below(1 << 10) } else { 8 << 10 },
            is_small_disk,
            has_real_disk: !is_small_disk && full.is_none() && random.happens(50),
            rotate: (has_file && random.happens(35)).then(|| 50_000 + random.below(900_000)),
            compresses: has_file && random.happens(25),
            limit: random.one_of(&["200k", "1M", "64M"]),
            has_small_ring: random.happens(20),
            has_slow_reader,
            full,
            stopped,
            turns,
            killed,
            bursts,
        }
    }

    fn is_killed(&self) -> bool {
        self.killed.is_some()
    }
}

/// A reader of standard output that pauses after each piece, up to its end.
struct SlowReader {
    hurries: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u8>>,
}

impl SlowReader {
    fn start(mut from: impl Read + Send + 'static, pause: Duration) -> Self {
        let hurries = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&hurries);
        let thread = std::thread::spawn(move || {
            let (mut all, mut piece) = (Vec::new(), [0; 8 << 10]);
            while let Ok(length @ 1..) = from.read(&mut piece) {
                all.extend_from_slice(&piece[..length]);
                if !shared.load(Ordering::Relaxed) {
                    sleep(pause);
                }
            }
            all
        });
        Self { hurries, thread }
    }

    fn end(self) -> Vec<u8> {
        self.hurries.store(true, Ordering::Relaxed);
        self.thread.join().expect("a reader")
    }
}

/// What a run has shown, for the totals.
#[derive(Default)]
struct Totals {
    runs: u64,
    sent: u64,
    recorded: u64,
    /// Of those that are in drop records: lost in rings, and not written.
    lost: u64,
    unwritten: u64,
    before_receiver: u64,
    /// Behind the last whole packet of a process that was killed.
    after_kill: u64,
    kills: u64,
    stops: u64,
    full_disks: u64,
    slow_readers: u64,
    files: u64,
    torn: u64,
    read_by_tshark: u64,
}

/// The frames that an interface has dropped.
fn dropped(lab: &Lab) -> u64 {
    let of = |text: String| {
        let links: Value = serde_json::from_str(&text).expect("JSON");
        let stats = &links[0]["stats64"];
        [("rx", "dropped"), ("tx", "dropped"), ("rx", "over_errors"), ("rx", "missed_errors")]
            .iter()
            .map(|(side, name)| stats[side][name].as_u64().unwrap_or(0))
            .sum::<u64>()
    };
    let show = |interface| ["-s", "-j", "link", "show", "dev", interface];
    of(lab.rx().ip(&show(lab.rx_interface())).expect("ip")) + of(lab.tx().ip(&show(lab.tx_interface())).expect("ip"))
}

/// The bytes of a recording: those of whole frames if it is compressed.
fn content(bytes: Vec<u8>, compresses: bool) -> Vec<u8> {
    if !compresses {
        return bytes;
    }
    let mut all = Vec::new();
    // What precedes a torn frame is kept.
    let _ = zstd::stream::read::Decoder::new(&bytes[..]).expect("zstd").read_to_end(&mut all);
    all
}

/// One run by its plan. Panics if the file is not what was sent.
fn run(plan: &Plan, checks_tshark: bool, totals: &mut Totals) {
    let lab = Lab::new().expect("a lab");
    // A real disk takes large writes past the page cache.
    let (disk, real);
    let folder = if plan.has_real_disk {
        real = Folder::new();
        &real
    } else {
        disk = Disk::new(&format!("{}k", plan.disk));
        &disk.0
    };
    let summary = Scratch::new();
    let name = if plan.compresses { "a.pcapng.zst" } else { "a.pcapng" };
    let place = if plan.has_slow_reader { "-".to_owned() } else { folder.text(name) };
    let rotate = plan.rotate.map_or(String::new(), |bytes| format!("&rotate={bytes}"));
    let target = format!("{place}?limit={}{rotate}", plan.limit);
    let mut command = lab.rx().command(env!("CARGO_BIN_EXE_receiver"));
    command.args(["record", "-i", lab.rx_interface(), "--mode", plan.mode, &format!("--write={target}")]);
    command.args(if plan.has_small_ring { SMALL_RING } else { LARGE_RING });
    command.args(["--summary", summary.name(), FIRST]);
    if !plan.has_slow_reader {
        command.args(["--json", "--interval", "0.05"]);
    }
    let mut run = Run::spawn(&mut command);
    let reader = if plan.has_slow_reader {
        until_subscribed(&mut run.err);
        // The receiver's end of the pipe is all that is left of it.
        let out = std::mem::replace(&mut run.out, empty_pipe());
        Some(SlowReader::start(out, Duration::from_millis(3)))
    } else {
        run = run.until_joined().0;
        None
    };
    // What was dropped before the run does not count.
    let dropped_before = dropped(&lab);
    let sent = traffic(plan, &lab, folder, &mut run);
    if plan.killed.is_none() {
        settle(plan, &lab, &mut run, sent, dropped_before);
        run.signal(Signal::TERM);
    }
    let bytes = if let Some(reader) = reader {
        let bytes = reader.end();
        let _ = run.child.wait();
        bytes
    } else {
        let (out, err, _) = run.end();
        assert!(!err.contains("panicked"), "{out}{err}");
        Vec::new()
    };
    let before_receiver = dropped(&lab) - dropped_before;
    let whole = if plan.has_slow_reader {
        vec![("standard output".to_owned(), bytes)]
    } else {
        // The filler of the disk may be there too.
        let names = files(folder, name).into_iter().filter(|other| other.starts_with(name));
        names.map(|name| (name.clone(), fs::read(folder.file(&name)).expect("a file"))).collect()
    };
    let mut judged = Judged { before_receiver, sent, ..Judged::default() };
    for (name, bytes) in &whole {
        let content = content(bytes.clone(), plan.compresses);
        if content.is_empty() {
            continue;
        }
        let recorded = Recorded::of(&content);
        if checks_tshark {
            read_by_others(&content, &recorded);
            totals.read_by_tshark += 1;
        }
        judged.add(name, recorded, plan.is_killed());
        totals.files += 1;
    }
    let summary = (!plan.is_killed()).then(|| {
        let text = String::from_utf8(summary.read()).expect("text");
        object(text.lines().last().expect("a summary"))
    });
    judged.judge(plan, summary.as_ref().map(|summary| (summary, target.split('?').next().unwrap_or_default())));
    totals.add(plan, &judged);
}

/// A pipe without a writer.
fn empty_pipe() -> std::io::BufReader<std::process::ChildStdout> {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(writer);
    std::io::BufReader::new(std::process::ChildStdout::from(std::os::fd::OwnedFd::from(reader)))
}

/// Sends the bursts, with the faults between them. Returns the number of packets.
fn traffic(plan: &Plan, lab: &Lab, folder: &Folder, run: &mut Run) -> u64 {
    let source = Source::new(lab);
    let filler = folder.file("filler");
    let mut sent = 0;
    for (nth, &(packets, pause)) in plan.bursts.iter().enumerate() {
        if plan.full.is_some_and(|(from, _)| from == nth) {
            fill(&filler);
        }
        if plan.full.is_some_and(|(_, to)| to == nth) {
            let _ = fs::remove_file(&filler);
        }
        if plan.stopped.is_some_and(|(from, _)| from == nth) {
            run.signal(Signal::STOP);
        }
        if plan.stopped.is_some_and(|(_, to)| to == nth) {
            run.signal(Signal::CONT);
        }
        if plan.turns == Some(nth) {
            run.signal(Signal::HUP);
        }
        let kill = plan.killed.filter(|(burst, _)| *burst == nth);
        std::thread::scope(|scope| {
            if let Some((_, after)) = kill {
                let child = &mut run.child;
                scope.spawn(move || {
                    sleep(Duration::from_millis(after));
                    child.kill().expect("kill -9");
                });
            }
            source.send(0, sent..sent + packets);
        });
        sent += packets;
        if kill.is_some() {
            return sent.into();
        }
        sleep(Duration::from_millis(pause));
    }
    // The faults end before the run does.
    let _ = fs::remove_file(&filler);
    run.signal(Signal::CONT);
    sent.into()
}

/// Takes all that the disk has left.
fn fill(filler: &std::path::Path) {
    use std::io::Write;
    let mut file = fs::File::create(filler).expect("a file");
    let mut piece = vec![0; 64 << 10];
    while !piece.is_empty() {
        if file.write_all(&piece).is_err() {
            let half = piece.len() / 2;
            piece.truncate(if half < 512 { 0 } else { half });
        }
    }
}

/// Waits until each packet is received or counted as lost, and the sink has done with what it took.
fn settle(plan: &Plan, lab: &Lab, run: &mut Run, sent: u64, dropped_before: u64) {
    if plan.has_slow_reader {
        // It prints no objects. What its ring holds at the end is delivered.
        sleep(Duration::from_millis(400));
        return;
    }
    let what = format!("all of {sent} packets, {plan:?}");
    until_within(LIMIT, run, &what, |object| {
        let sink = &object["sinks"][0];
        let received = number(&object["packets"]);
        let is_done = number(&sink["packets"]) + number(&sink["dropped"]) == received && sink["state"] == "ok";
        let is_settled = is_done || plan.is_small_disk;
        is_settled && received + number(&object["lost"]) + dropped(lab) - dropped_before >= sent
    });
}

/// Other programs find the same packets in a file.
fn read_by_others(content: &[u8], recorded: &Recorded) {
    let file = Scratch::with(content);
    let (lines, complaints) = tshark(&file.0, &["frame.number"]);
    assert_eq!(lines.len(), recorded.packets.len(), "{complaints}");
    assert_eq!(complaints.contains("cut short"), recorded.torn > 0, "{complaints}");
    if recorded.torn == 0 {
        let about = capinfos(&file.0);
        assert!(about.contains(&format!("Number of packets:   {}\n", recorded.packets.len())), "{about}");
    }
}

/// What the files of a run hold.
#[derive(Default)]
struct Judged {
    sent: u64,
    before_receiver: u64,
    packets: u64,
    /// The number that follows that of the last packet.
    next: u64,
    drop_count: u64,
    /// Packets that are missing beyond the drop count of the next one.
    unexplained: u64,
    /// Drop counts beyond the packets that are missing there.
    surplus: u64,
    last: Option<Statistics>,
    torn: bool,
    lost: u64,
    unwritten: u64,
}

impl Judged {
    fn add(&mut self, name: &str, recorded: Recorded, may_be_torn: bool) {
        assert!(recorded.torn == 0 || may_be_torn, "{name} has {} bytes of a torn packet", recorded.torn);
        self.torn |= recorded.torn > 0;
        for packet in &recorded.packets {
            let number = u64::from(packet.number());
            assert!(number >= self.next, "{name}: {number} comes twice, or late: {} was to follow", self.next);
            let missing = number - self.next;
            self.unexplained += missing.saturating_sub(packet.drop_count);
            self.surplus += packet.drop_count.saturating_sub(missing);
            self.drop_count += packet.drop_count;
            self.next = number + 1;
        }
        self.packets += recorded.packets.len() as u64;
        let after_all = recorded.packets.len();
        self.last =
            recorded.statistics.into_iter().next_back().filter(|last| last.after == after_all).or(self.last.take());
    }

    /// `summary` is the last object of the run and the name of its sink, if it was not killed.
    fn judge(&mut self, plan: &Plan, summary: Option<(&Value, &str)>) {
        let Self { sent, before_receiver, packets, next, drop_count, .. } = *self;
        let missing = next - packets;
        assert!(next <= sent && drop_count <= sent - packets, "{drop_count} of {sent} in drop records: {plan:?}");
        let reported = summary.map(|(summary, name)| {
            let name = if name == "-" { "standard output" } else { name };
            let report = sink(summary, name);
            (number(&report["packets"]), number(&report["dropped"]), number(&summary["lost"]), summary)
        });
        let lost = reported.map_or(0, |(_, _, lost, _)| lost);
        // A loss in a ring is noticed while packets from before it are still in the ring.
        let is_exact = !plan.has_small_ring && lost == 0;
        if is_exact {
            assert_eq!(self.surplus, 0, "no packet has a larger drop count than packets are missing: {plan:?}");
            assert!(
                self.unexplained <= before_receiver,
                "{} packets are missing without a drop record, {before_receiver} before the receiver: {plan:?}",
                self.unexplained
            );
        }
        let Some((written, unwritten, lost, summary)) = reported else { return };
        (self.lost, self.unwritten) = (lost, unwritten);
        assert_eq!(packets, written, "the file and the counts: {summary} {plan:?}");
        let accepted = written + unwritten + lost;
        assert!(accepted <= sent && sent - accepted <= before_receiver, "{sent} sent, {accepted} accepted: {summary}");
        assert!(drop_count <= unwritten + lost, "{drop_count} {summary} {plan:?}");
        if is_exact {
            // Behind the last packet.
            let behind = sent - next;
            assert!(drop_count + behind >= unwritten, "{drop_count} and {behind} of {unwritten}: {plan:?}");
            assert!(missing <= drop_count + before_receiver, "{missing}, {drop_count}: {plan:?}");
        }
        let unaccounted = summary["unaccounted"].as_u64().unwrap_or(0);
        assert_eq!(unaccounted, 0, "{summary}");
        // A disk that is full at the end has no room for the last statistics.
        if !plan.is_small_disk && packets > 0 {
            let last = self.last.as_ref().expect("the last block of a recording has statistics");
            if plan.has_slow_reader {
                // They are written before what waits then.
                assert!(last.accepted == accepted && last.delivered <= written, "{last:?} {summary} {plan:?}");
            } else {
                let counts = (last.accepted, last.delivered, last.dropped);
                assert_eq!(counts, (accepted, written, unwritten + lost), "{last:?} {summary} {plan:?}");
            }
        }
    }
}

impl Totals {
    fn add(&mut self, plan: &Plan, judged: &Judged) {
        self.runs += 1;
        self.sent += judged.sent;
        self.recorded += judged.packets;
        self.lost += judged.lost;
        self.unwritten += judged.unwritten;
        self.before_receiver += judged.before_receiver;
        self.after_kill += if plan.is_killed() { judged.sent - judged.next } else { 0 };
        self.kills += u64::from(plan.is_killed());
        self.stops += u64::from(plan.stopped.is_some());
        self.full_disks += u64::from(plan.full.is_some());
        self.slow_readers += u64::from(plan.has_slow_reader);
        self.torn += u64::from(judged.torn);
    }

    fn text(&self) -> String {
        let Self { runs, sent, recorded, lost, unwritten, before_receiver, after_kill, .. } = self;
        let Self { kills, stops, full_disks, slow_readers, files, torn, read_by_tshark, .. } = self;
        format!(
            "{runs} runs: {sent} packets sent, {recorded} in {files} files, {unwritten} not written, {lost} lost in \
             rings, {before_receiver} before the receiver, {after_kill} after the last whole packet of {kills} kills; \
             {stops} stops, {full_disks} full disks, {slow_readers} slow readers, {torn} torn ends; {read_by_tshark} \
             files read by tshark and capinfos; 0 unexplained, 0 twice"
        )
    }
}

#[test]
fn each_packet_is_in_the_file_or_in_a_drop_record() {
    let (runs, seed) = (asked("RECEIVER_RECORD_RUNS", 10), asked("RECEIVER_SEED", 1));
    let mut totals = Totals::default();
    for nth in 0..runs {
        // A run that fails is repeated alone with its own seed and one run.
        let seed = seed + nth;
        let plan = Plan::new(&mut Random(seed));
        eprintln!("seed {seed}: {plan:?}");
        run(&plan, nth % 5 == 0, &mut totals);
    }
    println!("{}", totals.text());
}
