//! A receiver of source-specific multicast (SSM, RFC 4607) for Linux: it joins (source, group) pairs, filters frames by
//! source in XDP, and delivers their payloads through AF_XDP without a copy.
//!
//! ```no_run
//! # fn main() -> Result<(), receiver::Error> {
//! use receiver::{Receiver, Wait};
//!
//! let mut receiver = Receiver::builder("eth1").subscribe("10.0.0.1@232.1.1.1:5000".parse()?).build()?;
//! println!("mode {}", receiver.handle().mode());
//! loop {
//!     receiver.poll(Wait::Forever, |datagram| {
//!         println!("{} sent {} bytes", datagram.source(), datagram.payload().len());
//!     })?;
//! }
//! # }
//! ```
//!
//! # Parts
//!
//! - [`Receiver::builder`] or a [`ReceiverConfig`] sets up a [`Receiver`] on one interface.
//! - [`Receiver::poll`] receives on the calling thread. [`Receiver::into_workers`] gives a [`Worker`] for each receive
//!   queue, to be driven by a thread each. [`Receiver::into_async`] gives a [`Stream`](AsyncReceiver) for tokio.
//! - A [`Datagram`] is read in place, within a callback. [`Datagram::into_owned`] keeps it for longer, in most cases
//!   without a copy.
//! - A [`Handle`] joins and leaves, blocks and unblocks sources while packets flow, and reads the counters. No packet
//!   of a subscription that stays is lost by a change of another.
//! - A [`Tap`] has copies of frames by their verdict: what XDP drops can be seen.
//! - The [`Ledger`] has every frame under exactly one cause. [`Evidence`] explains why a subscription receives nothing.
//!
//! A [`Subscription`] is written `SOURCE[,SOURCE...]@GROUP:PORT`, `GROUP:PORT` for any source, or
//! `!SOURCE[,SOURCE...]@GROUP:PORT` for any source but these; IPv6 addresses are in brackets.
//!
//! # Modes
//!
//! | mode | path of a frame | needs |
//! | --- | --- | --- |
//! | [`ZeroCopy`](ReceiveMode::ZeroCopy) | AF_XDP; the NIC writes to the receiver | a driver with zero-copy AF_XDP |
//! | [`Mapped`](ReceiveMode::Mapped) | a mapped ring; the XDP program copies the frame | a driver with native XDP |
//! | [`Copy`](ReceiveMode::Copy) | AF_XDP; the kernel copies the frame once | a driver with native XDP |
//! | [`Generic`](ReceiveMode::Generic) | a mapped ring, behind XDP in the network stack | any driver |
//! | [`Socket`](ReceiveMode::Socket) | the kernel's UDP sockets, without XDP | any driver, no privilege |
//!
//! [`ModeRequest::Auto`], the default, takes the first mode of the table that is available. [`Handle::refused`] has the
//! reasons against the modes above it. A mode that is asked for by name is used or refused with the reason; it never
//! falls back.
//!
//! In the modes with XDP, what XDP cannot take reaches the receiver by the kernel's UDP sockets: IP fragments, packets
//! with IP options, and frames on queues that are not served. [`Datagram::path`] is the path of a datagram.
//!
//! # Warnings
//!
//! - In the modes with XDP the frames of a subscription do **not** reach other programs on the host: XDP takes them
//!   before the kernel's sockets can, packet captures included. With [`Builder::share`] they do. Frames of other
//!   sources of a subscribed group and port are dropped, unless another program has joined the group
//!   ([`DropUnwanted`]). All other frames pass to the kernel.
//! - One receiver can use an interface in a mode with XDP at a time. A program that is attached already is left alone,
//!   and [`Error::XdpOccupied`] names it.
//! - On a bond, a bridge or a VLAN interface, receive on the underlying interface, with
//!   [`Builder::vlan`] where frames are tagged.
//! - The receiver changes no setting of the NIC and does not use promiscuous mode.
//!
//! # Privileges
//!
//! Mode `socket` needs none. The modes with XDP need CAP_NET_ADMIN and CAP_BPF. Modes `zero-copy` and `copy`, and mode
//! `generic` with busy polling, also need CAP_NET_RAW, and CAP_IPC_LOCK or a large RLIMIT_MEMLOCK for the packet
//! memory. With CAP_PERFMON a verdict of the XDP program costs half. Keep the capabilities while the receiver runs: it
//! attaches its program again if the link is made anew. [`Error::NotPermitted`] names what is missing.
//!
//! # Kernel versions
//!
//! | Linux | what it adds |
//! | --- | --- |
//! | 6.1 | the oldest version that is tested; timestamps in XDP ([`Builder::timestamps`]) |
//! | 6.6 | packets over several buffers in AF_XDP, for a large MTU |
//! | 7.3 | zero-copy in virtio_net |
//!
//! # Features
//!
//! - `tokio` (default): [`AsyncReceiver`].
//! - `recording`: `Recording` reads capture files as a [`DatagramSource`], so that a back test and a live run share
//!   their code.
//!
//! Log messages and warnings go to `tracing`.

mod api;
mod engine;
mod paths;
mod program;
mod stats;

pub use api::builder::Builder;
pub use api::config::ReceiverConfig;
pub use api::datagram::{Datagram, OwnedDatagram};
pub use api::error::Error;
pub use api::evidence::{Evidence, Finding, Silence};
pub use api::handle::Handle;
pub use api::inspect;
pub use api::membership_report::MembershipReport;
pub use api::mode::{ModeRequest, ReceiveMode, Refused};
pub use api::origin::{Path, ReceiveTime, TimeOrigin};
pub use api::parse::ParseError;
pub use api::queue_report::QueueReport;
pub use api::queues::Queues;
pub use api::receiver::Receiver;
#[cfg(feature = "recording")]
pub use api::recording::{Recording, RecordingCounts, RecordingError};
pub use api::report::{SubscriptionReport, Totals};
pub use api::source::DatagramSource;
#[cfg(feature = "tokio")]
pub use api::stream::AsyncReceiver;
pub use api::tap::{Tap, TappedFrame};
pub use api::tap_config::TapConfig;
pub use api::text::printable;
pub use api::verdict_set::VerdictSet;
pub use api::vlan::Vlan;
pub use engine::filter::SubscriptionId;
pub use engine::link::{LinkChange, LinkCount, LinkHistory, LinkLedger};
pub use engine::others::{DropUnwanted, Holder, Process};
pub use engine::worker::{Wait, Worker};
pub use receiver_common::Verdict;
pub use receiver_host::{Capability, Interface, InterfaceError, Lack};
pub use receiver_membership::tables::IgmpVersion;
pub use receiver_membership::{MembershipError, SourceFilter, Subscription, SubscriptionError};
pub use receiver_xsk::{BusyPoll, Error as XskError, HugePages};
pub use stats::host_counters::HostLedger;
pub use stats::ledger::{KernelLedger, Ledger, XskLedger};
pub use stats::tap_ledger::TapLedger;

/// The XDP program by itself, for the tests of its verdicts and for the benchmark, and the parsers of tables in /proc,
/// for the fuzz targets. Not part of the public API.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub use crate::engine::others::udp_table::{UdpSocket, parse as udp_sockets};
    pub use crate::stats::host_counters::{column, line};

    pub use crate::program::{Attach, Buffers, PartialChecksums, Program, RingShape, Rings, TapRings, TestVerdict};

    /// The tags in the form that the parser of `receiver_common` takes.
    pub fn vlan_tags(vlan: crate::Vlan) -> receiver_common::wire::VlanTags {
        vlan.tags()
    }
}

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
