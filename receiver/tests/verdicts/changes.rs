//! The filter is changed while frames run through the program on another thread.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use receiver_common::{FlowAction, GroupAction, Verdict};

use crate::bench::{Bench, Config};
use crate::frames::{v4, v6};
use crate::handle::Handle;
use crate::table::{
    ANY_PORT, GROUP_ANY_V4, GROUP_ANY_V6, GROUP_V4, GROUP_V6, PORT, SLOT_ANY_V4, SLOT_ANY_V6, SLOT_V4, SLOT_V6,
    WANTED_V4, WANTED_V6,
};

const CHANGES: u32 = 40_000;
/// So few that the flows share a handful of hash buckets.
const MAX_FLOWS: u32 = 8;
const REPEAT: u32 = 64;

/// Sources come and go, and the wanted flow's own entry is replaced; its frames are redirected without exception,
/// those of a source that is never wanted are dropped without exception, and each change holds once its call has
/// returned.
#[test]
fn a_wanted_flow_is_redirected_while_others_come_and_go() {
    Bench::run(&Config { max_flows: MAX_FLOWS, ..Config::default() }, |bench| {
        let name = bench.interface.name.clone();
        let wanted = [v4(WANTED_V4, GROUP_V4, PORT, 18), v6(WANTED_V6, GROUP_V6, PORT, 18)];
        let mut never_wanted = WANTED_V6;
        never_wanted[15] = 0xff;
        let unwanted = [v4([10, 0, 2, 1], GROUP_V4, PORT, 18), v6(never_wanted, GROUP_V6, PORT, 18)];
        let before = bench.counts().0;
        let done = AtomicBool::new(false);
        let (runs, mut expected) = thread::scope(|scope| {
            let traffic = scope.spawn(|| {
                let handle = Handle::of(&name);
                let mut runs = 0;
                while !done.load(Ordering::Relaxed) {
                    for (wanted, unwanted) in wanted.iter().zip(&unwanted) {
                        handle.run(wanted, REPEAT);
                        handle.run(unwanted, REPEAT);
                        runs += u64::from(REPEAT);
                    }
                }
                runs
            });
            let expected = change(bench);
            done.store(true, Ordering::Relaxed);
            (traffic.join().expect("the traffic"), expected)
        });
        expected[Verdict::Redirected as usize] += runs;
        expected[Verdict::DroppedNotIncluded as usize] += runs;
        let after = bench.counts().0;
        let moved: [u64; Verdict::COUNT] = std::array::from_fn(|i| after[i] - before[i]);
        assert_eq!(moved, expected, "{runs} of them wanted frames of the other thread");
        assert!(runs > u64::from(CHANGES), "only {runs} frames ran meanwhile");
    });
}

/// Blocks, unblocks and accepts one source after the other, tries each change, and returns the verdicts of the tries.
fn change(bench: &mut Bench) -> [u64; Verdict::COUNT] {
    let mut counts = [0; Verdict::COUNT];
    let mut failed = Vec::new();
    let mut expect = |bench: &mut Bench, frame: &[u8], verdict: Verdict, action: u32| {
        let ran = bench.program.test(frame, &bench.interface, 0, 1).expect("a test run");
        counts[verdict as usize] += 1;
        if ran.action != action {
            failed.push((verdict, ran.action));
        }
    };
    for change in 0..CHANGES / 9 {
        let source = [10, 0, 1, change as u8];
        let mut source_v6 = WANTED_V6;
        source_v6[12] = 1;
        source_v6[13] = change as u8;
        let families = [
            (
                (IpAddr::from(source), v4(source, GROUP_ANY_V4, ANY_PORT, 18), v4(source, GROUP_V4, PORT, 18)),
                (GROUP_ANY_V4.into(), SLOT_ANY_V4, GROUP_V4.into(), SLOT_V4),
            ),
            (
                (source_v6.into(), v6(source_v6, GROUP_ANY_V6, ANY_PORT, 18), v6(source_v6, GROUP_V6, PORT, 18)),
                (GROUP_ANY_V6.into(), SLOT_ANY_V6, GROUP_V6.into(), SLOT_V6),
            ),
        ];
        for ((source, any, included), (group_any, slot_any, group, slot)) in families {
            bench.program.set_flow(source, group_any, ANY_PORT, FlowAction::block(slot_any)).expect("block");
            expect(bench, &any, Verdict::DroppedBlocked, 1);
            bench.program.remove_flow(source, group_any, ANY_PORT);
            expect(bench, &any, Verdict::Redirected, 4);
            bench.program.set_flow(source, group, PORT, FlowAction::accept(slot)).expect("join");
            expect(bench, &included, Verdict::Redirected, 4);
            bench.program.remove_flow(source, group, PORT);
            expect(bench, &included, Verdict::DroppedNotIncluded, 1);
        }
        // The wanted flows' own entries and groups are written anew.
        let program = &mut bench.program;
        match change % 4 {
            0 => program.set_flow(WANTED_V4.into(), GROUP_V4.into(), PORT, FlowAction::accept(SLOT_V4)),
            1 => program.set_flow(WANTED_V6.into(), GROUP_V6.into(), PORT, FlowAction::accept(SLOT_V6)),
            2 => program.set_group(GROUP_V6.into(), PORT, GroupAction::include(SLOT_V6)),
            _ => program.set_group(GROUP_V4.into(), PORT, GroupAction::include(SLOT_V4)),
        }
        .expect("the same again");
    }
    assert!(failed.is_empty(), "{} changes did not hold: {:?}", failed.len(), failed.first());
    counts
}
