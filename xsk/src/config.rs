//! What a socket is bound to, and how.

use std::fmt;

use super::umem::{UmemConfig, near_power};

/// How packets come from the driver into the packet memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BindMode {
    /// The device writes into it (`XDP_ZEROCOPY`). Not every driver can.
    ZeroCopy,
    /// The kernel copies into it (`XDP_COPY`). Also for an XDP program that is attached in generic mode.
    Copy,
}

impl fmt::Display for BindMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroCopy => "zero-copy",
            Self::Copy => "copy",
        })
    }
}

/// Preferred busy polling (Linux 5.11; af_xdp.rst, and napi.rst, "Busy polling"). Needs CAP_NET_ADMIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// Packets taken by one poll of the device: `SO_BUSY_POLL_BUDGET`.
    pub budget: u16,
    /// How long one system call polls at most, in microseconds: `SO_BUSY_POLL`.
    pub microseconds: u32,
}

/// What to bind to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindConfig {
    /// The interface's index, in the calling thread's network namespace.
    pub if_index: u32,
    /// The interface's name, for messages only.
    pub interface_name: String,
    /// The receive queue, from 0.
    pub queue: u32,
    /// The mode: got or refused, never changed for another.
    pub mode: BindMode,
    /// Slots of the RX ring, a power of two.
    pub rx_ring_size: u32,
    /// Slots of the fill ring, a power of two; at least twice the RX ring is advised.
    pub fill_ring_size: u32,
    /// The packet memory.
    pub umem: UmemConfig,
    /// Busy polling, if it is wanted.
    pub busy_poll: Option<BusyPoll>,
    /// Take packets over several buffers (`XDP_USE_SG`, Linux 6.6), as a frame of [`BindConfig::umem`] may not hold one
    /// of this MTU; the MTU is for messages only. `None`: packets that are longer than a frame are dropped by the
    /// kernel (`rx_dropped`).
    pub multi_buffer: Option<u32>,
    /// In copy mode: take packets over several buffers also where [`BindConfig::multi_buffer`] does not ask for them,
    /// if the kernel can, so that the MTU can grow under the socket. It costs nothing while packets fit one buffer.
    pub multi_buffer_if_possible: bool,
}

impl BindConfig {
    /// The defaults: an RX ring of 2048, a fill ring of twice that, the default packet memory, no busy polling.
    pub fn new(if_index: u32, interface_name: impl Into<String>, queue: u32, mode: BindMode) -> Self {
        Self {
            if_index,
            interface_name: interface_name.into(),
            queue,
            mode,
            rx_ring_size: 2048,
            fill_ring_size: 4096,
            umem: UmemConfig::default(),
            busy_poll: None,
            multi_buffer: None,
            multi_buffer_if_possible: false,
        }
    }

    /// With an RX ring of `slots`, and a fill ring of twice that.
    pub fn with_rx_ring_size(mut self, slots: u32) -> Self {
        self.rx_ring_size = slots;
        self.fill_ring_size = slots.saturating_mul(2);
        self
    }

    /// Returns true if packets over several buffers are to be taken, if the kernel can.
    pub(super) fn gathers(&self) -> bool {
        self.multi_buffer.is_some() || (self.multi_buffer_if_possible && self.mode == BindMode::Copy)
    }

    pub(super) fn fault(&self) -> Option<String> {
        [("rx_ring_size", self.rx_ring_size), ("fill_ring_size", self.fill_ring_size)]
            .into_iter()
            .find(|(_, size)| !size.is_power_of_two())
            .map(|(name, size)| format!("{name} {size} is not a power of two; take {}", near_power(size)))
            .or_else(|| self.umem.fault())
    }
}
