//! The tables against a model, with the look-up that the XDP program does.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::AtomicBool;
use std::{slice, thread};

use proptest::prelude::*;
use receiver_common::table::{Key, MAX_SLOTS, find, find_displaced, v4, v6};
use receiver_common::{FlowAction, GroupAction};

use super::super::filter_tables::{Family, V4, V6};
use super::*;

const PORT: u16 = 5000;

/// Sizes of full tables, sources and steps of the longest case, and rounds between threads. Miri is slow.
const LIMITS: &[u32] = if cfg!(miri) { &[1, 3, 40] } else { &[1, 3, 1000, 65_536] };
const SOURCES: u32 = if cfg!(miri) { 6 } else { 40 };
const STEPS: usize = if cfg!(miri) { 12 } else { 400 };
const ROUNDS: u32 = if cfg!(miri) { 100 } else { 300_000 };

/// An IP version as the tests need it: addresses by number, and what the XDP program does with a table.
trait Tested: Family<Address: Debug> {
    fn source(number: u32) -> Self::Address;
    fn group_address(number: u32) -> Self::Address;
    fn look_up_flow(table: &MappedTable, source: Self::Address, group: Self::Address, slot: u32) -> Option<u64>;
    fn look_up_group(table: &MappedTable, group: Self::Address, port: u16) -> Option<u64>;
    fn is_accept(flow: u64) -> bool;
    fn action(group: u64) -> GroupAction;
}

impl Tested for V4 {
    fn source(number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(number)
    }

    fn group_address(number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(0xe000_0000 + number % 0x1000_0000)
    }

    fn look_up_flow(table: &MappedTable, source: Ipv4Addr, group: Ipv4Addr, slot: u32) -> Option<u64> {
        let group_hash = v4::GroupEntry::hash(v4::GroupEntry::key(group.into(), PORT));
        let hash = v4::FlowEntry::hash(v4::FlowEntry::source(u32::from(source).to_be()), group_hash);
        look_up::<{ v4_words() }, ()>(table, v4::FlowEntry::search(v4::FlowEntry::key(source.into(), slot)), hash)
    }

    fn look_up_group(table: &MappedTable, group: Ipv4Addr, port: u16) -> Option<u64> {
        let key = v4::GroupEntry::key(group.into(), port);
        look_up::<{ v4_words() }, ()>(table, v4::GroupEntry::search(key), v4::GroupEntry::hash(key))
    }

    fn is_accept(flow: u64) -> bool {
        v4::FlowEntry::is_accept(flow)
    }

    fn action(group: u64) -> GroupAction {
        v4::GroupEntry::action(group)
    }
}

impl Tested for V6 {
    /// Four networks, and hosts in each.
    fn source(number: u32) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, (number % 4) as u16, 0, 0, (number >> 18) as u16, (number >> 2) as u16)
    }

    fn group_address(number: u32) -> Ipv6Addr {
        Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, (number >> 16) as u16, number as u16)
    }

    fn look_up_flow(table: &MappedTable, source: Ipv6Addr, group: Ipv6Addr, slot: u32) -> Option<u64> {
        let group = V6::group(group, PORT, GroupAction::include(slot));
        let source = V6::flow(source, Self::group_address(0), PORT, FlowAction::block(slot)).record;
        let hash = v6::FlowEntry::hash(source, group.hash);
        look_up::<{ v6_words() }, _>(table, v6::FlowEntry::search(source, hash, group.word), hash)
    }

    fn look_up_group(table: &MappedTable, group: Ipv6Addr, port: u16) -> Option<u64> {
        let group = V6::group(group, port, GroupAction::include(0)).record;
        let hash = v6::GroupEntry::hash(group, port.to_be());
        look_up::<{ v6_words() }, _>(table, v6::GroupEntry::search(group, port.to_be(), hash), hash)
    }

    fn is_accept(flow: u64) -> bool {
        v6::FlowEntry::is_accept(flow)
    }

    fn action(group: u64) -> GroupAction {
        v6::GroupEntry::action(group)
    }
}

const fn v4_words() -> usize {
    bucket_words::<()>()
}

const fn v6_words() -> usize {
    bucket_words::<AnyAddress>()
}

/// As the XDP program does.
fn look_up<const WORDS: usize, R: Record>(table: &MappedTable, key: Key<R>, hash: u64) -> Option<u64> {
    assert_eq!(WORDS, table.layout.bucket_words);
    let first: NonNull<[AtomicU64; WORDS]> = table.memory.start().cast();
    let bucket = |at| {
        // SAFETY: `at` is at most the mask, so the bucket lies within the mapping, whose words are atomics.
        (at <= table.mask).then(|| unsafe { first.add(at as usize).as_ref() })
    };
    let home = home(hash, table.mask);
    find(bucket(home)?, key, || find_displaced(home, table.mask, key, bucket))
}

fn table(limit: u32, layout: Layout) -> MappedTable {
    MappedTable::new(Mapping::anonymous(MappedTable::length(limit, layout)).expect("memory"), limit, layout)
}

/// A table of flows; the group's number is its slot.
struct Flows<F> {
    table: MappedTable,
    family: std::marker::PhantomData<F>,
}

impl<F: Tested> Flows<F> {
    fn new(limit: u32) -> Self {
        Self { table: table(limit, F::FLOWS), family: std::marker::PhantomData }
    }

    fn entry(source: u32, slot: u32, is_accept: bool) -> Entry {
        F::flow(F::source(source), F::group_address(slot), PORT, FlowAction { slot, is_accept })
    }

    fn set(&mut self, source: u32, slot: u32, is_accept: bool) -> Result<bool, Full> {
        self.table.set(&Self::entry(source, slot, is_accept))
    }

    fn remove(&mut self, source: u32, slot: u32) -> bool {
        self.table.remove(&Self::entry(source, slot, false))
    }

    /// Is the source there, and is it accepted?
    fn found(&self, source: u32, slot: u32) -> Option<bool> {
        F::look_up_flow(&self.table, F::source(source), F::group_address(slot), slot).map(F::is_accept)
    }
}

#[test]
fn entries_hold_what_they_were_made_of() {
    for action in [GroupAction::include(MAX_SLOTS - 1), GroupAction::exclude(0x1_5555)] {
        for action in [action, action.shared(true)] {
            let entry = v4::GroupEntry::word(0xe801_0203, 65_535, action);
            assert_eq!(v4::GroupEntry::action(entry), action);
            assert_eq!(entry & v4::GroupEntry::KEY, v4::GroupEntry::key(0xe801_0203, 65_535));
            let entry = V6::group(V6::group_address(7), 65_535, action).word;
            assert_eq!(v6::GroupEntry::action(entry | v6::GroupEntry::GENERATION), action);
        }
    }
    let entry = v4::FlowEntry::word(u32::MAX, FlowAction::block(MAX_SLOTS - 1));
    assert!(!v4::FlowEntry::is_accept(entry));
    assert_eq!(entry & v4::FlowEntry::KEY, v4::FlowEntry::key(u32::MAX, MAX_SLOTS - 1));
    for nothing in [EMPTY, TOMBSTONE] {
        assert_eq!(nothing & v4::GroupEntry::KEY, v4::GroupEntry::NO_KEY);
        assert_ne!(nothing & v4::FlowEntry::KEY, v4::FlowEntry::key(0, 0));
        assert_ne!(nothing & v6::GroupEntry::KEY, v6::GroupEntry::key(0, 0));
        assert_ne!(nothing & v6::FlowEntry::KEY, v6::FlowEntry::word(0, FlowAction::block(0)) & v6::FlowEntry::KEY);
    }
    assert_eq!(v4::GroupEntry::key(0xe000_0000, 0), v4::GroupEntry::NO_KEY);
}

fn a_full_table_says_so_and_keeps_what_it_has<F: Tested>() {
    for &limit in LIMITS {
        let mut flows = Flows::<F>::new(limit);
        for source in 0..limit {
            flows.set(source, 7, true).expect("room");
        }
        assert_eq!(flows.set(limit, 7, true), Err(Full));
        flows.set(0, 7, false).expect("a change needs no room");
        assert!((1..limit).all(|source| flows.found(source, 7) == Some(true)));
        assert_eq!(flows.found(limit, 7), None);
        flows.remove(0, 7);
        flows.set(limit, 7, true).expect("room again");
    }
}

#[test]
fn a_full_table_says_so_and_keeps_what_it_has_v4() {
    a_full_table_says_so_and_keeps_what_it_has::<V4>();
}

#[test]
fn a_full_table_says_so_and_keeps_what_it_has_v6() {
    a_full_table_says_so_and_keeps_what_it_has::<V6>();
}

#[test]
#[cfg_attr(miri, ignore = "long: millions of entries")]
fn regular_addresses_find_room() {
    // As an operator numbers them: a few sources for each of many groups, sources in rows, ports in steps.
    for source_step in [1, 4, 1 << 8, 1 << 16] {
        let entry = |source: u32, slot| {
            V4::flow(source.into(), V4::group_address(0x0800_0000 + slot), PORT, FlowAction::accept(slot))
        };
        let mut flows = table(1 << 20, V4::FLOWS);
        for slot in 0..1 << 18 {
            for source in 0..4 {
                flows.set(&entry(0x0a00_0001 + source * source_step, slot)).expect("room");
            }
        }
        let mut flows = table(1 << 20, V4::FLOWS);
        for at in 0..1_u32 << 20 {
            let source = 0x0a00_0001_u32.wrapping_add(at.wrapping_mul(source_step));
            flows.set(&entry(source, at >> 16)).expect("room");
        }
    }
    for group_step in [1, 1 << 8, 1 << 16] {
        for port_step in [1, 10, 1000] {
            for groups_in_row in [1 << 17, 4096, 256, 16] {
                let mut groups = table(1 << 17, V4::GROUPS);
                // The first group's port is not 0: a group without a port has no entry.
                for at in 0..1_u32 << 17 {
                    let group = V4::group_address(1 + (at % groups_in_row).wrapping_mul(group_step));
                    let port = (at / groups_in_row * port_step) as u16;
                    let set = groups.set(&V4::group(group, port, GroupAction::include(0)));
                    assert!(set.is_ok(), "{group_step} {port_step} {groups_in_row}");
                }
            }
        }
    }
}

/// The same for IPv6, where networks, hosts, prefixes of groups (RFC 3306) and group numbers are counted.
#[test]
#[cfg_attr(miri, ignore = "long: millions of entries")]
fn regular_addresses_find_room_v6() {
    let source = |network: u32, host: u32, shift: u32| {
        Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(network) << 64 | u128::from(host) << shift)
    };
    let group = V6::group_address(1);
    for (networks, shift) in [(1, 0), (16, 0), (1 << 16, 0), (1 << 20, 0), (16, 16), (1 << 10, 24), (1 << 10, 48)] {
        let mut flows = table(1 << 20, V6::FLOWS);
        for at in 0..1_u32 << 20 {
            let source = source(at % networks, at / networks, shift);
            flows.set(&V6::flow(source, group, PORT, FlowAction::accept(0))).expect("room");
        }
    }
    for ports in [1, 16, 4096] {
        for prefixes in [1, 8, 1 << 12] {
            let (mut groups, mut flows) = (table(1 << 17, V6::GROUPS), table(1 << 17, V6::FLOWS));
            for at in 0..1_u32 << 17 {
                let (port, at) = ((at % ports) as u16 + 1000, at / ports);
                let (prefix, number) = (at % prefixes, at / prefixes);
                let group = Ipv6Addr::from_bits(
                    0xff3e_0040_2001_0db8 << 64 | u128::from(prefix) << 32 | 0x8000_0000 | u128::from(number),
                );
                let set = groups.set(&V6::group(group, port, GroupAction::include(0)));
                assert!(set.is_ok(), "{ports} {prefixes}");
                let set = flows.set(&V6::flow(source(1, 1, 0), group, port, FlowAction::accept(0)));
                assert!(set.is_ok(), "{ports} {prefixes}");
            }
        }
    }
}

/// A record counts as a whole: sources that share hash and key but not the address are told apart.
#[test]
fn entries_with_the_same_bits_are_told_apart() {
    let mut table = table(32, V6::FLOWS);
    let group = V6::group(V6::group_address(1), PORT, GroupAction::include(1)).word;
    let entry =
        |record, is_accept| Entry { word: v6::FlowEntry::word(5, FlowAction { slot: 1, is_accept }), hash: 5, record };
    let found = |table: &MappedTable, record| {
        look_up::<{ v6_words() }, _>(table, v6::FlowEntry::search(record, 5, group), 5).map(v6::FlowEntry::is_accept)
    };
    let records = [[1, 2], [1, 3], [4, 2], [2, 1]];
    for (at, record) in records.into_iter().enumerate() {
        assert_eq!(found(&table, record), None);
        assert_eq!(table.set(&entry(record, at % 2 == 0)), Ok(true));
    }
    for (at, record) in records.into_iter().enumerate() {
        assert_eq!(found(&table, record), Some(at % 2 == 0));
        assert_eq!(table.set(&entry(record, at % 2 != 0)), Ok(false));
        assert_eq!(found(&table, record), Some(at % 2 != 0));
    }
    for record in records {
        assert!(table.remove(&entry(record, false)));
        assert_eq!(found(&table, record), None);
    }
}

/// Entries that come, change and go, in a table that is so small that tombstones and neighbours abound.
fn behaves_as_a_map<F: Tested>(steps: &[(u32, u32, u8)]) -> Result<(), TestCaseError> {
    let mut flows = Flows::<F>::new(32);
    let mut groups = table(32, F::GROUPS);
    let (mut model, mut group_model) = (HashMap::new(), HashMap::new());
    for &(source, slot, what) in steps {
        let (group, port) = (F::group_address(1 + source), 1000 + slot as u16);
        let action = GroupAction { slot, is_exclude: what % 2 == 0, is_shared: what > 1 };
        if what == 0 {
            prop_assert_eq!(flows.remove(source, slot), model.remove(&(source, slot)).is_some());
            let removed = groups.remove(&F::group(group, port, action));
            prop_assert_eq!(removed, group_model.remove(&(source, slot)).is_some());
        } else {
            let room = model.len() < 32 || model.contains_key(&(source, slot));
            prop_assert_eq!(flows.set(source, slot, what == 1).is_ok(), room);
            prop_assert_eq!(groups.set(&F::group(group, port, action)).is_ok(), room);
            if room {
                model.insert((source, slot), what == 1);
                group_model.insert((source, slot), action);
            }
        }
        for source in 0..SOURCES {
            for slot in 0..3 {
                prop_assert_eq!(flows.found(source, slot), model.get(&(source, slot)).copied());
                let found = F::look_up_group(&groups, F::group_address(1 + source), 1000 + slot as u16);
                prop_assert_eq!(found.map(F::action), group_model.get(&(source, slot)).copied());
            }
        }
    }
    for (source, slot) in model.into_keys() {
        flows.remove(source, slot);
    }
    // Nothing stays behind that would make look-ups longer, but tombstones before other tombstones.
    prop_assert_eq!(flows.table.entries, 0);
    Ok(())
}

proptest! {
    #[test]
    fn behaves_as_a_map_v4(steps in prop::collection::vec((0..SOURCES, 0u32..3, 0u8..4), 0..STEPS)) {
        behaves_as_a_map::<V4>(&steps)?;
    }

    #[test]
    fn behaves_as_a_map_v6(steps in prop::collection::vec((0..SOURCES, 0u32..3, 0u8..4), 0..STEPS)) {
        behaves_as_a_map::<V6>(&steps)?;
    }
}

/// One source stays, while two others with the same bits in their words take turns in one place: one accepted, one
/// blocked. No look-up returns the other's action.
#[test]
fn a_reader_sees_no_other_record_while_places_are_reused() {
    const HASH: u64 = 5;
    let mut table = table(8, V6::FLOWS);
    let group = V6::group(V6::group_address(1), PORT, GroupAction::include(1)).word;
    let entry = |record, is_accept| Entry {
        word: v6::FlowEntry::word(HASH, FlowAction { slot: 1, is_accept }),
        hash: HASH,
        record,
    };
    let mask = table.mask;
    // SAFETY: the mapping begins with this many buckets and lives as long as the threads; its words are atomics.
    let buckets: &[[AtomicU64; v6_words()]] =
        unsafe { slice::from_raw_parts(table.memory.start().cast().as_ptr(), mask as usize + 1) };
    let done = AtomicBool::new(false);
    let look = |record: AnyAddress| {
        let bucket = |at: u32| buckets.get(at as usize);
        let key = v6::FlowEntry::search(record, HASH, group);
        let home = home(HASH, mask);
        find(bucket(home)?, key, || find_displaced(home, mask, key, bucket)).map(v6::FlowEntry::is_accept)
    };
    // The half of each that comes and goes makes a third record, which is never set.
    let (come, go, mixture) = ([1, 1], [2, 2], [1, 2]);
    assert_eq!(table.set(&entry([7, 7], true)), Ok(true));
    let looked = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looked = 0_u64;
            while !done.load(Ordering::Relaxed) {
                assert_ne!(look(come), Some(false), "an action of another source");
                assert_ne!(look(go), Some(true), "an action of another source");
                assert_eq!(look(mixture), None);
                assert_eq!(look([7, 7]), Some(true));
                looked += 1;
            }
            looked
        });
        for _ in 0..ROUNDS {
            table.set(&entry(come, true)).expect("room");
            assert!(table.remove(&entry(come, true)));
            table.set(&entry(go, false)).expect("room");
            assert!(table.remove(&entry(go, false)));
        }
        done.store(true, Ordering::Relaxed);
        reader.join().expect("the reader")
    });
    assert!(looked > 1000 || cfg!(miri), "only {looked} look-ups ran meanwhile");
}
