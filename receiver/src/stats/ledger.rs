//! The ledger: every frame under one cause, from counters that are kept independently of each other.
//!
//! Four equations are checked. [`Ledger::unaccounted`] is the sum of their differences:
//!
//! 1. The XDP side. Frames that the program redirected = frames that the workers took from the rings + frames still in
//!    the rings + frames that the kernel counts as dropped in between (XDP_STATISTICS) + frames redirected to a socket
//!    whose device had gone, which the kernel drops uncounted: what was left over when the sockets were replaced.
//!    And each worker's count of frames taken = the position of its ring's index. A frame over several buffers counts
//!    there as many times as it has descriptors.
//! 2. Each queue. Frames taken = datagrams delivered + frames dropped under a named reason + datagrams held for later.
//! 3. The kernel path. Datagrams that recvmmsg returned = set aside there + held there for later + taken, and
//!    taken = delivered + dropped + held.
//! 4. The tap. Frames of its verdicts = frames that its reader took + frames in its rings + frames that it lost.
//!
//! The two sides of each equation are counted at different places by different code. The counters are read one after
//! another: while traffic flows, the sum includes frames on their way between two counters. At rest it is 0, or the
//! receiver has a fault.

use receiver_common::Verdict;

use crate::engine::link::LinkLedger;
use crate::stats::host_counters::HostLedger;
use crate::stats::queue_counters::{DropReason, QueueCounters, QueueCounts};
use crate::stats::tap_ledger::TapLedger;

/// The counts of one queue's AF_XDP sockets: XDP_STATISTICS (Documentation/networking/af_xdp.rst), and those of the
/// ring. A mapped ring has the latter alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XskLedger {
    /// The receive queue's number.
    pub queue: u32,
    /// Dropped: no free frame, or larger than a frame.
    pub rx_dropped: u64,
    /// Dropped: the RX ring was full.
    pub rx_ring_full: u64,
    /// Dropped: a descriptor in the fill ring was invalid.
    pub rx_invalid_descs: u64,
    /// How often the kernel found the fill ring empty. In copy mode each is counted in `rx_dropped` too.
    pub rx_fill_ring_empty_descs: u64,
    /// The kernel's count of invalid descriptors in the TX ring. A receiver sends nothing: 0.
    pub tx_invalid_descs: u64,
    /// How often the kernel found the TX ring empty. A receiver sends nothing: 0.
    pub tx_ring_empty_descs: u64,
    /// Descriptors in the RX ring that the worker has not taken yet. A gauge.
    pub in_ring: u64,
    /// Frames of datagrams that the consumer keeps. A gauge.
    pub leased: u64,
    /// Packets that the worker's side of the ring refused: outside the memory, or incomplete over several buffers.
    pub refused: u64,
    /// Packets that the XDP program had reserved a slot of the mapped ring for, and could not copy: lost.
    pub not_copied: u64,
    /// Descriptors beyond the first of each packet: packets over several buffers have them.
    pub continuation_descriptors: u64,
    /// The position of the ring's shared index: descriptors taken, modulo 2^32.
    pub consumer_position: u32,
}

/// The counts of the kernel path's sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelLedger {
    /// Datagrams that recvmmsg(2) returned.
    pub received: u64,
    /// Of `received`: came in on another interface.
    pub other_interface: u64,
    /// Of `received`: without source, destination or group address.
    pub unidentified: u64,
    /// Of `received`: truncated by the kernel, and so not delivered.
    pub truncated: u64,
    /// Of `received`: still queued on a socket when its last subscription was left.
    pub left_behind: u64,
    /// Of `received`: kept for the consumer's next call, because it stopped within a batch. A gauge.
    pub held: u64,
    /// Dropped by the kernel: a socket's buffer was full, or the UDP checksum was wrong (SO_MEMINFO, SO_RXQ_OVFL).
    pub dropped: u64,
    /// Calls that returned an error of a socket, for instance after `ss -K` aborted it. These are not datagrams.
    pub receive_errors: u64,
}

impl KernelLedger {
    /// Datagrams that were received and not passed to the worker.
    fn set_aside(&self) -> u64 {
        self.other_interface + self.unidentified + self.truncated + self.left_behind + self.held
    }
}

impl XskLedger {
    /// Frames that came to the socket's ring, or that the kernel counts as dropped there. `taken` were taken from its
    /// queue.
    pub(crate) fn arrived(&self, taken: u64) -> u64 {
        taken + self.refused + self.not_copied + self.in_ring + self.rx_dropped + self.rx_ring_full
    }

    /// Adds the counts of another socket of the same queue that came before.
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
            not_copied: self.not_copied,
            continuation_descriptors: self.continuation_descriptors,
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
    tap: TapLedger,
    /// What the workers of the receive queues counted, all together.
    xdp: QueueCounts,
    /// What the worker of the kernel path counted.
    kernel_path: QueueCounts,
    unaccounted: u64,
}

impl Ledger {
    /// `queues` are the receive queues' counters, in the order of `sockets`; `path` is the kernel path's. `unbound` are
    /// the frames that were redirected to sockets whose device had gone.
    pub(crate) fn new(
        verdicts: [u64; Verdict::COUNT],
        sockets: Vec<XskLedger>,
        queues: &[&QueueCounters],
        path: &QueueCounters,
        kernel: KernelLedger,
        unbound: u64,
    ) -> Self {
        let queues: Vec<QueueCounts> = queues.iter().map(|queue| queue.read()).collect();
        let path = path.read();
        let redirected = verdicts[Verdict::Redirected as usize] + verdicts[Verdict::Mapped as usize];
        let arrived =
            sockets.iter().zip(&queues).map(|(socket, queue)| socket.arrived(queue.taken)).sum::<u64>() + unbound;
        let rings: u64 = sockets.iter().zip(&queues).map(|(socket, queue)| ring_gap(socket, queue.taken)).sum();
        let unaccounted = redirected.abs_diff(arrived)
            + rings
            + queues.iter().map(QueueCounts::unaccounted).sum::<u64>()
            + kernel.received.abs_diff(path.taken + kernel.set_aside())
            + path.unaccounted();
        Self {
            verdicts,
            sockets,
            kernel,
            link: LinkLedger::default(),
            host: None,
            unbound,
            unlogged: None,
            tap: TapLedger::default(),
            xdp: queues.into_iter().fold(QueueCounts::default(), |sum, queue| sum + queue),
            kernel_path: path,
            unaccounted,
        }
    }

    pub(crate) fn with_link(self, link: LinkLedger) -> Self {
        Self { link, ..self }
    }

    pub(crate) fn with_unlogged(self, unlogged: Option<u64>) -> Self {
        Self { unlogged, ..self }
    }

    pub(crate) fn with_tap(self, tap: TapLedger) -> Self {
        Self { unaccounted: self.unaccounted + tap.unaccounted(), tap, ..self }
    }

    /// The tap ([`Builder::tap`](crate::Builder::tap)).
    pub fn tap(&self) -> TapLedger {
        self.tap
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

    /// Outages of the link, and their cost.
    pub fn link(&self) -> LinkLedger {
        self.link
    }

    /// The total difference between counters that are kept independently. At rest it is 0; while traffic flows it
    /// includes frames on their way between two counters. [`Ledger::is_at_rest_since`] distinguishes the two.
    pub fn unaccounted(&self) -> u64 {
        self.unaccounted
    }

    /// Frames known to be on their way to the consumer: in the rings, or taken and held for a later call. A gauge.
    pub fn in_flight(&self) -> u64 {
        self.in_rings() + self.held()
    }

    /// Returns true if no counter of [`Ledger::unaccounted`] moved between an earlier snapshot of the same receiver and
    /// this one. Then the counters of this one belong to one instant, although they were read one after another.
    pub fn is_at_rest_since(&self, earlier: &Self) -> bool {
        // Leases end without a frame that moves.
        let sockets = |ledger: &Self| -> Vec<XskLedger> {
            ledger.sockets.iter().map(|socket| XskLedger { leased: 0, ..*socket }).collect()
        };
        [Verdict::Redirected, Verdict::Mapped].iter().all(|&way| self.verdict(way) == earlier.verdict(way))
            && sockets(self) == sockets(earlier)
            && (self.kernel, self.unbound) == (earlier.kernel, earlier.unbound)
            && (self.xdp, self.kernel_path, self.tap) == (earlier.xdp, earlier.kernel_path, earlier.tap)
    }

    /// Frames under one verdict of the XDP program, over all CPUs.
    ///
    /// ```
    /// use receiver::{Ledger, Verdict};
    /// let ledger = Ledger::default();
    /// assert_eq!(ledger.count("dropped_blocked"), Some(ledger.verdict(Verdict::DroppedBlocked)));
    /// assert_eq!(ledger.count("no_such_cause"), None);
    /// ```
    pub fn verdict(&self, verdict: Verdict) -> u64 {
        self.verdicts[verdict as usize]
    }

    /// The AF_XDP sockets or mapped rings, one a queue.
    pub fn sockets(&self) -> &[XskLedger] {
        &self.sockets
    }

    /// The kernel path.
    pub fn kernel(&self) -> KernelLedger {
        self.kernel
    }

    /// Datagrams handed over, on all paths.
    pub fn delivered(&self) -> u64 {
        self.xdp.delivered + self.kernel_path.delivered
    }

    /// Datagrams that came through an AF_XDP socket or a mapped ring, and were handed over.
    pub(crate) fn delivered_by_xdp(&self) -> u64 {
        self.xdp.delivered
    }

    /// Datagrams that a worker dropped for this reason, on all paths.
    pub(crate) fn dropped_for(&self, reason: DropReason) -> u64 {
        self.xdp.dropped_for(reason) + self.kernel_path.dropped_for(reason)
    }

    fn in_rings(&self) -> u64 {
        self.sockets.iter().map(|socket| socket.in_ring).sum()
    }

    /// Datagrams that were taken and wait for the consumer's next call.
    fn held(&self) -> u64 {
        self.xdp.held + self.kernel_path.held + self.kernel.held
    }

    /// Frames lost after XDP or the kernel had accepted them: full rings, full socket buffers, and sockets whose device
    /// had gone.
    pub fn lost(&self) -> u64 {
        let of_rings = self.verdict(Verdict::DroppedRingFull) + self.verdict(Verdict::DroppedRingBusy);
        let of_sockets: u64 = self.sockets.iter().map(|s| s.rx_dropped + s.rx_ring_full + s.not_copied).sum();
        of_rings + of_sockets + self.kernel.dropped + self.unbound
    }

    /// The counts that [`Ledger::lost`] adds up, by their names.
    pub fn losses(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        const SOCKETS: [&str; 5] =
            ["xsk_rx_dropped", "xsk_rx_ring_full", "xsk_unbound", "ring_not_copied", "kernel_dropped"];
        let rings = [Verdict::DroppedRingFull.name(), Verdict::DroppedRingBusy.name()];
        self.causes().filter(move |(name, _)| rings.contains(name) || SOCKETS.contains(name))
    }

    /// Multicast frames that passed to the kernel which its sockets alone can deliver: fragments, IP options, extension
    /// headers, lengths beyond a frame, queues that are not served. The receiver's own sockets deliver those of its
    /// subscriptions, unless packets are shared ([`Builder::share`](crate::Builder::share)). Frames of other groups are
    /// among them, if the XDP program could not read the port.
    pub fn kernel_only(&self) -> u64 {
        kernel_only(&self.verdicts)
    }

    /// One count of [`Ledger::causes`] by its name; `None` if no cause has that name.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.causes().find(|(cause, _)| *cause == name).map(|(_, count)| count)
    }

    /// Every count by its name.
    ///
    /// - `redirected`, `dropped_*` and `passed_*` are the verdicts of the XDP program.
    /// - `xsk_*` are counts of the AF_XDP sockets and of the mapped rings, `ring_*` of the latter alone, `kernel_*` of
    ///   the kernel path's sockets, `tap_*` of the tap ([`TapLedger`]), `link_*` of link changes, `host_*` and
    ///   `interface_*` of the kernel ([`HostLedger`]).
    /// - `xdp_taken` and `xdp_delivered` are the frames that the workers took from the rings, and the datagrams that
    ///   they handed over; `kernel_taken` and `kernel_delivered` are the same on the kernel path.
    /// - `revoked`, `udp_checksum`, `not_kept` and the like are the reasons for which a worker dropped a datagram.
    /// - `copied`, `checksum_partial` and the like describe datagrams that were handed over.
    ///
    /// All are counters, which only grow, except the gauges `xsk_in_ring`, `xsk_leased`, `tap_in_ring` and `held`. The
    /// counters `interface_*` start again from 0 with an interface that was made again. A datagram's outcome is counted
    /// once, when the consumer's callback has returned.
    pub fn causes(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let verdicts = Verdict::ALL.into_iter().map(|verdict| (verdict.name(), self.verdicts[verdict as usize]));
        let total = |f: fn(&XskLedger) -> u64| self.sockets.iter().map(f).sum::<u64>();
        let sockets = [
            ("xsk_rx_dropped", total(|s| s.rx_dropped)),
            ("xsk_rx_ring_full", total(|s| s.rx_ring_full)),
            ("xsk_rx_invalid_descs", total(|s| s.rx_invalid_descs)),
            ("xsk_rx_fill_ring_empty_descs", total(|s| s.rx_fill_ring_empty_descs)),
            ("xsk_in_ring", self.in_rings()),
            ("xsk_leased", total(|s| s.leased)),
            ("xsk_refused_descs", total(|s| s.refused)),
            ("ring_not_copied", total(|s| s.not_copied)),
            ("xsk_further_descs", total(|s| s.continuation_descriptors)),
            ("xsk_unbound", self.unbound),
            ("kernel_received", self.kernel.received),
            ("kernel_dropped", self.kernel.dropped),
            ("kernel_other_interface", self.kernel.other_interface),
            ("kernel_unidentified", self.kernel.unidentified),
            ("kernel_truncated", self.kernel.truncated),
            ("kernel_left_behind", self.kernel.left_behind),
            ("kernel_receive_errors", self.kernel.receive_errors),
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
        let both = self.xdp + self.kernel_path;
        let workers = [
            ("xdp_taken", self.xdp.taken),
            ("xdp_delivered", self.xdp.delivered),
            ("kernel_taken", self.kernel_path.taken),
            ("kernel_delivered", self.kernel_path.delivered),
            ("held", self.held()),
            ("copied", both.copied),
            ("checksum_partial", both.checksum_partial),
            ("checksum_absent", both.checksum_absent),
            ("unstamped", both.unstamped),
        ];
        let dropped = both.dropped().map(|(reason, count)| (reason.name(), count));
        verdicts.chain(sockets).chain(self.tap.causes()).chain(host).chain(workers).chain(dropped)
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

/// As [`Ledger::kernel_only`], of the verdicts' counts.
pub(crate) fn kernel_only(verdicts: &[u64; Verdict::COUNT]) -> u64 {
    let passed = [
        Verdict::PassedNoSocket,
        Verdict::PassedFragment,
        Verdict::PassedOptions,
        Verdict::PassedExtensionHeader,
        Verdict::PassedSplitHeaders,
        Verdict::PassedUnicastMac,
        Verdict::PassedZeroLength,
        Verdict::PassedPartialChecksum,
        Verdict::PassedTooLong,
    ];
    passed.into_iter().map(|verdict| verdicts[verdict as usize]).sum()
}

/// The difference between the worker's count of frames taken and the index that it shares with the kernel.
fn ring_gap(socket: &XskLedger, taken: u64) -> u64 {
    // Both count modulo 2^32 here; the gap is small, whichever way it goes.
    let passed = taken + socket.refused + socket.not_copied + socket.continuation_descriptors;
    let ahead = socket.consumer_position.wrapping_sub(passed as u32);
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
        queue.taken.add(10);
        queue.delivered.add(7);
        queue.drop_for(DropReason::Revoked);
        queue.drop_for(DropReason::UdpChecksum);
        queue.held.set(1);
        let socket = XskLedger {
            consumer_position: 16,
            in_ring: 2,
            rx_dropped: 3,
            rx_ring_full: 4,
            refused: 1,
            continuation_descriptors: 5,
            ..Default::default()
        };
        (queue, socket)
    }

    fn unaccounted(redirected: u64, queue: &QueueCounters, socket: XskLedger, path: &QueueCounters) -> u64 {
        Ledger::new(verdicts(redirected), vec![socket], &[queue], path, KernelLedger::default(), 0).unaccounted()
    }

    #[test]
    fn the_losses_add_up() {
        let (queue, socket) = balanced();
        let path = QueueCounters::default();
        let mut counts = verdicts(20);
        counts[Verdict::DroppedRingFull as usize] = 100;
        counts[Verdict::DroppedRingBusy as usize] = 1000;
        let socket = XskLedger { not_copied: 10_000, ..socket };
        let kernel = KernelLedger { dropped: 100_000, ..KernelLedger::default() };
        let ledger = Ledger::new(counts, vec![socket], &[&queue], &path, kernel, 1_000_000);
        assert_eq!(ledger.lost(), 1_111_107);
        assert_eq!(ledger.losses().map(|(_, count)| count).sum::<u64>(), ledger.lost());
        assert_eq!(ledger.losses().count(), 7);
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
        queue.delivered.add(1);
        assert_eq!(unaccounted(20, &queue, socket, &path), 1, "a frame handed over twice");
        path.taken.add(5);
        path.delivered.add(4);
        assert_eq!(unaccounted(20, &queue, socket, &path), 7, "one forgotten on the kernel path, five never received");
    }

    #[test]
    fn a_packet_that_was_not_copied_is_lost_under_its_own_name() {
        let path = QueueCounters::default();
        let (queue, socket) = balanced();
        let socket = XskLedger { not_copied: 2, consumer_position: socket.consumer_position + 2, ..socket };
        let ledger = Ledger::new(verdicts(22), vec![socket], &[&queue], &path, KernelLedger::default(), 0);
        assert_eq!((ledger.count("ring_not_copied"), ledger.lost(), ledger.unaccounted()), (Some(2), 9, 0));
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
        queue.delivered.add(1);
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
            let documented =
                ["redirected", "mapped"].contains(&name) || name.starts_with("dropped_") || name.starts_with("passed_");
            assert!(documented, "{name} has no prefix that `causes` documents");
        }
        assert_eq!(ledger.count("redirected"), Some(20));
        assert_eq!(ledger.count("revoked"), Some(1));
        assert_eq!(ledger.count("xsk_rx_ring_full"), Some(4));
        assert_eq!(ledger.lost(), 7);
        assert_eq!(ledger.count("revokd"), None);
    }
}
