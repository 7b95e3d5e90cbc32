//! A ring at every position: its indices count to 2^32 and wrap, and each slot keeps its order on the way.
//!
//! `RING_POSITIONS` is the number of positions, half of them before the wrap; 4294967296 are all.

use receiver_xsk::pair;

const SIZES: [u32; 4] = [1, 2, 64, 4096];

/// Of all starts, each seventh is tried. Miri is slow.
const STEP: usize = if cfg!(miri) { 7 * 199 } else { 7 };

fn asked(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// Fills and empties a ring in batches of different lengths, and compares each length and each slot with a count.
fn pass(size: u32, start: u32, count: u64) {
    let (mut producer, mut consumer) = pair::<u64>(size, start).expect("a ring");
    let (mut written, mut read, mut random) = (0_u64, 0_u64, u64::from(start) | 1);
    let mut below = |end: u32| {
        // xorshift64.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 32) as u32 % end
    };
    while read < count {
        let limit = below(size + 2);
        let free = size - (written - read) as u32;
        let produced = producer.produce(limit, || {
            written += 1;
            Some(written)
        });
        assert_eq!(produced, limit.min(free), "{written} written, {read} read, from {start}");
        let limit = below(size + 2);
        let there = u64::from(limit).min(written - read);
        let before = read;
        for slot in consumer.take(limit) {
            read += 1;
            assert_eq!(slot, read, "from {start}");
        }
        assert_eq!(read - before, there, "{written} written, from {start}");
        assert_eq!(producer.position(), start.wrapping_add(written as u32));
        assert_eq!(consumer.position(), start.wrapping_add(read as u32));
    }
}

#[test]
fn each_slot_keeps_its_order_at_every_position() {
    let count = asked("RING_POSITIONS", if cfg!(miri) { 200 } else { 1 << 21 });
    for size in SIZES {
        pass(size, 0_u32.wrapping_sub((count / 2) as u32), count);
    }
}

/// A ring may begin anywhere.
#[test]
fn each_slot_keeps_its_order_from_every_start() {
    for start in (0..=u16::MAX).flat_map(|low| [u32::from(low), u32::MAX - u32::from(low)]).step_by(STEP) {
        pass(4, start, 12);
    }
}
