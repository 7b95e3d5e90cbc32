//! The words of the IPv4 tables. They hold whole keys, so entries have no records.

use super::{BUCKET, Key, mix};
use crate::{FlowAction, GroupAction};

/// A cache line of entries: one element of the array map.
pub type Bucket = [u64; BUCKET];

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
/// | 5 | action: frames of unwanted sources pass |
/// | 6..8 | slot, its upper 2 bits |
/// | 32..48 | slot, its lower 16 bits; in the packet, the source port |
/// | 48..64 | key: the destination port |
///
/// No bit is left to tell an entry from [`EMPTY`](super::EMPTY) and [`TOMBSTONE`](super::TOMBSTONE), whose key is 0.
/// So [`GroupEntry::NO_KEY`], group 224.0.0.0 and port 0, is in no table, and a reader must not look for it.
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
    pub const KEY: u64 = 0xffff_0000_ffff_ff0f;
    /// The key that no entry has.
    pub const NO_KEY: u64 = 0;
    const ACCEPT: u64 = 1 << 4;
    const SHARED: u64 = 1 << 5;
    const SLOT_LOWER: u64 = 0xffff << 32;
    const SLOT_UPPER: u64 = 3 << 6;

    /// The key in a packet: its eight bytes from the destination address to the destination port, in memory order.
    #[inline(always)]
    pub const fn key_of_packet(destination: u64) -> u64 {
        u64::from_le(destination) & Self::KEY
    }

    /// The key of a multicast address and a port, both in host order.
    pub const fn key(group: u32, port: u16) -> u64 {
        (group.swap_bytes() as u64 | (port.swap_bytes() as u64) << 48) & Self::KEY
    }

    /// What a search for a key looks for.
    #[inline(always)]
    pub const fn search(key: u64) -> Key<()> {
        Key { bits: key, mask: Self::KEY, record: () }
    }

    /// The hash that determines a key's [`home`](super::home).
    #[inline(always)]
    pub const fn hash(key: u64) -> u64 {
        mix(key)
    }

    /// The entry. The slot is below [`MAX_SLOTS`](super::MAX_SLOTS).
    pub const fn word(group: u32, port: u16, action: GroupAction) -> u64 {
        let accept = if action.is_exclude { Self::ACCEPT } else { 0 };
        let shared = if action.is_shared { Self::SHARED } else { 0 };
        Self::key(group, port) | Self::slot_bits(action.slot) | accept | shared
    }

    const fn slot_bits(slot: u32) -> u64 {
        (slot as u64 & 0xffff) << 32 | (slot as u64 >> 16) << 6
    }

    /// The action of an entry.
    #[inline(always)]
    pub const fn action(entry: u64) -> GroupAction {
        GroupAction {
            slot: ((entry & Self::SLOT_LOWER) >> 32 | (entry & Self::SLOT_UPPER) << 10) as u32,
            is_exclude: entry & Self::ACCEPT != 0,
            is_shared: entry & Self::SHARED != 0,
        }
    }
}

impl FlowEntry {
    /// The bits that must agree.
    pub const KEY: u64 = !Self::ACCEPT;
    /// Set in every entry, and in neither [`EMPTY`](super::EMPTY) nor [`TOMBSTONE`](super::TOMBSTONE).
    const OCCUPIED: u64 = 1 << 48;
    const ACCEPT: u64 = 1 << 51;

    /// The key of `source`, as [`source`](Self::source) returns it, under the slot of its group's entry.
    #[inline(always)]
    pub const fn key_under(source: u64, group: u64) -> u64 {
        let upper = (group & GroupEntry::SLOT_UPPER) << 43;
        source | group & GroupEntry::SLOT_LOWER | upper | Self::OCCUPIED
    }

    /// The key: `source` in host order, `slot` below [`MAX_SLOTS`](super::MAX_SLOTS).
    pub const fn key(source: u32, slot: u32) -> u64 {
        Self::key_under(source.swap_bytes() as u64, GroupEntry::slot_bits(slot))
    }

    /// What a search for a key looks for.
    #[inline(always)]
    pub const fn search(key: u64) -> Key<()> {
        Key { bits: key, mask: Self::KEY, record: () }
    }

    /// A source's part of key and hash, from its address in the packet, in memory order.
    #[inline(always)]
    pub const fn source(source: u32) -> u64 {
        u32::from_le(source) as u64
    }

    /// The hash that determines a key's [`home`](super::home): of `source`, as [`source`](Self::source) returns it, and
    /// of `group`, the [hash](GroupEntry::hash) of its group's key.
    #[inline(always)]
    pub const fn hash(source: u64, group: u64) -> u64 {
        mix(group ^ source)
    }

    /// The entry: `source` in host order. The slot is below [`MAX_SLOTS`](super::MAX_SLOTS).
    pub const fn word(source: u32, action: FlowAction) -> u64 {
        Self::key(source, action.slot) | if action.is_accept { Self::ACCEPT } else { 0 }
    }

    /// Returns true if the source is wanted.
    #[inline(always)]
    pub const fn is_accept(entry: u64) -> bool {
        entry & Self::ACCEPT != 0
    }
}
