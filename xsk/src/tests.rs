//! The whole receive path of a queue over ordinary memory, with a stand-in for the kernel: no frame is ever lost.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;

use super::Lease;
use super::descriptor::Descriptor;
use super::fake_kernel::{FakeKernel, queue_and_kernel};
use super::queue::Queue;
use super::ring::pair;
use super::umem::{KERNEL_HEADROOM, Umem, UmemConfig};

/// Cases of the property, steps and bytes of the longest, and packets between threads. Miri is slow.
const CASES: u32 = if cfg!(miri) { 2 } else { 512 };
const STEPS: usize = if cfg!(miri) { 12 } else { 120 };
const LENGTHS: std::ops::Range<u16> = if cfg!(miri) { 0..60 } else { 0..1700 };
const SEVERAL_LENGTHS: std::ops::Range<u16> = if cfg!(miri) { 5..300 } else { 5..9000 };
const PACKETS: u64 = if cfg!(miri) { 60 } else { 50_000 };

const NONE: u32 = 0;
const FRAMES: u32 = 16;
const FRAME_SIZE: u32 = 2048;

#[derive(Clone, Debug)]
enum Step {
    KernelTakes(u32),
    KernelDelivers {
        packets: u32,
        length: u16,
    },
    /// A packet in `more + 1` buffers, of which only the first few are in the ring at first.
    KernelDeliversSeveralBuffers {
        more: u32,
        length: u16,
        at_first: u32,
        broken: bool,
    },
    KernelDeliversRubbish {
        address: u64,
        length: u32,
    },
    KernelDeliversTooLong,
    Receive {
        limit: u32,
        stop_after: u32,
        lease_pattern: u32,
        panic_at: Option<u32>,
    },
    DropLeases {
        count: usize,
        elsewhere: bool,
    },
    Refill,
}

fn step() -> impl Strategy<Value = Step> {
    let receive = (0_u32..20, 0_u32..20, any::<u32>(), proptest::option::weighted(0.1, 0_u32..8)).prop_map(
        |(limit, stop_after, lease_pattern, panic_at)| Step::Receive { limit, stop_after, lease_pattern, panic_at },
    );
    let anywhere = prop_oneof![any::<u64>(), 0..u64::from(FRAMES * FRAME_SIZE * 2)];
    prop_oneof![
        4 => (0_u32..20).prop_map(Step::KernelTakes),
        4 => (0_u32..12, LENGTHS).prop_map(|(packets, length)| Step::KernelDelivers { packets, length }),
        3 => (1_u32..5, SEVERAL_LENGTHS, 0_u32..6, proptest::bool::weighted(0.2)).prop_map(
            |(more, length, at_first, broken)| Step::KernelDeliversSeveralBuffers { more, length, at_first, broken }
        ),
        1 => (anywhere, any::<u32>())
            .prop_map(|(address, length)| Step::KernelDeliversRubbish { address, length }),
        1 => Just(Step::KernelDeliversTooLong),
        4 => receive,
        3 => (0_usize..8, any::<bool>()).prop_map(|(count, elsewhere)| Step::DropLeases { count, elsewhere }),
        4 => Just(Step::Refill),
    ]
}

fn packet(number: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (number.wrapping_mul(31).wrapping_add(at.wrapping_mul(7))) as u8).collect()
}

/// What is in the RX ring, in order.
#[derive(Clone, Copy, Debug)]
enum Delivered {
    Packet {
        number: u64,
        length: usize,
    },
    /// A buffer of a packet that does not end with it.
    Part,
    /// Nothing that the user is to see.
    Unseen,
}

/// The last buffers of a packet, which are not in the ring yet.
struct Rest {
    parts: VecDeque<Vec<u8>>,
    broken: bool,
    last: Delivered,
}

struct House {
    queue: Queue,
    kernel: FakeKernel,
    delivered: VecDeque<Delivered>,
    rest: Option<Rest>,
    leases: Vec<(Vec<u8>, Lease)>,
    next_number: u64,
    invalid: u64,
    unsupported: u64,
    further: u64,
}

impl House {
    fn new(start: u32) -> Self {
        let (queue, kernel) = queue_and_kernel(FRAMES, 32, 8, start);
        Self {
            queue,
            kernel,
            delivered: VecDeque::new(),
            rest: None,
            leases: Vec::new(),
            next_number: 0,
            invalid: 0,
            unsupported: 0,
            further: 0,
        }
    }

    /// Delivers up to N buffers of the current packet. Returns false if some are left.
    fn deliver_rest(&mut self, mut count: u32) -> bool {
        while let Some(rest) = &mut self.rest {
            if count == 0 || self.kernel.rx.room(1) == 0 || self.kernel.held.is_empty() {
                return false;
            }
            count -= 1;
            let part = rest.parts.pop_front().expect("a packet under way has buffers left");
            let number = self.next_number.to_ne_bytes();
            let (options, kind) = match rest.parts.is_empty() {
                true => (NONE, rest.last),
                false => (Descriptor::CONTINUED, Delivered::Part),
            };
            if rest.broken && !rest.parts.is_empty() {
                rest.broken = false;
                let addr = self.kernel.pop_held().expect("looked at above") + u64::from(KERNEL_HEADROOM);
                self.kernel.deliver_descriptor(Descriptor { address: addr, length: FRAME_SIZE, options });
            } else {
                assert!(self.kernel.deliver(&number, &part, options));
            }
            self.delivered.push_back(kind);
            if rest.parts.is_empty() {
                self.rest = None;
                self.next_number += 1;
            }
        }
        true
    }

    /// How many descriptors are to be taken: no packet is cut, neither by the limit nor by its end not being there.
    fn expected(&self, limit: u32) -> usize {
        let mut taken = 0;
        while taken < self.delivered.len() && (taken as u64) < u64::from(limit) {
            let whole = self.delivered.iter().skip(taken).position(|kind| !matches!(kind, Delivered::Part));
            let Some(last) = whole else { break };
            taken += last + 1;
        }
        taken
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::KernelTakes(count) => self.kernel.take_frames(count),
            Step::KernelDelivers { .. } | Step::KernelDeliversRubbish { .. } | Step::KernelDeliversTooLong
                if !self.deliver_rest(u32::MAX) => {}
            Step::KernelDelivers { packets, length } => {
                for _ in 0..packets {
                    let (number, length) = (self.next_number, usize::from(length));
                    if self.kernel.deliver(&number.to_ne_bytes(), &packet(number, length), NONE) {
                        self.delivered.push_back(Delivered::Packet { number, length });
                        self.next_number += 1;
                    }
                }
            }
            Step::KernelDeliversSeveralBuffers { more, length, at_first, broken } => {
                if !self.deliver_rest(u32::MAX) {
                    return;
                }
                let length = usize::from(length).min((more as usize + 1) * 1700);
                let number = self.next_number;
                let whole = packet(number, length);
                let mut parts: VecDeque<_> =
                    whole.chunks(length.div_ceil(more as usize + 1)).map(<[u8]>::to_vec).collect();
                if parts.len() == 1 {
                    parts.push_back(Vec::new());
                }
                self.further += parts.len() as u64 - 1;
                self.unsupported += u64::from(broken);
                let last = if broken { Delivered::Unseen } else { Delivered::Packet { number, length } };
                self.rest = Some(Rest { parts, broken, last });
                self.deliver_rest(at_first);
            }
            Step::KernelDeliversRubbish { address, length } => self.deliver_rubbish(address, length),
            Step::KernelDeliversTooLong => {
                if self.kernel.rx.room(1) > 0
                    && let Some(frame) = self.kernel.pop_held()
                {
                    let length = FRAME_SIZE - KERNEL_HEADROOM + 1;
                    let addr = frame + u64::from(KERNEL_HEADROOM);
                    self.kernel.deliver_descriptor(Descriptor { address: addr, length, options: NONE });
                    self.delivered.push_back(Delivered::Unseen);
                    self.invalid += 1;
                }
            }
            Step::Receive { limit, stop_after, lease_pattern, panic_at } => {
                self.receive(limit, stop_after, lease_pattern, panic_at);
            }
            Step::DropLeases { count, elsewhere } => {
                let dropped = self.leases.split_off(self.leases.len().saturating_sub(count));
                if elsewhere {
                    thread::spawn(move || drop(dropped)).join().unwrap();
                }
            }
            Step::Refill => {
                self.queue.refill();
            }
        }
    }

    /// A descriptor of a frame that the kernel does not have.
    fn deliver_rubbish(&mut self, address: u64, length: u32) {
        let (_, kernel) = self.queue.umem().census();
        if kernel.iter().any(|&frame| u64::from(frame) == address / u64::from(FRAME_SIZE)) {
            return;
        }
        if self.kernel.deliver_descriptor(Descriptor { address, length, options: NONE }) {
            self.delivered.push_back(Delivered::Unseen);
            self.invalid += 1;
        }
        if address < u64::from(FRAMES * FRAME_SIZE) {
            // Before a refill gives the kernel the frame: then the invalid descriptor would look valid.
            self.receive(u32::MAX, u32::MAX, 0, None);
        }
    }

    fn receive(&mut self, limit: u32, stop_after: u32, lease_pattern: u32, panic_at: Option<u32>) {
        let before = self.queue.rx().pending();
        let expected_taken = self.expected(limit) as u32;
        let (delivered, leases) = (&mut self.delivered, &mut self.leases);
        let mut seen = 0;
        let result = catch_unwind(AssertUnwindSafe(|| {
            self.queue.receive(limit, |mut received| {
                let (number, length) = loop {
                    match delivered.pop_front().expect("more was received than delivered") {
                        Delivered::Packet { number, length } => break (number, length),
                        Delivered::Part | Delivered::Unseen => {}
                    }
                };
                let expected = packet(number, length);
                assert_eq!(received.bytes(), expected);
                assert_eq!(received.metadata(), Some(&mut number.to_ne_bytes()));
                assert!(received.metadata::<257>().is_none());
                if panic_at == Some(seen) {
                    std::panic::resume_unwind(Box::new("the callback's own"));
                }
                if lease_pattern >> (seen % 32) & 1 == 1 {
                    leases.push((expected, received.into_lease()));
                }
                seen += 1;
                if seen > stop_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        }));
        let taken = before - self.queue.rx().pending();
        if let Ok(returned) = result {
            assert_eq!(returned, taken);
            assert!(taken <= expected_taken);
            if seen <= stop_after {
                assert_eq!(taken, expected_taken, "stopped without `Break`, or cut a packet");
            }
        }
        // What was taken after the last packet that was seen.
        while delivered.len() > self.queue.rx().pending() as usize {
            let kind = delivered.pop_front();
            assert!(matches!(kind, Some(Delivered::Part | Delivered::Unseen)), "a packet was not shown");
        }
        assert_eq!(delivered.len(), self.queue.rx().pending() as usize);
    }

    /// Every frame is in exactly one place, and every lease holds what the kernel wrote.
    fn check(&self) {
        let umem = self.queue.umem();
        let (free, with_kernel) = umem.census();
        let leased: Vec<u32> = self.leases.iter().filter_map(|(_, lease)| lease.frame_index()).collect();
        let mut places: Vec<u32> = [free.as_slice(), &with_kernel, &leased].concat();
        places.sort_unstable();
        assert_eq!(places, Vec::from_iter(0..FRAMES), "free {free:?} kernel {with_kernel:?} leased {leased:?}");

        // The recorded frames of the kernel, against those in its rings and those that it holds.
        let index = |address: u64| (address / u64::from(FRAME_SIZE)) as u32;
        let in_rx = self.queue.rx().snapshot();
        let mut kernel: Vec<u32> = self.kernel.frames().into_iter().map(index).collect();
        let inside = in_rx.iter().map(|descriptor| descriptor.address).filter(|&a| a < u64::from(FRAMES * FRAME_SIZE));
        kernel.extend(inside.map(index));
        kernel.sort_unstable();
        assert_eq!(kernel, with_kernel);

        assert_eq!(umem.free_frames() as usize, free.len());
        assert_eq!(umem.kernel_frames() as usize, with_kernel.len());
        assert_eq!(umem.leased_frames() as usize, leased.len());
        for (expected, lease) in &self.leases {
            assert_eq!(&lease[..], expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]
    #[test]
    fn every_frame_is_in_exactly_one_place(
        start in prop_oneof![any::<u32>(), (0_u32..64).prop_map(|n| u32::MAX - n)],
        steps in vec(step(), 1..STEPS),
    ) {
        let mut house = House::new(start);
        house.check();
        for step in &steps {
            house.run(step);
            house.check();
        }
        // The buffers of the current packet that are not delivered yet.
        for _ in 0..4 {
            house.run(&Step::Receive { limit: u32::MAX, stop_after: u32::MAX, lease_pattern: 0, panic_at: None });
            house.leases.clear();
            house.run(&Step::Refill);
            house.run(&Step::KernelTakes(u32::MAX));
            house.deliver_rest(u32::MAX);
            house.check();
        }
        house.run(&Step::Receive { limit: u32::MAX, stop_after: u32::MAX, lease_pattern: 0, panic_at: None });
        house.check();
        let counters = house.queue.counters();
        prop_assert_eq!(counters.invalid_descriptors, house.invalid);
        prop_assert_eq!(counters.unsupported_packets, house.unsupported);
        prop_assert_eq!(counters.continuation_descriptors, house.further);
        prop_assert!(house.rest.is_none() && house.delivered.is_empty());
    }
}

/// Delivers a packet in the given number of full buffers.
fn deliver_chain(kernel: &mut FakeKernel, buffers: u32) {
    kernel.take_frames(buffers);
    for left in (0..buffers).rev() {
        let options = if left > 0 { Descriptor::CONTINUED } else { NONE };
        assert!(kernel.deliver(&[], &[left as u8; 1792], options));
    }
}

fn lengths(queue: &mut Queue) -> Vec<usize> {
    let mut lengths = Vec::new();
    queue.receive(u32::MAX, |received| {
        lengths.push(received.bytes().len());
        ControlFlow::Continue(())
    });
    queue.refill();
    lengths
}

#[test]
fn a_packet_over_several_buffers_is_bounded() {
    let (mut queue, mut kernel) = queue_and_kernel(64, 64, 64, 0);
    queue.refill();
    for (buffers, expected) in [(36, vec![36 * 1792]), (37, vec![]), (1, vec![1792])] {
        deliver_chain(&mut kernel, buffers);
        assert_eq!(lengths(&mut queue), expected);
    }
    let counters = queue.counters();
    assert_eq!((counters.gathered_packets, counters.unsupported_packets), (1, 1));
    assert_eq!(counters.continuation_descriptors, 35 + 36);
}

#[test]
fn a_packet_that_fills_the_ring_and_does_not_end_is_dropped() {
    let (mut queue, mut kernel) = queue_and_kernel(16, 16, 4, 0);
    queue.refill();
    for _ in 0..2 {
        kernel.take_frames(4);
        for _ in 0..4 {
            assert!(kernel.deliver(&[], b"part", Descriptor::CONTINUED));
        }
        assert!(lengths(&mut queue).is_empty());
        assert_eq!(queue.rx().pending(), 0, "it stands in the way of all others");
    }
    deliver_chain(&mut kernel, 1);
    assert!(lengths(&mut queue).is_empty(), "its last buffer");
    deliver_chain(&mut kernel, 2);
    assert_eq!(lengths(&mut queue), [2 * 1792]);
    let counters = queue.counters();
    assert_eq!((counters.unsupported_packets, counters.continuation_descriptors), (1, 8 + 1));
}

#[test]
fn a_packet_over_several_buffers_is_dropped_whole_where_none_is_wanted() {
    let (umem, memory) = {
        let umem = Umem::new(&UmemConfig { frame_count: 8, ..UmemConfig::default() }).unwrap();
        let memory = umem.share();
        (umem, memory)
    };
    let ((fill, fill_consumer), (rx, rx_consumer)) = (pair(8, 0).unwrap(), pair(8, 0).unwrap());
    let mut queue = Queue::new(umem, fill, rx_consumer);
    let mut kernel = FakeKernel { fill: fill_consumer, rx, memory, held: Vec::new() };
    queue.refill();
    deliver_chain(&mut kernel, 3);
    deliver_chain(&mut kernel, 1);
    assert_eq!(lengths(&mut queue), [1792]);
    let counters = queue.counters();
    assert_eq!((counters.unsupported_packets, counters.continuation_descriptors), (1, 2));
    assert_eq!(queue.umem().kernel_frames(), 8);
}

#[test]
fn a_gathered_packet_is_kept_as_a_copy_and_its_frames_are_free() {
    let (mut queue, mut kernel) = queue_and_kernel(8, 8, 8, 0);
    queue.refill();
    deliver_chain(&mut kernel, 3);
    let mut kept = None;
    queue.receive(1, |received| {
        assert!(received.is_gathered());
        let mut lease = received.into_lease();
        assert!(lease.narrow(1790..1794) && !lease.narrow(0..5));
        kept = Some(lease);
        ControlFlow::Continue(())
    });
    assert_eq!((queue.umem().leased_frames(), queue.umem().free_frames()), (0, 3));
    deliver_chain(&mut kernel, 3);
    queue.receive(1, |_| ControlFlow::Continue(()));
    assert_eq!(&kept.unwrap()[..], [2, 2, 1, 1]);
}

#[test]
fn a_frame_that_comes_twice_is_taken_once() {
    let (mut queue, mut kernel) = queue_and_kernel(4, 4, 4, 0);
    queue.refill();
    kernel.take_frames(1);
    let addr = kernel.pop_held().unwrap() + 256;
    for _ in 0..2 {
        assert!(kernel.deliver_descriptor(Descriptor { address: addr, length: 60, options: NONE }));
    }
    let mut leases = Vec::new();
    queue.receive(4, |received| {
        leases.push(received.into_lease());
        ControlFlow::Continue(())
    });
    assert_eq!(leases.len(), 1);
    assert_eq!(queue.counters().invalid_descriptors, 1);
}

#[test]
fn leases_dropped_by_another_thread_while_packets_come() {
    let (mut queue, mut kernel) = queue_and_kernel(64, 64, 32, u32::MAX - 500);
    queue.refill();
    let (lease_sender, lease_receiver) = mpsc::sync_channel::<(u64, Lease)>(16);
    let wire = thread::spawn(move || {
        let mut number = 0;
        while number < PACKETS {
            kernel.take_frames(8);
            if kernel.deliver(&number.to_ne_bytes(), &packet(number, 100), NONE) {
                number += 1;
            } else {
                thread::yield_now();
            }
        }
        kernel
    });
    let consumer = thread::spawn(move || {
        for (number, lease) in lease_receiver {
            assert_eq!(&lease[..], packet(number, 100));
        }
    });
    let mut number = 0;
    let start = Instant::now();
    while number < PACKETS {
        let taken = queue.receive(16, |received| {
            if number % 3 == 0 {
                lease_sender.send((number, received.into_lease())).unwrap();
            } else {
                assert_eq!(received.bytes(), packet(number, 100));
            }
            number += 1;
            ControlFlow::Continue(())
        });
        queue.refill();
        if taken == 0 {
            assert!(start.elapsed().as_secs() < 60, "frames were lost: nothing comes any more");
            thread::yield_now();
        }
    }
    drop(lease_sender);
    consumer.join().unwrap();
    let _kernel = wire.join().unwrap();
    assert_eq!(queue.umem().leased_frames(), 0);
    let (mut free, with_kernel) = queue.umem().census();
    free.extend(with_kernel);
    free.sort_unstable();
    assert_eq!(free, Vec::from_iter(0..64));
}

#[test]
fn a_lease_outlives_its_queue_and_becomes_bytes_without_a_copy() {
    let (mut queue, mut kernel) = queue_and_kernel(4, 4, 4, 0);
    queue.refill();
    kernel.take_frames(4);
    assert!(kernel.deliver(&[], b"headpayloadpad", NONE));
    let mut kept = None;
    queue.receive(1, |received| {
        let mut lease = received.into_lease();
        assert!(!lease.narrow(4..15));
        #[expect(clippy::reversed_empty_ranges)]
        let reversed = 3..2;
        assert!(!lease.narrow(reversed));
        assert!(lease.narrow(4..11));
        assert!(!lease.narrow(0..8));
        kept = Some((lease.as_ptr(), bytes::Bytes::from_owner(lease)));
        ControlFlow::Break(())
    });
    drop((queue, kernel));
    let (address, bytes) = kept.unwrap();
    assert_eq!(bytes.as_ptr(), address);
    assert_eq!(thread::spawn(move || bytes.slice(3..)).join().unwrap(), &b"load"[..]);
}

#[test]
fn the_wakeup_is_asked_for_only_while_the_kernel_has_frames() {
    let (mut queue, kernel) = queue_and_kernel(4, 4, 4, 0);
    kernel.fill.ask_for_wakeup(true);
    assert!(!queue.needs_wakeup());
    queue.refill();
    assert!(queue.needs_wakeup());
    kernel.fill.ask_for_wakeup(false);
    assert!(!queue.needs_wakeup());
}

#[test]
fn a_lease_may_go_anywhere() {
    fn anywhere<T: Send + Sync + AsRef<[u8]> + 'static>() {}
    anywhere::<Lease>();
}

#[test]
#[cfg_attr(miri, ignore = "long: a thousand frames")]
fn a_limit_fill_queue_uses_a_few_frames_again_and_again() {
    let (queue, mut kernel) = queue_and_kernel(1024, 512, 128, 0);
    let mut queue = queue.limit_fill();
    assert_eq!(queue.refill(), 128 + 64);
    assert_eq!(queue.refill(), 0);
    // A full RX ring does not mean an empty fill ring.
    kernel.take_frames(128);
    assert_eq!(kernel.fill.pending(), 64);
    let mut used = BTreeSet::new();
    for _ in 0..100 {
        used.extend(kernel.frames());
        while kernel.deliver(&[], b"packet", NONE) {}
        queue.receive(128, |_| ControlFlow::Continue(()));
        queue.refill();
        kernel.take_frames(128);
        assert_eq!(queue.umem().kernel_frames(), 128 + 64);
    }
    assert_eq!(used.len(), 128 + 64);
    // What leases hold is made up for.
    let mut leases = Vec::new();
    for _ in 0..4 {
        while kernel.deliver(&[], b"packet", NONE) {}
        queue.receive(128, |received| {
            leases.push(received.into_lease());
            ControlFlow::Continue(())
        });
        queue.refill();
        kernel.take_frames(128);
    }
    assert_eq!((leases.len(), queue.umem().kernel_frames()), (512, 128 + 64));
}
