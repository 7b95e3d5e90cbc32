//! The kernel's counters of one socket.

use std::os::fd::OwnedFd;

use rustix::net::sockopt;

use super::context::Context;
use super::error::{Call, Error};

/// The kernel's counters of one socket, named as in `struct xdp_statistics`. Counters that the kernel does not have
/// (before Linux 5.9) are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Packets dropped for other reasons than the following, for example because they are longer than a frame.
    pub rx_dropped: u64,
    /// Packets dropped because of an invalid address in the fill ring.
    pub rx_invalid_descs: u64,
    /// Packets dropped because of an invalid descriptor in the TX ring.
    pub tx_invalid_descs: u64,
    /// Packets dropped because the RX ring was full.
    pub rx_ring_full: u64,
    /// Number of times that the kernel found the fill ring empty.
    pub rx_fill_ring_empty_descs: u64,
    /// Number of times that the kernel found the TX ring empty.
    pub tx_ring_empty_descs: u64,
}

pub(super) fn statistics(fd: &OwnedFd, context: &Context) -> Result<Statistics, Error> {
    let kernel = context.check(Call::Statistics, sockopt::xdp_statistics(fd))?;
    Ok(Statistics {
        rx_dropped: kernel.rx_dropped,
        rx_invalid_descs: kernel.rx_invalid_descs,
        tx_invalid_descs: kernel.tx_invalid_descs,
        rx_ring_full: kernel.rx_ring_full.unwrap_or(0),
        rx_fill_ring_empty_descs: kernel.rx_fill_ring_empty_descs.unwrap_or(0),
        tx_ring_empty_descs: kernel.tx_ring_empty_descs.unwrap_or(0),
    })
}
