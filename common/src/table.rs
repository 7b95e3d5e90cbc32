//! The filter's tables: open addressing over words, in array maps that user space changes by plain stores.
//!
//! An entry is one word of 64 bits that holds key, action and slot. So every change is one store, and a reader never
//! sees half an entry. A look-up takes the XDP program a few loads, where a hash map takes a call.
//!
//! A filter has two tables for each IP version. Group and port give a slot of 18 bits. Source and slot give the action
//! for the source. [`v4`] and [`v6`] define the words. An IPv6 address does not fit in a word: it is the entry's
//! [`Record`].
//!
//! A search starts at the key's home bucket, whose words are one cache line. It ends when it finds the key or an empty
//! word, or after [`MAX_PROBES`] words. A removed entry leaves a tombstone unless the word after it is empty.
//!
//! The home bucket of a source depends on source, group and port, but not on the slot. So the CPU can fetch both cache
//! lines before it knows the slot.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use crate::AnyAddress;

pub mod v4;
pub mod v6;

/// Read access to a bucket that another party may write at the same time. Each word is read whole.
///
/// Positions are constants: without CAP_PERFMON the kernel's verifier lets the XDP program add only constants to a
/// pointer, and the compiler must not merge the additions of several.
pub trait ReadBucket {
    /// The word of the entry at a position below [`BUCKET`].
    fn word<const AT: usize>(&self) -> u64;

    /// The same word, read once more.
    fn word_again<const AT: usize>(&self) -> u64;

    /// The record of that entry, in a bucket with IPv6 addresses as records.
    fn record<const AT: usize>(&self) -> AnyAddress;

    /// Keeps the reads before it before the reads after it.
    fn fence(&self);
}

impl<const WORDS: usize> ReadBucket for &[AtomicU64; WORDS] {
    fn word<const AT: usize>(&self) -> u64 {
        // Relaxed: an entry without a record is complete in itself, and readers of a record call `fence`.
        self[AT].load(Ordering::Relaxed)
    }

    fn word_again<const AT: usize>(&self) -> u64 {
        self.word::<AT>()
    }

    fn record<const AT: usize>(&self) -> AnyAddress {
        let at = record_at::<AnyAddress>(AT);
        [self[at].load(Ordering::Relaxed), self[at + 1].load(Ordering::Relaxed)]
    }

    fn fence(&self) {
        fence(Ordering::Acquire);
    }
}

/// The part of a key that stands beside the entry's word.
///
/// User space writes a record only while its word holds no entry, and gives the entry that it then publishes another
/// generation. So a record belongs to the entry if the word is the same before and after the record was read. If the
/// word has changed, its key was not in the table at some moment of the search, and the search may go on without it.
pub trait Record: Copy {
    /// Words of a record.
    const WORDS: usize;

    /// Returns true if this is the record of `entry`, which was read from the word at a position.
    fn is_of<const AT: usize>(self, bucket: &impl ReadBucket, entry: u64) -> bool;
}

/// No record: the word holds the whole key.
impl Record for () {
    const WORDS: usize = 0;

    #[inline(always)]
    fn is_of<const AT: usize>(self, _: &impl ReadBucket, _: u64) -> bool {
        true
    }
}

/// What a search looks for.
#[derive(Clone, Copy, Debug)]
pub struct Key<R> {
    /// The bits that the entry's word has under `mask`.
    pub bits: u64,
    /// The bits of a word that are its key.
    pub mask: u64,
    /// The entry's record.
    pub record: R,
}

/// Words of a bucket that are entries. Their records follow.
pub const BUCKET: usize = 8;
/// Upper bound of the buckets that a search visits.
pub const MAX_BUCKETS: u32 = 8;
/// Upper bound of the words that a search visits.
pub const MAX_PROBES: u32 = MAX_BUCKETS * BUCKET as u32;
/// No entry. A search ends here: no entry was displaced past this word.
pub const EMPTY: u64 = 0;
/// A removed entry. A search continues, since displaced entries may follow.
pub const TOMBSTONE: u64 = 1 << 5;
/// Number of slots that an entry can name: the upper bound of IPv4 and IPv6 groups together.
pub const MAX_SLOTS: u32 = 1 << 18;

/// Words of a bucket with such records.
pub const fn bucket_words<R: Record>() -> usize {
    BUCKET * (1 + R::WORDS)
}

/// The word with which the record of the entry at `at` begins.
pub const fn record_at<R: Record>(at: usize) -> usize {
    BUCKET + at * R::WORDS
}

/// Number of buckets of a table with up to `entries` entries: a power of two, and enough that the table is at most half
/// full.
pub const fn buckets(entries: u32) -> u32 {
    // At half load a bucket holds four entries. A table has at least as many buckets as a search may visit.
    let wanted = entries.div_ceil(BUCKET as u32 / 2);
    if wanted <= MAX_BUCKETS { MAX_BUCKETS } else { wanted.next_power_of_two() }
}

/// The home bucket of a hash in a table of `mask + 1` buckets.
#[inline(always)]
pub const fn home(hash: u64, mask: u32) -> u32 {
    hash as u32 & mask
}

/// Folds and multiplies, then moves the product's upper bits, which every bit of the key affects, to the lower end.
#[inline(always)]
const fn mix(key: u64) -> u64 {
    (key ^ (key >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15).swap_bytes()
}

/// Expands a macro for each position of a bucket, in place of a loop, whose position would be a variable.
macro_rules! each_position {
    ($visit:ident) => {
        $visit!(0);
        $visit!(1);
        $visit!(2);
        $visit!(3);
        $visit!(4);
        $visit!(5);
        $visit!(6);
        $visit!(7);
    };
}

const _: () = assert!(BUCKET == 8, "`each_position` names all positions");

/// Finds the entry with a key in its [`home`] bucket. Calls `further` if the search has to continue
/// ([`find_displaced`]), which few keys need.
#[inline(always)]
pub fn find<R: Record>(home: impl ReadBucket, key: Key<R>, further: impl FnOnce() -> Option<u64>) -> Option<u64> {
    macro_rules! visit {
        ($at:literal) => {
            let entry = home.word::<$at>();
            if entry & key.mask == key.bits {
                return if key.record.is_of::<$at>(&home, entry) { Some(entry) } else { further() };
            }
            if entry == EMPTY {
                return None;
            }
        };
    }
    each_position!(visit);
    further()
}

/// Finds an entry that [`find`] did not, in a table of `mask + 1` buckets. `bucket` returns the bucket with a number.
#[inline(always)]
pub fn find_displaced<R: Record, B: ReadBucket>(
    home: u32,
    mask: u32,
    key: Key<R>,
    bucket: impl Fn(u32) -> Option<B>,
) -> Option<u64> {
    // With records, the home bucket may hold the key behind another with the same bits.
    let first = if R::WORDS == 0 { 1 } else { 0 };
    for step in first..MAX_BUCKETS {
        let bucket = bucket(home.wrapping_add(step) & mask)?;
        macro_rules! visit {
            ($at:literal) => {
                let entry = bucket.word::<$at>();
                if entry & key.mask == key.bits && key.record.is_of::<$at>(&bucket, entry) {
                    return Some(entry);
                }
                if entry == EMPTY {
                    return None;
                }
            };
        }
        each_position!(visit);
    }
    None
}
