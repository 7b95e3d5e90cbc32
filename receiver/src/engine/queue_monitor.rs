//! What the control side reads of a queue's socket or mapped ring while a worker receives from it.

use crate::api::error::Error;
use crate::stats::ledger::XskLedger;
use receiver_xsk::{MappedMonitor, Monitor};

/// Reads the positions and the kernel's counters of one queue.
#[derive(Debug)]
pub(crate) enum QueueMonitor {
    /// Of an AF_XDP socket. Keeps the queue taken.
    Socket(Monitor),
    /// Of a mapped ring.
    Ring(MappedMonitor),
}

impl QueueMonitor {
    /// Returns true if the queue still receives from its device. A mapped ring belongs to the program, not to a device.
    pub fn is_bound(&self) -> bool {
        match self {
            Self::Socket(monitor) => monitor.is_bound(),
            Self::Ring(_) => true,
        }
    }

    /// Lets no more packets into a mapped ring. The program has a call of its own for sockets.
    pub fn close_ring(&self) {
        if let Self::Ring(monitor) = self {
            monitor.close();
        }
    }

    /// What the kernel, or the XDP program, counts; the rest is 0.
    pub fn ledger(&self) -> Result<XskLedger, Error> {
        match self {
            Self::Socket(monitor) => {
                let kernel = monitor.statistics()?;
                Ok(XskLedger {
                    rx_dropped: kernel.rx_dropped,
                    rx_ring_full: kernel.rx_ring_full,
                    rx_invalid_descs: kernel.rx_invalid_descs,
                    rx_fill_ring_empty_descs: kernel.rx_fill_ring_empty_descs,
                    tx_invalid_descs: kernel.tx_invalid_descs,
                    tx_ring_empty_descs: kernel.tx_ring_empty_descs,
                    in_ring: monitor.pending().into(),
                    consumer_position: monitor.consumer_position(),
                    ..XskLedger::default()
                })
            }
            Self::Ring(monitor) => {
                let consumed = monitor.consumed();
                Ok(XskLedger {
                    in_ring: monitor.reserved().saturating_sub(consumed),
                    consumer_position: consumed as u32,
                    ..XskLedger::default()
                })
            }
        }
    }
}
