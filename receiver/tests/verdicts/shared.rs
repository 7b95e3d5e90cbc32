//! Groups that another program on the host has joined too; and what the program remembers of frames that nobody asked
//! for.

use std::net::IpAddr;

use receiver_common::{FlowAction, GroupAction, Verdict};

use crate::bench::{Bench, Config};
use crate::frames::{v4, v6};
use crate::table::{
    ANY_PORT, BLOCKED_V4, BLOCKED_V6, GROUP_ANY_V4, GROUP_ANY_V6, GROUP_V4, GROUP_V6, PORT, Row, SLOT_ANY_V4,
    SLOT_ANY_V6, SLOT_V4, SLOT_V6, Tags, WANTED_V4, WANTED_V6,
};

/// Of each group: an unwanted source, its frame, the verdict while the group is not shared, the slot.
fn unwanted() -> [(IpAddr, u16, IpAddr, Vec<u8>, Verdict, u32); 4] {
    let (other_v4, mut other_v6) = ([10, 0, 0, 77], WANTED_V6);
    other_v6[14] = 0x77;
    let (include, exclude) = (Verdict::DroppedNotIncluded, Verdict::DroppedBlocked);
    [
        (GROUP_V4.into(), PORT, other_v4.into(), v4(other_v4, GROUP_V4, PORT, 18), include, SLOT_V4),
        (GROUP_V6.into(), PORT, other_v6.into(), v6(other_v6, GROUP_V6, PORT, 18), include, SLOT_V6),
        (
            GROUP_ANY_V4.into(),
            ANY_PORT,
            BLOCKED_V4.into(),
            v4(BLOCKED_V4, GROUP_ANY_V4, ANY_PORT, 18),
            exclude,
            SLOT_ANY_V4,
        ),
        (
            GROUP_ANY_V6.into(),
            ANY_PORT,
            BLOCKED_V6.into(),
            v6(BLOCKED_V6, GROUP_ANY_V6, ANY_PORT, 18),
            exclude,
            SLOT_ANY_V6,
        ),
    ]
}

fn expect(bench: &mut Bench, what: &str, frame: &[u8], verdict: Verdict, slot: Option<u32>) {
    let row = Row { name: what.to_owned(), tags: Tags::None, queue: 0, frame: frame.to_vec(), verdict, slot };
    assert_eq!(bench.check(&row), None);
}

#[test]
fn unwanted_sources_of_a_shared_group_pass_and_no_others_do() {
    Bench::run(&Config::default(), |bench| {
        for (group, port, _, frame, dropped, slot) in unwanted() {
            expect(bench, "not shared yet", &frame, dropped, Some(slot));
            bench.program.set_shared(group, port, true).expect("shared");
            // Nothing is blocked for the host.
            let before = bench.program.unwanted_counts(slot).expect("a slot");
            expect(bench, "shared", &frame, Verdict::PassedShared, None);
            let after = bench.program.unwanted_counts(slot).expect("a slot");
            assert_eq!((after.blocked, after.passed), (before.blocked, before.passed + 1), "{group}");
            for (other, _, _, frame, dropped, slot) in unwanted().iter().filter(|row| row.0 != group) {
                expect(bench, &format!("{group} is shared, {other} is not"), frame, *dropped, Some(*slot));
            }
            expect(bench, "wanted", &v4(WANTED_V4, GROUP_V4, PORT, 18), Verdict::Redirected, None);
            expect(bench, "wanted", &v6(WANTED_V6, GROUP_V6, PORT, 18), Verdict::Redirected, None);
            // Other changes leave it shared.
            let source: IpAddr = if group.is_ipv4() { [10, 0, 0, 99].into() } else { [0x20; 16].into() };
            bench.program.set_flow(source, group, port, FlowAction::accept(slot)).expect("a flow");
            bench.program.remove_flow(source, group, port);
            expect(bench, "still shared", &frame, Verdict::PassedShared, None);
            bench.program.set_shared(group, port, false).expect("not shared");
            expect(bench, "no longer shared", &frame, dropped, Some(slot));
        }
    });
}

#[test]
fn a_slot_that_is_used_again_is_not_shared() {
    Bench::run(&Config::default(), |bench| {
        for (group, port, _, frame, _, slot) in unwanted() {
            bench.program.set_shared(group, port, true).expect("shared");
            bench.program.remove_group(group, port);
            assert!(bench.program.set_shared(group, port, true).is_err(), "{group} has no entry");
            bench.program.set_group(group, port, GroupAction::include(slot)).expect("set again");
            let ran = bench.program.test(&frame, &bench.interface, 0, 1).expect("a test run");
            assert_eq!(ran.action, 1, "{group}");
        }
    });
}

#[test]
fn the_last_unwanted_source_is_known_by_slot() {
    Bench::run(&Config::default(), |bench| {
        for (.., slot) in unwanted() {
            assert_eq!(bench.program.last_unwanted(slot).expect("a slot"), None);
        }
        for (_, _, source, frame, _, slot) in unwanted() {
            bench.program.test(&frame, &bench.interface, 0, 1).expect("a test run");
            assert_eq!(bench.program.last_unwanted(slot).expect("a slot"), Some(source));
        }
        bench.program.test(&v4(WANTED_V4, GROUP_V4, PORT, 18), &bench.interface, 0, 1).expect("a test run");
        assert_eq!(bench.program.last_unwanted(SLOT_V4).expect("a slot"), Some([10, 0, 0, 77].into()));
        // Also of frames that passed.
        bench.program.set_shared(GROUP_V4.into(), PORT, true).expect("shared");
        bench.program.test(&v4([10, 0, 0, 78], GROUP_V4, PORT, 18), &bench.interface, 0, 1).expect("a test run");
        assert_eq!(bench.program.last_unwanted(SLOT_V4).expect("a slot"), Some([10, 0, 0, 78].into()));
    });
}

/// Read by batches, to the end of the map and beyond.
#[test]
fn all_slots_are_read_at_once() {
    Bench::run(&Config::default(), |bench| {
        for (_, _, _, frame, _, slot) in unwanted() {
            bench.program.test(&frame, &bench.interface, 0, slot + 1).expect("a test run");
        }
        let counters = bench.program.slot_counters();
        let all = counters.read(u32::MAX, "an interface").expect("all slots");
        assert_eq!(all.len() as u32, 2 * Config::default().max_flows + 1, "as many as the map has");
        for slots in [0, 1, SLOT_V4 + 1, 30_000] {
            assert_eq!(counters.read(slots, "an interface").expect("some slots"), all[..slots as usize]);
        }
        let counted: Vec<u32> =
            (0..).zip(&all).filter(|(_, counts)| counts.blocked > 0).map(|(slot, _)| slot).collect();
        let mut expected = unwanted().map(|(.., slot)| slot).to_vec();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(counted, expected);
        for slot in expected {
            assert_eq!(bench.program.unwanted_counts(slot).expect("a slot"), all[slot as usize]);
        }
    });
}

#[test]
fn ports_that_nobody_asked_for_are_remembered() {
    Bench::run(&Config::default(), |bench| {
        let before = bench.program.other_ports().expect("the ports");
        for group in [IpAddr::from(GROUP_V4), GROUP_V6.into()] {
            assert!(!before.iter().any(|(seen, _)| *seen == group), "{before:?}");
        }
        for frame in [v4(WANTED_V4, GROUP_V4, PORT, 18), v4(WANTED_V4, GROUP_V4, 5001, 18)] {
            bench.program.test(&frame, &bench.interface, 0, 1).expect("a test run");
        }
        bench.program.test(&v6(WANTED_V6, GROUP_V6, 5002, 18), &bench.interface, 0, 1).expect("a test run");
        let seen = bench.program.other_ports().expect("the ports");
        let of =
            |group: IpAddr| seen.iter().filter(|(seen, _)| *seen == group).map(|(_, port)| *port).collect::<Vec<_>>();
        assert_eq!((of(GROUP_V4.into()), of(GROUP_V6.into())), (vec![5001], vec![5002]), "{seen:?}");
    });
}
