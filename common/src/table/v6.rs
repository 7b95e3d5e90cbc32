//! The words of the IPv6 tables. The address is the entry's record; the word holds bits of the key's hash, so that few
//! records are compared in vain.

use super::{Key, ReadBucket, Record, bucket_words, mix};
use crate::{AnyAddress, FlowAction, GroupAction};

/// Entries, then their records: one element of the array map.
pub type Bucket = [u64; BUCKET_WORDS];

const BUCKET_WORDS: usize = bucket_words::<AnyAddress>();

/// The bits of a word that change while its record stays: the actions, in both tables.
const ACTIONS: u64 = 3;
/// Set in every entry, and in neither [`EMPTY`](super::EMPTY) nor [`TOMBSTONE`](super::TOMBSTONE).
const OCCUPIED: u64 = 1 << 2;
const ACCEPT: u64 = 1 << 0;

/// (group, port) to slot and action; the record is the group's address. The bits of the word:
///
/// | bits | |
/// | --- | --- |
/// | 0 | action: unnamed sources are wanted |
/// | 1 | action: frames of unwanted sources pass |
/// | 2 | key: set in every entry |
/// | 3..19 | key: the destination port as it lies in the packet, read in little-endian order |
/// | 19..31 | key: bits of the hash |
/// | 31..46 | generation of the record |
/// | 46..64 | slot |
#[derive(Clone, Copy, Debug)]
pub struct GroupEntry;

/// (source, slot) to action; the record is the source's address. The bits of the word:
///
/// | bits | |
/// | --- | --- |
/// | 0 | action: the source is wanted |
/// | 2 | key: set in every entry |
/// | 3..21 | key: slot |
/// | 21..31 | key: bits of the hash |
/// | 31..64 | generation of the record |
#[derive(Clone, Copy, Debug)]
pub struct FlowEntry;

impl Record for AnyAddress {
    const WORDS: usize = 2;

    #[inline(always)]
    fn is_of<const AT: usize>(self, bucket: &impl ReadBucket, entry: u64) -> bool {
        bucket.fence();
        let [first, last] = bucket.record::<AT>();
        if first != self[0] || last != self[1] {
            return false;
        }
        bucket.fence();
        (bucket.word_again::<AT>() ^ entry) & !ACTIONS == 0
    }
}

impl GroupEntry {
    /// The bits that must agree.
    pub const KEY: u64 = OCCUPIED | 0xffff << Self::PORT | Self::TAG;
    /// The bits that hold the record's generation.
    pub const GENERATION: u64 = 0x7fff << 31;
    const SHARED: u64 = 1 << 1;
    const PORT: u32 = 3;
    const TAG: u64 = 0xfff << 19;
    const SLOT: u32 = 46;

    /// The hash of a group and a port, both as they lie in the packet. It determines the [`home`](super::home).
    #[inline(always)]
    pub const fn hash(group: AnyAddress, port: u16) -> u64 {
        mix(fold(group) ^ u16::from_le(port) as u64)
    }

    /// What a search for a group and a port looks for. `hash` is theirs.
    #[inline(always)]
    pub const fn search(group: AnyAddress, port: u16, hash: u64) -> Key<AnyAddress> {
        Key { bits: Self::key(port, hash), mask: Self::KEY, record: group }
    }

    /// The bits of the key: `port` as it lies in the packet.
    #[inline(always)]
    pub const fn key(port: u16, hash: u64) -> u64 {
        hash & Self::TAG | (u16::from_le(port) as u64) << Self::PORT | OCCUPIED
    }

    /// The entry of generation 0: `port` as it lies in the packet. The slot is below [`MAX_SLOTS`](super::MAX_SLOTS).
    pub const fn word(port: u16, hash: u64, action: GroupAction) -> u64 {
        let accept = if action.is_exclude { ACCEPT } else { 0 };
        let shared = if action.is_shared { Self::SHARED } else { 0 };
        Self::key(port, hash) | (action.slot as u64) << Self::SLOT | accept | shared
    }

    /// The action of an entry.
    #[inline(always)]
    pub const fn action(entry: u64) -> GroupAction {
        GroupAction {
            slot: (entry >> Self::SLOT) as u32,
            is_exclude: entry & ACCEPT != 0,
            is_shared: entry & Self::SHARED != 0,
        }
    }
}

impl FlowEntry {
    /// The bits that must agree.
    pub const KEY: u64 = OCCUPIED | 0x3_ffff << Self::SLOT | Self::TAG;
    /// The bits that hold the record's generation.
    pub const GENERATION: u64 = !0 << 31;
    const SLOT: u32 = 3;
    const TAG: u64 = 0x3ff << 21;

    /// The hash of a source, as it lies in the packet, and of `group`, the [hash](GroupEntry::hash) of its group and
    /// port. It determines the [`home`](super::home).
    #[inline(always)]
    pub const fn hash(source: AnyAddress, group: u64) -> u64 {
        mix(group ^ fold(source))
    }

    /// What a search for a source looks for. `hash` is the source's, `group` its group's entry.
    #[inline(always)]
    pub const fn search(source: AnyAddress, hash: u64, group: u64) -> Key<AnyAddress> {
        Key { bits: Self::key(group >> GroupEntry::SLOT, hash), mask: Self::KEY, record: source }
    }

    #[inline(always)]
    const fn key(slot: u64, hash: u64) -> u64 {
        hash & Self::TAG | slot << Self::SLOT | OCCUPIED
    }

    /// The entry of generation 0. The slot is below [`MAX_SLOTS`](super::MAX_SLOTS).
    pub const fn word(hash: u64, action: FlowAction) -> u64 {
        Self::key(action.slot as u64, hash) | if action.is_accept { ACCEPT } else { 0 }
    }

    /// Returns true if the source is wanted.
    #[inline(always)]
    pub const fn is_accept(entry: u64) -> bool {
        entry & ACCEPT != 0
    }
}

/// An address as one word. Networks count in the last bytes of the first half: they become the lower bits of a product,
/// whose upper bits depend on all of them. Hosts count in the last bytes of the second half, which are its upper bits.
#[inline(always)]
const fn fold(address: AnyAddress) -> u64 {
    u64::from_be(address[0]).wrapping_mul(0xff51_afd7_ed55_8ccd) ^ u64::from_le(address[1])
}

const _: () = {
    assert!(GroupEntry::KEY & GroupEntry::GENERATION == 0 && FlowEntry::KEY & FlowEntry::GENERATION == 0);
    assert!((GroupEntry::KEY | GroupEntry::GENERATION) & ACTIONS == 0);
    assert!((FlowEntry::KEY | FlowEntry::GENERATION) & ACTIONS == 0);
    assert!((GroupEntry::KEY | GroupEntry::GENERATION) >> GroupEntry::SLOT == 0);
    // A mask of 31 bits fits in the instruction.
    assert!(GroupEntry::KEY < 1 << 31 && FlowEntry::KEY < 1 << 31);
};
