//! Random frames through the program, and the host's parser with a plain filter beside it: each action, and the counts
//! of each batch.
//!
//! `RECEIVER_VERDICTS` is the number of frames, and `RECEIVER_SEED` the seed. Two threads run them, each with programs
//! of its own: one execution is one call of BPF_PROG_TEST_RUN, which returns a verdict for one frame alone.

mod subject;
mod variant;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::thread;
use std::time::Instant;

use receiver_common::Verdict;

use crate::bench::{Bench, QUEUE_WITHOUT_SOCKET};
use crate::handle::Handle;
use crate::oracle::{Mutator, action};
use subject::{Subject, USED_SLOTS};
use variant::{VARIANTS, Variant};

const THREADS: usize = 2;
/// Frames between two readings of the counters.
const BATCH: u64 = 4096;
/// One frame in this many comes in on a queue without a socket.
const OTHER_QUEUE: usize = 32;

#[test]
fn random_frames_get_the_verdicts_that_the_host_expects() {
    let (seed, total) = (asked("RECEIVER_SEED", 1), asked("RECEIVER_VERDICTS", 1_000_000));
    let start = Instant::now();
    let run = |first: usize| -> Vec<String> {
        let variants = (0..VARIANTS.len()).skip(first).step_by(THREADS);
        variants.map(|number| run_variant(seed, number, total.div_ceil(VARIANTS.len() as u64))).collect()
    };
    let reports: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|first| scope.spawn(move || run(first))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no difference")).collect()
    });
    let executions = total.div_ceil(VARIANTS.len() as u64) * VARIANTS.len() as u64;
    println!("{}", reports.concat());
    println!("seed {seed}: {executions} executions in {:.1} s", start.elapsed().as_secs_f64());
}

fn asked(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// A frame as it is run.
struct Execution {
    frame: Vec<u8>,
    /// Bytes of its first buffer.
    first: usize,
    queue: u32,
    verdict: Verdict,
    slot: Option<u32>,
}

/// Frames by verdict, and by slot: dropped and passed.
#[derive(Clone, PartialEq, Eq)]
struct Counts {
    verdicts: [u64; Verdict::COUNT],
    slots: Vec<[u64; 2]>,
}

/// One way to load the program, with its filter.
struct Run<'a> {
    variant: &'a Variant,
    subject: Subject,
    bench: &'a mut Bench,
    handle: Handle,
    name: String,
}

/// Returns lines of the report.
fn run_variant(seed: u64, number: usize, frames: u64) -> String {
    let variant = &VARIANTS[number];
    let mut random = Mutator::new(seed.wrapping_mul(1000).wrapping_add(number as u64));
    let mut report = String::new();
    Bench::run_with(variant.capabilities, &variant.config(), |bench| {
        let subject = Subject::new(&mut random, variant);
        subject.filter.install(&mut bench.program);
        if variant.split {
            bench.take_several_buffers();
        }
        let (handle, name) = (Handle::of(&bench.interface.name), bench.interface.name.clone());
        let mut run = Run { variant, subject, bench, handle, name };
        let (start, mut done) = (Instant::now(), 0);
        let mut seen: BTreeMap<Verdict, u64> = BTreeMap::new();
        while done < frames {
            let count = BATCH.min(frames - done);
            let batch: Vec<Execution> = (0..count).map(|_| run.execution(&mut random)).collect();
            if let Err(what) = run.check(&batch) {
                panic!("seed {seed}, {}, behind {done} frames: {what}", variant.name);
            }
            for execution in &batch {
                *seen.entry(execution.verdict).or_default() += 1;
            }
            done += count;
        }
        assert!(done < 100_000 || seen.len() > 10, "{}: the frames reach only {seen:?}", variant.name);
        let nanoseconds = start.elapsed().as_nanos() / u128::from(done.max(1));
        report = format!("{}: {done} executions, {nanoseconds} ns each\n", variant.name);
        for (verdict, count) in seen {
            writeln!(report, "  {} {count}", verdict.name()).expect("a string");
        }
    });
    report
}

impl Run<'_> {
    fn execution(&self, random: &mut Mutator) -> Execution {
        let frame = self.subject.frame(random);
        let first = match self.variant.split {
            // Behind the headers, for most frames, or anywhere.
            true if random.below(2) == 0 => frame.len() - random.below(frame.len() / 4 + 1).min(frame.len() - 14),
            true => 14 + random.below(frame.len() - 13),
            false => frame.len(),
        };
        let queue = if random.below(OTHER_QUEUE) == 0 { QUEUE_WITHOUT_SOCKET } else { 0 };
        let (verdict, slot) = self.variant.expect(&self.subject.filter, &frame, first, queue == 0);
        Execution { frame, first, queue, verdict, slot }
    }

    /// Runs a batch. If its actions or counts are not as expected, runs its frames one by one to find which is not.
    fn check(&mut self, batch: &[Execution]) -> Result<(), String> {
        self.check_together(batch).or_else(|together| {
            for execution in batch {
                self.check_together(std::slice::from_ref(execution))?;
            }
            Err(format!("a batch differs, and none of its frames does alone: {together}"))
        })
    }

    fn check_together(&mut self, batch: &[Execution]) -> Result<(), String> {
        let before = self.counts();
        let mut expected = before.clone();
        let mut wrong = None;
        for execution in batch {
            let got = self.run(execution);
            if got != action(execution.verdict) {
                wrong.get_or_insert_with(|| format!("action {got}, {}", described(execution)));
            }
            expected.verdicts[execution.verdict as usize] += 1;
            if let Some(slot) = execution.slot {
                expected.slots[slot as usize][usize::from(execution.verdict == Verdict::PassedShared)] += 1;
            }
        }
        let after = self.counts();
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        if after == expected {
            return Ok(());
        }
        let moved = |counts: &Counts| -> Vec<String> {
            let verdicts = Verdict::ALL.into_iter().map(|verdict| {
                let at = verdict as usize;
                (verdict.name().to_owned(), counts.verdicts[at] - before.verdicts[at])
            });
            let slots = counts.slots.iter().zip(&before.slots).enumerate().flat_map(|(slot, (now, then))| {
                [(format!("slot {slot}"), now[0] - then[0]), (format!("slot {slot} passed"), now[1] - then[1])]
            });
            verdicts.chain(slots).filter(|(_, count)| *count > 0).map(|(name, n)| format!("{name} {n}")).collect()
        };
        let frames: Vec<String> = batch.iter().take(1).map(described).collect();
        Err(format!("counted {:?}, expected {:?}; first frame: {}", moved(&after), moved(&expected), frames.concat()))
    }

    fn run(&mut self, execution: &Execution) -> u32 {
        let Execution { frame, first, queue, .. } = execution;
        if *queue == 0 && *first == frame.len() {
            return self.handle.action(frame);
        }
        let Bench { program, interface, .. } = &mut *self.bench;
        program.test_split(frame, *first, interface, *queue, 1).expect("a test run").action
    }

    fn counts(&self) -> Counts {
        let program = &self.bench.program;
        let slots = program.slot_counters().read(USED_SLOTS, &self.name).expect("the slots");
        Counts {
            verdicts: program.verdicts().expect("the counts"),
            slots: slots.iter().map(|slot| [slot.blocked, slot.passed]).collect(),
        }
    }
}

fn described(execution: &Execution) -> String {
    let Execution { frame, first, queue, verdict, slot } = execution;
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("expected {verdict:?} slot {slot:?} of queue {queue}, first buffer {first} of {} bytes: {hex}", frame.len())
}
