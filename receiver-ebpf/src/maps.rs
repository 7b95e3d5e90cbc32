//! The maps and globals by which user space configures the program and reads its counters.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, xdp_action};
use aya_ebpf::helpers::bpf_redirect_map;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, XskMap};
use receiver_common::{
    AnyAddress, DEFAULT_MAX_FLOWS, FlowAction, FlowKeyV6, GroupAction, GroupKeyV6, MAX_QUEUES, OtherPort, Unwanted,
    Verdict, shared_words,
    table::{self, Bucket, EMPTY, FlowEntry, GroupEntry, MAX_BUCKETS, ReadBucket},
    wire::VlanTags,
};

/// Wanted and blocked (source, group, port).
#[map]
static FLOWS_V4: Array<Bucket> = Array::with_max_entries(MAX_BUCKETS, BPF_F_MMAPABLE);
/// The same for IPv6.
#[map]
static FLOWS_V6: HashMap<FlowKeyV6, FlowAction> = HashMap::with_max_entries(DEFAULT_MAX_FLOWS, 0);
/// The action for sources without an entry above.
#[map]
static GROUPS_V4: Array<Bucket> = Array::with_max_entries(MAX_BUCKETS, BPF_F_MMAPABLE);
/// The same for IPv6.
#[map]
static GROUPS_V6: HashMap<GroupKeyV6, GroupAction> = HashMap::with_max_entries(DEFAULT_MAX_FLOWS, 0);
/// Number of frames by verdict.
#[map]
static VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Verdict::COUNT as u32, 0);
/// Number of frames from unwanted sources, by group slot.
#[map]
static BLOCKED: PerCpuArray<Unwanted> = PerCpuArray::with_max_entries(DEFAULT_MAX_FLOWS, 0);
/// One bit for each group slot: frames from unwanted sources pass, since another program on the host may want them.
#[map]
static SHARED: Array<u64> = Array::with_max_entries(shared_words(DEFAULT_MAX_FLOWS), 0);
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

/// Looks up a source under its group's slot. `hash` is [`FlowEntry::hash`].
#[inline(always)]
pub fn flow_v4(key: u64, hash: u64) -> Option<u64> {
    let home = table::home(hash, global(&FLOWS_MASK));
    table::find(bucket(&FLOWS_V4, home)?, key, FlowEntry::KEY, || some(flow_v4_displaced(home, key)))
}

/// Looks up a group and port. `hash` is [`GroupEntry::hash`].
#[inline(always)]
pub fn group_v4(key: u64, hash: u64) -> Option<u64> {
    let home = table::home(hash, global(&GROUPS_MASK));
    table::find(bucket(&GROUPS_V4, home)?, key, GroupEntry::KEY, || some(group_v4_displaced(home, key)))
}

/// Looks up a source that is not in its home bucket. Returns [`EMPTY`] if there is none.
///
/// Displaced keys take this separate, non-inlined look-up so that the common path needs fewer registers. The name is
/// plain because the hash in a mangled one depends on the path of the source tree.
#[inline(never)]
#[unsafe(no_mangle)]
fn flow_v4_displaced(home: u32, key: u64) -> u64 {
    let mask = global(&FLOWS_MASK);
    table::find_displaced(home, mask, key, FlowEntry::KEY, |at| bucket(&FLOWS_V4, at)).unwrap_or(EMPTY)
}

/// Looks up a group and port that are not in their home bucket, as [`flow_v4_displaced`] does.
#[inline(never)]
#[unsafe(no_mangle)]
fn group_v4_displaced(home: u32, key: u64) -> u64 {
    let mask = global(&GROUPS_MASK);
    table::find_displaced(home, mask, key, GroupEntry::KEY, |at| bucket(&GROUPS_V4, at)).unwrap_or(EMPTY)
}

/// Looks up the action of a source, IPv6.
#[inline(always)]
pub fn flow_v6(key: FlowKeyV6) -> Option<FlowAction> {
    // SAFETY: the kernel returns a whole value of one word or nothing. A change by user space replaces the element.
    FLOWS_V6.get_ptr(key).map(|action| unsafe { action.read() })
}

/// Looks up the action of a group and port, IPv6.
#[inline(always)]
pub fn group_v6(key: GroupKeyV6) -> Option<GroupAction> {
    // SAFETY: as in `flow_v6`.
    GROUPS_V6.get_ptr(key).map(|action| unsafe { action.read() })
}

#[inline(always)]
fn some(entry: u64) -> Option<u64> {
    if entry == EMPTY { None } else { Some(entry) }
}

/// A bucket in the memory of its map, which user space may write at any time.
struct SharedBucket(*const Bucket);

impl ReadBucket for SharedBucket {
    #[inline(always)]
    fn word(&self, at: usize) -> u64 {
        // SAFETY: the kernel returned a whole bucket, aligned to 8 bytes, and `at` is below its length. The load takes
        // the word whole.
        unsafe { self.0.cast::<u64>().add(at).read_volatile() }
    }
}

#[inline(always)]
fn bucket(buckets: &'static Array<Bucket>, at: u32) -> Option<SharedBucket> {
    buckets.get_ptr(at).map(SharedBucket)
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
pub fn unwanted(slot: u32, source: AnyAddress, dropped: Verdict) -> Verdict {
    // SAFETY: the kernel returns a whole element of one word or nothing. User space may write it at any time.
    let word = SHARED.get_ptr(slot / u64::BITS).map_or(0, |word| unsafe { word.read_volatile() });
    let is_shared = word >> (slot % u64::BITS) & 1 != 0;
    if let Some(value) = BLOCKED.get_ptr_mut(slot) {
        // SAFETY: the kernel gives this CPU's own slot, and the program is not interrupted by itself on one CPU.
        unsafe {
            if is_shared {
                (*value).passed += 1;
            } else {
                (*value).dropped += 1;
            }
            (*value).source = source;
        }
    }
    if is_shared { Verdict::PassedShared } else { dropped }
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
