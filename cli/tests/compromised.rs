//! What a process can do that has been taken over: it writes garbage over every map that it shares with the XDP program
//! (the rings' control words, entries and frames, and the filter's tables). SECURITY.md has the claims. Needs root.

mod command;
#[path = "../../receiver/tests/support/mod.rs"]
mod support;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;

use command::{Run, last_object, send, source, wait_for};
use netlab::Lab;
use rustix::process::Signal;
use support::traces::Traces;

const OWN: &str = "10.0.0.1@232.1.1.1:5000";
/// What another process receives on the same interface.
const OTHER: &str = "10.0.0.1@232.1.1.2:5000";
const ROUNDS: u64 = 40;

/// The memory of a process, and where the maps are in it that it may write to.
struct Shared {
    memory: File,
    parts: Vec<(u64, u64)>,
}

impl Shared {
    fn of(pid: u32) -> Self {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process runs");
        let is_shared = |line: &&str| line.contains(" rw-s ") && line.contains("bpf-map");
        let parts = maps.lines().filter(is_shared).map(|line| {
            let (start, rest) = line.split_once('-').expect("a range");
            let (end, _) = rest.split_once(' ').expect("an end");
            [start, end].map(|text| u64::from_str_radix(text, 16).expect("hexadecimal")).into()
        });
        let parts = parts.collect();
        let memory = OpenOptions::new().write(true).open(format!("/proc/{pid}/mem")).expect("its memory");
        Self { memory, parts }
    }

    /// Writes numbers of a round over up to 64 KiB at the beginning of each part, and at a place within it.
    fn scribble(&self, round: u64) {
        let mut number = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut garbage = vec![0; 64 << 10];
        for word in garbage.chunks_exact_mut(8) {
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            // Small numbers are valid positions and frames at times.
            word.copy_from_slice(&(if round.is_multiple_of(2) { number } else { number % 64 }).to_le_bytes());
        }
        for &(start, end) in &self.parts {
            let length = (end - start).min(garbage.len() as u64);
            let somewhere = start + (number % (1 + end - start - length)) / 8 * 8;
            for at in [start, somewhere] {
                self.memory.write_all_at(&garbage[..length as usize], at).expect("written");
            }
        }
    }
}

/// The kernel, other programs and the interface come to no harm, and a new run works.
#[test]
fn garbage_in_the_shared_maps_harms_nobody_else() {
    let lab = Lab::new().expect("lab");
    let before = Traces::of(&lab);
    let (taken_over, _) = Run::joined(&lab, &["--mode", "mapped", "--json", "--interval", "3600", OWN]);
    let (mut other, _) = Run::joined(&lab, &["--mode", "socket", "--json", "--interval", "0.05", OTHER]);
    let shared = Shared::of(taken_over.child.id());
    assert!(shared.parts.len() >= 3, "control words, entries and frames: {:?}", shared.parts);
    let socket = source(&lab, 1);
    for round in 0..ROUNDS {
        shared.scribble(round);
        send(&lab, &["10.0.0.1"], 100);
        socket.send_to(b"to the other one", "232.1.1.2:5000").expect("sent");
    }
    // What is not of the process's groups takes its way, whatever the maps hold.
    let mut packets = 0;
    wait_for("the other process receives nothing", || {
        socket.send_to(b"to the other one", "232.1.1.2:5000").expect("sent");
        let mut line = String::new();
        std::io::BufRead::read_line(&mut other.out, &mut line).expect("standard output");
        packets = command::object(&line)["packets"].as_u64().unwrap_or(packets);
        packets > 0
    });
    // A process that is gone takes its program and its maps along.
    taken_over.signal(Signal::KILL);
    let (out, err, _) = taken_over.end();
    assert!(!err.contains("panicked"), "{out}{err}");
    other.signal(Signal::TERM);
    let (out, err, code) = other.end();
    assert_eq!((code, last_object(&out)["unaccounted"].as_u64()), (Some(0), Some(0)), "{out}{err}");
    assert_eq!(Traces::settled(&lab, &before), before, "the interface is clean");
    let (again, _) = Run::joined(&lab, &["--mode", "mapped", "--json", "--interval", "3600", OWN]);
    send(&lab, &["10.0.0.1"], 100);
    again.signal(Signal::TERM);
    let (out, err, code) = again.end();
    let summary = last_object(&out);
    assert_eq!((code, summary["unaccounted"].as_u64()), (Some(0), Some(0)), "{out}{err}");
    assert!(summary["packets"].as_u64().is_some_and(|packets| packets > 0), "{out}{err}");
}
