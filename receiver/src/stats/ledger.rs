//! The books: every frame under one cause, from counts that were made independently of each other.
//!
//! Three equations are checked, and their differences added up in [`Ledger::unaccounted`]:
//!
//! 1. for the XDP side: frames the program redirected = frames the workers took from the rings + frames still in the
//!    rings + frames the kernel says it dropped in between (XDP_STATISTICS) + frames for a socket whose device had gone,
//!    which the kernel drops uncounted: what was left over when the sockets were replaced; and what a worker says it took is where the
//!    ring's index stands (a frame over several buffers in a ring counts as many as it has descriptors, until taken);
//! 2. for each queue: frames taken = datagrams handed over + frames refused under a named cause + datagrams held for
//!    later;
//! 3. for the kernel path: datagrams that recvmmsg gave = set aside there + taken, and taken = handed over + refused + held.
//!
//! The left and right sides are counted at different places by different code. While traffic flows the snapshot is not
//! taken at one instant, so the sum may be off by what is on its way; once traffic rests it is 0, or something is wrong.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use receiver_common::Verdict;

use crate::engine::link::LinkLedger;
use crate::stats::host_counters::HostLedger;

/// Why a queue did not hand a frame over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// No longer wanted when its turn came: left or blocked after XDP had let it through.
    Revoked,
    /// The IPv4 header's checksum is wrong.
    IpChecksum,
    /// The UDP checksum is wrong.
    UdpChecksum,
    /// Not what XDP should have let through.
    Malformed,
    /// The receiver stopped before anybody asked for it.
    Undelivered,
    /// The consumer holds so many copies that no more was made.
    NotKept,
    /// Came untagged by the kernel path, although VLAN tags are asked for: there is no VLAN interface.
    Untagged,
}

impl DropReason {
    const COUNT: usize = 7;
    const NAMES: [&'static str; Self::COUNT] =
        ["revoked", "ip_checksum", "udp_checksum", "malformed", "undelivered_at_stop", "not_kept", "untagged"];
}

/// What one queue (or the kernel path) counts in user space. Written by its owner alone, read by anybody.
#[repr(align(64))]
#[derive(Debug, Default)]
pub(crate) struct QueueCounters {
    /// Taken from the ring, or read from a kernel socket.
    pub taken: AtomicU64,
    /// Handed to the consumer.
    pub delivered: AtomicU64,
    /// Taken, and kept for a later call of the consumer.
    pub held: AtomicU64,
    refused: [AtomicU64; DropReason::COUNT],
    /// Payloads copied into memory of their own, because frames ran low or they came over several.
    pub copied: AtomicU64,
    /// UDP checksums of local senders, of which only the pseudo header was summed.
    pub checksum_partial: AtomicU64,
    /// IPv4 datagrams without a UDP checksum.
    pub checksum_absent: AtomicU64,
    /// Redirected frames without the time stamp that was asked for.
    pub unstamped: AtomicU64,
}

/// Adds to a counter that only this thread writes.
#[inline]
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

impl QueueCounters {
    #[inline]
    pub fn refuse(&self, why: DropReason) {
        add(&self.refused[why as usize], 1);
    }

    /// What was booked as handed over was lost after all. Within the callback, so on the owner's thread.
    pub fn take_back_delivery(&self, why: DropReason) {
        add(&self.delivered, u64::MAX);
        self.refuse(why);
    }

    fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    fn refused(&self) -> u64 {
        self.refused.iter().map(Self::get).sum()
    }

    /// How far the two sides of equations 2 and 3 are apart.
    fn unaccounted(&self) -> u64 {
        let booked = Self::get(&self.delivered) + self.refused() + Self::get(&self.held);
        Self::get(&self.taken).abs_diff(booked)
    }
}

/// XDP_STATISTICS of one AF_XDP socket, and what else is known of its ring (Documentation/networking/af_xdp.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XskLedger {
    /// Receive queue.
    pub queue: u32,
    /// Dropped: no free frame, or larger than a frame.
    pub rx_dropped: u64,
    /// Dropped: the RX ring was full.
    pub rx_ring_full: u64,
    /// Dropped: a descriptor in the fill ring was invalid.
    pub rx_invalid_descs: u64,
    /// How often the fill ring was found empty; in copy mode each is in `rx_dropped` too.
    pub rx_fill_ring_empty_descs: u64,
    /// Always 0: nothing is sent.
    pub tx_invalid_descs: u64,
    /// Always 0: nothing is sent.
    pub tx_ring_empty_descs: u64,
    /// In the RX ring, not yet taken.
    pub in_ring: u64,
    /// Frames leased out with datagrams that the consumer keeps.
    pub leased: u64,
    /// Packets refused by the ring's owner: outside the memory, or broken over several buffers.
    pub refused: u64,
    /// Descriptors beyond the one that each packet has: of packets over several buffers.
    pub further: u64,
    /// Descriptors taken, as the ring's shared index tells: modulo 2^32.
    pub consumer_position: u32,
}

/// What the kernel path counts by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelLedger {
    /// Datagrams that recvmmsg gave.
    pub received: u64,
    /// Of them: came in on another interface.
    pub other_interface: u64,
    /// Of them: without source, destination or group address.
    pub unidentified: u64,
    /// Of them: cut by the kernel; never delivered in part.
    pub truncated: u64,
    /// Of them: still queued on a socket when its last subscription was left.
    pub left_behind: u64,
    /// Dropped by the kernel: a socket's buffer was full, or the UDP checksum was wrong (SO_MEMINFO, SO_RXQ_OVFL).
    pub dropped: u64,
}

impl KernelLedger {
    /// What was received and not handed on to be judged.
    fn set_aside(&self) -> u64 {
        self.other_interface + self.unidentified + self.truncated + self.left_behind
    }
}

impl XskLedger {
    /// Frames that came to the socket's ring, or that the kernel counts as dropped there. `counters` are those of its queue.
    pub(crate) fn arrived(&self, counters: &QueueCounters) -> u64 {
        counters.taken.load(Ordering::Relaxed) + self.refused + self.in_ring + self.rx_dropped + self.rx_ring_full
    }

    /// With the counts of another socket of the same queue that came before.
    pub(crate) fn after(self, before: &Self) -> Self {
        Self {
            queue: self.queue,
            rx_dropped: self.rx_dropped + before.rx_dropped,
            rx_ring_full: self.rx_ring_full + before.rx_ring_full,
            rx_invalid_descs: self.rx_invalid_descs + before.rx_invalid_descs,
            rx_fill_ring_empty_descs: self.rx_fill_ring_empty_descs + before.rx_fill_ring_empty_descs,
            tx_invalid_descs: self.tx_invalid_descs + before.tx_invalid_descs,
            tx_ring_empty_descs: self.tx_ring_empty_descs + before.tx_ring_empty_descs,
            in_ring: self.in_ring + before.in_ring,
            leased: self.leased,
            refused: self.refused,
            further: self.further,
            consumer_position: self.consumer_position.wrapping_add(before.consumer_position),
        }
    }
}

/// A snapshot of all counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    verdicts: [u64; Verdict::COUNT],
    sockets: Vec<XskLedger>,
    kernel: KernelLedger,
    link: LinkLedger,
    host: Option<HostLedger>,
    unbound: u64,
    unlogged: Option<u64>,
    /// By name: taken, delivered, each refusal.
    user: BTreeMap<&'static str, u64>,
    unaccounted: u64,
}

impl Ledger {
    /// `queues` are the AF_XDP queues' counters, in the order of `sockets`; `path` is the kernel path's. `unbound` are the
    /// frames that were redirected to sockets whose device had gone.
    pub(crate) fn new(
        verdicts: [u64; Verdict::COUNT],
        sockets: Vec<XskLedger>,
        queues: &[&QueueCounters],
        path: &QueueCounters,
        kernel: KernelLedger,
        unbound: u64,
    ) -> Self {
        let mut user = BTreeMap::new();
        let mut book = |name: &'static str, count: u64| *user.entry(name).or_insert(0) += count;
        let get = QueueCounters::get;
        book("xdp_taken", queues.iter().map(|queue| get(&queue.taken)).sum());
        book("xdp_delivered", queues.iter().map(|queue| get(&queue.delivered)).sum());
        book("kernel_taken", get(&path.taken));
        book("kernel_delivered", get(&path.delivered));
        for counters in queues.iter().copied().chain([path]) {
            for (name, count) in DropReason::NAMES.into_iter().zip(&counters.refused) {
                book(name, get(count));
            }
            book("held", get(&counters.held));
            book("copied", get(&counters.copied));
            book("checksum_partial", get(&counters.checksum_partial));
            book("checksum_absent", get(&counters.checksum_absent));
            book("unstamped", get(&counters.unstamped));
        }
        let redirected = verdicts[Verdict::Redirected as usize];
        let arrived: u64 = sockets.iter().zip(queues).map(|(s, queue)| s.arrived(queue)).sum::<u64>() + unbound;
        let rings: u64 = sockets.iter().zip(queues).map(|(s, queue)| ring_gap(s, get(&queue.taken))).sum();
        let unaccounted = redirected.abs_diff(arrived)
            + rings
            + queues.iter().map(|queue| queue.unaccounted()).sum::<u64>()
            + kernel.received.abs_diff(get(&path.taken) + kernel.set_aside())
            + path.unaccounted();
        Self {
            verdicts,
            sockets,
            kernel,
            link: LinkLedger::default(),
            host: None,
            unbound,
            unlogged: None,
            user,
            unaccounted,
        }
    }

    pub(crate) fn with_link(self, link: LinkLedger) -> Self {
        Self { link, ..self }
    }

    pub(crate) fn with_unlogged(self, unlogged: Option<u64>) -> Self {
        Self { unlogged, ..self }
    }

    /// Verdicts that [`Builder::trace_verdicts`](crate::Builder::trace_verdicts) did not log, for want of room in the
    /// XDP program's log; `None` unless it was asked for. Exact after [`Handle::shutdown`](crate::Handle::shutdown);
    /// before, verdicts on their way to the log are among them.
    pub fn unlogged(&self) -> Option<u64> {
        self.unlogged
    }

    pub(crate) fn with_host(self, host: Option<HostLedger>) -> Self {
        Self { host, ..self }
    }

    /// What the kernel counted for the network namespace and the interface; `None` if /proc or netlink cannot be read.
    pub fn host(&self) -> Option<HostLedger> {
        self.host
    }

    /// What link changes cost.
    pub fn link(&self) -> LinkLedger {
        self.link
    }

    /// Frames that no cause was found for. Exact once traffic rests, and then 0; while traffic flows, frames on their
    /// way between two counters are among them. [`Ledger::is_at_rest_since`] tells the two apart.
    pub fn unaccounted(&self) -> u64 {
        self.unaccounted
    }

    /// Frames known to be on their way to the consumer: in the rings, or taken and held for a later call.
    pub fn in_flight(&self) -> u64 {
        self.count("xsk_in_ring") + self.count("held")
    }

    /// Returns true if no counter of [`Ledger::unaccounted`] moved between an earlier snapshot of the same receiver and
    /// this one. Then the counters of this one belong to one instant, although they were read one after another.
    pub fn is_at_rest_since(&self, earlier: &Self) -> bool {
        // Leases end without a frame that moves.
        let sockets = |ledger: &Self| -> Vec<XskLedger> {
            ledger.sockets.iter().map(|socket| XskLedger { leased: 0, ..*socket }).collect()
        };
        self.verdict(Verdict::Redirected) == earlier.verdict(Verdict::Redirected)
            && sockets(self) == sockets(earlier)
            && (self.kernel, self.unbound, &self.user) == (earlier.kernel, earlier.unbound, &earlier.user)
    }

    /// Frames under one verdict of the XDP program, over all CPUs.
    ///
    /// ```
    /// use receiver::{Ledger, Verdict};
    /// let ledger = Ledger::default();
    /// assert_eq!(ledger.verdict(Verdict::DroppedBlocked), ledger.count("dropped_blocked"));
    /// ```
    pub fn verdict(&self, verdict: Verdict) -> u64 {
        self.verdicts[verdict as usize]
    }

    /// The AF_XDP sockets, one a queue.
    pub fn sockets(&self) -> &[XskLedger] {
        &self.sockets
    }

    /// The kernel path.
    pub fn kernel(&self) -> KernelLedger {
        self.kernel
    }

    /// Datagrams handed over, on all paths.
    pub fn delivered(&self) -> u64 {
        self.count("xdp_delivered") + self.count("kernel_delivered")
    }

    /// Frames lost after XDP or the kernel had accepted them: full rings, full socket buffers, and sockets whose device
    /// had gone.
    pub fn lost(&self) -> u64 {
        self.sockets.iter().map(|s| s.rx_dropped + s.rx_ring_full).sum::<u64>() + self.kernel.dropped + self.unbound
    }

    /// One count of [`Ledger::causes`] by its name; 0 for a name that there is not.
    pub fn count(&self, name: &str) -> u64 {
        self.causes().find(|(cause, _)| *cause == name).map_or(0, |(_, count)| count)
    }

    /// Every count by its name. The XDP program's verdicts are `redirected`, `dropped_*` and `passed_*`; the AF_XDP sockets'
    /// counts begin with `xsk_`, those of the kernel path's sockets with `kernel_`, those of link changes with `link_`.
    /// `xdp_taken` and `xdp_delivered` are what the workers took from the rings and handed over. The rest are the reasons
    /// for which the receiver did not hand a datagram over (`revoked`, `udp_checksum`, `not_kept`, ...), and what it noted of
    /// those that it did (`copied`, `held`, `checksum_partial`, ...).
    pub fn causes(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let verdicts = Verdict::ALL.into_iter().map(|verdict| (verdict.name(), self.verdicts[verdict as usize]));
        let total = |f: fn(&XskLedger) -> u64| self.sockets.iter().map(f).sum::<u64>();
        let sockets = [
            ("xsk_rx_dropped", total(|s| s.rx_dropped)),
            ("xsk_rx_ring_full", total(|s| s.rx_ring_full)),
            ("xsk_rx_invalid_descs", total(|s| s.rx_invalid_descs)),
            ("xsk_rx_fill_ring_empty_descs", total(|s| s.rx_fill_ring_empty_descs)),
            ("xsk_tx_invalid_descs", total(|s| s.tx_invalid_descs)),
            ("xsk_tx_ring_empty_descs", total(|s| s.tx_ring_empty_descs)),
            ("xsk_in_ring", total(|s| s.in_ring)),
            ("xsk_leased", total(|s| s.leased)),
            ("xsk_refused_descs", total(|s| s.refused)),
            ("xsk_further_descs", total(|s| s.further)),
            ("xsk_unbound", self.unbound),
            ("kernel_received", self.kernel.received),
            ("kernel_dropped", self.kernel.dropped),
            ("kernel_other_interface", self.kernel.other_interface),
            ("kernel_unidentified", self.kernel.unidentified),
            ("kernel_truncated", self.kernel.truncated),
            ("kernel_left_behind", self.kernel.left_behind),
            ("link_outages", self.link.outages),
            ("link_outage_milliseconds", self.link.outage_milliseconds),
            ("link_recovery_milliseconds", self.link.recovery_milliseconds),
            ("link_missed_estimate", self.link.missed_estimate),
            ("link_ipv4_outages", self.link.ipv4_outages),
            ("link_ipv4_outage_milliseconds", self.link.ipv4_outage_milliseconds),
            ("link_ipv6_outages", self.link.ipv6_outages),
            ("link_ipv6_outage_milliseconds", self.link.ipv6_outage_milliseconds),
        ];
        let host = self.host.iter().flat_map(HostLedger::causes);
        verdicts.chain(sockets).chain(host).chain(self.user.iter().map(|(&name, &count)| (name, count)))
    }
}

impl Default for Ledger {
    /// Nothing counted yet, under every name that there is.
    fn default() -> Self {
        let kernel = KernelLedger::default();
        Self::new([0; Verdict::COUNT], Vec::new(), &[], &QueueCounters::default(), kernel, 0)
            .with_host(Some(HostLedger::default()))
    }
}

/// How far the worker's count of what it took is from the index that it shares with the kernel.
fn ring_gap(socket: &XskLedger, taken: u64) -> u64 {
    // Both count modulo 2^32 here; the gap is small, whichever way it goes.
    let ahead = socket.consumer_position.wrapping_sub((taken + socket.refused + socket.further) as u32);
    ahead.min(ahead.wrapping_neg()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(redirected: u64) -> [u64; Verdict::COUNT] {
        let mut verdicts = [0; Verdict::COUNT];
        verdicts[Verdict::Redirected as usize] = redirected;
        verdicts
    }

    fn balanced() -> (QueueCounters, XskLedger) {
        let queue = QueueCounters::default();
        add(&queue.taken, 10);
        add(&queue.delivered, 7);
        queue.refuse(DropReason::Revoked);
        queue.refuse(DropReason::UdpChecksum);
        add(&queue.held, 1);
        let socket = XskLedger {
            consumer_position: 16,
            in_ring: 2,
            rx_dropped: 3,
            rx_ring_full: 4,
            refused: 1,
            further: 5,
            ..Default::default()
        };
        (queue, socket)
    }

    fn unaccounted(redirected: u64, queue: &QueueCounters, socket: XskLedger, path: &QueueCounters) -> u64 {
        Ledger::new(verdicts(redirected), vec![socket], &[queue], path, KernelLedger::default(), 0).unaccounted()
    }

    #[test]
    fn balances_and_notices_each_side() {
        let path = QueueCounters::default();
        let (queue, socket) = balanced();
        assert_eq!(unaccounted(20, &queue, socket, &path), 0);
        assert_eq!(unaccounted(22, &queue, socket, &path), 2, "frames vanished between XDP and the sockets");
        assert_eq!(unaccounted(20, &queue, XskLedger { rx_dropped: 2, ..socket }, &path), 1);
        assert_eq!(unaccounted(20, &queue, XskLedger { consumer_position: 15, ..socket }, &path), 1);
        assert_eq!(unaccounted(20, &queue, XskLedger { consumer_position: 18, ..socket }, &path), 2);
        add(&queue.delivered, 1);
        assert_eq!(unaccounted(20, &queue, socket, &path), 1, "a frame handed over twice");
        add(&path.taken, 5);
        add(&path.delivered, 4);
        assert_eq!(unaccounted(20, &queue, socket, &path), 7, "one forgotten on the kernel path, five never received");
    }

    #[test]
    fn a_frame_that_moves_ends_the_rest() {
        let path = QueueCounters::default();
        let (queue, socket) = balanced();
        let ledger = |redirected, queue: &QueueCounters, socket| {
            Ledger::new(verdicts(redirected), vec![socket], &[queue], &path, KernelLedger::default(), 0)
        };
        let before = ledger(20, &queue, socket);
        assert_eq!(before.in_flight(), 3, "two in the ring, one held");
        assert!(before.is_at_rest_since(&before));
        assert!(ledger(20, &queue, XskLedger { leased: 1, ..socket }).is_at_rest_since(&before), "a lease is no frame");
        assert!(!ledger(21, &queue, socket).is_at_rest_since(&before));
        assert!(!ledger(20, &queue, XskLedger { in_ring: 3, ..socket }).is_at_rest_since(&before));
        add(&queue.delivered, 1);
        assert!(!ledger(20, &queue, socket).is_at_rest_since(&before));
    }

    #[test]
    fn every_cause_has_one_name() {
        let (queue, socket) = balanced();
        let ledger =
            Ledger::new(verdicts(20), vec![socket], &[&queue], &QueueCounters::default(), KernelLedger::default(), 0);
        let names: Vec<_> = ledger.causes().map(|(name, _)| name).collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
        for verdict in Verdict::ALL {
            let name = verdict.name();
            let documented = name == "redirected" || name.starts_with("dropped_") || name.starts_with("passed_");
            assert!(documented, "{name} has no prefix that `causes` documents");
        }
        assert_eq!(ledger.count("redirected"), 20);
        assert_eq!(ledger.count("revoked"), 1);
        assert_eq!(ledger.count("xsk_rx_ring_full"), 4);
        assert_eq!(ledger.lost(), 7);
    }
}
