//! What the XDP program and user space agree on: map names, keys and values, verdicts, and the parser ([`wire`]).
//!
//! Every type that crosses the border has a fixed size without padding; that is asserted below, at compile time.
//! Addresses and ports are held as they lie on the wire: an `u32` or `u16` here is the bytes of the packet in memory
//! order, so the XDP program builds a key by copying and swaps nothing.
#![no_std]

pub mod generator;
pub mod martian;
pub mod partial;
pub mod table;
pub mod verdict;
pub mod wire;

pub use verdict::{Action, Verdict};

/// Names of the maps and globals in the compiled XDP program.
pub mod names {
    /// The program's entry.
    pub const PROGRAM: &str = "receiver";
    /// The entry that also takes frames over several buffers (section `xdp.frags`).
    pub const PROGRAM_FRAGS: &str = "receiver_frags";
    /// Array of [`Bucket`](crate::table::Bucket) of [`FlowEntry`](crate::table::FlowEntry).
    pub const FLOWS_V4: &str = "FLOWS_V4";
    /// Hash: [`FlowKeyV6`](crate::FlowKeyV6) to [`FlowAction`](crate::FlowAction).
    pub const FLOWS_V6: &str = "FLOWS_V6";
    /// Array of [`Bucket`](crate::table::Bucket) of [`GroupEntry`](crate::table::GroupEntry).
    pub const GROUPS_V4: &str = "GROUPS_V4";
    /// Hash: [`GroupKeyV6`](crate::GroupKeyV6) to [`GroupAction`](crate::GroupAction).
    pub const GROUPS_V6: &str = "GROUPS_V6";
    /// Per-CPU array with one `u64` for each [`Verdict`](crate::Verdict): frames.
    pub const VERDICTS: &str = "VERDICTS";
    /// Per-CPU array with one [`Unwanted`](crate::Unwanted) for each group slot.
    pub const BLOCKED: &str = "BLOCKED";
    /// Array of `u64`: one bit for each group slot, set while frames of its unwanted sources are to pass.
    pub const SHARED: &str = "SHARED";
    /// Per-CPU array of [`OtherPort`](crate::OtherPort), by a hash of group and port.
    pub const OTHER_PORTS: &str = "OTHER_PORTS";
    /// XSKMAP: receive queue to AF_XDP socket.
    pub const SOCKETS: &str = "SOCKETS";
    /// Global `u32`: buckets of [`FLOWS_V4`], less one.
    pub const FLOWS_MASK: &str = "FLOWS_MASK";
    /// Global `u32`: buckets of [`GROUPS_V4`], less one.
    pub const GROUPS_MASK: &str = "GROUPS_MASK";
    /// Global `u32`: how many VLAN tags a frame must carry (0, 1 or 2).
    pub const VLAN_TAGS: &str = "VLAN_TAGS";
    /// Global `u32`: VLAN id of the outer tag, where there is one.
    pub const VLAN_OUTER: &str = "VLAN_OUTER";
    /// Global `u32`: VLAN id of the inner tag, where there is one.
    pub const VLAN_INNER: &str = "VLAN_INNER";
    /// Global `u32`: 1 writes a [`Stamp`](crate::Stamp) before each redirected frame.
    pub const STAMP: &str = "STAMP";
    /// Global `u64`: the interface's own MAC address ([`wire::mac`](crate::wire::mac)); 0: it has none.
    pub const OWN_MAC: &str = "OWN_MAC";
    /// Global `u32`: 1 passes wanted frames whose UDP checksum is partial ([`partial`](crate::partial)) to the kernel.
    pub const PASS_PARTIAL: &str = "PASS_PARTIAL";
    /// Global `u32`: 1 if the process that loads the program has CAP_PERFMON, so that it may compute with packet pointers.
    pub const POINTER_ARITHMETIC: &str = "POINTER_ARITHMETIC";
}

/// How many (source, group, port) entries, and how many (group, port) entries, the maps hold unless told otherwise.
pub const DEFAULT_MAX_FLOWS: u32 = 65_536;

/// How many receive queues the XSKMAP can hold a socket for.
pub const MAX_QUEUES: u32 = 1_024;

/// (source, group, port) of an IPv4 datagram, in wire order: user space's key. The XDP program's is in [`table`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKeyV4 {
    /// Source address.
    pub source: u32,
    /// Group (destination) address.
    pub group: u32,
    /// Destination UDP port in the low-addressed two bytes, then two zero bytes.
    pub port: Port,
}

/// (source, group, port) of an IPv6 datagram, in wire order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKeyV6 {
    /// Source address.
    pub source: [u32; 4],
    /// Group (destination) address.
    pub group: [u32; 4],
    /// Destination UDP port.
    pub port: Port,
}

/// (group, port) of an IPv6 datagram, in wire order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupKeyV6 {
    /// Group (destination) address.
    pub group: [u32; 4],
    /// Destination UDP port.
    pub port: Port,
}

/// A UDP port as a map key's last word. The word's value is the same in kernel and user space of one machine; nothing
/// else is promised of it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Port(u32);

impl Port {
    /// From the two bytes of the packet, loaded in memory order.
    #[inline(always)]
    pub const fn from_wire(port: u16) -> Self {
        Self(port as u32)
    }

    /// From a port number in host order.
    pub const fn from_host(port: u16) -> Self {
        Self::from_wire(port.to_be())
    }

    /// The port number in host order.
    pub const fn to_host(self) -> u16 {
        u16::from_be(self.0 as u16)
    }
}

/// What to do with the datagrams of one flow, and the group slot that counts the dropped ones.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowAction(u32);

/// What to do with datagrams to a (group, port) whose source has no flow entry, and the slot that counts the dropped.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupAction(u32);

/// The bit that says "redirect"; the other 31 bits are the slot.
const ACCEPT: u32 = 1 << 31;

impl FlowAction {
    /// The source is wanted: redirect.
    pub const fn accept(slot: u32) -> Self {
        Self(slot | ACCEPT)
    }

    /// The source is blocked: drop and count under `slot`.
    pub const fn block(slot: u32) -> Self {
        Self(slot & !ACCEPT)
    }

    /// Is the source wanted?
    #[inline(always)]
    pub const fn is_accept(self) -> bool {
        self.0 & ACCEPT != 0
    }

    /// The group slot.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 & !ACCEPT
    }
}

impl GroupAction {
    /// INCLUDE: a source without an entry is unwanted.
    pub const fn include(slot: u32) -> Self {
        Self(slot & !ACCEPT)
    }

    /// EXCLUDE: a source without an entry is wanted.
    pub const fn exclude(slot: u32) -> Self {
        Self(slot | ACCEPT)
    }

    /// Are sources without an entry wanted?
    #[inline(always)]
    pub const fn is_exclude(self) -> bool {
        self.0 & ACCEPT != 0
    }

    /// The group slot.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 & !ACCEPT
    }
}

/// An address of either family: IPv4 as `::ffff:a.b.c.d`, in memory order.
pub type AnyAddress = [u64; 2];

/// The address for an IPv4 address in wire order.
#[inline(always)]
pub const fn mapped_v4(address: u32) -> AnyAddress {
    [0, ((u32::from_le(address) as u64) << 32 | 0xffff_0000).to_le()]
}

/// Frames of a group slot whose source was not wanted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unwanted {
    /// How many were dropped.
    pub dropped: u64,
    /// How many passed to the kernel ([`Verdict::PassedShared`]).
    pub passed: u64,
    /// The source of the last one of both.
    pub source: AnyAddress,
}

/// A (group, port) that nobody asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherPort {
    /// The group; zero: none was seen.
    pub group: AnyAddress,
    /// The destination port in the first two bytes, wire order; the others are zero.
    pub port: u64,
}

/// Entries of the map of [`OtherPort`]; a power of two.
pub const OTHER_PORTS: u32 = 64;

/// Words of the map of shared slots, for this many slots.
pub const fn shared_words(slots: u32) -> u32 {
    slots.div_ceil(u64::BITS)
}

/// What the XDP program writes directly before a redirected frame when time stamps are asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// [`Stamp::MAGIC`]. User space clears it when it gives the frame back, so an old stamp is never taken for a new one.
    pub magic: u64,
    /// Nanoseconds of CLOCK_TAI when the XDP program ran (`bpf_ktime_get_tai_ns`, Linux 6.1).
    pub tai_ns: u64,
}

impl Stamp {
    /// Marks a stamp as written for this frame.
    pub const MAGIC: u64 = 0x5353_4d5f_5354_4d50;
}

/// [`Stamp`]'s size in bytes: what the XDP program asks `bpf_xdp_adjust_meta` for.
pub const STAMP_SIZE: usize = size_of::<Stamp>();

const _: () = {
    assert!(size_of::<FlowKeyV4>() == 12);
    assert!(size_of::<FlowKeyV6>() == 36);
    assert!(size_of::<GroupKeyV6>() == 20);
    assert!(size_of::<FlowAction>() == 4);
    assert!(size_of::<GroupAction>() == 4);
    assert!(size_of::<Unwanted>() == 32);
    assert!(size_of::<OtherPort>() == 24);
    assert!(OTHER_PORTS.is_power_of_two());
    // Metadata must be a multiple of 4 and at most 32 bytes (Documentation/networking/xdp-rx-metadata).
    assert!(STAMP_SIZE == 16);
};

#[cfg(feature = "user")]
mod pod {
    //! The permission to copy these types to and from the kernel as plain bytes.
    #![allow(unsafe_code)]
    use super::*;

    // SAFETY: repr(C) of u32 alone, without padding (sizes asserted above): every bit pattern is a value.
    unsafe impl aya::Pod for FlowKeyV6 {}
    // SAFETY: as above.
    unsafe impl aya::Pod for GroupKeyV6 {}
    // SAFETY: a transparent u32.
    unsafe impl aya::Pod for FlowAction {}
    // SAFETY: a transparent u32.
    unsafe impl aya::Pod for GroupAction {}
    // SAFETY: repr(C) of u64 alone, without padding (sizes asserted above).
    unsafe impl aya::Pod for Unwanted {}
    // SAFETY: as above.
    unsafe impl aya::Pod for OtherPort {}
    // SAFETY: repr(C) without padding (sizes asserted in its module): every bit pattern is a value.
    unsafe impl aya::Pod for crate::generator::Flow {}
    // SAFETY: as above.
    unsafe impl aya::Pod for crate::generator::Run {}
}
