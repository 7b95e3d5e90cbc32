//! The maps and globals by which user space configures the program and reads its counters.

use core::arch::asm;

use aya_ebpf::bindings::{BPF_F_MMAPABLE, xdp_action};
use aya_ebpf::helpers::bpf_redirect_map;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, XskMap};
use receiver_common::{
    AnyAddress, DEFAULT_MAX_FLOWS, GroupAction, MAX_QUEUES, OtherPort, Unwanted, Verdict,
    table::{self, EMPTY, Key, MAX_BUCKETS, ReadBucket, Record, record_at, v4, v6},
    wire::VlanTags,
};

/// Wanted and blocked (source, group, port).
#[map]
static FLOWS_V4: Array<v4::Bucket> = Array::with_max_entries(MAX_BUCKETS, BPF_F_MMAPABLE);
/// The same for IPv6.
#[map]
static FLOWS_V6: Array<v6::Bucket> = Array::with_max_entries(MAX_BUCKETS, BPF_F_MMAPABLE);
/// The action for sources without an entry above.
#[map]
static GROUPS_V4: Array<v4::Bucket> = Array::with_max_entries(MAX_BUCKETS, BPF_F_MMAPABLE);
/// The same for IPv6.
#[map]
static GROUPS_V6: Array<v6::Bucket> = Array::with_max_entries(MAX_BUCKETS, BPF_F_MMAPABLE);
/// Number of frames by verdict.
#[map]
static VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Verdict::COUNT as u32, 0);
/// Number of frames from unwanted sources, by group slot.
#[map]
static BLOCKED: PerCpuArray<Unwanted> = PerCpuArray::with_max_entries(DEFAULT_MAX_FLOWS, 0);
/// Groups and ports without a subscription for which datagrams arrived, by a hash of both.
#[map]
static OTHER_PORTS: PerCpuArray<OtherPort> = PerCpuArray::with_max_entries(receiver_common::OTHER_PORTS, 0);
/// The AF_XDP socket of each receive queue.
#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(MAX_QUEUES, 0);

#[unsafe(no_mangle)]
static FLOWS_MASK: u32 = MAX_BUCKETS - 1;
#[unsafe(no_mangle)]
static GROUPS_MASK: u32 = MAX_BUCKETS - 1;
#[unsafe(no_mangle)]
static VLAN_TAGS: u32 = 0;
#[unsafe(no_mangle)]
static VLAN_OUTER: u32 = 0;
#[unsafe(no_mangle)]
static VLAN_INNER: u32 = 0;
#[unsafe(no_mangle)]
static STAMP: u32 = 0;
#[unsafe(no_mangle)]
static OWN_MAC: u64 = 0;
#[unsafe(no_mangle)]
static PASS_PARTIAL: u32 = 0;
#[unsafe(no_mangle)]
static POINTER_ARITHMETIC: u32 = 0;
#[unsafe(no_mangle)]
static STORES_IN_ORDER: u32 = 0;

/// Looks up a source under its group's slot. `hash` is [`v4::FlowEntry::hash`].
#[inline(always)]
pub fn flow_v4(key: u64, hash: u64) -> Option<u64> {
    let home = table::home(hash, global(&FLOWS_MASK));
    let further = || some(flow_v4_displaced(home, key));
    table::find(bucket(&FLOWS_V4, home)?, v4::FlowEntry::search(key), further)
}

/// Looks up a group and port. `hash` is [`v4::GroupEntry::hash`].
#[inline(always)]
pub fn group_v4(key: u64, hash: u64) -> Option<u64> {
    if key == v4::GroupEntry::NO_KEY {
        return None;
    }
    let home = table::home(hash, global(&GROUPS_MASK));
    let further = || some(group_v4_displaced(home, key));
    table::find(bucket(&GROUPS_V4, home)?, v4::GroupEntry::search(key), further)
}

/// Looks up a source under its group's slot. The key is [`v6::FlowEntry::search`], `hash` [`v6::FlowEntry::hash`].
#[inline(always)]
pub fn flow_v6(key: Key<AnyAddress>, hash: u64) -> Option<u64> {
    let home = table::home(hash, global(&FLOWS_MASK));
    let further = || some(flow_v6_displaced(home, key.bits, key.record[0], key.record[1]));
    table::find(bucket(&FLOWS_V6, home)?, key, further)
}

/// Looks up a group and port. The key is [`v6::GroupEntry::search`], `hash` [`v6::GroupEntry::hash`].
#[inline(always)]
pub fn group_v6(key: Key<AnyAddress>, hash: u64) -> Option<u64> {
    let home = table::home(hash, global(&GROUPS_MASK));
    let further = || some(group_v6_displaced(home, key.bits, key.record[0], key.record[1]));
    table::find(bucket(&GROUPS_V6, home)?, key, further)
}

/// Looks up a source that is not in its home bucket. Returns [`EMPTY`] if there is none.
///
/// Displaced keys take this separate, non-inlined look-up so that the common path needs fewer registers. The name is
/// plain because the hash in a mangled one depends on the path of the source tree.
#[inline(never)]
#[unsafe(no_mangle)]
fn flow_v4_displaced(home: u32, key: u64) -> u64 {
    displaced(&FLOWS_V4, home, global(&FLOWS_MASK), v4::FlowEntry::search(key))
}

/// Looks up a group and port that are not in their home bucket, as [`flow_v4_displaced`] does.
#[inline(never)]
#[unsafe(no_mangle)]
fn group_v4_displaced(home: u32, key: u64) -> u64 {
    displaced(&GROUPS_V4, home, global(&GROUPS_MASK), v4::GroupEntry::search(key))
}

/// Looks up a source that [`table::find`] did not find, as [`flow_v4_displaced`] does.
#[inline(never)]
#[unsafe(no_mangle)]
fn flow_v6_displaced(home: u32, bits: u64, first: u64, last: u64) -> u64 {
    let key = Key { bits, mask: v6::FlowEntry::KEY, record: [first, last] };
    displaced(&FLOWS_V6, home, global(&FLOWS_MASK), key)
}

/// Looks up a group and port that [`table::find`] did not find, as [`flow_v4_displaced`] does.
#[inline(never)]
#[unsafe(no_mangle)]
fn group_v6_displaced(home: u32, bits: u64, first: u64, last: u64) -> u64 {
    let key = Key { bits, mask: v6::GroupEntry::KEY, record: [first, last] };
    displaced(&GROUPS_V6, home, global(&GROUPS_MASK), key)
}

#[inline(always)]
fn displaced<B, R: Record>(buckets: &'static Array<B>, home: u32, mask: u32, key: Key<R>) -> u64 {
    table::find_displaced(home, mask, key, |at| bucket(buckets, at)).unwrap_or(EMPTY)
}

#[inline(always)]
fn some(entry: u64) -> Option<u64> {
    if entry == EMPTY { None } else { Some(entry) }
}

/// A bucket in the memory of its map, which user space may write at any time.
struct SharedBucket(*const u64);

impl ReadBucket for SharedBucket {
    #[inline(always)]
    fn word<const AT: usize>(&self) -> u64 {
        // SAFETY: the kernel returned a whole bucket, aligned to 8 bytes, and the position is below its length. The
        // load takes the word whole.
        unsafe { self.0.add(AT).read_volatile() }
    }

    #[inline(always)]
    fn word_again<const AT: usize>(&self) -> u64 {
        let mut word = self.0 as usize;
        // SAFETY: the instruction only changes the register that it names; then as in `word`.
        unsafe {
            asm!("{0} += {1}", inout(reg) word, const AT * size_of::<u64>(), options(pure, nomem, nostack));
            (word as *const u64).read_volatile()
        }
    }

    #[inline(always)]
    fn record<const AT: usize>(&self) -> AnyAddress {
        let mut record = self.0 as usize;
        // SAFETY: as in `word_again`.
        unsafe {
            asm!(
                "{0} += {1}",
                inout(reg) record,
                const record_at::<AnyAddress>(AT) * size_of::<u64>(),
                options(pure, nomem, nostack)
            );
            let record = record as *const u64;
            [record.read_volatile(), record.add(1).read_volatile()]
        }
    }

    #[inline(always)]
    fn fence(&self) {
        // Volatile loads stay in order; so do the CPU's where stores do.
        if !stores_in_order() {
            let mut word = 0_u64;
            // SAFETY: the word is on the stack. An atomic exchange is a barrier.
            unsafe { asm!("{1} = xchg_64({0} + 0, {1})", in(reg) &raw mut word, inout(reg) 0_u64 => _) };
        }
    }
}

#[inline(always)]
fn bucket<B>(buckets: &'static Array<B>, at: u32) -> Option<SharedBucket> {
    buckets.get_ptr(at).map(|bucket| SharedBucket(bucket.cast()))
}

/// The VLAN tags that a frame must carry, if any. The verifier knows the globals as constants and removes unused
/// branches.
#[inline(always)]
pub fn vlan_tags() -> Option<VlanTags> {
    match global(&VLAN_TAGS) {
        0 => None,
        count => Some(VlanTags { count, outer: global(&VLAN_OUTER) as u16, inner: global(&VLAN_INNER) as u16 }),
    }
}

/// Returns true if redirected frames must carry a time stamp.
#[inline(always)]
pub fn stamp() -> bool {
    global(&STAMP) != 0
}

/// The interface's own MAC address.
#[inline(always)]
pub fn own_mac() -> u64 {
    global(&OWN_MAC)
}

/// Returns true if wanted frames with a partial UDP checksum pass to the kernel.
#[inline(always)]
pub fn pass_partial() -> bool {
    global(&PASS_PARTIAL) != 0
}

/// Returns true if the verifier lets the program compute with packet pointers.
#[inline(always)]
pub fn pointer_arithmetic() -> bool {
    global(&POINTER_ARITHMETIC) != 0
}

/// Returns true if the CPU keeps the order of stores and that of loads.
#[inline(always)]
pub fn stores_in_order() -> bool {
    global(&STORES_IN_ORDER) != 0
}

/// Redirects the frame to the AF_XDP socket of a queue. Returns false if there is none.
#[inline(always)]
pub fn redirect(queue: u32) -> bool {
    let sockets = (&raw const SOCKETS).cast_mut().cast();
    // SAFETY: this is the map's definition, which the loader replaces by the map. The helper requires nothing else.
    unsafe { bpf_redirect_map(sockets, queue.into(), xdp_action::XDP_PASS.into()) == xdp_action::XDP_REDIRECT.into() }
}

/// Counts the frame under its verdict.
#[inline(always)]
pub fn count(verdict: Verdict) {
    if let Some(counter) = VERDICTS.get_ptr_mut(verdict as u32) {
        // SAFETY: the kernel gives this CPU's own slot, and the program is not interrupted by itself on one CPU.
        unsafe { *counter += 1 };
    }
}

/// Counts a frame from an unwanted source under its group's slot, and returns its verdict: `dropped`, unless another
/// program on the host may want it.
#[inline(always)]
pub fn unwanted(group: GroupAction, source: AnyAddress, dropped: Verdict) -> Verdict {
    if let Some(value) = BLOCKED.get_ptr_mut(group.slot) {
        // SAFETY: the kernel gives this CPU's own slot, and the program is not interrupted by itself on one CPU.
        unsafe {
            if group.is_shared {
                (*value).passed += 1;
            } else {
                (*value).dropped += 1;
            }
            (*value).source = source;
        }
    }
    if group.is_shared { Verdict::PassedShared } else { dropped }
}

/// Records a group and port without a subscription; `hash` covers both.
#[inline(always)]
pub fn note_other(hash: u64, seen: OtherPort) {
    if let Some(value) = OTHER_PORTS.get_ptr_mut(hash as u32 & (receiver_common::OTHER_PORTS - 1)) {
        // SAFETY: as in `unwanted`.
        unsafe { *value = seen };
    }
}

/// Reads a value that user space sets in the object before it loads it. The compiler must not assume the initial value.
#[inline(always)]
pub fn global<T: Copy>(value: &T) -> T {
    // SAFETY: a reference is readable.
    unsafe { core::ptr::read_volatile(value) }
}
