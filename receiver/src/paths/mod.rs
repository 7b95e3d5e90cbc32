//! The paths from the kernel to a worker, behind one trait, so that the worker's loop is written once.
//!
//! A new path is a file here, a variant of [`queue::QueuePath`] (if it serves a receive queue), and a variant of
//! [`payload::Payload`] for its memory. The worker does not change.

pub(crate) mod af_xdp;
pub(crate) mod checksum;
pub(crate) mod frame;
mod gathering;
pub(crate) mod kernel;
pub(crate) mod mapped;
pub(crate) mod parse;
pub(crate) mod payload;
pub(crate) mod queue;

use std::ops::{ControlFlow, Range};
use std::os::fd::BorrowedFd;

use crate::api::error::Error;
use crate::api::origin::ReceiveTime;
use crate::api::vlan::Vlan;
use crate::engine::filter::FlowKey;
use crate::paths::payload::Payload;
use crate::stats::queue_counters::DropReason;

/// A path from the kernel to a worker. The worker is compiled for each: no call per packet is dynamic.
pub(crate) trait ReceivePath {
    /// A packet in the worker's hands. Dropping it gives its memory back to the path.
    type Packet<'a>: Packet<'a>;

    /// The path's number: [`Shared::path`](crate::engine::shared::Shared::path).
    fn number(&self) -> usize;

    /// The VLAN tags that each packet carries.
    fn vlan(&self) -> Option<Vlan>;

    /// How many more packets may be kept without a copy, as of now.
    fn leases(&self) -> u32;

    /// Returns true if packets may be there. If not, it first does what an empty queue needs, such as a wake-up or a
    /// change to another socket. It must be cheap: a worker that polls busily calls it without pause.
    fn look(&mut self) -> Result<bool, Error>;

    /// Shows `each` the packets that are there, up to a batch, until it breaks. The path keeps the rest for the next
    /// call. Does not wait.
    fn receive(&mut self, each: impl FnMut(Self::Packet<'_>) -> ControlFlow<()>) -> Result<(), Error>;

    /// To be called before a thread or a runtime sleeps at [`ReceivePath::fds`]: gives frames back to the kernel, wakes
    /// it, and has it wake the sleeper.
    fn prepare_to_wait(&mut self) -> Result<(), Error>;

    /// Adds the descriptors that are readable when [`ReceivePath::receive`] has packets.
    fn fds<'a>(&'a self, fds: &mut Vec<BorrowedFd<'a>>);

    /// How often the descriptors were replaced.
    fn replacements(&self) -> u64;
}

/// A packet in the worker's hands.
pub(crate) trait Packet<'a> {
    /// Finds the datagram in the packet and verifies it.
    fn inspect(&mut self) -> Result<Found, DropReason>;

    /// The payload that [`Packet::inspect`] found.
    fn into_payload(self, payload: Range<usize>) -> Payload<'a>;
}

/// The datagram in a packet.
pub(crate) struct Found {
    pub key: FlowKey,
    pub source_port: u16,
    /// Where in the packet its payload lies.
    pub payload: Range<usize>,
    pub time: ReceiveTime,
}

/// Work on a path of any type.
pub(crate) trait Visitor {
    type Output;

    fn visit<P: ReceivePath>(self, path: &mut P) -> Self::Output;
}
