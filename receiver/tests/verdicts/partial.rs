//! Partial UDP checksums, as the program is loaded for generic mode.

use receiver_common::Verdict;

use crate::bench::{Bench, Config};
use crate::frames::{partial, v4, v6};
use crate::oracle::action;
use crate::table::{ANY_PORT, BLOCKED_V4, GROUP_ANY_V4, GROUP_ANY_V6, GROUP_V4, GROUP_V6, PORT, WANTED_V4, WANTED_V6};

/// Source, group, port and payload of frames, and the verdict where their checksum is partial.
fn frames() -> Vec<(Vec<u8>, Verdict)> {
    let mut frames = Vec::new();
    for payload in [0, 18, 100, 999, 1472] {
        frames.push((v4(WANTED_V4, GROUP_V4, PORT, payload), Verdict::PassedPartialChecksum));
        frames.push((v4(WANTED_V4, GROUP_ANY_V4, ANY_PORT, payload), Verdict::PassedPartialChecksum));
        frames.push((v6(WANTED_V6, GROUP_V6, PORT, payload), Verdict::PassedPartialChecksum));
        frames.push((v6([0xfe; 16], GROUP_ANY_V6, ANY_PORT, payload), Verdict::PassedPartialChecksum));
        frames.push((v4([254; 4], GROUP_ANY_V4, ANY_PORT, payload), Verdict::PassedPartialChecksum));
    }
    frames.push((v4(BLOCKED_V4, GROUP_ANY_V4, ANY_PORT, 18), Verdict::DroppedBlocked));
    frames.push((v4([127, 0, 0, 1], GROUP_ANY_V4, ANY_PORT, 18), Verdict::DroppedMartian));
    frames.push((v4(WANTED_V4, [232, 1, 1, 2], PORT, 18), Verdict::PassedOtherGroup));
    frames
}

fn check(pass_partial: bool, off: u16, expected: impl Fn(Verdict) -> Verdict + Sync) {
    Bench::run(&Config { pass_partial, ..Config::default() }, |bench| {
        for (frame, verdict) in frames() {
            let (frame, expected) = (partial(frame, off), expected(verdict));
            let before = bench.counts().0[expected as usize];
            let ran = bench.program.test(&frame, &bench.interface, 0, 1).expect("a test run");
            let after = bench.counts().0[expected as usize];
            assert_eq!((ran.action, after - before), (action(expected), 1), "{expected:?}: {frame:02x?}");
        }
    });
}

fn redirected(verdict: Verdict) -> Verdict {
    if verdict == Verdict::PassedPartialChecksum { Verdict::Redirected } else { verdict }
}

#[test]
fn wanted_frames_with_a_partial_checksum_pass_in_generic_mode() {
    check(true, 0, |verdict| verdict);
}

#[test]
fn any_other_checksum_is_redirected_in_generic_mode() {
    for off in [1, 0xffff, 0x0100] {
        check(true, off, redirected);
    }
}

#[test]
fn partial_checksums_are_redirected_in_native_modes() {
    check(false, 0, redirected);
}
