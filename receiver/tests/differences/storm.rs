//! Random and mutated frames to plain sockets and to the receiver in each mode, each over a veth of its own: every
//! difference in what is delivered is a row of the table, or the test fails.
//!
//! `RECEIVER_DIFFERENCES` is the number of cases, and `RECEIVER_SEED` the seed. A case is one datagram in one or more
//! frames; the same seed and number make the same case. `RECEIVER_ZERO_COPY` has the MAC addresses of two NICs that are
//! joined, `RX,TX`: over them, frames without a tag are received in mode zero-copy as well.
//!
//! Under load the kernel drops frames, and fragments grow too old. So cases are sent in chunks that fit every queue on
//! the way, two markers end a chunk, and a chunk with a difference is sent again. Only a difference that is there each
//! time counts.

mod fragments;
mod frames;
mod lane;
mod random;
mod rows;
mod sender;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use receiver::ReceiveMode;
use rustix::thread::sched_getcpu;

use crate::cases::cases;
use crate::support::causes;
use crate::support::threads::pin;
use frames::{Case, Kind};
use lane::{Delivered, Lane, Received};
use rows::{ROWS, is_left_to_the_kernel, is_unspecified, row};

const MODES: [ReceiveMode; 4] = [ReceiveMode::Socket, ReceiveMode::Copy, ReceiveMode::Mapped, ReceiveMode::Generic];
/// Those with a VLAN.
const TAGGED: [ReceiveMode; 3] = [ReceiveMode::Copy, ReceiveMode::Mapped, ReceiveMode::Generic];
const VLAN: u16 = 7;
/// With an MTU of 1500 and no tag; with jumbo frames, and with tags, a fifth of it.
const CASES: u64 = 720_000;
/// Frames of a chunk: a veth ring has 256 slots, and the smallest queue on the way counts memory.
const CHUNK: usize = 64;
/// Bytes of a chunk, with a share for each frame: less than a socket's buffer, which counts whole pages.
const CHUNK_BYTES: usize = 150_000;
/// How often a chunk with a difference is sent again.
const REPEATS: u32 = 5;
/// The pause before the first repeat; each further one is twice as long. Fragments are too old by then.
const PAUSE: Duration = Duration::from_millis(250);
/// Source ports of cases: from the first on, and around.
const PORTS: (u64, u64) = (1024, 64_000);

#[test]
fn random_frames() {
    run(1500, None, asked("RECEIVER_DIFFERENCES", CASES));
}

/// Over several buffers in native modes.
#[test]
fn random_jumbo_frames() {
    run(9000, None, asked("RECEIVER_DIFFERENCES", CASES) / 5);
}

#[test]
fn random_tagged_frames() {
    run(1500, Some(VLAN), asked("RECEIVER_DIFFERENCES", CASES) / 5);
}

/// A row that only one of them has is a mistake.
#[test]
fn rows_are_those_of_the_table() {
    let table: BTreeSet<&str> = cases().iter().map(|case| case.reason).filter(|reason| !reason.is_empty()).collect();
    assert_eq!(ROWS.iter().map(|row| row.reason).collect::<BTreeSet<_>>(), table);
}

fn asked(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn run(mtu: usize, vlan: Option<u16>, count: u64) {
    let mut storm = Storm::new(asked("RECEIVER_SEED", 1), mtu, vlan);
    pin(None, sched_getcpu());
    let start = Instant::now();
    let mut number = 0;
    while number < count {
        number = storm.chunk(number, count);
    }
    println!("{}", storm.report(count, start.elapsed()));
    storm.check(count);
}

/// What a comparison found: a source port, whose case differs for no reason of the table.
type Unexplained = BTreeSet<u16>;

struct Storm {
    seed: u64,
    mtu: usize,
    vlan: Option<u16>,
    /// Plain sockets first.
    lanes: Vec<Lane>,
    serial: u64,
    /// Identifications that were used.
    ids: u32,
    tally: Tally,
}

/// What the run prints.
#[derive(Default)]
struct Tally {
    frames: u64,
    /// Frames that the sending side's kernel does not take.
    refused: u64,
    /// Cases, and datagrams that plain sockets got.
    kinds: BTreeMap<Kind, (u64, u64)>,
    /// By row, and by name of the lane.
    rows: BTreeMap<(usize, &'static str), u64>,
    repeats: u64,
    /// Chunks that were sent again.
    repeated: u64,
}

impl Storm {
    fn new(seed: u64, mtu: usize, vlan: Option<u16>) -> Self {
        let modes = if vlan.is_some() { &TAGGED[..] } else { &MODES };
        let modes = std::iter::once(None).chain(modes.iter().copied().map(Some));
        let mut lanes: Vec<_> = modes.map(|mode| Lane::open(mode, vlan, mtu)).collect();
        if let (None, 1500, Ok(macs)) = (vlan, mtu, std::env::var("RECEIVER_ZERO_COPY")) {
            let (rx, tx) = macs.split_once(',').expect("RECEIVER_ZERO_COPY=RX,TX");
            lanes.push(Lane::of_nics(rx, tx));
        }
        Self { seed, mtu, vlan, lanes, serial: 0, ids: 0, tally: Tally::default() }
    }

    /// Sends the cases from this number on that fit a chunk, and compares. Returns the next number.
    fn chunk(&mut self, first: u64, end: u64) -> u64 {
        let (mut next, mut packets, mut bytes) = (first, 0, 0);
        let mut cases = Vec::new();
        while next < end && packets < CHUNK && bytes < CHUNK_BYTES {
            let case = self.case(next);
            if self.vlan.is_some() && case.offload.segment > 0 {
                // The kernel cuts no frame with a tag that a packet socket gives it.
                next += 1;
                continue;
            }
            packets += case.packets();
            bytes += case.frames.iter().map(|frame| frame.len() + 1024).sum::<usize>();
            next += 1;
            cases.push(case);
        }
        let received = self.exchange(&cases);
        let mut unexplained = compare(&self.lanes, &cases, &received, Some(&mut self.tally.rows));
        self.count(&cases, &received[0]);
        if unexplained.is_empty() {
            return next;
        }
        self.tally.repeated += 1;
        let mut latest = (cases, received);
        for repeat in 0..REPEATS {
            self.tally.repeats += 1;
            sleep(PAUSE * 2_u32.pow(repeat));
            let cases: Vec<Case> = latest.0.iter().map(|case| case.number).map(|number| self.case(number)).collect();
            let received = self.exchange(&cases);
            let again = compare(&self.lanes, &cases, &received, None);
            unexplained.retain(|port| again.contains(port));
            if unexplained.is_empty() {
                return next;
            }
            latest = (cases, received);
        }
        panic!("{}", self.failure(&unexplained, &latest.0, &latest.1));
    }

    /// The case with an identification that was not used for a while.
    fn case(&mut self, number: u64) -> Case {
        self.ids = self.ids.wrapping_add(1);
        let source_port = PORTS.0 + number % PORTS.1;
        Case::new(self.seed, number, source_port as u16, self.ids, self.mtu)
    }

    /// Sends the cases in every lane, and returns what each lane received.
    fn exchange(&mut self, cases: &[Case]) -> Vec<Received> {
        self.serial += 1;
        let messages: Vec<Vec<u8>> = cases
            .iter()
            .flat_map(|case| case.frames.iter().map(|frame| [&case.offload.header()[..], frame].concat()))
            .collect();
        let refused: BTreeSet<u64> = self.lanes.iter().map(|lane| lane.send(&messages, self.serial)).collect();
        assert_eq!(refused.len(), 1, "the lanes' senders take different frames: {refused:?}");
        self.tally.frames += messages.len() as u64;
        self.tally.refused += refused.first().copied().unwrap_or_default();
        let serial = self.serial;
        self.lanes.iter_mut().map(|lane| lane.take(serial)).collect()
    }

    fn count(&mut self, cases: &[Case], plain: &Received) {
        for case in cases {
            let (count, delivered) = self.tally.kinds.entry(case.kind).or_default();
            *count += 1;
            *delivered += plain.get(&case.source_port).map_or(0, Vec::len) as u64;
        }
    }

    fn failure(&self, unexplained: &Unexplained, cases: &[Case], received: &[Received]) -> String {
        let mut text = format!(
            "seed {}, MTU {}{}: {} of {} cases differ, {} times in a row, and no row of the table explains it\n",
            self.seed,
            self.mtu,
            self.tag(),
            unexplained.len(),
            cases.len(),
            REPEATS + 1
        );
        for port in unexplained.iter().take(8) {
            let case = cases.iter().find(|case| case.source_port == *port);
            let name = case.map_or("no case".to_owned(), |case| format!("case {}, {:?}", case.number, case.kind));
            text += &format!("source port {port}: {name}\n");
            for (lane, received) in self.lanes.iter().zip(received) {
                let came = received.get(port).map_or(&[][..], Vec::as_slice);
                writeln!(text, "  {}: {came:?}", lane.name()).expect("a string");
            }
            for frame in case.iter().flat_map(|case| &case.frames) {
                let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(text, "  {:?} frame {hex}", case.map(|case| case.offload)).expect("a string");
            }
        }
        for lane in &self.lanes {
            let causes = lane.ledger().map_or(String::new(), |ledger| causes(&ledger));
            let warnings = lane.warnings().join("\n");
            writeln!(text, "{}:\n{causes}{}{warnings}", lane.name(), lane.statistics()).expect("a string");
        }
        text
    }

    /// Words for the VLAN.
    fn tag(&self) -> String {
        self.vlan.map_or(String::new(), |vlan| format!(", VLAN {vlan}"))
    }

    fn report(&self, count: u64, took: Duration) -> String {
        let Tally { frames, refused, kinds, rows, repeats, repeated } = &self.tally;
        let mut text = format!(
            "seed {}, MTU {}{}: {count} cases, {frames} frames to each of {} receivers in {:.1} s ({refused} that the \
             sender's kernel does not take)\n",
            self.seed,
            self.mtu,
            self.tag(),
            self.lanes.len(),
            took.as_secs_f64()
        );
        for (kind, (count, delivered)) in kinds {
            writeln!(text, "  {kind:?}: {count} cases, {delivered} datagrams to plain sockets").expect("a string");
        }
        for ((row, lane), count) in rows {
            writeln!(text, "  row \"{}\": {lane} {count}", ROWS[*row].name).expect("a string");
        }
        let resent: u64 = self.lanes.iter().map(|lane| lane.resent).sum();
        write!(text, "  {repeated} chunks sent again, {repeats} times in all; markers sent again {resent} times")
            .expect("a string");
        for lane in &self.lanes {
            for warning in lane.warnings() {
                write!(text, "\n  {}: {warning}", lane.name()).expect("a string");
            }
        }
        text
    }

    /// The run had something to compare, and every receiver's counters balance.
    fn check(&self, count: u64) {
        if count >= 10_000 {
            for kind in Kind::ALL {
                let (cases, delivered) = self.tally.kinds[&kind];
                assert!(cases > 0 && (delivered > 0 || kind == Kind::Noise), "{kind:?}: nothing was delivered");
            }
            for (number, row) in ROWS.iter().enumerate() {
                let hits: u64 = self.tally.rows.iter().filter(|((hit, _), _)| *hit == number).map(|(_, n)| n).sum();
                assert!(hits > 0, "no case reached the row \"{}\"", row.name);
            }
        }
        for lane in &self.lanes {
            let Some(ledger) = lane.ledger() else { continue };
            assert_eq!(ledger.unaccounted(), 0, "{}: {}", lane.name(), causes(&ledger));
        }
    }
}

/// The source ports whose datagrams differ from the plain sockets' in some lane, without a row that explains it. Counts
/// the rows.
fn compare(
    lanes: &[Lane],
    cases: &[Case],
    received: &[Received],
    mut rows: Option<&mut BTreeMap<(usize, &'static str), u64>>,
) -> Unexplained {
    let mut unexplained = Unexplained::new();
    let plain = &received[0];
    for (lane, received) in lanes.iter().zip(received).skip(1) {
        if plain == received {
            continue;
        }
        let mode = lane.mode.expect("plain sockets are first");
        for port in plain.keys().chain(received.keys()).copied().collect::<BTreeSet<_>>() {
            let [plain, received] = [plain, received].map(|all| all.get(&port).map_or(&[][..], Vec::as_slice));
            let may_be_lost =
                |missing: &Delivered| lane.vlan.is_some() || lane.is_over_nics() && is_unspecified(missing);
            let is_left =
                |missing: &Delivered| may_be_lost(missing) && is_left_to_the_kernel(mode, cases, port, missing);
            if without(plain, received).into_iter().any(|missing| !is_left(missing)) {
                unexplained.insert(port);
            }
            for extra in without(received, plain) {
                match row(mode, cases, port, extra) {
                    Some(row) => {
                        if let Some(rows) = &mut rows {
                            *rows.entry((row, lane.name())).or_default() += 1;
                        }
                    }
                    None => drop(unexplained.insert(port)),
                }
            }
        }
    }
    unexplained
}

/// The datagrams of the first list that the second one lacks; both are sorted.
fn without<'a>(all: &'a [Delivered], other: &[Delivered]) -> Vec<&'a Delivered> {
    let mut other = other.iter().peekable();
    let mut left = Vec::new();
    for datagram in all {
        while other.next_if(|there| *there < datagram).is_some() {}
        if other.next_if(|there| *there == datagram).is_none() {
            left.push(datagram);
        }
    }
    left
}
