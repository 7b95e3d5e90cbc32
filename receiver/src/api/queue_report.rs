//! What one receive queue has received, as users see it.

use crate::stats::ledger::XskLedger;
use crate::stats::queue_counters::QueueCounts;

/// What the worker of one receive queue has taken and handed over, and what became of the rest. The kernel path is no
/// queue: [`Ledger::kernel`](crate::Ledger::kernel) has its counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueReport {
    /// The receive queue's number.
    pub queue: u32,
    /// True if the queue has a mapped ring, and not an AF_XDP socket.
    pub is_mapped: bool,
    /// Packets that the worker took from the ring.
    pub taken: u64,
    /// Datagrams that the consumer received.
    pub delivered: u64,
    /// Datagrams taken, and kept for a later call of the consumer. A gauge.
    pub held: u64,
    /// Payloads of `delivered` that were copied to be kept, because frames ran low or the packet came over several.
    pub copied: u64,
    /// The ring's counts, with the kernel's (XDP_STATISTICS). Those of the kernel are 0 if `is_mapped`.
    pub ring: XskLedger,
    counts: QueueCounts,
}

impl QueueReport {
    pub(crate) fn new(queue: u32, is_mapped: bool, counts: QueueCounts, ring: XskLedger) -> Self {
        let QueueCounts { taken, delivered, held, copied, .. } = counts;
        Self { queue, is_mapped, taken, delivered, held, copied, ring: XskLedger { queue, ..ring }, counts }
    }

    /// Datagrams that the worker dropped, by reason. The names are those of [`Ledger::causes`](crate::Ledger::causes),
    /// where each count is the sum over all queues and the kernel path.
    pub fn drops(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        self.counts.dropped().map(|(reason, count)| (reason.name(), count))
    }
}
