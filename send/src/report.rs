//! Reports of what was sent. Field names are part of the JSON output: they stay.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

/// Flows in the text form; JSON has all.
const SHOWN_FLOWS: usize = 32;

/// How a flow is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Through a UDP socket, from an address that the interface owns.
    Socket,
    /// As complete Ethernet frames.
    Raw,
    /// By the generator in the kernel.
    Xdp,
}

/// What was sent in all.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SendReport {
    /// The interface.
    pub interface: String,
    /// The group; of a mix, the first stream's.
    pub group: IpAddr,
    /// Its UDP port.
    pub port: u16,
    /// The exact number of datagrams that the kernel accepted. Those that the interface's queueing discipline drops
    /// later are included: fq_codel drops frames that waited too long, which only `tc -s qdisc` shows. Of the
    /// generator: frames that were redirected to the interface, whether or not there was room for them
    /// ([`SendReport::link`]).
    pub packets: u64,
    /// Bytes of UDP payload in them.
    pub bytes: u64,
    /// The time from the start to the last packet.
    pub elapsed_seconds: f64,
    /// Packets by elapsed time.
    pub packets_per_second: f64,
    /// The requested rate in packets per second; 0: as fast as possible.
    pub rate: u64,
    /// Packets given up because the sender was too far behind: the rate was not kept.
    pub slipped: u64,
    /// How often the kernel's queue was full (ENOBUFS, EAGAIN), so that a batch was retried.
    pub retries: u64,
    /// True if the stop flag ended it, not the count or the duration.
    pub stopped: bool,
    /// What the interface counted of them; only for the generator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkSent>,
    /// Each flow.
    pub flows: Vec<FlowSent>,
}

/// The interface's own counters over the run, with everything else that was sent on it meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LinkSent {
    /// Frames that were sent. On veth: frames that the other end received.
    pub packets: u64,
    /// Frames that were dropped. On veth: because the other end's queue (256 frames) was full.
    pub dropped: u64,
}

/// What one flow sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowSent {
    /// Source address and port.
    pub source: SocketAddr,
    /// The group it sent to.
    pub group: IpAddr,
    /// Its UDP port.
    pub port: u16,
    /// Stream id.
    pub stream: u32,
    /// How it was sent.
    pub way: Way,
    /// Datagrams.
    pub packets: u64,
    /// First sequence number, if anything was sent.
    pub first_sequence: Option<u64>,
    /// Last sequence number, if anything was sent.
    pub last_sequence: Option<u64>,
}

impl fmt::Display for SendReport {
    /// A line for all, then one for each of the first flows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packets, bytes, elapsed_seconds, packets_per_second, interface, port, .. } = self;
        let group = SocketAddr::new(self.group, *port);
        write!(f, "{packets} packets, {bytes} bytes of payload to {group} on {interface} in {elapsed_seconds:.3} s")?;
        write!(f, ", {packets_per_second:.0} packets/s")?;
        if self.rate > 0 {
            write!(f, " of {}", self.rate)?;
        }
        for (count, what) in [(self.slipped, "given up to keep time"), (self.retries, "retries on a full queue")] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        if let Some(LinkSent { packets, dropped }) = self.link {
            write!(f, "; the interface says {packets} sent, {dropped} dropped")?;
        }
        for flow in self.flows.iter().take(SHOWN_FLOWS) {
            let way = match flow.way {
                Way::Socket => "own",
                Way::Raw => "frames",
                Way::Xdp => "generator",
            };
            if self.link.is_some() {
                write!(f, "\n  to {}", SocketAddr::new(flow.group, flow.port))?;
            }
            write!(f, "\n  {} ({way}) stream {:08x}: {} packets", flow.source, flow.stream, flow.packets)?;
            if let (Some(first), Some(last)) = (flow.first_sequence, flow.last_sequence) {
                write!(f, ", sequence {first} to {last}")?;
            }
        }
        if let Some(more @ 1..) = self.flows.len().checked_sub(SHOWN_FLOWS) {
            write!(f, "\n  and {more} more flows")?;
        }
        Ok(())
    }
}
