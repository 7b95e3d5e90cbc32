//! The number of receive queues in use, from the one ethtool request (`ethtool -l`) that rtnetlink does not replace.
#![allow(unsafe_code)] // The ioctl; no library of the workspace offers it safely and without a runtime.

use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketType, socket};

/// `struct ethtool_channels` (include/uapi/linux/ethtool.h).
#[repr(C)]
#[derive(Default)]
struct EthtoolChannels {
    cmd: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx_count: u32,
    tx_count: u32,
    other_count: u32,
    combined_count: u32,
}

const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// The receive queues in use; `None` if the driver does not report them.
pub(crate) fn receive_queues(name: &str) -> Option<u32> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    let mut channels = EthtoolChannels { cmd: ETHTOOL_GCHANNELS, ..Default::default() };
    // SAFETY: ifreq is integers, arrays and pointers, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // All but the last byte, so that the name ends with a zero.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    // SAFETY: SIOCETHTOOL with ETHTOOL_GCHANNELS reads the ifreq and writes at most one ethtool_channels through its
    // pointer. Both are locals that outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    (result == 0).then(|| channels.rx_count.saturating_add(channels.combined_count))
}
