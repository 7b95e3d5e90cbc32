//! The kernel's sockets as a worker sees them: they come and go, their datagrams have times on the receiver's clock,
//! and what they count is published.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::{ControlFlow, Range};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::api::error::Error;
use crate::api::origin::{ReceiveTime, TimeOrigin};
use crate::api::vlan::Vlan;
use crate::engine::clock::Clock;
use crate::engine::filter::FlowKey;
use crate::engine::shared::Shared;
use crate::paths::payload::Payload;
use crate::paths::{Found, Packet, ReceivePath};
use crate::stats::queue_counters::DropReason;
use receiver_membership::SocketEvent;
use receiver_membership::udp::{self, KernelPath};

/// Receives from the receiver's UDP sockets.
pub(crate) struct KernelSockets {
    sockets: KernelPath,
    shared: Arc<Shared>,
    /// Nothing is delivered: VLAN tags are asked for, and without a VLAN interface the sockets receive untagged
    /// datagrams.
    untagged: bool,
    clock: Clock,
    /// Datagrams of a batch that the consumer stopped. The kernel has returned them, and cannot take them back.
    held: VecDeque<HeldDatagram>,
}

struct HeldDatagram {
    header: Header,
    payload: Bytes,
}

/// What is known of a datagram besides its payload.
#[derive(Clone, Copy)]
struct Header {
    source: SocketAddr,
    group: IpAddr,
    port: u16,
    time: ReceiveTime,
}

/// A datagram in the worker's hands.
pub(crate) struct SocketPacket<'a> {
    header: Header,
    payload: &'a [u8],
    untagged: bool,
}

impl KernelSockets {
    /// `untagged`: the datagrams are untagged, but tagged ones are asked for.
    pub fn new(shared: Arc<Shared>, untagged: bool) -> Result<Self, Error> {
        let sockets =
            KernelPath::new().map_err(|source| Error::Wait { doing: "make an epoll for the sockets", source })?;
        Ok(Self { sockets, shared, untagged, clock: Clock::default(), held: VecDeque::new() })
    }

    /// Returns true if datagrams are held.
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Follows the sockets that the control side opened and closed.
    fn follow_events(&mut self) -> Result<(), Error> {
        for event in self.shared.kernel.take_events() {
            match event {
                SocketEvent::Added { socket, .. } => self
                    .sockets
                    .add(socket)
                    .map_err(|source| Error::Wait { doing: "watch a socket by epoll", source })?,
                SocketEvent::Removed { id } => self.sockets.remove(id),
            }
        }
        Ok(())
    }

    fn publish(&self) {
        let stats = self.sockets.stats();
        let kernel = &self.shared.kernel;
        kernel.received.advance_to(stats.received);
        kernel.other_interface.advance_to(stats.foreign_interface);
        kernel.unidentified.advance_to(stats.unidentified + stats.not_multicast);
        kernel.truncated.advance_to(stats.truncated);
        kernel.left_behind.advance_to(stats.left_behind);
        kernel.receive_errors.advance_to(stats.receive_errors);
        kernel.held.set(self.held.len() as u64);
    }
}

impl ReceivePath for KernelSockets {
    type Packet<'a> = SocketPacket<'a>;

    fn number(&self) -> usize {
        self.shared.queues.len()
    }

    fn vlan(&self) -> Option<Vlan> {
        None
    }

    fn leases(&self) -> u32 {
        0
    }

    fn look(&mut self) -> Result<bool, Error> {
        self.follow_events()?;
        Ok(true)
    }

    /// Shows the datagrams that are held, then those that are queued: up to some thousands of each socket.
    fn receive(&mut self, mut each: impl FnMut(SocketPacket<'_>) -> ControlFlow<()>) -> Result<(), Error> {
        let Self { sockets, shared, untagged, clock, held } = self;
        let untagged = *untagged;
        while let Some(HeldDatagram { header, payload }) = held.pop_front() {
            // Before the worker counts it as taken.
            shared.kernel.held.set(held.len() as u64);
            if each(SocketPacket { header, payload: &payload, untagged }).is_break() {
                return Ok(());
            }
        }
        let mut flow = ControlFlow::Continue(());
        let result = sockets.poll(Some(Duration::ZERO), |datagram| {
            let origin = match datagram.received.origin {
                udp::TimeOrigin::Kernel => TimeOrigin::Kernel,
                udp::TimeOrigin::UserSpace => TimeOrigin::UserSpace,
            };
            let nanoseconds = clock.of_real_time(datagram.received.nanoseconds);
            let time = ReceiveTime { nanoseconds, origin };
            let header = Header { source: datagram.source, group: datagram.group, port: datagram.port, time };
            if flow.is_continue() {
                flow = each(SocketPacket { header, payload: datagram.payload, untagged });
            } else if let Some(payload) = shared.budget.copy(datagram.payload) {
                held.push_back(HeldDatagram { header, payload });
            } else {
                let counters = &shared.kernel.path.counters;
                counters.taken.add(1);
                counters.drop_for(DropReason::NotKept);
            }
        });
        self.publish();
        result.map(drop).map_err(|source| Error::Wait { doing: "wait for the kernel path's sockets", source })
    }

    fn prepare_to_wait(&mut self) -> Result<(), Error> {
        self.sockets.prepare_to_wait().map_err(|source| Error::Wait { doing: "watch the sockets by epoll", source })
    }

    fn fds<'a>(&'a self, fds: &mut Vec<BorrowedFd<'a>>) {
        fds.extend([self.sockets.as_fd(), self.shared.kernel.events_fd()]);
    }

    fn replacements(&self) -> u64 {
        0
    }
}

impl Drop for KernelSockets {
    fn drop(&mut self) {
        let kernel = &self.shared.kernel;
        for _ in self.held.drain(..) {
            kernel.path.counters.taken.add(1);
            kernel.path.counters.drop_for(DropReason::Undelivered);
        }
        kernel.held.set(0);
        // Nobody takes them any more, and they hold sockets.
        drop(kernel.take_events());
    }
}

impl<'a> Packet<'a> for SocketPacket<'a> {
    fn inspect(&mut self) -> Result<Found, DropReason> {
        if self.untagged {
            return Err(DropReason::Untagged);
        }
        let Header { source, group, port, time } = self.header;
        let key = FlowKey::new(source.ip(), group, port);
        Ok(Found { key, source_port: source.port(), payload: 0..self.payload.len(), time })
    }

    fn into_payload(self, _: Range<usize>) -> Payload<'a> {
        Payload::Buffer(self.payload)
    }
}
