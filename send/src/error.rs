//! Why nothing was sent, or why sending ended early: what was given, what is wrong with it, and what to do.

use std::io;
use std::net::IpAddr;

use receiver_host::{GENERATOR, InterfaceError, Lack};
use receiver_membership::SubscriptionError;

/// Why the sender refused to start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The group or a source is not usable.
    #[error(transparent)]
    Address(#[from] SubscriptionError),
    /// Destination port 0.
    #[error("port 0 can not be sent to; name the UDP port of the group, 1 to 65535")]
    PortZero,
    /// A source was named twice.
    #[error("source {0} is named twice; name it once, or use several source ports for more flows")]
    SourceTwice(IpAddr),
    /// Source port 0.
    #[error("source port 0 can not be sent from; name 1 to 65535, or leave it out to have one chosen")]
    SourcePortZero,
    /// No source ports.
    #[error("0 source ports leave nothing to send from; name at least 1")]
    NoSourcePort,
    /// A range of source ports, and a number of them.
    #[error(
        "a range of source ports and a number of them say the same twice; give the range, or the first and the \
             number"
    )]
    SourcePortsTwice,
    /// The source ports end beyond 65535.
    #[error("{ports} source ports from {first} on end beyond 65535; begin lower or take fewer")]
    SourcePortRange {
        /// First port.
        first: u16,
        /// How many.
        ports: u16,
    },
    /// Payload too small for the probe header.
    #[error("a payload of {size} bytes is too small for the probe header; take {min} or more")]
    SizeTooSmall {
        /// Asked for, bytes.
        size: usize,
        /// Smallest, bytes.
        min: usize,
    },
    /// Payload too large for UDP.
    #[error("a payload of {size} bytes is more than UDP carries; take {max} or less")]
    SizeTooLarge {
        /// Asked for, bytes.
        size: usize,
        /// Largest, bytes.
        max: usize,
    },
    /// TTL 0.
    #[error("packets with ttl 0 do not leave the machine; take 1 (this link only) to 255")]
    TtlZero,
    /// Count 0.
    #[error("a count of 0 sends nothing; name 1 or more, or leave it out")]
    CountZero,
    /// Duration 0.
    #[error("a duration of 0 sends nothing; name a longer one, or leave it out")]
    DurationZero,
    /// A rate that no clock and no link can hold.
    #[error("a rate of {rate} packets a second is not possible; take up to {max}, or 0 for as fast as it goes")]
    Rate {
        /// Asked for.
        rate: u64,
        /// Largest.
        max: u64,
    },
    /// Burst out of range.
    #[error("a burst of {burst} packets is not possible; take 1 to {max}")]
    Burst {
        /// Asked for.
        burst: usize,
        /// Largest.
        max: usize,
    },
    /// A burst shape that is none.
    #[error(
        "a burst shape is a number of packets (1 or more) and a time (more than 0), in place of a rate; give both, \
             and no rate"
    )]
    BurstShape,
    /// No stream to send.
    #[error("there is no stream to send; name one as SOURCE@GROUP:PORT")]
    NoStream,
    /// A stream without a source.
    #[error("stream `{0}` has no source, and a sender has one; write SOURCE@GROUP:PORT=WEIGHT")]
    StreamWithoutSource(String),
    /// Not a weight.
    #[error("`{0}` is not a weight; weights are whole numbers from 1, and a stream's share is its weight by their sum")]
    Weight(String),
    /// The cycle of a mix is too long.
    #[error(
        "the weights make a cycle of {steps} packets, and there is room for {max}; take smaller weights, or ones with a \
             larger common divisor, or fewer source ports"
    )]
    TooManyTurns {
        /// Sum of the weights, less their common divisor.
        steps: u64,
        /// Largest.
        max: u32,
    },
    /// What only one of the engines does.
    #[error("{what} needs `--engine {engine}`")]
    OtherEngine {
        /// What was asked for.
        what: &'static str,
        /// Which engine does it.
        engine: &'static str,
    },
    /// More threads than CPUs.
    #[error("{threads} generator threads need a CPU each, and there are {cpus}; take fewer threads, or name more CPUs")]
    TooFewCpus {
        /// Asked for.
        threads: usize,
        /// There.
        cpus: usize,
    },
    /// Not a VLAN id.
    #[error("{0} is not a VLAN id; ids are 1 to 4094 (802.1Q)")]
    VlanId(u16),
    /// More than two tags.
    #[error("{0} VLAN tags are too many; at most two, outer and inner")]
    TooManyTags(usize),
    /// Number of threads out of range.
    #[error("{threads} threads are not possible; take 1 to {max}")]
    Threads {
        /// Asked for.
        threads: usize,
        /// Largest.
        max: usize,
    },
    /// A thread would have nothing to send.
    #[error(
        "{threads} threads, but only {flows} flows, and a flow is sent by one thread; name more sources or more \
             source ports, or fewer threads"
    )]
    MoreThreadsThanFlows {
        /// Asked for.
        threads: usize,
        /// Sources times source ports.
        flows: usize,
    },
    /// Too many flows.
    #[error("{flows} flows (sources times source ports) are too many; at most {max}")]
    TooManyFlows {
        /// Asked for.
        flows: usize,
        /// Largest.
        max: usize,
    },
    /// The interface does not exist, is down, or the kernel refused an operation on it.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The interface is up, without a link.
    #[error("interface {0} has no carrier: its cable, or the other end of its veth pair, is down")]
    NoCarrier(String),
    /// Complete frames on an interface without Ethernet headers.
    #[error(
        "interface {interface} is not Ethernet, so that frames can not be made for it ({why}); send from an \
             address that it owns, without VLAN tags"
    )]
    NotEthernet {
        /// The interface.
        interface: String,
        /// Why a complete frame would be needed.
        why: String,
    },
    /// No source was named, and the interface has none.
    #[error("interface {interface} has no {family} address to send from; give it one, or name a source")]
    NoOwnAddress {
        /// The interface.
        interface: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// Duplicate address detection is not over, or failed.
    #[error(
        "address {address} of {interface} is not usable yet (duplicate address detection); wait a second, or add \
             it with `nodad`"
    )]
    Tentative {
        /// The address.
        address: IpAddr,
        /// The interface.
        interface: String,
    },
    /// A complete frame does not fit.
    #[error(
        "a payload of {size} bytes makes packets above the MTU of {interface} ({mtu} bytes), and spoofed sources \
             and VLAN tags can not fragment; take {max} bytes or less, or send from an address that it owns"
    )]
    AboveMtu {
        /// Asked for, bytes of payload.
        size: usize,
        /// Largest, bytes of payload.
        max: usize,
        /// The interface.
        interface: String,
        /// Its MTU, bytes.
        mtu: usize,
    },
    /// No right to send complete frames.
    #[error(
        "{why} needs complete Ethernet frames, and so CAP_NET_RAW: run as root, or `setcap cap_net_raw+ep` the \
             program, or send from an address that the interface owns"
    )]
    NoPrivilege {
        /// Why complete frames are needed.
        why: String,
    },
    /// No right to load the generator.
    #[error(
        "loading the load generator, an XDP program, for interface {interface} is not permitted: {lack}. {}, or send with \
             the socket engine",
        lack.remedy(&GENERATOR)
    )]
    NoBpfPrivilege {
        /// The interface.
        interface: String,
        /// What the process lacks.
        lack: Lack,
    },
    /// The kernel refused the generator.
    #[error(
        "could not {doing} the generator for {interface}: {reason}. It needs Linux 6.1 or later, and frames that fit a page \
             with some room; the socket engine needs neither"
    )]
    Generator {
        /// The interface.
        interface: String,
        /// What was tried.
        doing: &'static str,
        /// The kernel's or the loader's answer.
        reason: String,
    },
    /// Frames were redirected, and most or all of them never left.
    #[error(
        "interface {0} does not take redirected frames: most or all of them never left it. On veth the other end needs an XDP program in the driver \
             (start the receiver first), or `ethtool -K PEER gro on`; other drivers need XDP redirect (ndo_xdp_xmit). The \
             socket engine sends on any interface"
    )]
    NotRedirected(String),
    /// The kernel refused an operation.
    #[error("{what}: {source}")]
    Os {
        /// What was tried, on what.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Sending failed for good. Full queues are no failure: they are tried again.
    #[error("sending from {from} on {interface} failed after {sent} packets of this thread: {source}{remedy}")]
    Send {
        /// The source.
        from: IpAddr,
        /// The interface.
        interface: String,
        /// Packets sent before by the thread that failed.
        sent: u64,
        /// The kernel's answer.
        source: io::Error,
        /// What to do, where that is known; begins with a separator.
        remedy: &'static str,
    },
}

impl SendError {
    /// What the process should exit with: 2 where the request is wrong on any machine, 1 where this machine, its
    /// interfaces or its rights do not allow it, or where sending failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interface(_)
            | Self::NoCarrier(_)
            | Self::NotEthernet { .. }
            | Self::NoOwnAddress { .. }
            | Self::Tentative { .. }
            | Self::AboveMtu { .. }
            | Self::NoPrivilege { .. }
            | Self::NoBpfPrivilege { .. }
            | Self::Generator { .. }
            | Self::NotRedirected(_)
            | Self::TooFewCpus { .. }
            | Self::Os { .. }
            | Self::Send { .. } => 1,
            _ => 2,
        }
    }

    pub(super) fn os(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Os { what, source }
    }
}
