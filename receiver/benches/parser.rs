//! What it costs to parse a frame on the host, for frames that are in the cache: the worker's share of the XDP
//! program's work.

#[path = "../tests/support/frames.rs"]
mod frames;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use receiver_common::Verdict;
use receiver_common::wire::{self, Network, Udp, VlanTags};

fn parser(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(1));
    let source_v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let group_v6 = [0xff, 0x3e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let v4 = |length: usize| frames::v4([10, 0, 0, 1], [232, 1, 1, 1], 5000, length - 42);
    let v6 = |length: usize| frames::v6(source_v6, group_v6, 5000, length - 62);
    let one = VlanTags { count: 1, outer: 200, inner: 0 };
    for (name, tags, frame) in [
        ("v4, 64 bytes", VlanTags::default(), v4(64)),
        ("v4, 1400 bytes", VlanTags::default(), v4(1400)),
        ("v4, 64 bytes, one tag", one, frames::tagged(&v4(64), &[(0x8100, 200)])),
        ("v6, 64 bytes", VlanTags::default(), v6(64)),
        ("v6, 1400 bytes", VlanTags::default(), v6(1400)),
    ] {
        assert!(parse(&frame, tags).is_ok_and(|udp| udp.lengths_agree));
        group.bench_function(name, |bencher| bencher.iter(|| parse(black_box(&frame), black_box(tags))));
    }
    group.finish();
}

fn parse(frame: &[u8], tags: VlanTags) -> Result<Udp, Verdict> {
    match wire::network(frame, tags)? {
        Network::V4(offset) => wire::udp_v4(frame, offset).map(|datagram| black_box(datagram).udp),
        Network::V6(offset) => wire::udp_v6(frame, offset).map(|datagram| black_box(datagram).udp),
    }
}

criterion_group!(benches, parser);
criterion_main!(benches);
