//! Test senders of multicast streams with exact counts, and the checker of what arrived.
//!
//! ```no_run
//! use std::sync::atomic::AtomicBool;
//! use receiver_send::{SendConfig, Sender};
//!
//! let mut config = SendConfig::new("veth0", "232.1.1.1".parse()?, 5000);
//! config.sources = vec!["10.0.0.1".parse()?];
//! config.traffic.rate = 1000;
//! config.traffic.count = Some(10);
//! let report = Sender::new(config)?.run(&AtomicBool::new(false))?;
//! assert_eq!(report.packets, 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Ways to send
//!
//! [`Sender`] sends from addresses that the interface owns through UDP sockets, as any program does: the kernel routes,
//! fragments and checksums. It sends from other addresses (spoofed sources) by complete Ethernet frames through an
//! `AF_PACKET` socket, which needs CAP_NET_RAW. So do VLAN tags.
//!
//! [`Load`] is a generator in the kernel: an XDP program makes frames of a mix of streams of both families, at millions
//! per second and CPU. It needs Linux 6.1, CAP_BPF, CAP_NET_ADMIN, and an interface that takes redirected frames.
//!
//! # Flows and probes
//!
//! Each pair of source address and source port is a flow with its own stream id and its own sequence from 0. Flows take
//! turns packet by packet; within a burst, the packets of one UDP socket are sent together. Each datagram begins with a
//! [probe] header. [`probe::ProbeChecker`] finds loss, reordering, duplicates and latency from it.
//!
//! # Feeds
//!
//! [`feed`] makes the datagrams of sequenced protocols on redundant legs, with loss, reordering, delay and duplication
//! by seed ([`impair`]).
//!
//! Everything is opened in the network namespace of the calling thread.

mod config;
mod error;
pub mod feed;
mod flow;
mod frame;
mod generator;
mod handover;
pub mod impair;
mod link;
mod load;
mod mix;
pub mod probe;
mod random;
mod raw;
mod replay;
mod report;
mod rewrite;
mod schedule;
mod sender;
mod traffic;
mod worker;

pub use config::SendConfig;
pub use error::SendError;
pub use load::{Burst, Load, LoadConfig};
pub use mix::{StreamSpec, StreamSpecs};
pub use replay::{ReplayReport, ReplaySender};
pub use report::{FlowSent, LinkSent, SendReport, Way};
pub use rewrite::{Rewrite, RewriteError, RewriteRule};
pub use sender::Sender;
pub use traffic::{MAX_PAYLOAD_V4, MAX_PAYLOAD_V6, Traffic};
