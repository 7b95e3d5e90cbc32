//! The tap: frames arrive whole with their verdicts, and no verdict changes; full rings, cut frames, a tap that nobody
//! reads, several CPUs.

use receiver::internals::{Program, TapRings};
use receiver::{TapConfig, TapLedger, VerdictSet};
use receiver_common::Verdict;
use receiver_common::mapped::MAX_PACKET;

use crate::bench::{Bench, Config, PRIVILEGES};
use crate::frames::v4;
use crate::mapped::{SHAPE, SLOTS, Subject, wanted};
use crate::ring::Ring;
use crate::table::{self, GROUP_V4, PORT, Row, Tags, WANTED_V4};

const ALL: VerdictSet = VerdictSet::UNDELIVERED.with(Verdict::Redirected).with(Verdict::Mapped);

fn config(verdicts: VerdictSet) -> Config {
    Config { tap: Some(TapConfig { verdicts, slots: 64 }), ..Config::default() }
}

/// A frame as the tap has it: its bytes, its length before it was cut, its verdict and its queue.
type Seen = (Vec<u8>, usize, Verdict, u32);

fn take(rings: &mut TapRings) -> Vec<Seen> {
    let mut seen = Vec::new();
    while rings.take(|frame| {
        assert!(frame.time().nanoseconds > 0);
        seen.push((frame.bytes().to_vec(), frame.length(), frame.verdict(), frame.queue()));
    }) > 0
    {}
    seen
}

fn ledger(program: &Program) -> TapLedger {
    let ledger = program.tap_ledger(&program.verdicts().expect("the counts")).expect("the tap's counts");
    assert_eq!(ledger.frames, ledger.taken + ledger.in_ring + ledger.lost(), "{ledger:?}");
    ledger
}

/// A frame of a source that is not wanted.
fn unwanted(number: u8) -> Vec<u8> {
    v4([10, 0, 0, 77], GROUP_V4, PORT, 18 + usize::from(number))
}

#[test]
fn frames_of_the_verdicts_arrive_whole_and_no_others() {
    let rows = table::rows();
    for tags in [Tags::None, Tags::One, Tags::Two] {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.tags == tags).collect();
        for (kept, set) in PRIVILEGES.into_iter().flat_map(|kept| {
            [ALL, VerdictSet::BLOCKED, VerdictSet::PASSED, "dropped_blocked,passed_unicast".parse().expect("names")]
                .map(|set| (kept, set))
        }) {
            Bench::run_with(kept, &Config { vlan: tags.vlan(), ..config(set) }, |bench| {
                let mut rings = bench.program.take_tap().expect("a tap");
                assert!(bench.program.take_tap().is_none(), "once");
                // What came in before the link was down.
                let before = take(&mut rings).len() as u64;
                let mut expected = 0;
                for row in &rows {
                    assert_eq!(bench.check(row), None);
                    let seen = take(&mut rings);
                    let is_taken = set.contains(row.verdict);
                    expected += u64::from(is_taken);
                    let frame = || (row.frame.clone(), row.frame.len(), row.verdict, row.queue);
                    assert_eq!(seen, Vec::from_iter(is_taken.then(frame)), "{}", row.name);
                }
                let ledger = ledger(&bench.program);
                assert_eq!((ledger.taken, ledger.lost()), (before + expected, 0), "{ledger:?}");
            });
        }
    }
}

#[test]
fn a_program_without_a_tap_has_none() {
    Subject::run(&Config::default(), &SHAPE, |subject| {
        assert!(subject.program.take_tap().is_none());
        assert_eq!(subject.judge(&unwanted(0)).1, Verdict::DroppedNotIncluded);
        assert_eq!(ledger(&subject.program), TapLedger::default());
    });
}

#[test]
fn a_full_tap_loses_what_comes_and_changes_no_verdict() {
    Subject::run(&config(VerdictSet::BLOCKED), &SHAPE, |subject| {
        let mut rings = subject.program.take_tap().expect("a tap");
        take(&mut rings);
        let before = ledger(&subject.program);
        assert_eq!(before.lost(), 0);
        for number in 0..70 {
            assert_eq!(subject.judge(&unwanted(number)), (1, Verdict::DroppedNotIncluded), "{number}");
        }
        let full = ledger(&subject.program);
        assert_eq!((full.taken, full.in_ring, full.ring_full), (before.taken, 64, 6), "{full:?}");
        let seen = take(&mut rings);
        assert_eq!(seen.len(), 64);
        assert!((0..).zip(&seen).all(|(number, (bytes, ..))| *bytes == unwanted(number)), "the first ones, in order");
        assert_eq!(subject.judge(&unwanted(9)).1, Verdict::DroppedNotIncluded);
        assert_eq!(take(&mut rings).len(), 1, "room again");
        let end = ledger(&subject.program);
        assert_eq!((end.taken, end.in_ring, end.ring_full, end.lost()), (before.taken + 65, 0, 6, 6), "{end:?}");
    });
}

#[test]
fn a_tap_that_nobody_reads_counts_its_frames() {
    Subject::run(&config(VerdictSet::BLOCKED), &SHAPE, |subject| {
        drop(subject.program.take_tap());
        let before = ledger(&subject.program).closed;
        assert_eq!(subject.judge(&unwanted(0)), (1, Verdict::DroppedNotIncluded));
        assert_eq!(ledger(&subject.program).closed, before + 1);
    });
}

#[test]
fn frames_of_every_length_arrive_and_long_ones_are_cut() {
    for kept in PRIVILEGES {
        Subject::run_with(kept, &config(VerdictSet::BLOCKED), &SHAPE, |subject| {
            subject.take_several_buffers();
            let mut rings = subject.program.take_tap().expect("a tap");
            take(&mut rings);
            for (length, first) in [
                (60, 60),
                (64, 64),
                (100, 80),
                (128, 128),
                (129, 129),
                (1514, 1514),
                (1514, 90),
                (MAX_PACKET, 1000),
                (MAX_PACKET + 1, 1000),
                (9014, 2000),
            ] {
                let mut frame = wanted(length, length as u8);
                // The source address; the header's checksum is not the program's concern.
                frame[29] = 77;
                assert_eq!(subject.judge_split(&frame, first).1, Verdict::DroppedNotIncluded, "{length} bytes");
                let kept = frame[..length.min(MAX_PACKET)].to_vec();
                assert!(take(&mut rings) == [(kept, length, Verdict::DroppedNotIncluded, 0)], "{length} bytes");
            }
        });
    }
}

/// The tap and the mapped ring of the queue do not disturb each other.
#[test]
fn wanted_frames_go_both_ways_and_those_that_a_ring_loses_are_in_the_tap() {
    Subject::run(&config(ALL), &SHAPE, |subject| {
        let mut rings = subject.program.take_tap().expect("a tap");
        let mut ring = Ring::open(&subject.program, SLOTS);
        take(&mut rings);
        let frames: Vec<_> = (0..2 * SLOTS as u8).map(|number| wanted(60 + usize::from(number), number)).collect();
        let (fits, rest) = frames.split_at(SLOTS as usize);
        fits.iter().for_each(|frame| assert_eq!(subject.judge(frame), (1, Verdict::Mapped)));
        rest.iter().for_each(|frame| assert_eq!(subject.judge(frame), (1, Verdict::DroppedRingFull)));
        let seen: Vec<_> = take(&mut rings).into_iter().map(|(bytes, _, verdict, _)| (bytes, verdict)).collect();
        let of = |frames: &[Vec<u8>], verdict| frames.iter().map(|frame| (frame.clone(), verdict)).collect::<Vec<_>>();
        assert_eq!(seen, [of(fits, Verdict::Mapped), of(rest, Verdict::DroppedRingFull)].concat());
        fits.iter().for_each(|frame| assert!(ring.take(|_, packet| assert_eq!(packet, frame))));
        assert!(!ring.take(|_, _| ()));
    });
}

/// Two CPUs put frames into one ring of the tap, and the reader checks each: none is torn, and each is counted.
#[test]
fn two_cpus_share_a_ring_of_the_tap() {
    const ENOUGH: u64 = 20_000;
    Subject::run(&config(VerdictSet::BLOCKED), &SHAPE, |subject| {
        let mut rings = subject.program.take_tap().expect("a tap");
        take(&mut rings);
        let before = ledger(&subject.program).frames;
        let frames = [unwanted(0), v4([10, 0, 0, 77], GROUP_V4, PORT, 1_400)];
        let sent = subject.produce(&frames, || {
            let mut seen = [0; 2];
            while seen.iter().any(|&count| count < ENOUGH) {
                for (bytes, ..) in take(&mut rings) {
                    let which = usize::from(bytes.len() > 100);
                    assert!(bytes == frames[which], "a torn frame");
                    seen[which] += 1;
                }
            }
        });
        take(&mut rings);
        let ledger = ledger(&subject.program);
        println!("{ledger:?}");
        assert_eq!(ledger.frames - before, sent);
        assert_eq!((ledger.in_ring, ledger.closed, ledger.not_copied), (0, 0, 0));
    });
}

#[test]
fn a_wanted_source_is_not_taken_by_the_usual_tap() {
    assert!(!TapConfig::default().verdicts.contains(Verdict::Mapped));
    Subject::run(&config(TapConfig::default().verdicts), &SHAPE, |subject| {
        let mut rings = subject.program.take_tap().expect("a tap");
        let _ring = Ring::open(&subject.program, SLOTS);
        take(&mut rings);
        assert_eq!(subject.judge(&v4(WANTED_V4, GROUP_V4, PORT, 18)).1, Verdict::Mapped);
        assert_eq!(take(&mut rings), []);
    });
}
