//! Read access to a socket's counters for other threads than the one that receives.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::context::Context;
use super::error::Error;
use super::ring::View;
use super::statistics::{Statistics, statistics};

/// Reads a socket's statistics and ring indices. The socket stays open, and its queue in use, until the monitor is
/// dropped too.
#[derive(Debug)]
pub struct Monitor {
    pub(super) fd: OwnedFd,
    pub(super) rx: View,
    pub(super) context: Context,
}

impl Monitor {
    /// Reads the kernel's counters of the socket.
    ///
    /// # Errors
    ///
    /// getsockopt(2) failed.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        statistics(&self.fd, &self.context)
    }

    /// Returns true if the socket still receives from its device. The kernel unbinds it for good when the device is
    /// deleted or moves to another network namespace. Only a receive call reports that (`ENXIO`), since Linux 5.11; on
    /// older kernels the method returns true.
    pub fn is_bound(&self) -> bool {
        // Receiving nothing takes nothing. At most it wakes the driver, as the socket's owner does before each sleep.
        recv(&self.fd, &mut [0_u8; 0][..], RecvFlags::DONTWAIT) != Err(Errno::NXIO)
    }

    /// Returns the number of descriptors in the RX ring that were not taken yet.
    pub fn pending(&self) -> u32 {
        self.rx.producer_position().wrapping_sub(self.rx.consumer_position())
    }

    /// Returns the number of descriptors taken, modulo 2^32, as the kernel sees it.
    pub fn consumer_position(&self) -> u32 {
        self.rx.consumer_position()
    }
}
