//! AF_XDP receive and nothing else: the packet memory, the two rings a receiver needs, and the socket that binds them
//! to one queue of one interface. Knows nothing of multicast, of XDP programs, or of an async runtime.
//!
//! The way of a frame, as in the kernel's document (Documentation/networking/af_xdp.rst):
//!
//! ```text
//!  free stack ──► fill ring ──► kernel ──► RX ring ──► Received<'_> ──► free stack        (read in place)
//!      ▲                                                    └──► Lease ──► return queue ─┐ (kept, on any thread)
//!      └─────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A frame is in exactly one of these places. In user space that is a matter of types: the token that names a frame
//! can not be cloned and never leaves this room. Of the kernel it is checked: a descriptor is taken only for a frame
//! that was handed out and has not come back yet.
//!
//! - [`XskSocket::bind`] does all of the setting up, [`XskSocket::receive`] all of the work.
//! - [`Queue`] is the same work without a socket, over any pair of rings: what the tests and the benchmark drive.

mod config;
mod context;
mod descriptor;
mod errno;
mod error;
mod lease;
mod mapping;
mod monitor;
mod queue;
mod ring;
mod socket;
mod statistics;
mod umem;

#[cfg(test)]
mod fake_kernel;
#[cfg(test)]
mod tests;

pub use config::{BindConfig, BindMode, BusyPoll};
pub use descriptor::Descriptor;
pub use errno::Errno;
pub use error::{Call, Cause, Error};
pub use lease::Lease;
pub use mapping::{Mapping, PageSize};
pub use monitor::Monitor;
pub use queue::{Counters, Queue, Received};
pub use ring::{Consumer, Producer, Slot, Taken, pair};
pub use socket::XskSocket;
pub use statistics::Statistics;
pub use umem::{HugePages, Umem, UmemConfig};
