//! What a worker counts of one path, and the reasons for which it drops a packet.

use crate::stats::counter::{Counter, Gauge};

/// Why a worker did not hand a packet over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// No longer wanted when its turn came: its source was left or blocked after XDP had accepted the packet.
    Revoked,
    /// The IPv4 header's checksum is wrong.
    IpChecksum,
    /// The UDP checksum is wrong.
    UdpChecksum,
    /// Not a packet that XDP should have accepted.
    Malformed,
    /// The receiver stopped before the consumer asked for it.
    Undelivered,
    /// The consumer asked to keep it, and already held as many copies as [`copy_limit`](crate::Builder::copy_limit)
    /// allows.
    NotKept,
    /// Came untagged by the kernel path, although VLAN tags are asked for: there is no VLAN interface.
    Untagged,
}

impl DropReason {
    const COUNT: usize = 7;

    const ALL: [Self; Self::COUNT] = [
        Self::Revoked,
        Self::IpChecksum,
        Self::UdpChecksum,
        Self::Malformed,
        Self::Undelivered,
        Self::NotKept,
        Self::Untagged,
    ];

    /// Its name in [`Ledger::causes`](crate::Ledger::causes).
    pub fn name(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::IpChecksum => "ip_checksum",
            Self::UdpChecksum => "udp_checksum",
            Self::Malformed => "malformed",
            Self::Undelivered => "undelivered_at_stop",
            Self::NotKept => "not_kept",
            Self::Untagged => "untagged",
        }
    }
}

/// What one queue's path, or the kernel path, counts in user space. Written by its worker alone, read by any thread.
#[repr(align(64))]
#[derive(Debug, Default)]
pub(crate) struct QueueCounters {
    /// Packets taken from the ring, or read from a kernel socket.
    pub taken: Counter,
    /// Datagrams that the consumer received.
    pub delivered: Counter,
    /// Datagrams taken, and kept for a later call of the consumer.
    pub held: Gauge,
    dropped: [Counter; DropReason::COUNT],
    /// Payloads copied into memory of their own, because frames ran low or the packet came over several.
    pub copied: Counter,
    /// UDP checksums of local senders, of which only the pseudo header was summed.
    pub checksum_partial: Counter,
    /// IPv4 datagrams without a UDP checksum.
    pub checksum_absent: Counter,
    /// Redirected frames without the time stamp that was asked for.
    pub unstamped: Counter,
}

impl QueueCounters {
    /// Counts a packet that is not handed over.
    #[inline]
    pub fn drop_for(&self, reason: DropReason) {
        self.dropped[reason as usize].add(1);
    }

    /// A copy of all counts. The counters are read one after another.
    pub fn read(&self) -> QueueCounts {
        QueueCounts {
            taken: self.taken.get(),
            delivered: self.delivered.get(),
            held: self.held.get(),
            dropped: self.dropped.each_ref().map(Counter::get),
            copied: self.copied.get(),
            checksum_partial: self.checksum_partial.get(),
            checksum_absent: self.checksum_absent.get(),
            unstamped: self.unstamped.get(),
        }
    }
}

/// A snapshot of [`QueueCounters`], or the sum of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueCounts {
    pub taken: u64,
    pub delivered: u64,
    pub held: u64,
    dropped: [u64; DropReason::COUNT],
    pub copied: u64,
    pub checksum_partial: u64,
    pub checksum_absent: u64,
    pub unstamped: u64,
}

impl QueueCounts {
    /// Packets dropped for this reason.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// Each reason, with the number of packets dropped for it.
    pub fn dropped(self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.into_iter().zip(self.dropped)
    }

    /// The difference between packets taken and packets whose outcome is known.
    pub fn unaccounted(&self) -> u64 {
        self.taken.abs_diff(self.delivered + self.held + self.dropped.iter().sum::<u64>())
    }
}

impl std::ops::Add for QueueCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let mut dropped = self.dropped;
        for (sum, more) in dropped.iter_mut().zip(other.dropped) {
            *sum += more;
        }
        Self {
            taken: self.taken + other.taken,
            delivered: self.delivered + other.delivered,
            held: self.held + other.held,
            dropped,
            copied: self.copied + other.copied,
            checksum_partial: self.checksum_partial + other.checksum_partial,
            checksum_absent: self.checksum_absent + other.checksum_absent,
            unstamped: self.unstamped + other.unstamped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_counter_and_name() {
        let counters = QueueCounters::default();
        for (at, reason) in (1..).zip(DropReason::ALL) {
            (0..at).for_each(|_| counters.drop_for(reason));
        }
        let counts = counters.read();
        for (at, (reason, count)) in (1..).zip(counts.dropped()) {
            assert_eq!((count, counts.dropped_for(reason)), (at, at), "{}", reason.name());
        }
        let names: std::collections::BTreeSet<_> = DropReason::ALL.into_iter().map(DropReason::name).collect();
        assert_eq!(names.len(), DropReason::COUNT);
    }
}
