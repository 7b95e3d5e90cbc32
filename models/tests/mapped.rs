//! The mapped ring: no packet is lost, torn, delivered twice or slept through, and a kept frame is never overwritten.
//!
//! The protocol is `receiver_common::mapped`, as the XDP program and user space run it, over loom's atomics. A packet
//! is a cell that loom watches: an access that no ordering separates from a write fails the model. The orderings, the
//! exchange and the second look are taken away one by one, in tests that must fail. Two orderings are not among them:
//! the one of `consumed`, since the exchange behind it is a barrier, and the one of `consumed_seen`, which loom does
//! not miss.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use receiver_common::mapped::{ASLEEP, Producer, Refused, Sleeper, fall_asleep, reserve};

/// What is wrong with a ring.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The sequence number is stored without release.
    RelaxedPublish,
    /// The consumer loads the sequence number without acquire.
    RelaxedPoll,
    /// The consumer publishes its position without release.
    RelaxedConsume,
    /// The exchange is no barrier.
    NoBarrier,
    /// The exchange is a load and a store.
    NoExchange,
    /// The consumer puts another frame into the entry after it has published its position.
    LateSwap,
    /// The consumer sleeps without a second look.
    NoSecondLook,
    /// The producer forgets who sleeps.
    NoWake,
}

struct Frame {
    sequence: AtomicU64,
    packet: UnsafeCell<u64>,
}

/// A ring of `entries.len()` slots.
struct Ring {
    fault: Fault,
    next: AtomicU64,
    consumed_seen: AtomicU64,
    consumed: AtomicU64,
    entries: Vec<AtomicU64>,
    frames: Vec<Frame>,
    /// Records in the BPF ring buffer.
    records: Mutex<u32>,
    waker: Condvar,
}

// SAFETY: loom checks each access to the cells.
#[allow(unsafe_code)]
unsafe impl Sync for Ring {}
#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Send for Ring {}

impl Ring {
    fn new(fault: Fault, slots: u64, frames: u64, start: u64) -> Arc<Self> {
        Arc::new(Self {
            fault,
            next: AtomicU64::new(start),
            consumed_seen: AtomicU64::new(start),
            consumed: AtomicU64::new(start),
            entries: (0..slots).map(|slot| AtomicU64::new((start + slot) % slots)).collect(),
            frames: (0..frames).map(|_| Frame { sequence: AtomicU64::new(0), packet: UnsafeCell::new(0) }).collect(),
            records: Mutex::new(0),
            waker: Condvar::new(),
        })
    }

    fn slots(&self) -> u64 {
        self.entries.len() as u64
    }

    fn without(&self, fault: Fault, ordering: Ordering) -> Ordering {
        if self.fault == fault { Ordering::Relaxed } else { ordering }
    }

    fn entry(&self, position: u64) -> &AtomicU64 {
        &self.entries[(position % self.slots()) as usize]
    }

    /// As the XDP program does. Returns false if there was no room.
    fn produce(&self) -> bool {
        let reserved = match reserve(self, self.slots()) {
            Ok(reserved) => reserved,
            Err(Refused::Full) => return false,
            Err(Refused::Busy) => panic!("more attempts than there are producers"),
        };
        let frame = &self.frames[self.entry(reserved.position).load(Ordering::Relaxed) as usize];
        frame.packet.with_mut(|packet| {
            // SAFETY: loom checks that nobody else accesses it.
            #[allow(unsafe_code)]
            unsafe {
                *packet = reserved.position;
            }
        });
        frame.sequence.store(reserved.position + 1, self.without(Fault::RelaxedPublish, Ordering::Release));
        if reserved.must_wake && self.fault != Fault::NoWake {
            *self.records.lock().expect("the records") += 1;
            self.waker.notify_one();
        }
        true
    }

    /// The number of the frame with the packet at `position`, if it is there.
    fn poll(&self, position: u64) -> Option<u64> {
        let frame = self.entry(position).load(Ordering::Relaxed);
        let sequence = &self.frames[frame as usize].sequence;
        (sequence.load(self.without(Fault::RelaxedPoll, Ordering::Acquire)) == position + 1).then_some(frame)
    }

    /// Reads a frame's packet.
    fn read(&self, frame: u64) -> u64 {
        self.frames[frame as usize].packet.with(|packet| {
            // SAFETY: loom checks that nobody writes to it.
            #[allow(unsafe_code)]
            unsafe {
                *packet
            }
        })
    }

    /// Gives the slot at `position` back, with another frame in its entry if the packet is kept.
    fn consume(&self, position: u64, swap: Option<u64>) {
        let swap = || swap.into_iter().for_each(|frame| self.entry(position).store(frame, Ordering::Relaxed));
        if self.fault != Fault::LateSwap {
            swap();
        }
        self.consumed.store(position + 1, self.without(Fault::RelaxedConsume, Ordering::Release));
        if self.fault == Fault::LateSwap {
            swap();
        }
    }

    /// Waits for the packet at `position`, awake or asleep.
    fn wait(&self, position: u64, sleeps: bool) -> u64 {
        loop {
            if let Some(frame) = self.poll(position) {
                return frame;
            }
            if sleeps && fall_asleep(self, position) {
                let mut records = self.records.lock().expect("the records");
                while *records == 0 {
                    records = self.waker.wait(records).expect("the records");
                }
                assert_eq!(std::mem::take(&mut *records), 1, "woken once per sleep");
            } else {
                thread::yield_now();
            }
        }
    }
}

impl Producer for Ring {
    fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    fn replace_next(&self, from: u64, to: u64) -> bool {
        if self.fault == Fault::NoExchange {
            let same = self.next.load(Ordering::Acquire) == from;
            if same {
                self.next.store(to, Ordering::Release);
            }
            return same;
        }
        if self.fault == Fault::NoBarrier {
            return self.next.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        }
        // An atomic operation of the kernel that returns a value is a full barrier (Documentation/atomic_t.txt).
        fence(Ordering::SeqCst);
        let replaced = self.next.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        fence(Ordering::SeqCst);
        replaced
    }

    fn consumed_seen(&self) -> u64 {
        self.consumed_seen.load(Ordering::Relaxed)
    }

    fn set_consumed_seen(&self, position: u64) {
        self.consumed_seen.store(position, Ordering::Release);
    }

    fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Acquire)
    }
}

impl Sleeper for Ring {
    fn set_asleep(&self) -> u64 {
        let next = self.next.fetch_or(ASLEEP, Ordering::SeqCst);
        // Without the look at what it held, the answer is always what the consumer hopes for.
        if self.fault == Fault::NoSecondLook { self.consumed.load(Ordering::Relaxed) } else { next }
    }

    fn clear_asleep(&self) {
        self.next.fetch_and(!ASLEEP, Ordering::Relaxed);
    }
}

/// Where positions begin: also where a counter of 32 bits would wrap.
const STARTS: [u64; 2] = [0, u32::MAX as u64];

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// One producer sends `packets`; the consumer keeps the first, and reads it again at the end.
fn one_producer(fault: Fault, start: u64, packets: u64, sleeps: bool) {
    explore(move || {
        const SLOTS: u64 = 2;
        let ring = Ring::new(fault, SLOTS, SLOTS + 1, start);
        let producer = Arc::clone(&ring);
        let sender = thread::spawn(move || {
            for _ in 0..packets {
                while !producer.produce() {
                    thread::yield_now();
                }
            }
        });
        let mut kept = None;
        for position in start..start + packets {
            let frame = ring.wait(position, sleeps);
            assert_eq!(ring.read(frame), position, "the packet of this position, whole");
            let spare = kept.is_none().then_some(SLOTS);
            kept = kept.or(Some(frame));
            ring.consume(position, spare);
        }
        sender.join().expect("the producer ends");
        assert_eq!(kept.map(|frame| ring.read(frame)), Some(start), "a kept packet does not change");
    });
}

/// Two producers try to send one packet each into a ring of `slots` slots that holds `waiting` packets, while the
/// consumer takes those.
fn two_producers(fault: Fault, slots: u64, waiting: u64) {
    explore(move || {
        let ring = Ring::new(fault, slots, slots, 0);
        for _ in 0..waiting {
            assert!(ring.produce());
        }
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let ring = Arc::clone(&ring);
                thread::spawn(move || u64::from(ring.produce()))
            })
            .collect();
        let take = |position| {
            let frame = ring.poll(position).expect("a packet");
            assert_eq!(ring.read(frame), position, "the packet of this position, whole");
            ring.consume(position, None);
        };
        (0..waiting).for_each(take);
        let sent: u64 = senders.into_iter().map(|sender| sender.join().expect("the producer ends")).sum();
        assert!(sent + waiting >= slots.min(2), "refused although there was room");
        (waiting..waiting + sent).for_each(take);
        assert_eq!(ring.poll(waiting + sent), None);
    });
}

#[test]
fn packets_arrive_whole_and_in_order() {
    for start in STARTS {
        one_producer(Fault::None, start, 4, false);
    }
}

#[test]
fn no_wakeup_is_lost_and_none_is_sent_twice() {
    for start in STARTS {
        one_producer(Fault::None, start, 3, true);
    }
}

#[test]
fn two_producers_never_share_a_slot() {
    two_producers(Fault::None, 2, 0);
}

#[test]
fn two_producers_share_a_ring_that_is_full() {
    two_producers(Fault::None, 1, 1);
    two_producers(Fault::None, 2, 2);
}

/// Each fault, and what loom says of it.
macro_rules! faults {
    ($($name:ident: $model:ident($($argument:expr),*), $message:literal;)*) => {$(
        #[test]
        #[should_panic(expected = $message)]
        fn $name() {
            $model($($argument),*);
        }
    )*};
}

faults! {
    a_relaxed_publish_is_found: one_producer(Fault::RelaxedPublish, 0, 1, false), "Causality violation";
    a_relaxed_poll_is_found: one_producer(Fault::RelaxedPoll, 0, 1, false), "Causality violation";
    a_relaxed_consume_is_found: one_producer(Fault::RelaxedConsume, 0, 4, false), "Causality violation";
    a_late_swap_is_found: one_producer(Fault::LateSwap, 0, 4, false), "";
    a_missing_second_look_is_found: one_producer(Fault::NoSecondLook, 0, 2, true), "deadlock";
    a_missing_wake_is_found: one_producer(Fault::NoWake, 0, 2, true), "deadlock";
    a_missing_barrier_is_found: two_producers(Fault::NoBarrier, 2, 2), "Causality violation";
    a_missing_exchange_is_found: two_producers(Fault::NoExchange, 2, 0), "Causality violation";
}
