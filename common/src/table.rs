//! The filter's tables for IPv4: open addressing over words, in array maps that user space changes by plain stores.
//!
//! An entry is one word of 64 bits that holds key, action and slot. So every change is one store, and a reader never
//! sees half an entry. A look-up takes the XDP program a few loads, where a hash map takes a call.
//!
//! A filter has two tables. [Group and port](GroupEntry) give a slot of 18 bits. [Source and slot](FlowEntry) give the
//! action for the source. That way an entry for 80 bits of addresses and port fits one word.
//!
//! A search starts at the key's home bucket, which is one cache line. It ends when it finds the key or an empty word,
//! or after [`MAX_PROBES`] words. A removed entry leaves a tombstone unless the word after it is empty.
//!
//! The home bucket of a source depends on source, group and port, but not on the slot. So the CPU can fetch both cache
//! lines before it knows the slot.

use core::sync::atomic::{AtomicU64, Ordering};

/// A cache line of entries: one element of the array map.
pub type Bucket = [u64; BUCKET];

/// Read access to a bucket that another party may write at the same time. Each word is read whole.
pub trait ReadBucket {
    /// The word at `at`, which is below [`BUCKET`].
    fn word(&self, at: usize) -> u64;
}

impl ReadBucket for &[AtomicU64; BUCKET] {
    fn word(&self, at: usize) -> u64 {
        // Relaxed: an entry is complete in itself, so nothing has to be visible before it.
        self[at].load(Ordering::Relaxed)
    }
}

/// Words of a bucket.
pub const BUCKET: usize = 8;
/// Upper bound of the buckets that a search visits.
pub const MAX_BUCKETS: u32 = 8;
/// Upper bound of the words that a search visits.
pub const MAX_PROBES: u32 = MAX_BUCKETS * BUCKET as u32;
/// No entry. A search ends here: no entry was displaced past this word.
pub const EMPTY: u64 = 0;
/// A removed entry. A search continues, since displaced entries may follow.
pub const TOMBSTONE: u64 = 2;
/// Number of slots that an entry can name: the upper bound of IPv4 and IPv6 groups together.
pub const MAX_SLOTS: u32 = 1 << 18;

/// (group, port) to slot and action.
///
/// The key is the packet's eight bytes from the destination address to the destination port, so the XDP program loads
/// it by one instruction. The source port between them, and the bits that all group addresses share, make room for slot
/// and action. The bits of the word in little-endian order:
///
/// | bits | |
/// | --- | --- |
/// | 0..4, 8..32 | key: the group's address without its upper four bits, which are 0xe |
/// | 4 | action: unnamed sources are wanted |
/// | 5 | key: one of those four bits, which is set in every entry |
/// | 6..8 | slot, its upper 2 bits |
/// | 32..48 | slot, its lower 16 bits; in the packet, the source port |
/// | 48..64 | key: the destination port |
#[derive(Clone, Copy, Debug)]
pub struct GroupEntry;

/// (source, slot) to action. The bits of the word:
///
/// | bits | |
/// | --- | --- |
/// | 0..32 | key: the source's address as it lies in the packet, read in little-endian order |
/// | 32..48 | key: slot, its lower 16 bits |
/// | 48 | key: set in every entry |
/// | 49..51 | key: slot, its upper 2 bits |
/// | 51 | action: the source is wanted |
#[derive(Clone, Copy, Debug)]
pub struct FlowEntry;

impl GroupEntry {
    /// The bits that must agree.
    pub const KEY: u64 = 0xffff_0000_ffff_ff2f;
    /// Set in every entry, and in neither [`EMPTY`] nor [`TOMBSTONE`].
    const OCCUPIED: u64 = 1 << 5;
    const ACCEPT: u64 = 1 << 4;
    const SLOT_LOWER: u64 = 0xffff << 32;
    const SLOT_UPPER: u64 = 3 << 6;

    /// The key in a packet: its eight bytes from the destination address to the destination port, in memory order.
    #[inline(always)]
    pub const fn key_of_packet(destination: u64) -> u64 {
        u64::from_le(destination) & Self::KEY
    }

    /// The key of a multicast address and a port, both in host order.
    pub const fn key(group: u32, port: u16) -> u64 {
        (group.swap_bytes() as u64 | (port.swap_bytes() as u64) << 48) & Self::KEY | Self::OCCUPIED
    }

    /// The hash that determines a key's [`home`].
    #[inline(always)]
    pub const fn hash(key: u64) -> u64 {
        mix(key)
    }

    /// The entry. `slot` is below [`MAX_SLOTS`].
    pub const fn word(group: u32, port: u16, slot: u32, exclude: bool) -> u64 {
        let slot = (slot as u64 & 0xffff) << 32 | (slot as u64 >> 16) << 6;
        Self::key(group, port) | slot | if exclude { Self::ACCEPT } else { 0 }
    }

    /// The slot of an entry.
    #[inline(always)]
    pub const fn slot(entry: u64) -> u32 {
        ((entry & Self::SLOT_LOWER) >> 32 | (entry & Self::SLOT_UPPER) << 10) as u32
    }

    /// Returns true if sources without an entry of their own are wanted.
    #[inline(always)]
    pub const fn is_exclude(entry: u64) -> bool {
        entry & Self::ACCEPT != 0
    }
}

impl FlowEntry {
    /// The bits that must agree.
    pub const KEY: u64 = !Self::ACCEPT;
    const ACCEPT: u64 = 1 << 51;

    /// The key of `source`, as [`source`](Self::source) returns it, under the slot of its group's entry.
    #[inline(always)]
    pub const fn key_under(source: u64, group: u64) -> u64 {
        let rest = group & (GroupEntry::SLOT_UPPER | GroupEntry::OCCUPIED);
        source | group & GroupEntry::SLOT_LOWER | rest << 43
    }

    /// The key: `source` in host order, `slot` below [`MAX_SLOTS`].
    pub const fn key(source: u32, slot: u32) -> u64 {
        Self::key_under(source.swap_bytes() as u64, GroupEntry::word(0, 0, slot, false))
    }

    /// A source's part of key and hash, from its address in the packet, in memory order.
    #[inline(always)]
    pub const fn source(source: u32) -> u64 {
        u32::from_le(source) as u64
    }

    /// The hash that determines a key's [`home`]: of `source`, as [`source`](Self::source) returns it, and of `group`,
    /// the [hash](GroupEntry::hash) of its group's key.
    #[inline(always)]
    pub const fn hash(source: u64, group: u64) -> u64 {
        mix(group ^ source)
    }

    /// The entry: `source` in host order, `slot` below [`MAX_SLOTS`].
    pub const fn word(source: u32, slot: u32, accept: bool) -> u64 {
        Self::key(source, slot) | if accept { Self::ACCEPT } else { 0 }
    }

    /// Returns true if the source is wanted.
    #[inline(always)]
    pub const fn is_accept(entry: u64) -> bool {
        entry & Self::ACCEPT != 0
    }
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

/// Finds the entry whose bits under `mask_key` equal `key` in its [`home`] bucket. Calls `further` if the search has to
/// continue in the next buckets ([`find_displaced`]), which few keys need.
#[inline(always)]
pub fn find(home: impl ReadBucket, key: u64, mask_key: u64, further: impl FnOnce() -> Option<u64>) -> Option<u64> {
    match look(home, key, mask_key) {
        Seen::Entry(entry) => Some(entry),
        Seen::End => None,
        Seen::Others => further(),
    }
}

/// Finds an entry as [`find`] does, in the buckets after `home`, in a table of `mask + 1` buckets. `bucket` returns the
/// bucket with a number.
#[inline(always)]
pub fn find_displaced<B: ReadBucket>(
    home: u32,
    mask: u32,
    key: u64,
    mask_key: u64,
    bucket: impl Fn(u32) -> Option<B>,
) -> Option<u64> {
    for step in 1..MAX_BUCKETS {
        match look(bucket(home.wrapping_add(step) & mask)?, key, mask_key) {
            Seen::Entry(entry) => return Some(entry),
            Seen::End => return None,
            Seen::Others => {}
        }
    }
    None
}

/// The result of a search in one bucket.
enum Seen {
    /// The key's entry.
    Entry(u64),
    /// An empty word: the key is not in the table.
    End,
    /// Other entries only: the next bucket may have the key.
    Others,
}

/// Searches one bucket.
#[inline(always)]
fn look(bucket: impl ReadBucket, key: u64, mask_key: u64) -> Seen {
    for at in 0..BUCKET {
        let entry = bucket.word(at);
        if entry & mask_key == key {
            return Seen::Entry(entry);
        }
        if entry == EMPTY {
            return Seen::End;
        }
    }
    Seen::Others
}
