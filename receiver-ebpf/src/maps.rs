//! The maps and globals that user space steers the program by, and reads its counts from.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, PerCpuArray, XskMap};
use receiver_common::{
    DEFAULT_MAX_FLOWS, FlowAction, FlowKeyV4, FlowKeyV6, GroupAction, GroupKeyV4, GroupKeyV6, MAX_QUEUES, Verdict,
    wire::VlanTags,
};

/// Wanted and blocked (source, group, port).
#[map]
pub static FLOWS_V4: HashMap<FlowKeyV4, FlowAction> = HashMap::with_max_entries(DEFAULT_MAX_FLOWS, 0);
/// As above, IPv6.
#[map]
pub static FLOWS_V6: HashMap<FlowKeyV6, FlowAction> = HashMap::with_max_entries(DEFAULT_MAX_FLOWS, 0);
/// What becomes of the sources that have no entry above.
#[map]
pub static GROUPS_V4: HashMap<GroupKeyV4, GroupAction> = HashMap::with_max_entries(DEFAULT_MAX_FLOWS, 0);
/// As above, IPv6.
#[map]
pub static GROUPS_V6: HashMap<GroupKeyV6, GroupAction> = HashMap::with_max_entries(DEFAULT_MAX_FLOWS, 0);
/// Frames by verdict.
#[map]
static VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Verdict::COUNT as u32, 0);
/// Frames dropped because of their source, by group slot.
#[map]
static BLOCKED: PerCpuArray<u64> = PerCpuArray::with_max_entries(DEFAULT_MAX_FLOWS, 0);
/// The AF_XDP socket of each receive queue.
#[map]
pub static SOCKETS: XskMap = XskMap::with_max_entries(MAX_QUEUES, 0);

#[unsafe(no_mangle)]
static VLAN_TAGS: u32 = 0;
#[unsafe(no_mangle)]
static VLAN_OUTER: u32 = 0;
#[unsafe(no_mangle)]
static VLAN_INNER: u32 = 0;
#[unsafe(no_mangle)]
static STAMP: u32 = 0;

/// The tags that a frame must carry. Constants to the verifier: what is not asked for costs nothing.
#[inline(always)]
pub fn vlan_tags() -> VlanTags {
    VlanTags { count: global(&VLAN_TAGS), outer: global(&VLAN_OUTER) as u16, inner: global(&VLAN_INNER) as u16 }
}

/// Must redirected frames carry a time stamp?
#[inline(always)]
pub fn stamp() -> bool {
    global(&STAMP) != 0
}

/// Books the frame under its verdict.
#[inline(always)]
pub fn count(verdict: Verdict) {
    add(&VERDICTS, verdict as u32);
}

/// Books a frame that was dropped because of its source under its group.
#[inline(always)]
pub fn count_blocked(slot: u32) {
    add(&BLOCKED, slot);
}

#[inline(always)]
fn add(counters: &PerCpuArray<u64>, index: u32) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        // SAFETY: the kernel gives this CPU's own slot, and the program is not interrupted by itself on one CPU.
        unsafe { *counter += 1 };
    }
}

/// Reads a value that user space sets in the object before load, and the compiler must not take for its initial value.
#[inline(always)]
fn global(value: &u32) -> u32 {
    // SAFETY: a reference is readable.
    unsafe { core::ptr::read_volatile(value) }
}
