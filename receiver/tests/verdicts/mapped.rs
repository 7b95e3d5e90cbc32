//! The program's delivery into a mapped ring: what lies in the frames, full rings, wrong numbers, several CPUs,
//! wake-ups.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use netlab::Lab;
use receiver::Interface;
use receiver::internals::{Attach, Buffers, Program, RingShape};
use receiver_common::mapped::{FRAME_SIZE, LARGE_FRAME_SIZE, LARGE_MAX_PACKET, MAX_PACKET};
use receiver_common::{Stamp, Verdict};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CapabilitySet, capabilities};

use crate::bench::{Config, PRIVILEGES, keep_capabilities};
use crate::frames::{v4, v6};
use crate::handle::Handle;
use crate::oracle::Filter;
use crate::ring::Ring;
use crate::table::{GROUP_V4, GROUP_V6, PORT, WANTED_V4, WANTED_V6};
use crate::threads::Ending;

/// The verdicts that only a program with mapped rings gives.
pub const OF_THE_RING: [Verdict; 4] =
    [Verdict::Mapped, Verdict::DroppedRingFull, Verdict::DroppedRingBusy, Verdict::PassedTooLong];

pub const SLOTS: u32 = 8;
/// A ring with a frame for each slot.
pub const SHAPE: RingShape =
    RingShape { queues: 1, slots: SLOTS, frames: SLOTS, frame_size: FRAME_SIZE, entries: SLOTS, share: false };
/// With frames for jumbo frames.
const LARGE: RingShape = RingShape { frame_size: LARGE_FRAME_SIZE, ..SHAPE };
const DROP: u32 = 1;
const PASS: u32 = 2;

/// The program with the table's filter, on a link that is down.
pub struct Subject {
    pub program: Program,
    pub interface: Interface,
}

impl Subject {
    pub fn run(config: &Config, shape: &RingShape, test: impl FnOnce(&mut Self) + Send) {
        Self::run_with(CapabilitySet::all(), config, shape, test);
    }

    pub fn run_with(kept: CapabilitySet, config: &Config, shape: &RingShape, test: impl FnOnce(&mut Self) + Send) {
        let lab = Lab::builder().queues(2).build().expect("root, and iproute2");
        lab.tx().ip(&["link", "set", lab.tx_interface(), "down"]).expect("the link down");
        let load = || {
            let held = capabilities(None).expect("capget").effective;
            keep_capabilities(held & kept);
            let interface = Interface::lookup(lab.rx_interface()).expect("the interface");
            let mut program = config.load_with(&interface, Some(shape));
            program.attach(&interface, Attach::Native).expect("the program is attached");
            Filter::of_the_table().install(&mut program);
            Self { program, interface }
        };
        let mut subject = lab.rx().run(load).expect("the namespace");
        lab.rx().run(|| test(&mut subject)).expect("the namespace");
    }

    /// Runs a frame, and returns the action and the verdict.
    pub fn judge(&mut self, frame: &[u8]) -> (u32, Verdict) {
        self.judge_split(frame, frame.len())
    }

    /// As [`Subject::judge`], with only the first N bytes of the frame in its first buffer.
    pub fn judge_split(&mut self, frame: &[u8], first: usize) -> (u32, Verdict) {
        let before = self.program.verdicts().expect("the counts");
        let ran = self.program.test_split(frame, first, &self.interface, 0, 1).expect("a test run");
        let after = self.program.verdicts().expect("the counts");
        let moved: Vec<(Verdict, u64)> = Verdict::ALL
            .into_iter()
            .map(|verdict| (verdict, after[verdict as usize] - before[verdict as usize]))
            .filter(|(_, count)| *count > 0)
            .collect();
        let [(verdict, 1)] = moved[..] else { panic!("one frame: {moved:?}") };
        (ran.action, verdict)
    }

    /// Attaches the entry for packets over several buffers.
    pub fn take_several_buffers(&mut self) {
        self.program.detach().expect("the program is detached");
        self.program.set_buffers(Buffers::Several).expect("the other entry loads");
        self.program.attach(&self.interface, Attach::Native).expect("the other entry is attached");
    }

    fn verdict(&mut self, frame: &[u8]) -> Verdict {
        self.judge(frame).1
    }

    /// Runs each frame again and again, on a thread of its own, until the consumer returns. Returns the number of runs.
    pub fn produce(&self, frames: &[Vec<u8>], consumer: impl FnOnce()) -> u64 {
        const AT_A_TIME: u32 = 16;
        let handles: Vec<_> = frames.iter().map(|_| Handle::of(&self.interface.name)).collect();
        let done = AtomicBool::new(false);
        let run = |handle: &Handle, frame: &[u8]| {
            let mut count = 0;
            while !done.load(Ordering::Acquire) {
                handle.run(frame, AT_A_TIME);
                count += u64::from(AT_A_TIME);
            }
            count
        };
        thread::scope(|scope| {
            let run = &run;
            let senders: Vec<_> =
                handles.iter().zip(frames).map(|(handle, frame)| scope.spawn(move || run(handle, frame))).collect();
            let ending = Ending(&done);
            consumer();
            drop(ending);
            senders.into_iter().map(|sender| sender.join().expect("a sender")).sum()
        })
    }
}

/// Returns true if the descriptor becomes readable in time.
pub fn is_readable(fd: BorrowedFd<'_>, within: Duration) -> bool {
    let limit = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: within.subsec_nanos().into() };
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&limit)).expect("poll") == 1
}

/// A wanted frame of `length` bytes, at least 42, with a pattern for its payload.
pub fn wanted(length: usize, seed: u8) -> Vec<u8> {
    let mut frame = v4(WANTED_V4, GROUP_V4, PORT, length - 42);
    frame[42..].iter_mut().zip(seed..=u8::MAX).for_each(|(byte, value)| *byte = value);
    frame[42..].iter_mut().enumerate().for_each(|(at, byte)| *byte ^= (at / 7) as u8);
    assert_eq!(frame.len(), length);
    frame
}

/// Each way in which the program copies, and their borders.
fn lengths() -> impl Iterator<Item = usize> {
    (42..300).chain([511, 512, 513, 1358, 1499, 1500, 1514, MAX_PACKET - 1, MAX_PACKET])
}

#[test]
fn packets_of_every_length_arrive_whole() {
    for kept in PRIVILEGES {
        Subject::run_with(kept, &Config::default(), &SHAPE, |subject| {
            let mut ring = Ring::open(&subject.program, SLOTS);
            for length in lengths() {
                let frame = wanted(length, length as u8);
                assert_eq!(subject.judge(&frame), (DROP, Verdict::Mapped), "{length} bytes");
                assert!(ring.take(|_, packet| assert_eq!(packet, frame)), "{length} bytes");
            }
            let frame = v6(WANTED_V6, GROUP_V6, PORT, 100);
            assert_eq!(subject.judge(&frame), (DROP, Verdict::Mapped));
            assert!(ring.take(|_, packet| assert_eq!(packet, frame)));
            assert!(!ring.take(|_, _| ()));
            assert_eq!(subject.judge(&wanted(MAX_PACKET + 1, 0)), (PASS, Verdict::PassedTooLong));
            assert!(!ring.take(|_, _| ()));
            assert_eq!(ring.next(), ring.position);
        });
    }
}

#[test]
fn packets_over_several_buffers_are_gathered() {
    Subject::run(&Config::default(), &SHAPE, |subject| {
        subject.take_several_buffers();
        let mut ring = Ring::open(&subject.program, SLOTS);
        for (length, first) in [(100, 80), (128, 100), (1500, 90), (1500, 1400), (2000, 1999)] {
            let frame = wanted(length, 7);
            assert_eq!(subject.judge_split(&frame, first), (DROP, Verdict::Mapped));
            assert!(ring.take(|_, packet| assert_eq!(packet, frame)), "{length} bytes, {first} in the first buffer");
        }
    });
}

/// Large frames hold all of a packet: it may end in its first buffer, or go over several pages.
#[test]
fn large_frames_hold_packets_of_every_length() {
    for kept in PRIVILEGES {
        Subject::run_with(kept, &Config::default(), &LARGE, |subject| {
            subject.take_several_buffers();
            let mut ring = Ring::open(&subject.program, SLOTS);
            for length in lengths() {
                let frame = wanted(length, length as u8);
                assert_eq!(subject.judge(&frame), (DROP, Verdict::Mapped), "{length} bytes");
                assert!(ring.take(|_, packet| assert!(packet == frame, "{length} bytes differ")), "{length} bytes");
            }
            for length in [MAX_PACKET + 1, 3_000, 4_096, 5_000, 8_192, 9_022, LARGE_MAX_PACKET - 1, LARGE_MAX_PACKET] {
                for first in [80, 128, 1_500, 2_000] {
                    let frame = wanted(length, length as u8);
                    let judged = subject.judge_split(&frame, first);
                    assert_eq!(judged, (DROP, Verdict::Mapped), "{length} bytes, {first} in the first buffer");
                    let whole = ring.take(|header, packet| {
                        assert_eq!(header.length as usize, length);
                        assert!(packet == frame, "{length} bytes, {first} in the first buffer, differ");
                    });
                    assert!(whole, "{length} bytes, {first} in the first buffer");
                }
            }
            for length in [LARGE_MAX_PACKET + 1, 12_000, 40_000] {
                let frame = wanted(length, 1);
                assert_eq!(subject.judge_split(&frame, 1_000), (PASS, Verdict::PassedTooLong), "{length} bytes");
                assert!(!ring.take(|_, _| ()), "{length} bytes");
            }
            assert_eq!(ring.next(), ring.position, "no slot was reserved for what passed");
        });
    }
}

/// Neighbours do not write over each other, and a number beyond the large frames is bounded.
#[test]
fn large_frames_lie_side_by_side() {
    Subject::run(&Config::default(), &LARGE, |subject| {
        subject.take_several_buffers();
        let mut ring = Ring::open(&subject.program, SLOTS);
        let frames: Vec<_> = (0..SLOTS as usize).map(|at| wanted(LARGE_MAX_PACKET - at, at as u8)).collect();
        for frame in &frames {
            assert_eq!(subject.judge_split(frame, 1_000), (DROP, Verdict::Mapped));
        }
        assert_eq!(subject.judge(&wanted(100, 1)), (DROP, Verdict::DroppedRingFull));
        for frame in &frames {
            assert!(ring.take(|_, packet| assert!(packet == frame)));
        }
        for wrong in [u64::from(SLOTS), u32::MAX.into()] {
            ring.set_entry((ring.next() % u64::from(SLOTS)) as u32, wrong);
            assert_eq!(subject.verdict(&wanted(100, 1)), Verdict::DroppedRingFull, "{wrong}");
        }
    });
}

#[test]
fn other_verdicts_are_those_of_a_program_without_rings() {
    Subject::run(&Config::default(), &SHAPE, |subject| {
        let ring = Ring::open(&subject.program, SLOTS);
        assert_eq!(subject.verdict(&v4([10, 0, 0, 77], GROUP_V4, PORT, 18)), Verdict::DroppedNotIncluded);
        assert_eq!(subject.verdict(&v4(WANTED_V4, GROUP_V4, PORT + 1, 18)), Verdict::PassedOtherGroup);
        assert_eq!(ring.next(), 0);
    });
}

#[test]
fn packets_pass_while_a_ring_is_closed() {
    Subject::run(&Config::default(), &SHAPE, |subject| {
        let frame = wanted(100, 1);
        assert_eq!(subject.judge(&frame), (PASS, Verdict::PassedNoSocket), "never opened");
        let mut ring = Ring::open(&subject.program, SLOTS);
        assert_eq!(subject.verdict(&frame), Verdict::Mapped);
        ring.set_open(false);
        assert_eq!(subject.judge(&frame), (PASS, Verdict::PassedNoSocket), "closed");
        assert!(ring.take(|_, packet| assert_eq!(packet, frame)));
        let ran = subject.program.test(&frame, &subject.interface, 1, 1).expect("a test run");
        assert_eq!(ran.action, PASS, "the queue has no ring");
    });
}

#[test]
fn a_full_ring_loses_what_comes_and_keeps_what_it_has() {
    for start in [0, u32::MAX.into()] {
        Subject::run(&Config::default(), &SHAPE, |subject| {
            let mut ring = Ring::open(&subject.program, SLOTS);
            ring.begin_at(start);
            let frames: Vec<_> = (0..3 * SLOTS as usize).map(|at| wanted(60 + at, at as u8)).collect();
            let (fits, rest) = frames.split_at(SLOTS as usize);
            fits.iter().for_each(|frame| assert_eq!(subject.verdict(frame), Verdict::Mapped));
            rest.iter().for_each(|frame| assert_eq!(subject.judge(frame), (DROP, Verdict::DroppedRingFull)));
            fits.iter().for_each(|frame| assert!(ring.take(|_, packet| assert_eq!(packet, frame))));
            assert!(!ring.take(|_, _| ()));
            assert_eq!(ring.next(), start + u64::from(SLOTS));
            rest.iter().for_each(|frame| {
                assert_eq!(subject.verdict(frame), Verdict::Mapped, "room again");
                assert!(ring.take(|_, packet| assert_eq!(packet, frame)));
            });
        });
    }
}

#[test]
fn shared_packets_pass_as_well() {
    Subject::run(&Config::default(), &RingShape { share: true, ..SHAPE }, |subject| {
        let mut ring = Ring::open(&subject.program, SLOTS);
        let frame = wanted(100, 1);
        (0..SLOTS).for_each(|_| assert_eq!(subject.judge(&frame), (PASS, Verdict::Mapped)));
        assert_eq!(subject.judge(&frame), (PASS, Verdict::DroppedRingFull), "the kernel gets it all the same");
        (0..SLOTS).for_each(|_| assert!(ring.take(|_, packet| assert_eq!(packet, frame))));
    });
}

#[test]
fn packets_are_stamped_if_that_was_asked_for() {
    for stamp in [false, true] {
        Subject::run(&Config { stamp, ..Config::default() }, &SHAPE, |subject| {
            let mut ring = Ring::open(&subject.program, SLOTS);
            assert_eq!(subject.verdict(&wanted(100, 1)), Verdict::Mapped);
            assert!(ring.take(|header, _| {
                assert_eq!(header.stamp.magic == Stamp::MAGIC, stamp);
                assert_eq!(header.stamp.tai_ns > 0, stamp);
            }));
        });
    }
}

/// A number that names no frame harms its ring alone, and the program goes on.
#[test]
fn wrong_entries_are_bounded() {
    Subject::run(&Config::default(), &SHAPE, |subject| {
        let mut ring = Ring::open(&subject.program, SLOTS);
        for wrong in [u64::from(SLOTS), u32::MAX.into(), u64::MAX, 1 << 31] {
            ring.set_entry((ring.next() % u64::from(SLOTS)) as u32, wrong);
            assert_eq!(subject.verdict(&wanted(100, 1)), Verdict::DroppedRingFull, "{wrong}");
        }
        // Consumed positions beyond anything that was there.
        for consumed in [u64::MAX, u64::MAX / 2, 1 << 62] {
            ring.begin_at(consumed);
            subject.verdict(&wanted(100, 1));
        }
    });
}

/// Two CPUs run the program for one queue, and a consumer checks each payload: no slot is torn, lost or shared.
#[test]
fn two_cpus_share_a_ring() {
    const SHARED_SLOTS: u32 = 64;
    const ENOUGH: u64 = 20_000;
    let shape = RingShape { slots: SHARED_SLOTS, frames: SHARED_SLOTS, entries: SHARED_SLOTS, ..SHAPE };
    Subject::run(&Config::default(), &shape, |subject| {
        let mut ring = Ring::open(&subject.program, SHARED_SLOTS);
        let frames = [wanted(60, 1), wanted(1400, 99)];
        let mut seen = [0; 2];
        let mut take = || {
            ring.take(|_, packet| {
                let which = usize::from(packet.len() > 60);
                assert!(packet == frames[which], "a torn packet");
                seen[which] += 1;
            })
            .then_some(seen)
        };
        let sent = subject
            .produce(&frames, || while take().is_none_or(|seen| seen.into_iter().any(|count| count < ENOUGH)) {});
        while take().is_some() {}
        let count = |verdict| subject.program.verdicts().expect("the counts")[verdict as usize];
        let [mapped, full, busy, _] = OF_THE_RING.map(count);
        println!("{seen:?} taken; {mapped} mapped, {full} ring full, {busy} ring busy");
        assert_eq!(mapped + full + busy, sent);
        assert_eq!((seen[0] + seen[1], ring.next()), (mapped, mapped));
    });
}

#[test]
fn a_sleeping_consumer_is_woken_once() {
    Subject::run(&Config::default(), &SHAPE, |subject| {
        let mut ring = Ring::open(&subject.program, SLOTS);
        let mut waker = subject.program.make_waker(0).expect("a waker").expect("rings");
        let readable = |fd: BorrowedFd<'_>| is_readable(fd, Duration::from_millis(20));
        for _ in 0..1000 {
            subject.program.test(&wanted(100, 1), &subject.interface, 0, 1).expect("a test run");
            assert_eq!(waker.drain(), 0, "awake");
            assert!(ring.take(|_, _| ()));
            ring.set_asleep();
            (0..3).for_each(|_| {
                assert_eq!(
                    subject.program.test(&wanted(100, 1), &subject.interface, 0, 1).expect("a test run").action,
                    DROP
                )
            });
            assert!(!ring.is_asleep());
            assert!(readable(waker.as_fd()));
            assert_eq!(waker.drain(), 1, "woken once");
            while ring.take(|_, _| ()) {}
        }
        assert!(!readable(waker.as_fd()));
    });
}
