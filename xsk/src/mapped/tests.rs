//! The consumer against a producer that follows the protocol in this process: random orders of packets, keeping and
//! dropping; frames are conserved, and kept packets do not change.

use std::collections::VecDeque;

use proptest::prelude::*;
use receiver_common::mapped::{MAX_PACKET, Producer, Refused, max_packet, reserve};

use super::*;
use crate::lease::Lease;

const SLOTS: u32 = 8;
const FRAMES: u32 = 32;

/// The longest case of the property, and packets between threads. Miri is slow.
const STEPS: usize = if cfg!(miri) { 20 } else { 200 };
const PACKETS: u32 = if cfg!(miri) { 60 } else { 50_000 };

/// Plays the XDP program.
struct Program {
    place: Place,
    memory: Arc<Mapping>,
    frame_size: usize,
    wakes: u32,
}

impl Producer for Place {
    fn next(&self) -> u64 {
        Place::next(self).load(Ordering::Relaxed)
    }

    fn replace_next(&self, from: u64, to: u64) -> bool {
        Place::next(self).compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn consumed_seen(&self) -> u64 {
        self.control::<AtomicU64>(std::mem::offset_of!(Control, consumed_seen)).load(Ordering::Relaxed)
    }

    fn set_consumed_seen(&self, position: u64) {
        self.control::<AtomicU64>(std::mem::offset_of!(Control, consumed_seen)).store(position, Ordering::Release);
    }

    fn consumed(&self) -> u64 {
        Place::consumed(self).load(Ordering::Acquire)
    }
}

impl Program {
    /// Delivers a packet. Returns false if the ring is full.
    fn deliver(&mut self, packet: &[u8]) -> bool {
        let reserved = match reserve(&self.place, SLOTS.into()) {
            Ok(reserved) => reserved,
            Err(Refused::Full) => return false,
            Err(Refused::Busy) => panic!("nobody else reserves"),
        };
        let slot = (reserved.position % u64::from(SLOTS)) as u32;
        let at = self.place.entry(slot).load(Ordering::Relaxed) as usize * self.frame_size;
        assert!(packet.len() <= max_packet(self.frame_size));
        assert!(at < self.memory.length(), "the entry names a frame");
        // SAFETY: within the memory. The entry names the frame, so no lease holds it, and the slot is this producer's.
        unsafe {
            let frame = self.memory.start().add(at);
            let header = frame.cast::<FrameHeader>().as_ptr();
            (&raw mut (*header).length).write_volatile(packet.len() as u32);
            frame.add(PACKET_OFFSET).copy_from_nonoverlapping(std::ptr::NonNull::from(packet).cast(), packet.len());
            frame.cast::<AtomicU64>().as_ref().store(reserved.position + 1, Ordering::Release);
        }
        self.wakes += u32::from(reserved.must_wake);
        true
    }
}

fn ring() -> (Program, MappedQueue) {
    ring_of(FRAME_SIZE)
}

fn ring_of(frame_size: usize) -> (Program, MappedQueue) {
    let map = |length| Arc::new(Mapping::anonymous(length).expect("memory"));
    let place = Place {
        control: map(size_of::<Control>()),
        entries: map(SLOTS as usize * size_of::<u64>()),
        queue: 0,
        first_entry: 0,
    };
    let memory = map(FRAMES as usize * frame_size);
    let umem = Umem::over(Arc::clone(&memory), FRAMES, frame_size as u32, RESERVED);
    let queue = MappedQueue::new(umem, place.clone(), SLOTS, 0);
    (Program { place, memory, frame_size, wakes: 0 }, queue)
}

/// Every frame is free, named by an entry, or leased, and each once.
fn check(queue: &MappedQueue, leases: usize) {
    let umem = queue.umem();
    assert_eq!(umem.leased_frames() as usize, leases);
    assert_eq!(umem.free_frames() + umem.kernel_frames() + umem.leased_frames(), FRAMES);
    let (free, named) = umem.census();
    let mut all: Vec<u32> = free.into_iter().chain(named).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len() + leases, FRAMES as usize);
}

proptest! {
    #[test]
    fn frames_are_conserved(
        large in any::<bool>(),
        steps in prop::collection::vec((0u8..4, 1u32..12), 1..STEPS),
    ) {
        let frame_size = if large { LARGE_FRAME_SIZE } else { FRAME_SIZE };
        let (mut program, mut queue) = ring_of(frame_size);
        // From 42 bytes to the longest packet.
        let step = (max_packet(frame_size) - 42) / 255;
        let (mut sent, mut expected) = (0u8, VecDeque::new());
        let mut kept: Vec<(Lease, Vec<u8>)> = Vec::new();
        for (what, count) in steps {
            match what {
                0 | 1 => for _ in 0..count {
                    sent = sent.wrapping_add(1);
                    let packet = vec![sent; 42 + usize::from(sent) * step];
                    let pending = program.place.next().load(Ordering::Relaxed) - queue.consumed;
                    prop_assert_eq!(program.deliver(&packet), pending < SLOTS.into());
                    if pending < SLOTS.into() {
                        expected.push_back(packet);
                    }
                },
                2 => {
                    let keeps = count % 2 == 0;
                    let taken = queue.receive(count, |received| {
                        let packet: Vec<u8> = expected.pop_front().expect("a packet that was sent");
                        assert_eq!(received.bytes(), packet);
                        if keeps {
                            kept.push((received.into_lease(), packet));
                        }
                        ControlFlow::Continue(())
                    });
                    // Fewer only if nothing more is there, or no frame is left for the slots.
                    prop_assert!(taken == count || expected.is_empty() || queue.umem().free_frames() == 0);
                }
                _ => drop(kept.drain(..(count as usize).min(kept.len()))),
            }
            for (lease, packet) in &kept {
                prop_assert_eq!(&lease[..], &packet[..]);
            }
            check(&queue, kept.len());
        }
        prop_assert_eq!((queue.refused(), program.wakes), (0, 0));
    }
}

#[test]
fn a_ring_whose_frames_are_all_kept_stalls_and_goes_on() {
    let (mut program, mut queue) = ring();
    let mut kept = Vec::new();
    let keep = |queue: &mut MappedQueue, kept: &mut Vec<Lease>| {
        queue.receive(u32::MAX, |received| {
            kept.push(received.into_lease());
            ControlFlow::Continue(())
        });
    };
    while program.deliver(&[1; 60]) {
        keep(&mut queue, &mut kept);
    }
    assert_eq!((kept.len(), queue.umem().free_frames()), (FRAMES as usize, 0));
    check(&queue, kept.len());
    kept.truncate(3);
    queue.give_back();
    assert!((0..SLOTS).all(|_| program.deliver(&[2; 60])) && !program.deliver(&[2; 60]));
    assert_eq!(queue.receive(u32::MAX, |_| ControlFlow::Continue(())), SLOTS);
    check(&queue, 3);
}

/// The consumer keeps some packets while the program writes the next ones. Each holds what was sent, in order.
#[test]
fn passes_all_in_order_between_threads() {
    let (mut program, mut queue) = ring();
    let packet = |number: u32| number.to_ne_bytes().repeat(16);
    let writer = std::thread::spawn(move || {
        for number in 0..PACKETS {
            while !program.deliver(&packet(number)) {
                std::thread::yield_now();
            }
        }
    });
    let (mut kept, mut expected) = (VecDeque::new(), 0);
    while expected < PACKETS {
        let taken = queue.receive(5, |received| {
            assert_eq!(received.bytes(), packet(expected));
            if expected.is_multiple_of(3) {
                kept.push_back((expected, received.into_lease()));
            }
            expected += 1;
            ControlFlow::Continue(())
        });
        if kept.len() > SLOTS as usize || taken == 0 {
            if let Some((number, lease)) = kept.pop_front() {
                assert_eq!(&lease[..], packet(number));
            }
            std::thread::yield_now();
        }
    }
    writer.join().expect("the program");
    check(&queue, kept.len());
    assert_eq!((queue.refused(), queue.not_copied()), (0, 0));
}

#[test]
fn a_panic_costs_one_packet() {
    let (mut program, mut queue) = ring();
    assert!((1..=3).all(|number| program.deliver(&[number; 60])));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        queue.receive(u32::MAX, |_| panic!("a consumer"));
    }));
    assert!(panicked.is_err());
    let mut seen = Vec::new();
    queue.receive(u32::MAX, |received| {
        seen.push(received[0]);
        ControlFlow::Continue(())
    });
    assert_eq!(seen, [2, 3]);
    check(&queue, 0);
}

#[test]
fn only_a_consumer_that_sleeps_is_woken() {
    let (mut program, mut queue) = ring();
    assert!(!queue.wake(), "it never slept");
    assert!(queue.sleep(), "nothing is there");
    assert!(program.deliver(&[1; 60]) && program.deliver(&[2; 60]));
    assert_eq!(program.wakes, 1, "once");
    assert!(queue.wake());
    assert!(!queue.sleep(), "packets are there");
    assert!(program.deliver(&[3; 60]));
    assert_eq!((queue.receive(u32::MAX, |_| ControlFlow::Continue(())), program.wakes), (3, 1));
    assert!(queue.sleep() && queue.wake());
    assert!(program.deliver(&[4; 60]));
    assert_eq!(program.wakes, 1, "awake again");
    // Reserved, and not there yet.
    queue.receive(u32::MAX, |_| ControlFlow::Continue(()));
    assert!(reserve(&program.place, SLOTS.into()).is_ok());
    assert!(!queue.is_ready() && !queue.sleep());
}

#[test]
fn metadata_does_not_reach_the_sequence_number() {
    let (mut program, mut queue) = ring();
    assert!(program.deliver(&[1; 60]));
    queue.receive(1, |mut received| {
        assert!(received.metadata::<STAMP_SIZE>().is_some());
        assert!(received.metadata::<{ STAMP_SIZE + 1 }>().is_none());
        ControlFlow::Continue(())
    });
}

/// Delivers a packet and gives its header another length, for which `receive` must show nothing.
fn deliver_with_length(program: &mut Program, queue: &mut MappedQueue, length: u32) {
    let slot = (program.place.next().load(Ordering::Relaxed) % u64::from(SLOTS)) as u32;
    let at = program.place.entry(slot).load(Ordering::Relaxed) as usize * program.frame_size;
    assert!(program.deliver(&[1; 60]));
    // SAFETY: the header of a frame that is published and not taken; tests have one thread.
    unsafe {
        (&raw mut (*program.memory.start().add(at).cast::<FrameHeader>().as_ptr()).length).write_volatile(length)
    };
    assert_eq!(queue.receive(1, |_| panic!("shown")), 1);
}

#[test]
fn headers_that_no_program_writes_are_refused() {
    for frame_size in [FRAME_SIZE, LARGE_FRAME_SIZE] {
        let (mut program, mut queue) = ring_of(frame_size);
        for length in [max_packet(frame_size) as u32 + 1, 1 << 31, u32::MAX] {
            deliver_with_length(&mut program, &mut queue, length);
        }
        assert_eq!((queue.refused(), queue.not_copied()), (3, 0));
        check(&queue, 0);
    }
}

#[test]
fn a_packet_that_was_not_copied_is_counted_as_such() {
    let (mut program, mut queue) = ring();
    deliver_with_length(&mut program, &mut queue, 0);
    assert_eq!((queue.refused(), queue.not_copied()), (0, 1));
    check(&queue, 0);
}

#[test]
fn a_large_frame_holds_and_leases_its_longest_packet() {
    let (mut program, mut queue) = ring_of(LARGE_FRAME_SIZE);
    let packets: Vec<Vec<u8>> = (0..2 * SLOTS as usize)
        .map(|number| {
            let length = max_packet(LARGE_FRAME_SIZE) - number % 2 * (LARGE_FRAME_SIZE - MAX_PACKET);
            (0..length).map(|at| (number * 7 + at + at / 251) as u8).collect()
        })
        .collect();
    let mut kept = Vec::new();
    for packet in &packets {
        assert!(program.deliver(packet));
        queue.receive(1, |received| {
            kept.push(received.into_lease());
            ControlFlow::Continue(())
        });
    }
    // Read after all came: neighbours did not write over each other.
    assert!(kept.len() == packets.len() && kept.iter().zip(&packets).all(|(lease, packet)| lease[..] == packet[..]));
    check(&queue, kept.len());
}

#[test]
#[cfg_attr(miri, ignore = "memfd_create(2)")]
fn other_sizes_of_frames_are_refused() {
    let memory = rustix::fs::memfd_create("ring", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
    let fd = std::os::fd::AsFd::as_fd(&memory);
    let map = |frame_size| {
        let maps = MappedMaps { control: fd, entries: fd, frames: fd, slots: 8, frames_per_ring: 32, frame_size };
        MappedQueue::map(&maps, &[0]).map(drop)
    };
    for frame_size in [0, 1024, 4096, LARGE_FRAME_SIZE * 2] {
        assert_eq!(map(frame_size), Err(Errno::INVAL), "{frame_size}");
    }
}
