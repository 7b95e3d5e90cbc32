//! Receives packets through AF_XDP sockets: the packet memory (UMEM), the rings, and the socket that binds them to one
//! queue of one interface.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use std::time::Duration;
//!
//! use receiver_xsk::{BindConfig, BindMode, XskSocket};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Interface 2 is eth0; queue 0.
//! let mut socket = XskSocket::bind(&BindConfig::new(2, "eth0", 0, BindMode::Copy))?;
//! // Put the socket into the XSKMAP of an XDP program here: it implements `AsFd`.
//! while socket.wait(Some(Duration::from_secs(1)))? {
//!     socket.receive(64, |packet| {
//!         println!("{} bytes", packet.len());
//!         ControlFlow::Continue(())
//!     });
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A socket receives only the packets that an XDP program redirects to it. This crate loads no XDP program, and knows
//! nothing of multicast or of async runtimes.
//!
//! # Frames
//!
//! The packet memory consists of frames. A frame moves as in the kernel's document
//! (Documentation/networking/af_xdp.rst):
//!
//! ```text
//!  free stack ──► fill ring ──► kernel ──► RX ring ──► Received<'_> ──► free stack        (read in place)
//!      ▲                                                    └──► Lease ──► return queue ─┐ (kept, on any thread)
//!      └─────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A frame is in exactly one of these places. In user space types enforce that: the token of a frame cannot be cloned
//! and never leaves this crate. The kernel's part is checked at run time: the queue accepts a descriptor only for a
//! frame that the kernel has.
//!
//! - [`XskSocket::bind`] sets up a socket, [`XskSocket::receive`] does all the work.
//! - [`Queue`] does the same work without a socket, over any pair of rings, for tests and benchmarks.
//!
//! # Mapped rings
//!
//! [`MappedQueue`] receives packets that an XDP program copies into memory-mapped BPF maps, in place of AF_XDP. Its
//! packets and leases are the same types.
//!
//! # Privileges and kernel versions
//!
//! Binding needs CAP_NET_RAW, and CAP_IPC_LOCK or a large enough RLIMIT_MEMLOCK. Busy polling needs CAP_NET_ADMIN. The
//! crate needs Linux 5.4 or newer, and is tested on 6.1 and newer. Busy polling needs Linux 5.11, and packets in
//! several buffers need Linux 6.6.

#![warn(missing_debug_implementations)]

mod config;
mod context;
mod descriptor;
mod errno;
mod error;
mod lease;
mod mapped;
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
pub use mapped::{MappedMaps, MappedMonitor, MappedQueue};
pub use mapping::{Mapping, PageSize};
pub use monitor::Monitor;
pub use queue::{Counters, Queue, Received};
pub use ring::{Consumer, Producer, Slot, Taken, pair};
pub use socket::XskSocket;
pub use statistics::Statistics;
pub use umem::{HugePages, Umem, UmemConfig};
