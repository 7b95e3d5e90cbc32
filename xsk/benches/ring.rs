//! What the rings and the receive loop cost by themselves, over ordinary memory and on one core: no kernel, no cache
//! line that moves between cores.

use std::hint::black_box;
use std::ops::ControlFlow;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use receiver_xsk::{Consumer, Descriptor, HugePages, Lease, Producer, Queue, Umem, UmemConfig, pair};

const BATCH: u32 = 64;
const HEADROOM: u64 = 256;

/// The kernel's ends: moves frames from the fill ring to the RX ring.
struct Wire {
    fill: Consumer<u64>,
    rx: Producer<Descriptor>,
}

impl Wire {
    fn deliver(&mut self, packets: u32) {
        let mut frames = self.fill.take(packets);
        let delivered = self.rx.produce(packets, || {
            let addr = frames.next()? + HEADROOM;
            Some(Descriptor { address: addr, length: 64, options: 0 })
        });
        assert_eq!(delivered, packets);
    }
}

fn queue(frame_count: u32) -> (Queue, Wire) {
    let umem = Umem::new(&UmemConfig { frame_count, huge_pages: HugePages::Never, ..UmemConfig::default() });
    let (fill, kernel_fill) = pair(frame_count, u32::MAX - 100_000).expect("memory");
    let (kernel_rx, rx) = pair(2048, u32::MAX - 100_000).expect("memory");
    let mut queue = Queue::new(umem.expect("memory"), fill, rx);
    queue.refill();
    (queue, Wire { fill: kernel_fill, rx: kernel_rx })
}

fn rings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    group.throughput(Throughput::Elements(u64::from(BATCH)));
    group.bench_function("addresses through, batch of 64", |bencher| {
        let (mut producer, mut consumer) = pair::<u64>(2048, u32::MAX - 100_000).expect("memory");
        let mut next = 0;
        bencher.iter(|| {
            producer.produce(BATCH, || {
                next += 2048;
                Some(next)
            });
            consumer.take(BATCH).map(black_box).count()
        });
    });
    group.bench_function("nothing there", |bencher| {
        let (_producer, mut consumer) = pair::<u64>(2048, 0).expect("memory");
        bencher.iter(|| consumer.take(BATCH).count());
    });
    group.finish();
}

/// Each round carries the wire's own work too: about what "addresses through" costs twice.
fn receive(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receive and refill, batch of 64");
    group.throughput(Throughput::Elements(u64::from(BATCH)));
    // 512 frames stay in the cache with their first lines; 32768 (64 MiB) do not.
    for frames in [512, 32768] {
        group.bench_function(format!("in place, {frames} frames"), |bencher| {
            let (mut queue, mut wire) = queue(frames);
            bencher.iter(|| {
                wire.deliver(BATCH);
                let mut sum = 0_u64;
                queue.receive(BATCH, |received| {
                    sum += u64::from(received[12]) + u64::from(received[40]);
                    ControlFlow::Continue(())
                });
                queue.refill();
                sum
            });
        });
    }
    group.bench_function("leased and dropped", |bencher| {
        let (mut queue, mut wire) = queue(512);
        let mut leases: Vec<Lease> = Vec::with_capacity(BATCH as usize);
        bencher.iter_batched(
            || (),
            |()| {
                wire.deliver(BATCH);
                queue.receive(BATCH, |received| {
                    leases.push(received.into_lease());
                    ControlFlow::Continue(())
                });
                leases.clear();
                queue.refill();
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, rings, receive);
criterion_main!(benches);
