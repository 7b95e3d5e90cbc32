//! The filter's tables for IPv4: open addressing over words, in array maps that user space writes by plain stores.
//!
//! An entry is one word of 64 bits that holds key, action and slot. So every change is one store: a reader meets the
//! entry before or after it, never half of it, and the XDP program's look-up is a few loads, where a hash map's is a
//! call. Two tables make a filter: [`group`](GroupEntry) and port give a slot of 18 bits; [source](FlowEntry) and slot
//! give what becomes of the source. What holds for 80 bits of addresses and port fits a word that way.
//!
//! A key is looked for from the start of its home bucket on (a cache line), until it is found, or an empty word is, or
//! [`MAX_PROBES`] words were seen. An entry that is removed leaves a tombstone unless the word behind it is empty.
//!
//! A source's home comes from source, group and port, not from the slot: so the CPU has both cache lines on their way
//! before it knows the slot.

#![allow(unsafe_code)]

/// A cache line of entries: one element of the array map.
pub type Bucket = [u64; BUCKET];

/// Words of a bucket.
pub const BUCKET: usize = 8;
/// Buckets that are looked through for a key at most.
pub const MAX_BUCKETS: u32 = 8;
/// Words that are looked through for a key at most.
pub const MAX_PROBES: u32 = MAX_BUCKETS * BUCKET as u32;
/// No entry, and none behind it that was put off from here or before.
pub const EMPTY: u64 = 0;
/// No entry, but there may be some behind it.
pub const TOMBSTONE: u64 = 2;
/// Slots that an entry can name, which is how many IPv4 and IPv6 groups there can be together.
pub const MAX_SLOTS: u32 = 1 << 18;

/// Set in every entry, and in neither [`EMPTY`] nor [`TOMBSTONE`].
const OCCUPIED: u64 = 1;
/// The action: a wanted source, or a group whose unnamed sources are wanted.
const ACCEPT: u64 = 2;
const SLOT_SHIFT: u32 = 2;

/// (group, port) to slot and action: 28 bits of group (what a multicast address has below its first four), 16 of port,
/// 18 of slot, action, occupied.
pub struct GroupEntry;

/// (source, slot) to action: 32 bits of source, 30 that hold the slot, action, occupied.
pub struct FlowEntry;

impl GroupEntry {
    /// The bits that must agree.
    pub const KEY: u64 = !0 << 20 | OCCUPIED;

    /// What to look for: `group` and `port` in host order.
    #[inline(always)]
    pub const fn key(group: u32, port: u16) -> u64 {
        (group as u64) << 36 | (port as u64) << 20 | OCCUPIED
    }

    /// What a key's home comes from.
    #[inline(always)]
    pub const fn hash(key: u64) -> u64 {
        mix(key)
    }

    /// The entry. `slot` is below [`MAX_SLOTS`].
    pub const fn word(group: u32, port: u16, slot: u32, exclude: bool) -> u64 {
        Self::key(group, port) | (slot as u64) << SLOT_SHIFT | if exclude { ACCEPT } else { 0 }
    }

    /// The slot of an entry.
    #[inline(always)]
    pub const fn slot(entry: u64) -> u32 {
        (entry >> SLOT_SHIFT) as u32 & (MAX_SLOTS - 1)
    }
}

impl FlowEntry {
    /// The bits that must agree.
    pub const KEY: u64 = !ACCEPT;

    /// What to look for: `source` in host order.
    #[inline(always)]
    pub const fn key(source: u32, slot: u32) -> u64 {
        (source as u64) << 32 | (slot as u64) << SLOT_SHIFT | OCCUPIED
    }

    /// What a key's home comes from: `source` in host order, and the [hash](GroupEntry::hash) of its group's key.
    #[inline(always)]
    pub const fn hash(source: u32, group: u64) -> u64 {
        mix(group ^ source as u64)
    }

    /// The entry. `slot` is below [`MAX_SLOTS`].
    pub const fn word(source: u32, slot: u32, accept: bool) -> u64 {
        Self::key(source, slot) | if accept { ACCEPT } else { 0 }
    }
}

/// Does the entry say "redirect"? For a group's: the sources that are not named.
#[inline(always)]
pub const fn is_accept(entry: u64) -> bool {
    entry & ACCEPT != 0
}

/// Buckets of a table for so many entries: a power of two, at most half full.
pub const fn buckets(entries: u32) -> u32 {
    // One bucket holds four entries then; a table has as many buckets as a look-up may see.
    let wanted = entries.div_ceil(BUCKET as u32 / 2);
    if wanted <= MAX_BUCKETS { MAX_BUCKETS } else { wanted.next_power_of_two() }
}

/// The home bucket of a hash in a table of `mask + 1` buckets.
#[inline(always)]
pub const fn home(hash: u64, mask: u32) -> u32 {
    (hash >> 32) as u32 & mask
}

/// Multiply, fold, multiply: keys that differ in few bits, wherever these are, differ in the upper half.
#[inline(always)]
const fn mix(key: u64) -> u64 {
    let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// The entry of `key`, whose bits under `mask_key` agree, and whose `hash` names its home. `bucket` gives a bucket by its
/// number, which is at most `mask`.
///
/// Entries are read by [`read_volatile`](core::ptr::read_volatile): whoever owns the table writes while this reads.
#[inline(always)]
pub fn find<'a>(
    key: u64,
    hash: u64,
    mask_key: u64,
    mask: u32,
    bucket: impl Fn(u32) -> Option<&'a Bucket>,
) -> Option<u64> {
    let mut at = home(hash, mask);
    for _ in 0..MAX_BUCKETS {
        for word in bucket(at)? {
            // SAFETY: a reference is readable; a word is loaded whole.
            let entry = unsafe { core::ptr::read_volatile(word) };
            if entry & mask_key == key {
                return Some(entry);
            }
            if entry == EMPTY {
                return None;
            }
        }
        at = (at + 1) & mask;
    }
    None
}
