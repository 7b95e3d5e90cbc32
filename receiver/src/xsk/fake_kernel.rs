//! The kernel's part, played over ordinary memory, so that the whole receive path is tested without privilege: takes
//! frames from the fill ring, writes packets into them, delivers them to the RX ring. Tests only.

use std::sync::Arc;

use rustix::net::xdp::{XdpDesc, XdpDescOptions};

use super::queue::Queue;
use super::ring::{Consumer, Producer, pair};
use super::umem::{HugePages, KERNEL_HEADROOM, Pool, Umem, UmemConfig};

/// The other ends of a queue's rings.
pub(super) struct FakeKernel {
    pub(super) fill: Consumer<u64>,
    pub(super) rx: Producer<XdpDesc>,
    memory: Arc<Pool>,
    /// Frames taken from the fill ring and not delivered yet.
    held: Vec<u64>,
}

/// A queue and the kernel at its other side. The rings start at index `start`.
pub(super) fn queue_and_kernel(frame_count: u32, fill: u32, rx: u32, start: u32) -> (Queue, FakeKernel) {
    let config = UmemConfig { frame_count, huge_pages: HugePages::Never, ..UmemConfig::default() };
    let umem = Umem::new(&config).expect("memory");
    let memory = umem.share();
    let (fill_producer, fill_consumer) = pair(fill, start).expect("memory");
    let (rx_producer, rx_consumer) = pair(rx, start).expect("memory");
    let kernel = FakeKernel { fill: fill_consumer, rx: rx_producer, memory, held: Vec::new() };
    (Queue::new(umem, fill_producer, rx_consumer), kernel)
}

impl FakeKernel {
    /// Takes up to `count` frames from the fill ring.
    pub(super) fn take_frames(&mut self, count: u32) {
        self.held.extend(self.fill.take(count));
    }

    /// Writes `metadata` and `packet` into a frame that it holds, and delivers it. `false`: no frame, or no room.
    pub(super) fn deliver(&mut self, metadata: &[u8], packet: &[u8], options: XdpDescOptions) -> bool {
        if self.rx.room(1) == 0 {
            return false;
        }
        let Some(frame) = self.held.pop() else { return false };
        let address = frame + u64::from(KERNEL_HEADROOM);
        self.memory.kernel_write(address - metadata.len() as u64, metadata);
        self.memory.kernel_write(address, packet);
        self.deliver_descriptor(XdpDesc { addr: address, len: packet.len() as u32, options })
    }

    /// Delivers any descriptor, sound or not.
    pub(super) fn deliver_descriptor(&mut self, descriptor: XdpDesc) -> bool {
        let mut once = Some(descriptor);
        self.rx.produce(1, || once.take()) == 1
    }

    /// Takes a frame that it holds out of the game, to deliver it by hand.
    pub(super) fn pop_held(&mut self) -> Option<u64> {
        self.held.pop()
    }

    /// The addresses of all frames that are held, or wait in the fill ring.
    pub(super) fn frames(&self) -> Vec<u64> {
        self.held.iter().copied().chain(self.fill.snapshot()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::ops::ControlFlow;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Instant;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::xsk::Lease;

    const NONE: XdpDescOptions = XdpDescOptions::empty();
    const FRAMES: u32 = 16;
    const FRAME_SIZE: u32 = 2048;

    #[derive(Clone, Debug)]
    enum Step {
        KernelTakes(u32),
        KernelDelivers { packets: u32, length: u16 },
        KernelDeliversSeveralBuffers(u32),
        KernelDeliversRubbish { address: u64, length: u32 },
        KernelDeliversTooLong,
        Receive { limit: u32, stop_after: u32, lease_pattern: u32, panic_at: Option<u32> },
        DropLeases { count: usize, elsewhere: bool },
        Refill,
    }

    fn step() -> impl Strategy<Value = Step> {
        let receive = (0_u32..20, 0_u32..20, any::<u32>(), proptest::option::weighted(0.1, 0_u32..8)).prop_map(
            |(limit, stop_after, lease_pattern, panic_at)| Step::Receive { limit, stop_after, lease_pattern, panic_at },
        );
        let anywhere = prop_oneof![any::<u64>(), 0..u64::from(FRAMES * FRAME_SIZE * 2)];
        prop_oneof![
            4 => (0_u32..20).prop_map(Step::KernelTakes),
            4 => (0_u32..12, 0_u16..1700).prop_map(|(packets, length)| Step::KernelDelivers { packets, length }),
            1 => (1_u32..4).prop_map(Step::KernelDeliversSeveralBuffers),
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
        /// Nothing that the user is to see.
        Unseen,
    }

    struct House {
        queue: Queue,
        kernel: FakeKernel,
        delivered: VecDeque<Delivered>,
        leases: Vec<(Vec<u8>, Lease)>,
        next_number: u64,
        invalid: u64,
        unsupported: u64,
    }

    impl House {
        fn new(start: u32) -> Self {
            let (queue, kernel) = queue_and_kernel(FRAMES, 32, 8, start);
            Self {
                queue,
                kernel,
                delivered: VecDeque::new(),
                leases: Vec::new(),
                next_number: 0,
                invalid: 0,
                unsupported: 0,
            }
        }

        fn run(&mut self, step: &Step) {
            match *step {
                Step::KernelTakes(count) => self.kernel.take_frames(count),
                Step::KernelDelivers { packets, length } => {
                    for _ in 0..packets {
                        let (number, length) = (self.next_number, usize::from(length));
                        if self.kernel.deliver(&number.to_ne_bytes(), &packet(number, length), NONE) {
                            self.delivered.push_back(Delivered::Packet { number, length });
                            self.next_number += 1;
                        }
                    }
                }
                Step::KernelDeliversSeveralBuffers(more) => {
                    // All or nothing, as the kernel does it.
                    if self.kernel.rx.room(more + 1) > more && self.kernel.held.len() > more as usize {
                        for left in (0..=more).rev() {
                            let options = if left > 0 { XdpDescOptions::XDP_PKT_CONTD } else { NONE };
                            assert!(self.kernel.deliver(&[], b"part", options));
                            self.delivered.push_back(Delivered::Unseen);
                        }
                        self.unsupported += 1;
                    }
                }
                Step::KernelDeliversRubbish { address, length } => self.deliver_rubbish(address, length),
                Step::KernelDeliversTooLong => {
                    if self.kernel.rx.room(1) > 0
                        && let Some(frame) = self.kernel.pop_held()
                    {
                        let length = FRAME_SIZE - KERNEL_HEADROOM + 1;
                        let addr = frame + u64::from(KERNEL_HEADROOM);
                        self.kernel.deliver_descriptor(XdpDesc { addr, len: length, options: NONE });
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
            if self.kernel.deliver_descriptor(XdpDesc { addr: address, len: length, options: NONE }) {
                self.delivered.push_back(Delivered::Unseen);
                self.invalid += 1;
            }
            if address < u64::from(FRAMES * FRAME_SIZE) {
                // Before a refill gives the kernel the frame: then the lie could not be told from the truth.
                self.receive(u32::MAX, u32::MAX, 0, None);
            }
        }

        fn receive(&mut self, limit: u32, stop_after: u32, lease_pattern: u32, panic_at: Option<u32>) {
            let before = self.queue.rx().pending();
            let (delivered, leases) = (&mut self.delivered, &mut self.leases);
            let mut seen = 0;
            let result = catch_unwind(AssertUnwindSafe(|| {
                self.queue.receive(limit, |mut received| {
                    let (number, length) = loop {
                        match delivered.pop_front().expect("more was received than delivered") {
                            Delivered::Packet { number, length } => break (number, length),
                            Delivered::Unseen => {}
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
            if let Ok(told) = result {
                assert_eq!(told, taken);
                assert!(taken <= limit);
                if seen <= stop_after {
                    assert_eq!(taken, before.min(limit), "stopped without being told to");
                }
            }
            // What was taken after the last packet that was seen.
            while delivered.len() > self.queue.rx().pending() as usize {
                assert!(matches!(delivered.pop_front(), Some(Delivered::Unseen)), "a packet was not shown");
            }
            assert_eq!(delivered.len(), self.queue.rx().pending() as usize);
        }

        /// Every frame is in exactly one place, and every lease holds what the kernel wrote.
        fn check(&self) {
            let umem = self.queue.umem();
            let (free, with_kernel) = umem.census();
            let leased: Vec<u32> = self.leases.iter().map(|(_, lease)| lease.frame_index()).collect();
            let mut places: Vec<u32> = [free.as_slice(), &with_kernel, &leased].concat();
            places.sort_unstable();
            assert_eq!(places, Vec::from_iter(0..FRAMES), "free {free:?} kernel {with_kernel:?} leased {leased:?}");

            // The books on the kernel's frames, against what its rings and hands really hold.
            let index = |address: u64| (address / u64::from(FRAME_SIZE)) as u32;
            let in_rx = self.queue.rx().snapshot();
            let mut kernel: Vec<u32> = self.kernel.frames().into_iter().map(index).collect();
            let inside = in_rx.iter().map(|descriptor| descriptor.addr).filter(|&a| a < u64::from(FRAMES * FRAME_SIZE));
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
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn every_frame_is_in_exactly_one_place(
            start in prop_oneof![any::<u32>(), (0_u32..64).prop_map(|n| u32::MAX - n)],
            steps in vec(step(), 1..120),
        ) {
            let mut house = House::new(start);
            house.check();
            for step in &steps {
                house.run(step);
                house.check();
            }
            house.run(&Step::Receive { limit: u32::MAX, stop_after: u32::MAX, lease_pattern: 0, panic_at: None });
            house.check();
            let counters = house.queue.counters();
            prop_assert_eq!(counters.invalid_descriptors, house.invalid);
            prop_assert_eq!(counters.unsupported_packets, house.unsupported);
        }
    }

    #[test]
    fn a_frame_that_comes_twice_is_taken_once() {
        let (mut queue, mut kernel) = queue_and_kernel(4, 4, 4, 0);
        queue.refill();
        kernel.take_frames(1);
        let addr = kernel.pop_held().unwrap() + 256;
        for _ in 0..2 {
            assert!(kernel.deliver_descriptor(XdpDesc { addr, len: 60, options: NONE }));
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
        const PACKETS: u64 = 50_000;
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
}
