//! Nothing is allocated for datagrams that arrive in order, for their copies on other legs, or for a TS packet.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use receiver_feed::arbiter::{Arbiter, Config, LegId};
use receiver_feed::health::{Bursts, Mdi, TsConfig, TsHealth};
use receiver_feed::protocol::MoldUdp64;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, and so from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

#[test]
fn in_order_datagrams_allocate_nothing() {
    let mut arbiter: Arbiter<_, Bytes> = Arbiter::new(MoldUdp64, Config::new(2));
    let mut datagram = [b"SESSION  1\0\0\0\0\0\0\0\0\0\x01\0\x01!".to_vec()].concat();
    let mut delivered = 0;
    let mut push = |sequence: u64, leg: u8| {
        datagram[10..18].copy_from_slice(&sequence.to_be_bytes());
        arbiter.push(LegId::new(leg), sequence, &datagram[..], |_| delivered += 1).unwrap();
    };
    for sequence in 1..100 {
        push(sequence, 0);
        push(sequence, 1);
    }
    let count = allocations(|| {
        for sequence in 100..10_000 {
            push(sequence, 0);
            push(sequence, 1);
        }
    });
    assert_eq!((count, delivered), (0, 10_000));
}

#[test]
fn held_datagrams_reuse_their_place() {
    let mut arbiter: Arbiter<_, Bytes> = Arbiter::new(MoldUdp64, Config::new(2));
    let datagrams: Vec<Bytes> = (0..4_000u64)
        .map(|sequence| [b"SESSION  1", &sequence.to_be_bytes()[..], &[0, 1, 0, 1, b'!']].concat().into())
        .collect();
    // The first clone of `Bytes` makes its count.
    let _counted = datagrams.clone();
    let mut delivered = 0;
    // Leg 0 loses each tenth, which leg 1 has a little later.
    let mut round = |range: std::ops::Range<usize>| {
        for (leg, step) in range.flat_map(|step| [(0, step), (1, step)]) {
            let at = if leg == 0 { step } else { step.saturating_sub(5) };
            if leg == 1 || at % 10 != 7 {
                arbiter.push(LegId::new(leg), step as u64, datagrams[at].clone(), |_| delivered += 1).unwrap();
            }
        }
    };
    round(0..2_000);
    let count = allocations(|| round(2_000..4_000));
    assert!(count < 20, "{count} allocations for 200 gaps");
    assert!(delivered > 3_900);
}

#[test]
fn measurements_allocate_nothing() {
    let mut ts = TsHealth::new(TsConfig::default());
    let (mut mdi, mut bursts, mut packet) = (Mdi::new(), Bursts::default(), [0xff; 188]);
    let mut observe = |at: u64| {
        packet[..4].copy_from_slice(&[0x47, 0x01, 0x00, 0x10 | (at & 0x0f) as u8]);
        ts.observe(&packet, at * 1_000_000);
        mdi.observe(at * 1_000_000, 188, 0);
        bursts.observe(at * 1_000_000, 188);
    };
    observe(0);
    assert_eq!(allocations(|| (1..5_000).for_each(&mut observe)), 0);
}
