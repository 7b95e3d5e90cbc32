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

/// (group, port) to slot and action.
///
/// The key is the packet's eight bytes from the destination address to the destination port, as they lie there, so the
/// XDP program loads it whole. What the packet has between and what is the same in each group's address makes room for
/// the rest. Of the word in little-endian order:
///
/// | bits | |
/// | --- | --- |
/// | 0..4, 8..32 | key: the group's address but for its upper four bits, which are 0xe |
/// | 4 | action: unnamed sources are wanted |
/// | 5 | key: one of those four bits, which is set in every entry |
/// | 6..8 | slot, its upper 2 bits |
/// | 32..48 | slot, its lower 16 bits; in the packet, the source port |
/// | 48..64 | key: the destination port |
pub struct GroupEntry;

/// (source, slot) to action. Of the word:
///
/// | bits | |
/// | --- | --- |
/// | 0..32 | key: the source's address as it lies in the packet, read in little-endian order |
/// | 32..48 | key: slot, its lower 16 bits |
/// | 48 | key: set in every entry |
/// | 49..51 | key: slot, its upper 2 bits |
/// | 51 | action: the source is wanted |
pub struct FlowEntry;

impl GroupEntry {
    /// The bits that must agree.
    pub const KEY: u64 = 0xffff_0000_ffff_ff2f;
    /// Set in every entry, and in neither [`EMPTY`] nor [`TOMBSTONE`].
    const OCCUPIED: u64 = 1 << 5;
    const ACCEPT: u64 = 1 << 4;
    const SLOT_LOWER: u64 = 0xffff << 32;
    const SLOT_UPPER: u64 = 3 << 6;

    /// What to look for, of the packet's eight bytes from the destination address to the destination port, in the order
    /// of the machine's memory.
    #[inline(always)]
    pub const fn key_of_packet(destination: u64) -> u64 {
        u64::from_le(destination) & Self::KEY
    }

    /// What to look for: a multicast address and a port in host order.
    pub const fn key(group: u32, port: u16) -> u64 {
        (group.swap_bytes() as u64 | (port.swap_bytes() as u64) << 48) & Self::KEY | Self::OCCUPIED
    }

    /// What a key's home comes from.
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

    /// Does the entry say "redirect" of sources that are not named?
    #[inline(always)]
    pub const fn is_exclude(entry: u64) -> bool {
        entry & Self::ACCEPT != 0
    }
}

impl FlowEntry {
    /// The bits that must agree.
    pub const KEY: u64 = !Self::ACCEPT;
    const ACCEPT: u64 = 1 << 51;

    /// What to look for: `source` as [`source`](Self::source) has it, under the slot of its group's entry.
    #[inline(always)]
    pub const fn key_under(source: u64, group: u64) -> u64 {
        let rest = group & (GroupEntry::SLOT_UPPER | GroupEntry::OCCUPIED);
        source | group & GroupEntry::SLOT_LOWER | rest << 43
    }

    /// What to look for: `source` in host order, `slot` below [`MAX_SLOTS`].
    pub const fn key(source: u32, slot: u32) -> u64 {
        Self::key_under(source.swap_bytes() as u64, GroupEntry::word(0, 0, slot, false))
    }

    /// A source's part of key and hash: of its address as it lies in the packet, in the order of the machine's memory.
    #[inline(always)]
    pub const fn source(source: u32) -> u64 {
        u32::from_le(source) as u64
    }

    /// What a key's home comes from: `source` as [`source`](Self::source) has it, and the [hash](GroupEntry::hash) of its
    /// group's key.
    #[inline(always)]
    pub const fn hash(source: u64, group: u64) -> u64 {
        mix(group ^ source)
    }

    /// The entry: `source` in host order, `slot` below [`MAX_SLOTS`].
    pub const fn word(source: u32, slot: u32, accept: bool) -> u64 {
        Self::key(source, slot) | if accept { Self::ACCEPT } else { 0 }
    }

    /// Does the entry say "redirect"?
    #[inline(always)]
    pub const fn is_accept(entry: u64) -> bool {
        entry & Self::ACCEPT != 0
    }
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
    hash as u32 & mask
}

/// Fold, multiply, and the product's upper bits, which every bit of the key reaches, become the lower ones.
#[inline(always)]
const fn mix(key: u64) -> u64 {
    (key ^ (key >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15).swap_bytes()
}

/// The entry of `key`, whose bits under `mask_key` agree, if the bucket that is its [`home`] tells; else what `further`
/// says, which is to look through the next ones ([`find_further`]). Apart, since few entries are put off.
#[inline(always)]
pub fn find(home: &Bucket, key: u64, mask_key: u64, further: impl FnOnce() -> Option<u64>) -> Option<u64> {
    match look(home, key, mask_key) {
        Seen::Entry(entry) => Some(entry),
        Seen::End => None,
        Seen::Others => further(),
    }
}

/// The entry of `key` in the buckets behind `home`, in a table of `mask + 1` buckets. `bucket` gives a bucket by its number.
#[inline(always)]
pub fn find_further<'a>(
    home: u32,
    mask: u32,
    key: u64,
    mask_key: u64,
    bucket: impl Fn(u32) -> Option<&'a Bucket>,
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

/// What a bucket has of a key.
enum Seen {
    /// Its entry.
    Entry(u64),
    /// An empty word: the key is not in the table.
    End,
    /// Other entries, and maybe more in the next bucket.
    Others,
}

/// Looks for a key in one bucket. Its words are read by [`read_volatile`](core::ptr::read_volatile): whoever owns the table
/// writes while this reads.
#[inline(always)]
fn look(bucket: &Bucket, key: u64, mask_key: u64) -> Seen {
    for word in bucket {
        // SAFETY: a reference is readable; a word is loaded whole.
        let entry = unsafe { core::ptr::read_volatile(word) };
        if entry & mask_key == key {
            return Seen::Entry(entry);
        }
        if entry == EMPTY {
            return Seen::End;
        }
    }
    Seen::Others
}
