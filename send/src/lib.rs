//! The test sender: datagrams with a [probe] header from one or many sources to one group, at a rate, with
//! exact counts.
//!
//! There are two ways out of the machine. Addresses that the interface owns send through UDP sockets, as any program
//! would: the kernel routes, fragments and checksums. Other addresses are spoofed: complete Ethernet frames through an
//! `AF_PACKET` socket, which needs CAP_NET_RAW. VLAN tags are only possible the second way.
//!
//! For loads beyond that there is a [generator in the kernel](Load): an XDP program that makes frames where they are sent,
//! a mix of streams of both families, at millions a second for each CPU. It needs CAP_BPF, CAP_NET_ADMIN and an interface
//! that takes redirected frames.
//!
//! Each pair of source address and source port is a flow with its own stream id and its own sequence from 0. Flows take
//! turns packet by packet; within a burst, the packets of one UDP socket leave together.
//!
//! ```no_run
//! use std::sync::atomic::AtomicBool;
//! use receiver_send::{SendConfig, Sender};
//!
//! let mut config = SendConfig::new("veth0", "232.1.1.1".parse()?, 5000);
//! config.sources = vec!["10.0.0.1".parse()?];
//! config.rate = 1000;
//! config.count = Some(10);
//! let report = Sender::new(config)?.run(&AtomicBool::new(false))?;
//! assert_eq!(report.packets, 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod error;
mod flow;
mod frame;
mod generator;
mod link;
mod load;
mod mix;
pub mod probe;
mod raw;
mod report;
mod schedule;
mod sender;
mod traffic;
mod worker;

pub use config::SendConfig;
pub use error::SendError;
pub use load::{Burst, Load, LoadConfig};
pub use mix::{StreamSpec, StreamSpecs};
pub use report::{FlowSent, LinkSent, SendReport, Way};
pub use sender::Sender;
pub use traffic::{MAX_PAYLOAD_V4, MAX_PAYLOAD_V6, Traffic};
