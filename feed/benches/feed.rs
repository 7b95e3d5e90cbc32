//! Cost per datagram: sequencing with two legs of which each loses 0.1 %, 10 and 10,000 streams, and the health of
//! transport streams. `cargo bench -p receiver-feed`.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use receiver_feed::arbiter::{Arbiter, Config, LegId, State};
use receiver_feed::health::{TsConfig, TsHealth};
use receiver_feed::protocol::{MoldUdp64, Protocol};

/// Datagrams between two looks at the clock.
const BATCH: u64 = 4096;

/// A MoldUDP64 datagram of one message of 22 bytes.
fn datagram() -> [u8; 44] {
    let mut datagram = [0; 44];
    datagram[..10].copy_from_slice(b"SESSION001");
    datagram[19] = 1;
    datagram[21] = 22;
    datagram
}

fn number(datagram: &mut [u8; 44], stream: u32, sequence: u64) {
    datagram[..4].copy_from_slice(&stream.to_be_bytes());
    datagram[10..18].copy_from_slice(&sequence.to_be_bytes());
}

fn observe(state: State) {
    black_box(state);
}

/// One in a thousand, without a pattern that the branch predictor learns.
fn lost(sequence: u64, leg: u64) -> bool {
    (sequence ^ leg << 60).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 < (1 << 32) / 1000
}

fn sequencing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sequencing");
    group.throughput(Throughput::Elements(BATCH));
    let mut bytes = datagram();

    let mut sequence = 0;
    group.bench_function("parsing alone", |bencher| {
        bencher.iter(|| {
            for _ in 0..BATCH {
                sequence += 1;
                number(&mut bytes, 0, sequence);
                let _ = black_box(MoldUdp64.parse(black_box(&bytes)));
            }
        });
    });

    let mut arbiter: Arbiter<_, Bytes> = Arbiter::new(MoldUdp64, Config::new(1));
    let mut sequence = 0;
    group.bench_function("one leg in order", |bencher| {
        bencher.iter(|| {
            for _ in 0..BATCH {
                sequence += 1;
                number(&mut bytes, 0, sequence);
                let _ = arbiter.push(LegId::new(0), sequence, &bytes[..], |delivery| observe(delivery.state));
            }
        });
    });

    let mut arbiter: Arbiter<_, Bytes> = Arbiter::new(MoldUdp64, Config::new(2));
    let mut step = 0u64;
    group.bench_function("two legs, 0.1 % loss on each", |bencher| {
        bencher.iter(|| {
            for _ in 0..BATCH {
                step += 1;
                // The second leg is eight messages behind.
                let (leg, sequence) = (step % 2, (step / 2).saturating_sub(step % 2 * 8));
                if lost(sequence, leg) {
                    continue;
                }
                number(&mut bytes, 0, sequence);
                let leg = LegId::new(leg as u8);
                let _ = arbiter.push(leg, step * 100, &bytes[..], |delivery| observe(delivery.state));
            }
        });
    });

    for streams in [10, 10_000] {
        let mut arbiter: Arbiter<_, Bytes> = Arbiter::new(MoldUdp64, Config::new(1));
        let mut step = 0u64;
        group.bench_function(format!("{streams} streams in turn"), |bencher| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    step += 1;
                    number(&mut bytes, (step % streams) as u32, step / streams);
                    let _ = arbiter.push(LegId::new(0), step, &bytes[..], |delivery| observe(delivery.state));
                }
            });
        });
    }
    group.finish();
}

/// 500 streams of seven-packet datagrams in turn: at 10 Mbit/s each, 475,000 datagrams a second.
fn transport_streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transport streams");
    group.throughput(Throughput::Elements(BATCH));
    let mut streams: Vec<_> = (0..500).map(|_| (TsHealth::new(TsConfig::default()), 0u8, [0xffu8; 7 * 188])).collect();
    let mut step = 0u64;
    group.bench_function("500 streams in turn", |bencher| {
        bencher.iter(|| {
            for _ in 0..BATCH {
                step += 1;
                let (health, counter, datagram) = &mut streams[(step % 500) as usize];
                for (at, packet) in datagram.chunks_mut(188).enumerate() {
                    *counter = (*counter + 1) & 0x0f;
                    // Video on one PID, and a packet of audio.
                    let (pid, counter) = if at == 6 { (2, (step / 500) as u8 & 0x0f) } else { (1, *counter) };
                    packet[..4].copy_from_slice(&[0x47, 0x01, pid, 0x10 | counter]);
                }
                *counter = counter.wrapping_sub(1) & 0x0f;
                health.observe(&datagram[..], step * 2_105);
            }
        });
    });
    assert_eq!(streams[0].0.report().errors.continuity, 0, "the streams are sound");
    group.finish();
}

criterion_group!(benches, sequencing, transport_streams);
criterion_main!(benches);
