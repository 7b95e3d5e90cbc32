//! The configuration of a socket.

use std::fmt;

use super::umem::{UmemConfig, near_power};

/// How packets get from the driver into the packet memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BindMode {
    /// The device writes into it (`XDP_ZEROCOPY`). Not every driver supports this.
    ZeroCopy,
    /// The kernel copies into it (`XDP_COPY`). This mode also serves an XDP program that is attached in generic mode.
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

/// Preferred busy polling (Linux 5.11; see af_xdp.rst, and "Busy polling" in napi.rst). It needs CAP_NET_ADMIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// Upper bound of the packets that one poll of the device takes: `SO_BUSY_POLL_BUDGET`.
    pub budget: u16,
    /// Upper bound of the time that one system call polls, in microseconds: `SO_BUSY_POLL`.
    pub microseconds: u32,
}

/// The queue to bind a socket to, and the rings and packet memory to bind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BindConfig {
    /// The interface's index, in the calling thread's network namespace.
    pub if_index: u32,
    /// The interface's name, for error messages only.
    pub interface_name: String,
    /// The receive queue, counted from 0.
    pub queue: u32,
    /// The mode. If the driver does not support it, the bind fails; there is no fall-back to another mode.
    pub mode: BindMode,
    /// Number of slots of the RX ring, a power of two.
    pub rx_ring_size: u32,
    /// Number of slots of the fill ring, a power of two. At least twice the RX ring is advisable.
    pub fill_ring_size: u32,
    /// The packet memory.
    pub umem: UmemConfig,
    /// Busy polling, or `None` for none.
    pub busy_poll: Option<BusyPoll>,
    /// The interface's MTU, if a frame of [`BindConfig::umem`] may be too small for it: the socket accepts packets in
    /// several buffers (`XDP_USE_SG`, Linux 6.6). The value is for error messages only. With `None` the kernel drops
    /// packets that are longer than a frame (`rx_dropped`).
    pub multi_buffer: Option<u32>,
    /// Whether a socket in copy mode also accepts packets in several buffers without [`BindConfig::multi_buffer`], if
    /// the kernel supports that. Then the MTU can grow while the socket is open. It costs nothing while packets fit one
    /// buffer.
    pub multi_buffer_if_possible: bool,
}

impl BindConfig {
    /// Returns the defaults: an RX ring of 2048 slots, a fill ring of 4096, the default packet memory, no busy polling.
    #[must_use]
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

    /// Sets the RX ring to `slots` slots, and the fill ring to twice that.
    #[must_use]
    pub fn with_rx_ring_size(mut self, slots: u32) -> Self {
        self.rx_ring_size = slots;
        self.fill_ring_size = slots.saturating_mul(2);
        self
    }

    /// Returns true if packets in several buffers are wanted, provided that the kernel supports them.
    pub(super) fn gathers(&self) -> bool {
        self.multi_buffer.is_some() || (self.multi_buffer_if_possible && self.mode == BindMode::Copy)
    }

    /// Describes what is wrong, and the remedy.
    pub(super) fn fault(&self) -> Option<String> {
        [("rx_ring_size", self.rx_ring_size), ("fill_ring_size", self.fill_ring_size)]
            .into_iter()
            .find(|(_, size)| !size.is_power_of_two())
            .map(|(name, size)| format!("{name} {size} is not a power of two; take {}", near_power(size)))
            .or_else(|| self.umem.fault())
    }
}
