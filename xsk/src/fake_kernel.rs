//! A stand-in for the kernel over ordinary memory, so that tests of the whole receive path need no privilege. It takes
//! frames from the fill ring, writes packets into them, and delivers them to the RX ring.

use std::sync::Arc;

use super::descriptor::Descriptor;
use super::queue::Queue;
use super::ring::{Consumer, Producer, pair};
use super::umem::{HugePages, KERNEL_HEADROOM, Pool, Umem, UmemConfig};

/// The other ends of a queue's rings.
pub(super) struct FakeKernel {
    pub(super) fill: Consumer<u64>,
    pub(super) rx: Producer<Descriptor>,
    pub(super) memory: Arc<Pool>,
    /// Frames taken from the fill ring and not delivered yet.
    pub(super) held: Vec<u64>,
}

/// Makes a queue and the kernel's ends of its rings, which start at index `start`.
pub(super) fn queue_and_kernel(frame_count: u32, fill: u32, rx: u32, start: u32) -> (Queue, FakeKernel) {
    let config = UmemConfig { frame_count, huge_pages: HugePages::Never, ..UmemConfig::default() };
    let umem = Umem::new(&config).expect("memory");
    let memory = umem.share();
    let (fill_producer, fill_consumer) = pair(fill, start).expect("memory");
    let (rx_producer, rx_consumer) = pair(rx, start).expect("memory");
    let kernel = FakeKernel { fill: fill_consumer, rx: rx_producer, memory, held: Vec::new() };
    (Queue::new(umem, fill_producer, rx_consumer).gathering(), kernel)
}

impl FakeKernel {
    /// Takes up to `count` frames from the fill ring.
    pub(super) fn take_frames(&mut self, count: u32) {
        self.held.extend(self.fill.take(count));
    }

    /// Writes `metadata` and `packet` into a held frame, and delivers it. Returns false without a frame or without
    /// room.
    pub(super) fn deliver(&mut self, metadata: &[u8], packet: &[u8], options: u32) -> bool {
        if self.rx.room(1) == 0 {
            return false;
        }
        let Some(frame) = self.held.pop() else { return false };
        let address = frame + u64::from(KERNEL_HEADROOM);
        self.memory.kernel_write(address - metadata.len() as u64, metadata);
        self.memory.kernel_write(address, packet);
        self.deliver_descriptor(Descriptor { address, length: packet.len() as u32, options })
    }

    /// Delivers any descriptor, valid or not.
    pub(super) fn deliver_descriptor(&mut self, descriptor: Descriptor) -> bool {
        let mut once = Some(descriptor);
        self.rx.produce(1, || once.take()) == 1
    }

    /// Takes a held frame, to deliver it separately.
    pub(super) fn pop_held(&mut self) -> Option<u64> {
        self.held.pop()
    }

    /// The addresses of all frames that are held, or are in the fill ring.
    pub(super) fn frames(&self) -> Vec<u64> {
        self.held.iter().copied().chain(self.fill.snapshot()).collect()
    }
}
