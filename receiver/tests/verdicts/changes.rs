//! The filter is changed while frames run through the program on another thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use receiver_common::{FlowAction, GroupAction, Verdict};

use crate::bench::{Bench, Config};
use crate::frames::{v4, v6};
use crate::handle::Handle;
use crate::table::{
    ANY_PORT, GROUP_ANY_V4, GROUP_V4, GROUP_V6, PORT, SLOT_ANY_V4, SLOT_V4, SLOT_V6, WANTED_V4, WANTED_V6,
};

const CHANGES: u32 = 20_000;
/// So few that the flows share a handful of hash buckets.
const MAX_FLOWS: u32 = 8;
const REPEAT: u32 = 64;

/// Sources come and go, and the wanted flow's own entry is replaced; its frames are redirected without exception, and
/// each change holds once its call has returned.
#[test]
fn a_wanted_flow_is_redirected_while_others_come_and_go() {
    Bench::run(&Config { max_flows: MAX_FLOWS, ..Config::default() }, |bench| {
        let name = bench.interface.name.clone();
        let wanted = [v4(WANTED_V4, GROUP_V4, PORT, 18), v6(WANTED_V6, GROUP_V6, PORT, 18)];
        let before = bench.counts().0;
        let done = AtomicBool::new(false);
        let (runs, mut expected) = thread::scope(|scope| {
            let traffic = scope.spawn(|| {
                let handle = Handle::of(&name);
                let mut runs = 0;
                while !done.load(Ordering::Relaxed) {
                    for frame in &wanted {
                        handle.run(frame, REPEAT);
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
    for change in 0..CHANGES / 5 {
        let source = [10, 0, 1, change as u8];
        let any = v4(source, GROUP_ANY_V4, ANY_PORT, 18);
        let included = v4(source, GROUP_V4, PORT, 18);
        let program = &mut bench.program;
        program.set_flow(source.into(), GROUP_ANY_V4.into(), ANY_PORT, FlowAction::block(SLOT_ANY_V4)).expect("block");
        expect(bench, &any, Verdict::DroppedBlocked, 1);
        bench.program.remove_flow(source.into(), GROUP_ANY_V4.into(), ANY_PORT).expect("unblock");
        expect(bench, &any, Verdict::Redirected, 4);
        bench.program.set_flow(source.into(), GROUP_V4.into(), PORT, FlowAction::accept(SLOT_V4)).expect("join");
        expect(bench, &included, Verdict::Redirected, 4);
        bench.program.remove_flow(source.into(), GROUP_V4.into(), PORT).expect("leave");
        expect(bench, &included, Verdict::DroppedNotIncluded, 1);
        // The wanted flows' own entries and groups are written anew.
        let program = &mut bench.program;
        match change % 3 {
            0 => program.set_flow(WANTED_V4.into(), GROUP_V4.into(), PORT, FlowAction::accept(SLOT_V4)),
            1 => program.set_flow(WANTED_V6.into(), GROUP_V6.into(), PORT, FlowAction::accept(SLOT_V6)),
            _ => program.set_group(GROUP_V4.into(), PORT, GroupAction::include(SLOT_V4)),
        }
        .expect("the same again");
    }
    assert!(failed.is_empty(), "{} changes did not hold: {:?}", failed.len(), failed.first());
    counts
}
