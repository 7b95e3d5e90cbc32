//! What XDP programs and user space share: map names, keys and values, [verdicts](Verdict), and the frame
//! [parser](wire).
//!
//! The parser reads a frame through a checked window, so the same code runs in the kernel and over a slice:
//!
//! ```
//! use receiver_common::Verdict;
//! use receiver_common::wire::{self, Network, VlanTags};
//!
//! // 10.0.0.1:4000 sends "hello" to 232.1.1.1:5000.
//! let mut frame = vec![0x01, 0x00, 0x5e, 1, 1, 1, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00];
//! frame.extend([0x45, 0, 0, 33, 0, 0, 0x40, 0, 1, 17, 0, 0, 10, 0, 0, 1, 232, 1, 1, 1]);
//! frame.extend([0x0f, 0xa0, 0x13, 0x88, 0, 13, 0, 0]);
//! frame.extend(b"hello");
//!
//! let Network::V4(offset) = wire::network(&*frame, VlanTags::default())? else { panic!("an IPv6 frame") };
//! let datagram = wire::udp_v4(&*frame, offset)?;
//! assert_eq!(u16::from_be(datagram.udp.destination_port), 5000);
//! assert!(datagram.udp.lengths_agree);
//! # Ok::<(), Verdict>(())
//! ```
//!
//! The crate is `no_std` and needs no privilege. The XDP programs that use it are tested on Linux 6.1 and newer.
//!
//! Every type that crosses the border has a fixed size and no padding; assertions below check that at compile time.
//! Addresses and ports are in wire order: a `u32` or `u16` holds the packet's bytes in memory order. So the XDP program
//! builds a key from copies and swaps no bytes.
//!
//! # Features
//!
//! - `user` implements `aya::Pod` for the map types, so that user space can read and write them through aya.
#![no_std]
#![warn(missing_debug_implementations)]

pub mod generator;
pub mod mapped;
pub mod martian;
pub mod partial;
pub mod table;
pub mod tap;
pub mod verdict;
pub mod wire;

pub use verdict::{Action, Verdict};

/// Names of the maps and globals in the compiled XDP program.
pub mod names {
    /// The program's entry.
    pub const PROGRAM: &str = "receiver";
    /// The entry that also accepts frames in several buffers (section `xdp.frags`).
    pub const PROGRAM_FRAGS: &str = "receiver_frags";
    /// Array of [`v4::Bucket`](crate::table::v4::Bucket) of [`v4::FlowEntry`](crate::table::v4::FlowEntry).
    pub const FLOWS_V4: &str = "FLOWS_V4";
    /// Array of [`v6::Bucket`](crate::table::v6::Bucket) of [`v6::FlowEntry`](crate::table::v6::FlowEntry).
    pub const FLOWS_V6: &str = "FLOWS_V6";
    /// Array of [`v4::Bucket`](crate::table::v4::Bucket) of [`v4::GroupEntry`](crate::table::v4::GroupEntry).
    pub const GROUPS_V4: &str = "GROUPS_V4";
    /// Array of [`v6::Bucket`](crate::table::v6::Bucket) of [`v6::GroupEntry`](crate::table::v6::GroupEntry).
    pub const GROUPS_V6: &str = "GROUPS_V6";
    /// Per-CPU array with one `u64` for each [`Verdict`](crate::Verdict): frames.
    pub const VERDICTS: &str = "VERDICTS";
    /// Per-CPU array with one [`Unwanted`](crate::Unwanted) for each group slot.
    pub const BLOCKED: &str = "BLOCKED";
    /// Per-CPU array of [`OtherPort`](crate::OtherPort), indexed by a hash of group and port.
    pub const OTHER_PORTS: &str = "OTHER_PORTS";
    /// XSKMAP: from receive queue to AF_XDP socket.
    pub const SOCKETS: &str = "SOCKETS";
    /// Global `u32`: number of buckets of [`FLOWS_V4`], and of [`FLOWS_V6`], minus one.
    pub const FLOWS_MASK: &str = "FLOWS_MASK";
    /// Global `u32`: number of buckets of [`GROUPS_V4`], and of [`GROUPS_V6`], minus one.
    pub const GROUPS_MASK: &str = "GROUPS_MASK";
    /// Global `u32`: number of VLAN tags that a frame must carry (0, 1 or 2).
    pub const VLAN_TAGS: &str = "VLAN_TAGS";
    /// Global `u32`: VLAN id of the outer tag, if there is one.
    pub const VLAN_OUTER: &str = "VLAN_OUTER";
    /// Global `u32`: VLAN id of the inner tag, if there is one.
    pub const VLAN_INNER: &str = "VLAN_INNER";
    /// Global `u32`: 1 makes the program write a [`Stamp`](crate::Stamp) before each redirected frame.
    pub const STAMP: &str = "STAMP";
    /// Global `u64`: the interface's own MAC address ([`wire::mac`](crate::wire::mac)), or 0 if it has none.
    pub const OWN_MAC: &str = "OWN_MAC";
    /// Global `u32`: 1 makes the program pass wanted frames with a [partial](crate::partial) UDP checksum to the
    /// kernel.
    pub const PASS_PARTIAL: &str = "PASS_PARTIAL";
    /// Global `u32`: 1 if the loading process has CAP_PERFMON, with which the program may compute with packet pointers.
    pub const POINTER_ARITHMETIC: &str = "POINTER_ARITHMETIC";
    /// Array of [`Control`](crate::mapped::Control), by receive queue.
    pub const RING_CONTROL: &str = "RING_CONTROL";
    /// Array of `u64`: the entries of all mapped rings, each the number of a frame.
    pub const RING_ENTRIES: &str = "RING_ENTRIES";
    /// Array of [`Frame`](crate::mapped::Frame): the frames of all mapped rings.
    pub const RING_FRAMES: &str = "RING_FRAMES";
    /// Array of [`LargeFrame`](crate::mapped::LargeFrame): the frames of all mapped rings, if they are large.
    pub const RING_LARGE_FRAMES: &str = "RING_LARGE_FRAMES";
    /// Array of BPF ring buffers, by receive queue: a record wakes the consumer.
    pub const RING_WAKERS: &str = "RING_WAKERS";
    /// Global `u32`: 1 copies wanted packets into mapped rings; 0 hands them to AF_XDP sockets.
    pub const MAPPED: &str = "MAPPED";
    /// Global `u32`: 1 copies them into large frames.
    pub const LARGE_FRAMES: &str = "LARGE_FRAMES";
    /// Global `u32`: slots of each mapped ring, a power of two.
    pub const RING_SLOTS: &str = "RING_SLOTS";
    /// Global `u32`: 1 passes packets that go into a mapped ring to the kernel too.
    pub const SHARE: &str = "SHARE";
    /// Global `u32`: 1 if the CPU keeps the order of stores and that of loads, as x86-64 does.
    pub const STORES_IN_ORDER: &str = "STORES_IN_ORDER";
    /// Array of [`Control`](crate::mapped::Control), by ring of the [tap](crate::tap).
    pub const TAP_CONTROL: &str = "TAP_CONTROL";
    /// Array of `u64`: the entries of the tap's rings.
    pub const TAP_ENTRIES: &str = "TAP_ENTRIES";
    /// Array of [`Frame`](crate::mapped::Frame): the frames of the tap's rings.
    pub const TAP_FRAMES: &str = "TAP_FRAMES";
    /// BPF ring buffer: a record wakes the tap's reader.
    pub const TAP_WAKER: &str = "TAP_WAKER";
    /// Per-CPU array with one `u64` for each [`TapLoss`](crate::tap::TapLoss): frames.
    pub const TAP_LOST: &str = "TAP_LOST";
    /// Global `u32`: 1 if there is a tap.
    pub const TAP: &str = "TAP";
    /// Global `u64`: the verdicts whose frames go into the tap, a bit each by its number.
    pub const TAP_VERDICTS: &str = "TAP_VERDICTS";
    /// Global `u32`: number of the tap's rings, a power of two, minus one.
    pub const TAP_RINGS_MASK: &str = "TAP_RINGS_MASK";
    /// Global `u32`: slots of each of the tap's rings, a power of two.
    pub const TAP_SLOTS: &str = "TAP_SLOTS";
}

/// Default capacity of the maps: (source, group, port) entries, and (group, port) entries.
pub const DEFAULT_MAX_FLOWS: u32 = 65_536;

/// Number of receive queues for which the XSKMAP can hold a socket.
pub const MAX_QUEUES: u32 = 1_024;

/// (source, group, port) of an IPv4 datagram, in wire order: the key in user space. [`table`] defines the XDP
/// program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKeyV4 {
    /// Source address.
    pub source: u32,
    /// Group (destination) address.
    pub group: u32,
    /// Destination UDP port.
    pub port: Port,
}

/// (source, group, port) of an IPv6 datagram, in wire order, as [`FlowKeyV4`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKeyV6 {
    /// Source address.
    pub source: AnyAddress,
    /// Group (destination) address.
    pub group: AnyAddress,
    /// Destination UDP port.
    pub port: Port,
}

/// A UDP port as the last word of a key. Its value is unspecified.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Port(u32);

impl Port {
    /// Converts the two bytes of the packet, loaded in memory order.
    #[inline(always)]
    pub const fn from_wire(port: u16) -> Self {
        Self(port as u32)
    }

    /// Converts a port number in host order.
    pub const fn from_host(port: u16) -> Self {
        Self::from_wire(port.to_be())
    }

    /// Returns the port number in host order.
    pub const fn to_host(self) -> u16 {
        u16::from_be(self.0 as u16)
    }
}

/// The action for the datagrams of one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowAction {
    /// The slot of the flow's group.
    pub slot: u32,
    /// True if the source is wanted.
    pub is_accept: bool,
}

/// The action for datagrams to a (group, port) whose source has no flow entry, and for unwanted ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupAction {
    /// The slot that counts datagrams of unwanted sources.
    pub slot: u32,
    /// True if sources without an entry are wanted (EXCLUDE).
    pub is_exclude: bool,
    /// True if datagrams of unwanted sources pass to the kernel, since another program on the host may want them.
    pub is_shared: bool,
}

impl FlowAction {
    /// The source is wanted: redirect.
    pub const fn accept(slot: u32) -> Self {
        Self { slot, is_accept: true }
    }

    /// The source is blocked: drop and count under `slot`.
    pub const fn block(slot: u32) -> Self {
        Self { slot, is_accept: false }
    }
}

impl GroupAction {
    /// INCLUDE: a source without an entry is unwanted.
    pub const fn include(slot: u32) -> Self {
        Self { slot, is_exclude: false, is_shared: false }
    }

    /// EXCLUDE: a source without an entry is wanted.
    pub const fn exclude(slot: u32) -> Self {
        Self { slot, is_exclude: true, is_shared: false }
    }

    /// The same action, with what becomes of datagrams of unwanted sources: they pass if `shared`, and are dropped
    /// otherwise.
    pub const fn shared(self, shared: bool) -> Self {
        Self { is_shared: shared, ..self }
    }
}

/// An address of either family: IPv4 as `::ffff:a.b.c.d`, in memory order.
pub type AnyAddress = [u64; 2];

/// Maps an IPv4 address in wire order.
#[inline(always)]
pub const fn mapped_v4(address: u32) -> AnyAddress {
    [0, ((u32::from_le(address) as u64) << 32 | 0xffff_0000).to_le()]
}

/// Frames of a group slot whose source was not wanted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unwanted {
    /// Dropped frames.
    pub dropped: u64,
    /// Frames passed to the kernel ([`Verdict::PassedShared`]).
    pub passed: u64,
    /// The source of the last frame of either kind.
    pub source: AnyAddress,
}

/// A (group, port) without a subscription, for which a datagram arrived.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherPort {
    /// The group, or zero in an unused entry.
    pub group: AnyAddress,
    /// The destination port in the first two bytes, in wire order; the other bytes are zero.
    pub port: u64,
}

/// Capacity of the map of [`OtherPort`]; a power of two.
pub const OTHER_PORTS: u32 = 64;

/// A time stamp, which the XDP program writes directly before a redirected frame if it is configured to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// [`Stamp::MAGIC`]. User space clears it when it returns the frame, so that an old stamp is never taken for a new
    /// one.
    pub magic: u64,
    /// Nanoseconds of CLOCK_TAI when the XDP program ran (`bpf_ktime_get_tai_ns`, Linux 6.1).
    pub tai_ns: u64,
}

impl Stamp {
    /// Marks a stamp as written for this frame.
    pub const MAGIC: u64 = 0x5353_4d5f_5354_4d50;
}

/// Size of [`Stamp`] in bytes: the metadata that the XDP program requests by `bpf_xdp_adjust_meta`.
pub const STAMP_SIZE: usize = size_of::<Stamp>();

const _: () = {
    assert!(size_of::<Unwanted>() == 32);
    assert!(size_of::<OtherPort>() == 24);
    assert!(OTHER_PORTS.is_power_of_two());
    // The kernel requires a multiple of 4, and at most 32 bytes (Documentation/networking/xdp-rx-metadata).
    assert!(STAMP_SIZE == 16);
};

#[cfg(feature = "user")]
mod pod {
    //! The permission to copy these types to and from the kernel as plain bytes.
    #![allow(unsafe_code)]
    use super::*;

    // SAFETY: repr(C) with u64 fields only, without padding (sizes asserted above).
    unsafe impl aya::Pod for Unwanted {}
    // SAFETY: as above.
    unsafe impl aya::Pod for OtherPort {}
    // SAFETY: repr(C) without padding (sizes asserted in its module): every bit pattern is a value.
    unsafe impl aya::Pod for crate::generator::Flow {}
    // SAFETY: as above.
    unsafe impl aya::Pod for crate::generator::Run {}
}
