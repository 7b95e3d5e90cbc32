//! Why nothing was sent, or why sending ended early: the input, the reason and the remedy.

use std::io;
use std::net::IpAddr;

use receiver_host::{GENERATOR, InterfaceError, Lack, excerpt};
use receiver_membership::SubscriptionError;

use crate::feed::FeedError;

/// Why a sender refused to start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The group or a source is not usable.
    #[error(transparent)]
    Address(#[from] SubscriptionError),
    /// A feed cannot be made.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// Destination port 0.
    #[error("datagrams cannot be sent to port 0; name the UDP port of the group, 1 to 65535")]
    PortZero,
    /// A source was named twice.
    #[error("source {0} is named twice; name it once, or use several source ports for more flows")]
    SourceTwice(IpAddr),
    /// Source port 0.
    #[error("datagrams cannot be sent from port 0; name a source port from 1 to 65535, or none to have one chosen")]
    SourcePortZero,
    /// No source ports.
    #[error("the number of source ports is 0, which leaves nothing to send from; take at least 1")]
    NoSourcePort,
    /// A range of source ports, and a number of them.
    #[error(
        "a range of source ports and their number were both given; give the range, or the first port and the number"
    )]
    SourcePortsTwice,
    /// The source ports end beyond 65535.
    #[error("{ports} source ports from {first} end beyond 65535; begin at a lower port, or take fewer")]
    SourcePortRange {
        /// First port.
        first: u16,
        /// How many.
        ports: u16,
    },
    /// Payload too small for the probe header.
    #[error("a payload of {size} bytes is too small for the probe header; take {min} bytes or more")]
    SizeTooSmall {
        /// Asked for, bytes.
        size: usize,
        /// Smallest, bytes.
        min: usize,
    },
    /// Payload too large for UDP.
    #[error("a payload of {size} bytes is more than UDP carries; take {max} bytes or less")]
    SizeTooLarge {
        /// Asked for, bytes.
        size: usize,
        /// Largest, bytes.
        max: usize,
    },
    /// TTL 0.
    #[error("packets with a time to live of 0 do not leave the machine; take 1 (this link only) to 255")]
    TtlZero,
    /// Count 0.
    #[error("a count of 0 sends nothing; take 1 or more, or none")]
    CountZero,
    /// Duration 0.
    #[error("a duration of 0 sends nothing; take a longer one, or none")]
    DurationZero,
    /// A rate that no clock and no link can hold.
    #[error("a rate of {rate} packets per second is not possible; take up to {max}, or 0 for as fast as possible")]
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
    /// Not the shape of a burst.
    #[error(
        "a burst has a number of packets (1 or more) and a period (more than 0), in place of a rate; give both, and no \
         rate"
    )]
    BurstShape,
    /// No stream to send.
    #[error("there is no stream to send; name one, as SOURCE@GROUP:PORT")]
    NoStream,
    /// A stream without a source.
    #[error("stream `{}` has no source, but every packet needs one; write SOURCE@GROUP:PORT=WEIGHT", excerpt(.0))]
    StreamWithoutSource(String),
    /// Not a weight.
    #[error(
        "`{}` is not a weight; take a whole number from 1 (a stream's share is its weight by the sum of all)",
        excerpt(.0)
    )]
    Weight(String),
    /// The cycle of a mix is too long.
    #[error(
        "the weights make a cycle of {steps} packets, and there is room for {max}; take smaller weights, weights with \
         a larger common divisor, or fewer source ports"
    )]
    TooManyTurns {
        /// Sum of the weights, less their common divisor.
        steps: u64,
        /// Largest.
        max: u32,
    },
    /// A request that only the other engine can fulfil.
    #[error("{what} is not possible with this engine; use the engine {engine}")]
    OtherEngine {
        /// The request, as the beginning of a sentence.
        what: &'static str,
        /// The engine that can do it: `socket` or `xdp`.
        engine: &'static str,
    },
    /// More threads than CPUs.
    #[error(
        "{threads} generator threads need a CPU each, and there are {cpus} CPUs; take fewer threads, or name more CPUs"
    )]
    TooFewCpus {
        /// Asked for.
        threads: usize,
        /// There.
        cpus: usize,
    },
    /// Not a VLAN id.
    #[error("{0} is not a VLAN id; take 1 to 4094 (802.1Q)")]
    VlanId(u16),
    /// More than two tags.
    #[error("{0} VLAN tags are too many; take up to two, outer and inner")]
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
        "{threads} threads are more than the {flows} flows, and one thread sends a flow; take more sources or source \
         ports, or fewer threads"
    )]
    MoreThreadsThanFlows {
        /// Asked for.
        threads: usize,
        /// Sources times source ports.
        flows: usize,
    },
    /// Too many flows.
    #[error("{flows} flows (sources times source ports) are too many; take up to {max}")]
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
    #[error("interface {0} has no carrier; connect its cable, or bring up the other end of its veth pair")]
    NoCarrier(String),
    /// Complete frames on an interface without Ethernet headers.
    #[error(
        "{why} needs complete Ethernet frames, and interface {interface} is not Ethernet; send from an address that it \
         owns, without VLAN tags"
    )]
    NotEthernet {
        /// The interface.
        interface: String,
        /// What needs complete frames, as the beginning of a sentence.
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
        "address {address} of interface {interface} cannot be used until duplicate address detection has ended; wait a \
         second, or add the address with `nodad`"
    )]
    Tentative {
        /// The address.
        address: IpAddr,
        /// The interface.
        interface: String,
    },
    /// A complete frame does not fit.
    #[error(
        "a payload of {size} bytes makes packets above the MTU of interface {interface} ({mtu} bytes), and complete \
         frames (spoofed sources, VLAN tags) are not fragmented; take {max} bytes or less, or send from an address \
         that it owns"
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
        "{why} needs complete Ethernet frames, which this process may not send without CAP_NET_RAW; run as root, grant \
         it to the program's file (`setcap cap_net_raw+ep FILE`), or send from an address that the interface owns"
    )]
    NoPrivilege {
        /// What needs complete frames, as the beginning of a sentence.
        why: String,
    },
    /// No right to load the generator.
    #[error(
        "loading the load generator, an XDP program, for interface {interface} is not permitted: {lack}. {}, or use \
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
        "could not {doing} the load generator for interface {interface}: {reason}. It needs Linux 6.1 or later, and \
         frames that fit a page with some room; use the socket engine, which needs neither"
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
        "interface {0} does not take redirected frames, so that most or all of them were not sent. On veth the other \
         end needs an XDP program in the driver (start the receiver first), or `ethtool -K PEER gro on`; other drivers \
         need XDP redirect (ndo_xdp_xmit). Or use the socket engine, which sends on any interface"
    )]
    NotRedirected(String),
    /// The kernel refused an operation.
    #[error("{what} failed: {source}{remedy}")]
    Os {
        /// What was tried, on what, as the beginning of a sentence.
        what: String,
        /// The kernel's answer.
        source: io::Error,
        /// What to do, if that is known; begins with a separator.
        remedy: &'static str,
    },
    /// Sending failed. A full queue is not a failure: it is tried again.
    #[error("sending from {from} on interface {interface} failed after {sent} packets of its thread: {source}{remedy}")]
    Send {
        /// The source.
        from: IpAddr,
        /// The interface.
        interface: String,
        /// Packets that the thread sent before.
        sent: u64,
        /// The kernel's answer.
        source: io::Error,
        /// What to do, if that is known; begins with a separator.
        remedy: &'static str,
    },
}

impl SendError {
    /// The exit code for a process: 2 if the request is wrong on any machine, 1 if this machine, its interfaces or its
    /// privileges do not allow it, or if sending failed.
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
        move |source| Self::Os { what, source, remedy: "" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_reads_well(text: &str) {
        assert!(!text.is_empty() && !text.ends_with('.') && !text.contains('\n'), "{text}");
        for flaw in ["  ", "of:", "--", "can not", " ,", "( "] {
            assert!(!text.contains(flaw), "`{flaw}` in: {text}");
        }
    }

    fn samples() -> Vec<SendError> {
        use SendError as E;
        let (name, why) = (|| "eth1".to_owned(), || "a VLAN tag".to_owned());
        let (address, source) = (IpAddr::from([10, 0, 0, 1]), || io::Error::from_raw_os_error(libc::EPERM));
        vec![
            E::Address(SubscriptionError::PortZero(address)),
            E::PortZero,
            E::SourceTwice(address),
            E::SourcePortZero,
            E::NoSourcePort,
            E::SourcePortsTwice,
            E::SourcePortRange { first: 65_535, ports: 2 },
            E::SizeTooSmall { size: 1, min: 22 },
            E::SizeTooLarge { size: 70_000, max: 65_507 },
            E::TtlZero,
            E::CountZero,
            E::DurationZero,
            E::Rate { rate: u64::MAX, max: 7 },
            E::Burst { burst: 0, max: 1024 },
            E::BurstShape,
            E::NoStream,
            E::StreamWithoutSource("239.1.1.1:5000".into()),
            E::Weight("x".into()),
            E::TooManyTurns { steps: 65_537, max: 65_536 },
            E::OtherEngine { what: "a VLAN tag", engine: "socket" },
            E::TooFewCpus { threads: 2, cpus: 1 },
            E::VlanId(4095),
            E::TooManyTags(3),
            E::Threads { threads: 0, max: 256 },
            E::MoreThreadsThanFlows { threads: 2, flows: 1 },
            E::TooManyFlows { flows: 7, max: 5 },
            E::Interface(InterfaceError::Down { name: name() }),
            E::NoCarrier(name()),
            E::NotEthernet { interface: name(), why: why() },
            E::NoOwnAddress { interface: name(), family: "IPv4" },
            E::Tentative { address, interface: name() },
            E::AboveMtu { size: 9000, max: 1472, interface: name(), mtu: 1500 },
            E::NoPrivilege { why: why() },
            E::NoBpfPrivilege { interface: name(), lack: Lack::UserNamespace },
            E::Generator { interface: name(), doing: "load", reason: "no room".into() },
            E::NotRedirected(name()),
            E::Os { what: "opening a UDP socket".into(), source: source(), remedy: "; raise the limit" },
            E::Send { from: address, interface: name(), sent: 7, source: source(), remedy: "" },
            E::Feed(FeedError::ExclusiveAlone),
        ]
    }

    /// A new variant breaks this match, and then needs a sample above.
    fn index(error: &SendError) -> usize {
        use SendError as E;
        match error {
            E::Address(_) => 0,
            E::PortZero => 1,
            E::SourceTwice(_) => 2,
            E::SourcePortZero => 3,
            E::NoSourcePort => 4,
            E::SourcePortsTwice => 5,
            E::SourcePortRange { .. } => 6,
            E::SizeTooSmall { .. } => 7,
            E::SizeTooLarge { .. } => 8,
            E::TtlZero => 9,
            E::CountZero => 10,
            E::DurationZero => 11,
            E::Rate { .. } => 12,
            E::Burst { .. } => 13,
            E::BurstShape => 14,
            E::NoStream => 15,
            E::StreamWithoutSource(_) => 16,
            E::Weight(_) => 17,
            E::TooManyTurns { .. } => 18,
            E::OtherEngine { .. } => 19,
            E::TooFewCpus { .. } => 20,
            E::VlanId(_) => 21,
            E::TooManyTags(_) => 22,
            E::Threads { .. } => 23,
            E::MoreThreadsThanFlows { .. } => 24,
            E::TooManyFlows { .. } => 25,
            E::Interface(_) => 26,
            E::NoCarrier(_) => 27,
            E::NotEthernet { .. } => 28,
            E::NoOwnAddress { .. } => 29,
            E::Tentative { .. } => 30,
            E::AboveMtu { .. } => 31,
            E::NoPrivilege { .. } => 32,
            E::NoBpfPrivilege { .. } => 33,
            E::Generator { .. } => 34,
            E::NotRedirected(_) => 35,
            E::Os { .. } => 36,
            E::Send { .. } => 37,
            E::Feed(_) => 38,
        }
    }

    #[test]
    fn every_error_reads_as_a_sentence() {
        assert!(samples().iter().map(index).eq(0..39));
        for error in samples() {
            assert_reads_well(&error.to_string());
        }
        let text = SendError::Weight("\u{1b}[2J".into()).to_string();
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
