//! The filter's IPv6 tables: a search that meets a change finds no entry with another key's record.
//!
//! The search is `receiver_common::table`, as the XDP program and user space run it, over loom's atomics. The writer
//! does what `receiver/src/program/table.rs` does when a place is used again. The barriers, the generation and the
//! second look are taken away one by one, in tests that must fail.

use std::cell::Cell;
use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::thread;
use receiver_common::table::{BUCKET, EMPTY, ReadBucket, TOMBSTONE, find, record_at, v6};
use receiver_common::{AnyAddress, FlowAction, GroupAction};

/// What is wrong with a table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The reader has no barriers.
    NoReadBarrier,
    /// The writer has no barrier before it writes a record.
    NoWriteBarrier,
    /// The entry is published without release.
    RelaxedPublish,
    /// The reader does not read the word again.
    NoSecondLook,
    /// Each entry has the same generation.
    NoGeneration,
}

const HASH: u64 = 0;
const SLOT: u32 = 1;
/// They take turns in one place: the first is accepted, the second blocked.
const FIRST: AnyAddress = [1, 1];
const SECOND: AnyAddress = [2, 2];
/// Is never in the table.
const MIXTURE: AnyAddress = [1, 2];

/// The first place of a bucket.
struct Bucket {
    fault: Fault,
    word: AtomicU64,
    record: [AtomicU64; 2],
}

impl Bucket {
    /// With [`FIRST`] in it.
    fn new(fault: Fault) -> Arc<Self> {
        let bucket = Self { fault, word: AtomicU64::new(0), record: [AtomicU64::new(0), AtomicU64::new(0)] };
        bucket.publish(FIRST, true, 0);
        Arc::new(bucket)
    }

    fn publish(&self, record: AnyAddress, is_accept: bool, generation: u64) {
        let generation = if self.fault == Fault::NoGeneration { 0 } else { generation };
        let word = v6::FlowEntry::word(HASH, FlowAction { slot: SLOT, is_accept });
        let lowest = v6::FlowEntry::GENERATION & v6::FlowEntry::GENERATION.wrapping_neg();
        if self.fault != Fault::NoWriteBarrier {
            fence(Ordering::Release);
        }
        for (word, value) in self.record.iter().zip(record) {
            word.store(value, Ordering::Relaxed);
        }
        let ordering = if self.fault == Fault::RelaxedPublish { Ordering::Relaxed } else { Ordering::Release };
        self.word.store(word | (generation * lowest), ordering);
    }

    fn remove(&self) {
        self.word.store(TOMBSTONE, Ordering::Release);
    }

    /// Is the source there, and is it accepted?
    fn look(&self, source: AnyAddress) -> Option<bool> {
        let group = v6::GroupEntry::word(0, 0, GroupAction::include(SLOT));
        let look = Look { bucket: self, word: Cell::new(0) };
        find(look, v6::FlowEntry::search(source, HASH, group), || None).map(v6::FlowEntry::is_accept)
    }
}

/// One search.
struct Look<'a> {
    bucket: &'a Bucket,
    /// As it was read first.
    word: Cell<u64>,
}

impl ReadBucket for Look<'_> {
    fn word<const AT: usize>(&self) -> u64 {
        if AT > 0 {
            return EMPTY;
        }
        self.word.set(self.bucket.word.load(Ordering::Relaxed));
        self.word.get()
    }

    fn word_again<const AT: usize>(&self) -> u64 {
        if self.bucket.fault == Fault::NoSecondLook { self.word.get() } else { self.word::<AT>() }
    }

    fn record<const AT: usize>(&self) -> AnyAddress {
        assert_eq!(record_at::<AnyAddress>(AT), BUCKET, "the first place");
        [self.bucket.record[0].load(Ordering::Relaxed), self.bucket.record[1].load(Ordering::Relaxed)]
    }

    fn fence(&self) {
        if self.bucket.fault != Fault::NoReadBarrier {
            fence(Ordering::Acquire);
        }
    }
}

/// A source gives its place to another, while a reader looks for one of them, or for the mixture of both.
fn a_place_is_reused(fault: Fault) {
    for source in [FIRST, SECOND, MIXTURE] {
        loom::model(move || {
            let bucket = Bucket::new(fault);
            let writer = {
                let bucket = Arc::clone(&bucket);
                thread::spawn(move || {
                    bucket.remove();
                    bucket.publish(SECOND, false, 1);
                })
            };
            let found = bucket.look(source);
            let is_right = found.is_none_or(|is_accept| source != MIXTURE && is_accept == (source == FIRST));
            assert!(is_right, "another source's action: {source:?}, {found:?}");
            writer.join().expect("the writer");
            assert_eq!(bucket.look(source), (source == SECOND).then_some(false));
        });
    }
}

#[test]
fn a_search_finds_no_other_record() {
    a_place_is_reused(Fault::None);
}

#[test]
#[should_panic(expected = "another source's action")]
fn without_barriers_a_reader_mixes_entries() {
    a_place_is_reused(Fault::NoReadBarrier);
}

#[test]
#[should_panic(expected = "another source's action")]
fn without_a_barrier_a_record_is_seen_before_its_entry() {
    a_place_is_reused(Fault::NoWriteBarrier);
}

#[test]
#[should_panic(expected = "another source's action")]
fn an_entry_must_be_published_after_its_record() {
    a_place_is_reused(Fault::RelaxedPublish);
}

#[test]
#[should_panic(expected = "another source's action")]
fn without_a_second_look_a_reader_takes_the_next_record() {
    a_place_is_reused(Fault::NoSecondLook);
}

#[test]
#[should_panic(expected = "another source's action")]
fn without_generations_an_entry_passes_for_the_one_before() {
    a_place_is_reused(Fault::NoGeneration);
}
