//! The entry for frames over several buffers.

use std::collections::BTreeSet;

use receiver_common::Verdict;

use crate::bench::{Bench, Config, XDP_CAPABILITIES};
use crate::oracle::action;
use crate::table::{self, Row, Tags};

/// Bytes of the longest headers that are looked at.
const HEADERS: usize = 14 + 8 + 40 + 8;

#[test]
fn frames_in_one_buffer_get_the_same_verdicts() {
    let rows = table::rows();
    for tags in [Tags::None, Tags::One, Tags::Two] {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.tags == tags).collect();
        Bench::run_with(XDP_CAPABILITIES, &Config { vlan: tags.vlan(), ..Config::default() }, |bench| {
            bench.take_several_buffers();
            let wrong: Vec<String> = rows.iter().filter_map(|row| bench.check(row)).collect();
            assert!(wrong.is_empty(), "{} of {} frames:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
        });
    }
}

/// Wherever the first buffer ends: the same verdict, as lengths are those of the whole frame; or the kernel has a look,
/// if headers may be in the next.
#[test]
fn frames_in_two_buffers_get_the_same_verdicts_or_pass() {
    let rows = table::rows();
    Bench::run_with(XDP_CAPABILITIES, &Config::default(), |bench| {
        bench.take_several_buffers();
        let mut seen = BTreeSet::new();
        for row in rows.iter().filter(|row| row.tags == Tags::None) {
            for first in (14..row.frame.len()).step_by(4) {
                let (before, _) = bench.counts();
                let ran = bench.program.test_split(&row.frame, first, &bench.interface, row.queue, 1).expect(&row.name);
                let (after, _) = bench.counts();
                let verdict = Verdict::ALL.into_iter().find(|&v| after[v as usize] > before[v as usize]).expect("one");
                assert_eq!(ran.action, action(verdict), "{} cut at {first}", row.name);
                let same = verdict == row.verdict;
                // Of a membership report, the type may be in the next buffer: then it passes under another name.
                let passes = action(verdict) == 2 && first < HEADERS;
                assert!(same || passes, "{} cut at {first}: {verdict:?}", row.name);
                if first >= HEADERS || !same {
                    seen.insert(verdict);
                }
            }
        }
        for wanted in [Verdict::Redirected, Verdict::DroppedBlocked, Verdict::PassedSplitHeaders] {
            assert!(seen.contains(&wanted), "no {wanted:?}");
        }
    });
}
