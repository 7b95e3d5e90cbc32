//! Sleeps of a mapped ring's consumer, by the real program and the real consumer: each is ended by the packet that it
//! waits for, and a packet wakes the consumer once.
//!
//! The producer, on another CPU, sends a few packets after a random gap, and then waits until they were taken. So a
//! wake-up that is lost is not made up for by a later packet: that sleep lasts until its timeout.

use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use receiver::internals::RingShape;
use receiver_xsk::{MappedMaps, MappedQueue};

use crate::bench::Config;
use crate::frames::v4;
use crate::handle::Handle;
use crate::mapped::{SHAPE, Subject, is_readable};
use crate::numbered::mixed;
use crate::table::{GROUP_V4, PORT, WANTED_V4};
use crate::threads::{Ending, pin, sleeps};

const SLOTS: u32 = 64;
/// The number of bytes is a whole number of pages.
const FRAMES: u32 = 128;
/// A sleep that lasts as long has missed its packet.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Sleeps of the test that always runs, and of the long one.
const SOME: u64 = 200_000;
const MANY: u64 = 10_000_000;

#[test]
fn no_sleep_misses_its_packet() {
    sleep_times(SOME);
}

/// Takes minutes; `cargo test -p receiver --test verdicts -- --ignored no_sleep` runs it.
#[test]
#[ignore = "takes minutes"]
fn no_sleep_of_ten_million_misses_its_packet() {
    sleep_times(MANY);
}

/// Sleeps `count` times.
fn sleep_times(count: u64) {
    let shape = RingShape { slots: SLOTS, frames: FRAMES, entries: SLOTS, ..SHAPE };
    Subject::run(&Config::default(), &shape, |subject| {
        let mut waker = subject.program.make_waker(0).expect("a waker").expect("rings");
        let rings = subject.program.rings().expect("rings");
        let maps = MappedMaps {
            control: rings.control(),
            entries: rings.entries(),
            frames: rings.frames(),
            slots: SLOTS,
            frames_per_ring: FRAMES,
            frame_size: rings.frame_size(),
        };
        let mut queue = MappedQueue::map(&maps, &[0]).expect("a ring").pop().expect("one");
        queue.open();
        let handle = Handle::of(&subject.interface.name);
        let frame = v4(WANTED_V4, GROUP_V4, PORT, 18);
        let (done, taken) = (AtomicBool::new(false), AtomicU64::new(0));
        let take = |queue: &mut MappedQueue| {
            let came = queue.receive(SLOTS, |_| ControlFlow::Continue(()));
            taken.fetch_add(came.into(), Ordering::Release);
        };
        let mut tally = Tally::default();
        thread::scope(|scope| {
            let producer = scope.spawn(|| {
                pin(None, 0);
                produce(&done, &taken, || handle.run(&frame, 1));
            });
            pin(None, 1);
            let ending = Ending(&done);
            let left_cpu = || sleeps(Path::new("/proc/thread-self")).expect("this thread");
            let (start, before) = (Instant::now(), left_cpu());
            while tally.ended < count {
                take(&mut queue);
                // As the receiver does: first drained, then asleep.
                tally.records += waker.drain() as u64;
                tally.looks += 1;
                if !queue.sleep() {
                    continue;
                }
                tally.sleeps += 1;
                // Some sleeps are cut short, as by a timer.
                if mixed(tally.sleeps).is_multiple_of(64) {
                    queue.wake();
                    continue;
                }
                let began = Instant::now();
                let is_woken = is_readable(waker.as_fd(), TIMEOUT);
                tally.longest = tally.longest.max(began.elapsed());
                let is_there = queue.is_ready();
                assert!(is_woken, "slept until the timeout, packet there: {is_there}; {tally:?}");
                // The record of a sleep that was cut short may come late and end the next one.
                let ended = if is_there { &mut tally.ended } else { &mut tally.ended_early };
                *ended += 1;
                queue.wake();
                // The descriptor is readable once the kernel begins to write the record.
                tally.records += waker.drain() as u64;
                assert!(tally.records <= tally.sleeps, "a second record for one sleep: {tally:?}");
            }
            drop(ending);
            while !producer.is_finished() {
                take(&mut queue);
            }
            println!("{tally:?} in {:?}, {} of them left the CPU", start.elapsed(), left_cpu() - before);
        });
        tally.records += waker.drain() as u64;
        assert!(tally.records <= tally.sleeps && tally.longest < TIMEOUT / 2, "{tally:?}");
        assert!(tally.ended_early < tally.sleeps / 32, "{tally:?}");
    });
}

/// Counts of the consumer.
#[derive(Debug, Default)]
struct Tally {
    looks: u64,
    sleeps: u64,
    /// Sleeps that a record ended when the packet was there.
    ended: u64,
    ended_early: u64,
    records: u64,
    longest: Duration,
}

/// Sends one to three packets at a time, each after a gap, and waits until they were taken.
fn produce(done: &AtomicBool, taken: &AtomicU64, send: impl Fn()) {
    let mut sent = 0;
    for round in 0.. {
        let bits = mixed(round);
        for each in 0..1 + bits % 3 {
            let gap = match (bits >> (8 + each)) % 65_536 {
                0 => Duration::from_millis(2),
                1..64 => Duration::from_micros(100),
                some => Duration::from_nanos(some % 8_192),
            };
            let start = Instant::now();
            while start.elapsed() < gap {
                std::hint::spin_loop();
            }
            send();
            sent += 1;
        }
        while taken.load(Ordering::Acquire) < sent {
            if done.load(Ordering::Acquire) {
                return;
            }
            std::hint::spin_loop();
        }
    }
}
