//! What the compiled XDP program decides, frame by frame: BPF_PROG_TEST_RUN of the checked-in object, attached to a
//! veth in a namespace, with a real AF_XDP socket in the XSKMAP or with mapped rings. Needs root.

mod bench;
mod buffers;
mod changes;
#[path = "../support/frame.rs"]
mod frame_socket;
#[path = "../support/frames.rs"]
mod frames;
mod full;
mod handle;
mod mapped;
#[path = "../support/numbered.rs"]
mod numbered;
mod oracle;
mod partial;
mod producers;
mod ring;
mod shared;
mod sleeps;
mod stamp;
mod storm;
mod table;
mod tap;
#[path = "../support/threads.rs"]
mod threads;

use std::collections::BTreeSet;

use bench::{Bench, Config, PRIVILEGES, QUEUE_WITHOUT_SOCKET};
use mapped::OF_THE_RING;
use oracle::{Filter, action};
use receiver::internals::vlan_tags;
use receiver_common::Verdict;
use table::{Row, Tags};

#[test]
fn every_frame_of_the_table_gets_its_verdict_and_no_other_count_moves() {
    let rows = table::rows();
    for tags in [Tags::None, Tags::One, Tags::Two] {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.tags == tags).collect();
        let config = Config { vlan: tags.vlan(), ..Config::default() };
        for kept in PRIVILEGES {
            Bench::run_with(kept, &config, |bench| {
                let wrong: Vec<String> = rows.iter().filter_map(|row| bench.check(row)).collect();
                assert!(wrong.is_empty(), "{} of {} frames:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
            });
        }
    }
}

#[test]
fn the_host_parser_with_a_plain_filter_says_the_same() {
    let filter = Filter::of_the_table();
    for row in table::rows() {
        let (verdict, slot) = filter.judge(&row.frame, row.tags.wire(), row.queue != QUEUE_WITHOUT_SOCKET);
        assert_eq!((verdict, slot), (row.verdict, row.slot), "{}", row.name);
    }
}

#[test]
fn the_table_is_broad_and_its_names_are_unique() {
    let rows = table::named_rows();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), rows.len());
    assert!(rows.len() >= 60, "{}", rows.len());
    let mut verdicts: BTreeSet<Verdict> = rows.iter().map(|row| row.verdict).collect();
    // No frame of one buffer gets it: see `buffers`.
    assert!(verdicts.insert(Verdict::PassedSplitHeaders));
    // Only of groups that are shared: see `shared`.
    assert!(verdicts.insert(Verdict::PassedShared));
    // Only in generic mode: see `partial`.
    assert!(verdicts.insert(Verdict::PassedPartialChecksum));
    // Only of mapped rings: see `mapped`.
    verdicts.extend(OF_THE_RING);
    assert_eq!(verdicts, Verdict::ALL.into(), "a verdict is in no row");
}

/// Frames of the table with some bytes changed, cut or added at random, but the same ones each time.
#[test]
fn the_program_and_the_host_parser_agree_on_mutated_frames() {
    let rows = table::named_rows();
    for (seed, tags) in [(1, Tags::None), (2, Tags::One), (3, Tags::Two)] {
        let frames: Vec<&[u8]> = rows.iter().filter(|row| row.tags == tags).map(|row| row.frame.as_slice()).collect();
        let mut mutator = oracle::Mutator::new(seed);
        let filter = Filter::of_the_table();
        for kept in PRIVILEGES {
            Bench::run_with(kept, &Config { vlan: tags.vlan(), ..Config::default() }, |bench| {
                let mut seen = BTreeSet::new();
                for _ in 0..2_000 {
                    let frame = mutator.mutated(&frames);
                    let (verdict, slot) = filter.judge(&frame, tags.wire(), true);
                    let row = Row { name: format!("{frame:02x?}"), tags, queue: 0, frame, verdict, slot };
                    assert_eq!(bench.check(&row), None);
                    seen.insert(verdict);
                }
                assert!(seen.len() > 8, "the mutations reach only {seen:?}");
            });
        }
    }
}

/// By name, so that a new verdict cannot drop or pass in silence.
#[test]
fn names_tell_the_action() {
    for verdict in Verdict::ALL {
        if verdict == Verdict::Mapped {
            continue;
        }
        let (start, _) = verdict.name().split_once('_').unwrap_or((verdict.name(), ""));
        let expected = ["dropped", "passed", "", "redirected"].iter().position(|name| *name == start).expect("a name");
        assert_eq!(action(verdict) as usize, expected + 1, "{verdict:?}");
    }
}

#[test]
fn vlan_configurations_of_the_table_are_those_of_the_parser() {
    assert_eq!(Tags::One.vlan().map(vlan_tags), Some(Tags::One.wire()));
    assert_eq!(Tags::Two.vlan().map(vlan_tags), Some(Tags::Two.wire()));
    assert_eq!(action(Verdict::Redirected), 4);
}
