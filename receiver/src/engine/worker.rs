//! One receive queue: RX ring to parser to filter to consumer to fill ring, with the kernel path beside it.
//!
//! A worker is driven by whoever calls [`Worker::poll`]; it has no thread of its own. Per datagram it allocates nothing,
//! takes no lock and makes no system call: a batch costs one clock read and at most one wake-up.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use receiver_common::wire::{self, IPV4_LEN, IPV6_LEN, Network, UDP_LEN, Udp, Window};
use receiver_common::{FlowKeyV4, FlowKeyV6, Port, STAMP_SIZE, Stamp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::api::datagram::{Datagram, Keep, OwnedDatagram, Path, Payload, ReceiveTime, TimeOrigin};
use crate::api::error::Error;
use crate::api::vlan::Vlan;
use crate::engine::clock::Clock;
use crate::engine::control::socket_ledger;
use crate::engine::filter::{EntryCounters, FlowCache, FlowKey, SubscriptionEntry};
use crate::engine::guard::Guard;
use crate::engine::lock::lock;
use crate::engine::shared::{QueueShared, Shared};
use crate::paths::checksum::{self, UdpChecksum};
use crate::paths::kernel::KernelSide;
use crate::stats::ledger::{DropReason, QueueCounters, add};
use receiver_xsk::{Counters, Monitor, Received, XskSocket};

/// Datagrams that are taken from a ring at a time.
const BATCH: usize = 64;
/// A worker that busily polls an empty ring looks at the kernel path once in so many polls: that costs a system call.
const IDLE_POLLS: u32 = 64;
/// The same in mode `socket`: an empty queue that is looked at without pause is slow to fill, as each look takes its cache
/// line from the CPU that receives.
const IDLE_POLLS_OF_SOCKET: u32 = 32;
/// A worker whose ring is never empty looks at the kernel path once in so many batches.
const FULL_BATCHES: u32 = 16;

/// How long [`Worker::poll`] may wait for the first datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: for a loop that polls busily.
    Never,
    /// For so long.
    For(Duration),
    /// Until something comes, or the receiver is shut down.
    Forever,
}

/// What of the receiver's options a worker needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerOptions {
    pub verify_checksums: bool,
    pub stamp: bool,
    pub vlan: Option<Vlan>,
    /// Frames that are never leased out, so that the kernel always has some.
    pub reserve: u32,
    /// Refuse what comes by the kernel path: without a VLAN interface that is untagged, and tags are asked for.
    pub kernel_is_untagged: bool,
}

/// Receives from one queue, or from the kernel path alone in mode `socket`.
pub struct Worker {
    // First, so that the program is off the interface before the socket is closed, when this is the last worker.
    _guard: Arc<Guard>,
    shared: Arc<Shared>,
    /// Which cell of the shared counters is ours.
    index: usize,
    socket: Option<XskSocket>,
    kernel: Option<KernelSide>,
    cache: FlowCache,
    options: WorkerOptions,
    clock: Clock,
    /// Datagrams of the kernel path that came with a batch that the consumer did not want to the end.
    held: VecDeque<OwnedDatagram>,
    idle: u32,
    busy: u32,
    /// What sockets before this one counted.
    before: RingCounts,
    sockets_before: u64,
}

/// What a ring's owner counts, for the ledger.
#[derive(Clone, Copy, Default)]
struct RingCounts {
    /// Packets that it refused.
    refused: u64,
    /// Descriptors beyond the one that each packet has.
    further: u64,
}

impl RingCounts {
    fn and(self, more: Counters) -> Self {
        Self {
            refused: self.refused + more.invalid_descriptors + more.unsupported_packets,
            further: self.further + more.continuation_descriptors,
        }
    }
}

impl Worker {
    pub(crate) fn new(
        guard: Arc<Guard>,
        index: usize,
        socket: Option<XskSocket>,
        kernel: Option<KernelSide>,
        options: WorkerOptions,
    ) -> Self {
        Self {
            shared: Arc::clone(guard.shared()),
            _guard: guard,
            index,
            socket,
            kernel,
            cache: FlowCache::default(),
            options,
            clock: Clock::default(),
            held: VecDeque::new(),
            idle: 0,
            busy: 0,
            before: RingCounts::default(),
            sockets_before: 0,
        }
    }

    /// The receive queue, or `None` for the worker of mode `socket`.
    pub fn queue(&self) -> Option<u32> {
        self.socket.as_ref().map(|_| self.shared.queues[self.index].queue)
    }

    /// Gives the consumer what there is, at most some thousands of datagrams; waits for the first if it may. Returns how
    /// many were handed over; 0 when the wait was over or a signal came.
    ///
    /// # Errors
    /// [`Error::Stopped`] once the receiver was shut down and everything that had come before was handed over;
    /// [`Error::Wait`] and [`Error::Xsk`] when the kernel refuses to wait.
    pub fn poll(&mut self, wait: Wait, mut consumer: impl FnMut(Datagram<'_>)) -> Result<usize, Error> {
        self.poll_while(wait, |datagram| {
            consumer(datagram);
            ControlFlow::Continue(())
        })
    }

    /// As [`Worker::poll`], but the consumer can say when it has enough: what came with it is kept for the next call.
    ///
    /// # Errors
    /// As [`Worker::poll`].
    pub fn poll_while(
        &mut self,
        wait: Wait,
        mut consumer: impl FnMut(Datagram<'_>) -> ControlFlow<()>,
    ) -> Result<usize, Error> {
        poll_all(std::slice::from_mut(self), &mut 0, wait, &mut consumer)
    }

    /// What is there now, without waiting. `thorough`: look at the kernel path too, whatever it costs.
    fn take(
        &mut self,
        consumer: &mut impl FnMut(Datagram<'_>) -> ControlFlow<()>,
        thorough: bool,
    ) -> Result<usize, Error> {
        let mut count = 0;
        if !self.held.is_empty() && self.take_held(consumer, &mut count).is_break() {
            return Ok(count);
        }
        let mut flow = ControlFlow::Continue(());
        let mut from_ring = 0;
        if self.socket.is_some() {
            from_ring = self.take_from_ring(consumer, &mut flow);
            count += from_ring;
        }
        if flow.is_continue() && self.kernel_is_due(from_ring, thorough) {
            let from_kernel = self.take_from_kernel(consumer)?;
            if self.socket.is_none() {
                self.idle = if from_kernel > 0 { IDLE_POLLS_OF_SOCKET } else { 0 };
            }
            count += from_kernel;
        }
        Ok(count)
    }

    fn kernel_is_due(&mut self, from_ring: usize, thorough: bool) -> bool {
        if self.kernel.is_none() {
            return false;
        }
        if self.socket.is_none() {
            self.idle += 1;
            return thorough || self.idle >= IDLE_POLLS_OF_SOCKET;
        }
        if from_ring == 0 {
            self.busy = 0;
            self.idle += 1;
            (thorough || self.idle >= IDLE_POLLS).then(|| self.idle = 0).is_some()
        } else {
            self.busy += 1;
            (self.busy >= FULL_BATCHES).then(|| self.busy = 0).is_some()
        }
    }

    fn take_from_ring(
        &mut self,
        consumer: &mut impl FnMut(Datagram<'_>) -> ControlFlow<()>,
        flow: &mut ControlFlow<()>,
    ) -> usize {
        let Some(socket) = &mut self.socket else { return 0 };
        let shared = &*self.shared;
        let cell = &shared.queues[self.index];
        if socket.pending() == 0 {
            if cell.is_replaced() {
                self.before = self.before.and(change_socket(socket, cell));
                self.sockets_before += 1;
            } else {
                socket.wake_if_needed();
            }
            cell.leased.store(u64::from(socket.leased_frames()), std::sync::atomic::Ordering::Relaxed);
            return 0;
        }
        let counters = &cell.counters;
        let leased = socket.leased_frames();
        let leases = Cell::new(socket.frame_count().saturating_sub(self.options.reserve).saturating_sub(leased));
        let keep = Keep { leases: &leases, budget: &shared.budget, counters, cell: self.index };
        // Taken once a batch, after the look at the ring that says what is in the batch: nothing in it came later.
        let clock = &self.clock;
        let mut batch_time = None;
        let options = self.options;
        let index = self.index;
        let cache = &mut self.cache;
        let mut delivered = 0;
        let batch = cell.batch.begin();
        socket.receive(BATCH, |mut frame| {
            add(&counters.taken, 1);
            batch.next();
            let time = match options.stamp.then(|| stamp(&mut frame, counters)).flatten() {
                Some(time) => time,
                None => *batch_time.get_or_insert_with(|| clock.now()),
            };
            let parsed = match parse(frame.bytes(), options, counters) {
                Ok(parsed) => parsed,
                Err(why) => {
                    counters.refuse(why);
                    return ControlFlow::Continue(());
                }
            };
            let Some(member) = cache.resolve(&shared.filter, parsed.key) else {
                counters.refuse(DropReason::Revoked);
                return ControlFlow::Continue(());
            };
            book(&member.counters[index], parsed.payload.len(), time);
            add(&counters.delivered, 1);
            delivered += 1;
            *flow = consumer(Datagram {
                payload: Payload::Frame(frame, parsed.payload),
                key: parsed.key,
                source_port: parsed.source_port,
                member,
                time,
                vlan: options.vlan,
                keep,
            });
            *flow
        });
        drop(batch);
        cell.leased.store(u64::from(socket.leased_frames()), std::sync::atomic::Ordering::Relaxed);
        let counted = self.before.and(socket.counters());
        cell.refused_descriptors.store(counted.refused, std::sync::atomic::Ordering::Relaxed);
        cell.continuation_descriptors.store(counted.further, std::sync::atomic::Ordering::Relaxed);
        delivered
    }

    fn take_from_kernel(&mut self, consumer: &mut impl FnMut(Datagram<'_>) -> ControlFlow<()>) -> Result<usize, Error> {
        let Some(kernel) = &mut self.kernel else { return Ok(0) };
        let shared = &*self.shared;
        let path = &shared.kernel;
        let counters = &path.counters;
        let cell = shared.queues.len();
        let untagged = self.options.kernel_is_untagged;
        let keep = Keep { leases: &Cell::new(0), budget: &shared.budget, counters, cell };
        let cache = &mut self.cache;
        let held = &mut self.held;
        let mut flow = ControlFlow::Continue(());
        let mut delivered = 0;
        let batch = path.batch.begin();
        kernel.receive(&mut self.clock, |received| {
            add(&counters.taken, 1);
            batch.next();
            if untagged {
                counters.refuse(DropReason::Untagged);
                return;
            }
            let key = FlowKey::new(received.source.ip(), received.group, received.port);
            let Some(member) = cache.resolve(&shared.filter, key) else {
                counters.refuse(DropReason::Revoked);
                return;
            };
            book(&member.counters[cell], received.payload.len(), received.time);
            add(&counters.delivered, 1);
            let datagram = Datagram {
                payload: Payload::Buffer(received.payload),
                key,
                source_port: received.source.port(),
                member,
                time: received.time,
                vlan: None,
                keep,
            };
            if flow.is_continue() {
                delivered += 1;
                flow = consumer(datagram);
            } else if let Some(owned) = datagram.into_owned() {
                // The batch is out of the kernel already: the rest of it waits for the next call.
                add(&counters.delivered, u64::MAX);
                member.counters[cell].take_back(owned.payload.len());
                add(&counters.held, 1);
                held.push_back(owned);
            }
        })?;
        Ok(delivered)
    }

    /// Datagrams that were held are judged again: the filter may have changed since.
    fn take_held(
        &mut self,
        consumer: &mut impl FnMut(Datagram<'_>) -> ControlFlow<()>,
        count: &mut usize,
    ) -> ControlFlow<()> {
        let shared = Arc::clone(&self.shared);
        let counters = &shared.kernel.counters;
        let batch = shared.kernel.batch.begin();
        let leases = Cell::new(0);
        let cell = shared.queues.len();
        while let Some(owned) = self.held.pop_front() {
            add(&counters.held, u64::MAX);
            batch.next();
            let key = FlowKey::new(owned.source.ip(), owned.group, owned.port);
            let Some(member) = self.cache.resolve(&shared.filter, key) else {
                counters.refuse(DropReason::Revoked);
                continue;
            };
            book(&member.counters[cell], owned.payload.len(), owned.time);
            add(&counters.delivered, 1);
            *count += 1;
            consumer(Datagram {
                payload: Payload::Buffer(&owned.payload),
                key,
                source_port: owned.source.port(),
                member,
                time: owned.time,
                vlan: owned.vlan,
                keep: Keep { leases: &leases, budget: &shared.budget, counters, cell },
            })?;
        }
        ControlFlow::Continue(())
    }

    /// What a runtime waits on: readable when [`Worker::poll`] has something to give.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let mut fds = vec![self.shared.stop_fd()];
        if let Some(socket) = &self.socket {
            fds.extend([self.shared.queues[self.index].wake_fd(), socket.as_fd()]);
        }
        if let Some(kernel) = &self.kernel {
            fds.extend(kernel.fds());
        }
        fds
    }

    /// How often the socket was changed for another.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "only the async face needs it"))]
    pub(crate) fn sockets_before(&self) -> u64 {
        self.sockets_before
    }

    /// To be called before a runtime waits: the kernel may want to be woken, and dropped leases be handed back.
    pub(crate) fn prepare_to_wait(&mut self) -> Result<(), Error> {
        if let Some(socket) = &mut self.socket {
            socket.refill();
            socket.wake_if_needed();
        }
        self.kernel.as_mut().map_or(Ok(()), KernelSide::prepare_to_wait)
    }

    /// Is a datagram that was taken from this worker before, and kept, still wanted? If not it is taken out of the books
    /// of what was handed over.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "only the async face needs it"))]
    pub(crate) fn still_wanted(&mut self, datagram: &OwnedDatagram, member: &SubscriptionEntry) -> bool {
        let key = FlowKey::new(datagram.source.ip(), datagram.group, datagram.port);
        if self.cache.resolve(&self.shared.filter, key).is_some() {
            return true;
        }
        let (counters, cell) = match datagram.path {
            Path::Xdp => (&self.shared.queues[self.index].counters, self.index),
            Path::Kernel => (&self.shared.kernel.counters, self.shared.queues.len()),
        };
        counters.take_back_delivery(DropReason::Revoked);
        member.counters[cell].take_back(datagram.payload.len());
        false
    }
}

/// Polls workers in turn, beginning with number `next`, and waits at all of them at once.
pub(crate) fn poll_all(
    workers: &mut [Worker],
    next: &mut usize,
    wait: Wait,
    mut consumer: impl FnMut(Datagram<'_>) -> ControlFlow<()>,
) -> Result<usize, Error> {
    let Some(shared) = workers.first().map(|worker| Arc::clone(&worker.shared)) else { return Err(Error::Stopped) };
    let stopped = shared.is_stopped();
    let mut pass = |workers: &mut [Worker], thorough| {
        for _ in 0..workers.len() {
            let index = *next % workers.len();
            *next = index + 1;
            let count = workers[index].take(&mut consumer, thorough)?;
            if count > 0 {
                return Ok(count);
            }
        }
        Ok(0)
    };
    let count = pass(workers, stopped || wait != Wait::Never)?;
    if count > 0 {
        return Ok(count);
    }
    if stopped {
        return Err(Error::Stopped);
    }
    match wait {
        Wait::Never => {
            // Whoever polls busily often shares a core with the CPU that receives.
            std::hint::spin_loop();
            return Ok(0);
        }
        Wait::For(timeout) => sleep(workers, Some(timeout))?,
        Wait::Forever => sleep(workers, None)?,
    }
    pass(workers, true)
}

/// Sleeps until a ring, the kernel path or the end of the receiver asks for attention.
fn sleep(workers: &mut [Worker], timeout: Option<Duration>) -> Result<(), Error> {
    for worker in workers.iter_mut() {
        worker.prepare_to_wait()?;
    }
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let mut fds: Vec<PollFd<'_>> =
        workers.iter().flat_map(Worker::fds).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(Error::Wait { doing: "wait for packets", source: errno.into() }),
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.socket.is_some() {
            // The socket's books are closed with it; a monitor that is kept would keep the queue taken.
            let cell = &self.shared.queues[self.index];
            close_books(cell, None);
        }
        let counters = &self.shared.kernel.counters;
        for _ in self.held.drain(..) {
            add(&counters.held, u64::MAX);
            counters.refuse(DropReason::Undelivered);
        }
    }
}

/// Goes on with the socket that takes the place of one whose interface is gone. Returns what the old one counted.
#[cold]
fn change_socket(socket: &mut XskSocket, cell: &QueueShared) -> Counters {
    // Held to the end: the control side reads what arrived before together with the number of changes.
    let mut replacement = lock(&cell.replacement);
    cell.lower_wake_fd();
    let Some((next, monitor)) = replacement.take() else { return Counters::default() };
    close_books(cell, Some(monitor));
    let arrived = lock(&cell.before).arrived(&cell.counters);
    cell.arrived_before.store(arrived, std::sync::atomic::Ordering::Relaxed);
    add(&cell.changes, 1);
    std::mem::replace(socket, next).counters()
}

/// The books of a socket that goes are added to those before. A monitor that is kept would keep its queue taken.
fn close_books(cell: &QueueShared, next: Option<Monitor>) {
    let last = socket_ledger(cell);
    let mut monitor = lock(&cell.monitor);
    if let Ok(last) = last {
        *lock(&cell.before) = last;
    }
    *monitor = next;
}

/// A frame's datagram.
struct Parsed {
    key: FlowKey,
    source_port: u16,
    payload: std::ops::Range<usize>,
}

#[inline]
fn book(counters: &EntryCounters, bytes: usize, time: ReceiveTime) {
    add(&counters.packets, 1);
    add(&counters.bytes, bytes as u64);
    counters.last.store(time.nanoseconds, std::sync::atomic::Ordering::Relaxed);
}

/// Reads a redirected frame with the parser that the XDP program uses, and verifies its checksums.
#[inline]
fn parse(frame: &[u8], options: WorkerOptions, counters: &QueueCounters) -> Result<Parsed, DropReason> {
    let malformed = |_| DropReason::Malformed;
    let tags = options.vlan.map(Vlan::tags).unwrap_or_default();
    match wire::network(frame, tags).map_err(malformed)? {
        Network::V4(offset) => {
            let datagram = wire::udp_v4(frame, offset).map_err(malformed)?;
            let range = payload(&datagram.udp)?;
            if options.verify_checksums {
                let header = frame.bytes::<IPV4_LEN>(offset).ok_or(DropReason::Malformed)?;
                if !checksum::ipv4_header_is_good(header) {
                    return Err(DropReason::IpChecksum);
                }
                verified(checksum::udp_v4(header, udp_bytes(frame, &range)?), counters)?;
            }
            let port = Port::from_wire(datagram.udp.destination_port);
            let key = FlowKey::V4(FlowKeyV4 { source: datagram.source, group: datagram.group, port });
            Ok(Parsed { key, source_port: u16::from_be(datagram.udp.source_port), payload: range })
        }
        Network::V6(offset) => {
            let datagram = wire::udp_v6(frame, offset).map_err(malformed)?;
            let range = payload(&datagram.udp)?;
            if options.verify_checksums {
                let header = frame.bytes::<IPV6_LEN>(offset).ok_or(DropReason::Malformed)?;
                verified(checksum::udp_v6(header, udp_bytes(frame, &range)?), counters)?;
            }
            let port = Port::from_wire(datagram.udp.destination_port);
            let key = FlowKey::V6(FlowKeyV6 { source: datagram.source, group: datagram.group, port });
            Ok(Parsed { key, source_port: u16::from_be(datagram.udp.source_port), payload: range })
        }
    }
}

/// Where the payload lies: the UDP length rules, the padding behind it is cut.
#[inline]
fn payload(udp: &Udp) -> Result<std::ops::Range<usize>, DropReason> {
    if !udp.lengths_agree {
        return Err(DropReason::Malformed);
    }
    Ok(udp.offset + UDP_LEN..udp.offset + usize::from(udp.len))
}

#[inline]
fn udp_bytes<'a>(frame: &'a [u8], payload: &std::ops::Range<usize>) -> Result<&'a [u8], DropReason> {
    frame.get(payload.start - UDP_LEN..payload.end).ok_or(DropReason::Malformed)
}

#[inline]
fn verified(checksum: UdpChecksum, counters: &QueueCounters) -> Result<(), DropReason> {
    match checksum {
        UdpChecksum::Good => Ok(()),
        UdpChecksum::Partial => {
            add(&counters.checksum_partial, 1);
            Ok(())
        }
        UdpChecksum::Absent => {
            add(&counters.checksum_absent, 1);
            Ok(())
        }
        UdpChecksum::Bad => Err(DropReason::UdpChecksum),
    }
}

/// The time that the XDP program wrote before the frame. It is wiped, so that it is never read twice.
#[inline]
fn stamp(frame: &mut Received<'_>, counters: &QueueCounters) -> Option<ReceiveTime> {
    if let Some(bytes) = frame.metadata::<STAMP_SIZE>() {
        let (magic, time) = bytes.split_at_mut(8);
        if *magic == Stamp::MAGIC.to_ne_bytes() {
            magic.fill(0);
            let nanoseconds = u64::from_ne_bytes(*time.first_chunk()?);
            return Some(ReceiveTime { nanoseconds, origin: TimeOrigin::Xdp });
        }
    }
    add(&counters.unstamped, 1);
    None
}
