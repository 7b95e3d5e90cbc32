//! Tables that are as full as they may be: some entries are displaced to another bucket than their home.

use receiver_common::{FlowAction, GroupAction, Verdict};

use crate::bench::{Bench, Config};
use crate::frames::{v4, v6};
use crate::oracle::action;
use crate::table::{GROUP_V4, GROUP_V6, PORT, SLOT_V4, SLOT_V6};

const MAX_FLOWS: u32 = 8192;
/// Of flows, and of groups: the table's own are there as well.
const ENTRIES: u32 = MAX_FLOWS - 100;

/// Every source that was set is found, and so is every group, and none that was not.
#[test]
fn every_entry_of_a_full_table_is_found() {
    Bench::run(&Config { max_flows: MAX_FLOWS, ..Config::default() }, |bench| {
        let source = |number: u32| (0x0a80_0000 + number).to_be_bytes();
        let group = |number: u32| (0xe880_0000 + number).to_be_bytes();
        let source_v6 = |number: u32| address(0x2001_0db8, 0xa80_0000 + number);
        let group_v6 = |number: u32| address(0xff3e_0000, 0x8080_0000 + number);
        for number in 0..ENTRIES {
            let program = &mut bench.program;
            program
                .set_flow(source(number).into(), GROUP_V4.into(), PORT, FlowAction::accept(SLOT_V4))
                .expect("a flow");
            program.set_group(group(number).into(), PORT, GroupAction::exclude(100 + number)).expect("a group");
            program
                .set_flow(source_v6(number).into(), GROUP_V6.into(), PORT, FlowAction::accept(SLOT_V6))
                .expect("a flow");
            let action = GroupAction::exclude(100 + ENTRIES + number);
            program.set_group(group_v6(number).into(), PORT, action).expect("a group");
        }
        let mut wrong = Vec::new();
        for number in 0..2 * ENTRIES {
            let otherwise = |verdict| if number < ENTRIES { Verdict::Redirected } else { verdict };
            let cases = [
                (v4(source(number), GROUP_V4, PORT, 18), otherwise(Verdict::DroppedNotIncluded)),
                (v4(source(1), group(number), PORT, 18), otherwise(Verdict::PassedOtherGroup)),
                (v6(source_v6(number), GROUP_V6, PORT, 18), otherwise(Verdict::DroppedNotIncluded)),
                (v6(source_v6(1), group_v6(number), PORT, 18), otherwise(Verdict::PassedOtherGroup)),
            ];
            for (frame, verdict) in cases {
                let ran = bench.program.test(&frame, &bench.interface, 0, 1).expect("a test run");
                if ran.action != action(verdict) {
                    wrong.push((number, verdict, ran.action));
                }
            }
        }
        assert!(wrong.is_empty(), "{} of {} are wrong: {:?}", wrong.len(), 8 * ENTRIES, &wrong[..wrong.len().min(5)]);
    });
}

/// An address by its first and its last word.
fn address(first: u32, last: u32) -> [u8; 16] {
    (u128::from(first) << 96 | u128::from(last)).to_be_bytes()
}
