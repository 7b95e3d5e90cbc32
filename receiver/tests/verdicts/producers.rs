//! Generic XDP runs where the frame was sent, so two CPUs run the program for one queue at once: two senders, a mapped
//! ring, and a consumer that checks each payload.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver::Interface;
use receiver::internals::{Attach, RingShape};
use receiver_common::Verdict;

use crate::bench::Config;
use crate::frame_socket::{Frame, FrameSocket};
use crate::mapped::{OF_THE_RING, SHAPE};
use crate::numbered::{Tally, payload};
use crate::oracle::Filter;
use crate::ring::Ring;
use crate::threads::{Ending, pin};

const SENDERS: usize = 2;
const SLOTS: u32 = 512;
/// Packets to take at least, and how long that may last.
const ENOUGH: u64 = 300_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes before the payload.
const HEADERS: usize = 42;

#[test]
fn two_cpus_run_generic_xdp_for_one_queue() {
    let lab = Lab::new().expect("root, and iproute2");
    let load = || {
        let interface = Interface::lookup(lab.rx_interface()).expect("the interface");
        let shape = RingShape { slots: SLOTS, frames: SLOTS, entries: SLOTS, ..SHAPE };
        let mut program = Config::default().load_with(&interface, Some(&shape));
        program.attach(&interface, Attach::Generic).expect("the program is attached");
        Filter::of_the_table().install(&mut program);
        program
    };
    let program = lab.rx().run(load).expect("the namespace");
    let mut ring = Ring::open(&program, SLOTS);
    let (done, sent) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; SENDERS]);
    let mut tally = Tally::<SENDERS>::default();
    let mut take = || ring.take(|_, packet| _ = tally.take(&packet[HEADERS..], |_, _| 1)).then_some(tally.total());
    thread::scope(|scope| {
        let senders: Vec<_> = (0..)
            .zip(&sent)
            .map(|(sender, sent)| {
                let (lab, done) = (&lab, &done);
                scope.spawn(move || {
                    pin(None, sender as usize);
                    let socket = FrameSocket::open(lab);
                    for number in 0.. {
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                        let payload = payload(sender, number);
                        socket.send(&Frame::udp("10.0.0.1:4000", "232.1.1.1:5000", &payload).bytes);
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let ending = Ending(&done);
        let start = Instant::now();
        // On a busy machine the senders get a small part of the two CPUs.
        while start.elapsed() < 5 * PATIENCE {
            match take() {
                Some(total) if total >= ENOUGH => break,
                Some(_) => {}
                None => thread::yield_now(),
            }
        }
        drop(ending);
        senders.into_iter().for_each(|sender| sender.join().expect("a sender"));
        thread::sleep(Duration::from_millis(100));
        while take().is_some() {}
    });
    let count = |verdict: Verdict| program.verdicts().expect("the counts")[verdict as usize];
    let [mapped, full, busy, _] = OF_THE_RING.map(count);
    let sent: u64 = sent.map(AtomicU64::into_inner).iter().sum();
    println!(
        "{:?} taken, {} changes of sender; {sent} sent, {mapped} mapped, {full} ring full, {busy} ring busy",
        tally.taken, tally.changes
    );
    assert_eq!((tally.total(), ring.next()), (mapped, mapped));
    // The kernel's own queues before generic XDP may have dropped some.
    assert!(mapped + full + busy <= sent && mapped + full + busy > sent / 10 * 9, "{sent} sent");
    assert!(tally.total() >= ENOUGH && tally.changes > 100, "{:?} taken, {} changes", tally.taken, tally.changes);
}
