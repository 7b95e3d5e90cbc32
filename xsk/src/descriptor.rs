//! The descriptor of a received buffer, as it lies in the RX ring.

use rustix::net::xdp::{XdpDesc, XdpDescOptions};

/// A descriptor of the RX ring in the kernel's layout (`struct xdp_desc`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Offset of the packet in the packet memory, in bytes.
    pub address: u64,
    /// Length of the packet, or of its part in this buffer, in bytes.
    pub length: u32,
    /// Flags, such as [`Descriptor::CONTINUED`].
    pub options: u32,
}

impl Descriptor {
    /// The option for a packet that continues in the next descriptor (`XDP_PKT_CONTD`, Linux 6.6).
    pub const CONTINUED: u32 = XdpDescOptions::XDP_PKT_CONTD.bits();

    /// Returns true if the packet continues in the next descriptor.
    #[inline]
    pub const fn is_continued(&self) -> bool {
        self.options & Self::CONTINUED != 0
    }
}

const _: () = {
    assert!(size_of::<Descriptor>() == size_of::<XdpDesc>());
    assert!(align_of::<Descriptor>() == align_of::<XdpDesc>());
    assert!(std::mem::offset_of!(Descriptor, address) == std::mem::offset_of!(XdpDesc, addr));
    assert!(std::mem::offset_of!(Descriptor, length) == std::mem::offset_of!(XdpDesc, len));
    assert!(std::mem::offset_of!(Descriptor, options) == std::mem::offset_of!(XdpDesc, options));
};
