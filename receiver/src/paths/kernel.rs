//! The kernel path as a worker sees it: sockets come and go, datagrams come with a time on the receiver's clock, and the
//! counts are published.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::api::datagram::{ReceiveTime, TimeOrigin};
use crate::api::error::Error;
use crate::engine::clock::Clock;
use crate::engine::shared::Shared;
use receiver_membership::SocketEvent;
use receiver_membership::udp::{self, KernelPath};

/// Receives from the receiver's UDP sockets.
pub(crate) struct KernelSide {
    path: KernelPath,
    shared: Arc<Shared>,
}

/// One datagram, for the length of a callback.
pub(crate) struct FromKernel<'a> {
    pub source: SocketAddr,
    pub group: IpAddr,
    pub port: u16,
    pub payload: &'a [u8],
    pub time: ReceiveTime,
}

impl KernelSide {
    pub fn new(shared: Arc<Shared>) -> Result<Self, Error> {
        let path =
            KernelPath::new().map_err(|source| Error::Wait { doing: "make an epoll for the sockets", source })?;
        Ok(Self { path, shared })
    }

    /// Gives what is queued now, at most some thousands from each socket. Does not wait.
    pub fn receive(&mut self, clock: &mut Clock, mut each: impl FnMut(FromKernel<'_>)) -> Result<usize, Error> {
        for event in self.shared.kernel.take_events() {
            match event {
                SocketEvent::Added { socket, .. } => {
                    self.path.add(socket).map_err(|source| Error::Wait { doing: "watch a socket by epoll", source })?
                }
                SocketEvent::Removed { id } => self.path.remove(id),
            }
        }
        let result = self.path.poll(Some(Duration::ZERO), |datagram| {
            let origin = match datagram.received.origin {
                udp::TimeOrigin::Kernel => TimeOrigin::Kernel,
                udp::TimeOrigin::UserSpace => TimeOrigin::UserSpace,
            };
            each(FromKernel {
                source: datagram.source,
                group: datagram.group,
                port: datagram.port,
                payload: datagram.payload,
                time: ReceiveTime { nanoseconds: clock.of_real_time(datagram.received.nanoseconds), origin },
            });
        });
        self.publish();
        result.map_err(|source| Error::Wait { doing: "wait for the kernel path's sockets", source })
    }

    fn publish(&self) {
        let stats = self.path.stats();
        let cell = &self.shared.kernel;
        cell.received.store(stats.received, Ordering::Relaxed);
        cell.other_interface.store(stats.foreign_interface, Ordering::Relaxed);
        cell.unidentified.store(stats.unidentified + stats.not_multicast, Ordering::Relaxed);
        cell.truncated.store(stats.truncated, Ordering::Relaxed);
        cell.left_behind.store(stats.left_behind, Ordering::Relaxed);
    }

    /// To be called before anybody sleeps at [`KernelSide::fds`].
    pub fn prepare_to_wait(&mut self) -> Result<(), Error> {
        self.path.prepare_to_wait().map_err(|source| Error::Wait { doing: "watch the sockets by epoll", source })
    }

    /// Readable when [`KernelSide::receive`] has something to do.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.path.as_fd(), self.shared.kernel.events_fd()]
    }
}
