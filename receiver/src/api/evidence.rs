//! Explains in words why a subscription received nothing, from what the receiver and the kernel counted. Pure:
//! [`crate::engine::control`] gathers the counts.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use receiver_common::Verdict;

use crate::api::mode::ReceiveMode;
use crate::api::report::SubscriptionReport;
use crate::api::vlan::Vlan;
use crate::engine::filter::SubscriptionId;
use crate::stats::ledger::Ledger;
use crate::stats::queue_counters::DropReason;
use receiver_membership::tables::{IgmpVersion, KernelTables};
use receiver_membership::{InterfaceRef, Subscription, in_sysctl};

/// The largest number of ports or sources that one finding names.
pub(crate) const MOST_NAMED: usize = 8;

/// The known reasons why subscriptions have received nothing. Empty if each has received something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// Findings that concern all subscriptions.
    pub findings: Vec<Finding>,
    /// The subscriptions that have received nothing, in the order of joining, each with the findings that concern it
    /// alone.
    pub silent: Vec<Silence>,
}

/// A subscription that has received nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Silence {
    /// Its id.
    pub id: SubscriptionId,
    /// The subscription as it is now.
    pub subscription: Subscription,
    /// What is known. Empty in mode `socket` unless the membership is missing.
    pub findings: Vec<Finding>,
}

/// One fact that may explain why nothing was received. Displayed as a clause without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The interface received no frame at all.
    NoFrames {
        /// The interface.
        interface: String,
    },
    /// The interface received frames, and none was a multicast UDP datagram. XDP modes only.
    NoMulticast {
        /// The interface.
        interface: String,
        /// All frames that XDP saw.
        frames: u64,
    },
    /// Multicast UDP datagrams arrived for a group or a port without a subscription. XDP modes only.
    OtherGroups {
        /// The interface.
        interface: String,
        /// How many frames.
        frames: u64,
    },
    /// The interface received frames; their groups, ports and sources are not known. Mode `socket` only.
    FramesUnknown {
        /// The interface.
        interface: String,
        /// Frames that the interface received.
        frames: u64,
    },
    /// Frames had other VLAN tags than the configured ones, or none. XDP modes only.
    VlanTags {
        /// The interface.
        interface: String,
        /// How many.
        frames: u64,
        /// The configured tags.
        wanted: Option<Vlan>,
    },
    /// Frames that the kernel dropped as another host's. A frame with a VLAN tag is one if there is no VLAN interface.
    /// Mode `socket` only.
    OtherHost {
        /// The interface.
        interface: String,
        /// How many.
        frames: u64,
    },
    /// The reverse path filter dropped packets.
    ReversePath {
        /// The interface where the groups are joined.
        interface: String,
        /// How many packets, in the whole network namespace.
        packets: u64,
        /// Sources of silent subscriptions that it refuses, up to 8.
        sources: Vec<IpAddr>,
    },
    /// The receiver dropped datagrams because of their IPv4 header's or UDP checksum.
    WrongChecksum {
        /// How many.
        datagrams: u64,
    },
    /// The kernel dropped datagrams because of their IPv4 header's or UDP checksum.
    HostWrongChecksum {
        /// How many, in the whole network namespace.
        datagrams: u64,
    },
    /// Rings or socket buffers were full.
    Lost {
        /// How many.
        datagrams: u64,
    },
    /// Packets are shared, and multicast frames passed to the kernel which its sockets alone can deliver.
    KernelOnly {
        /// The interface.
        interface: String,
        /// How many frames, of any group.
        frames: u64,
    },
    /// The kernel had no socket for multicast datagrams that it received.
    HostIgnoredMulticast {
        /// How many, in the whole network namespace.
        datagrams: u64,
    },
    /// The interface speaks IGMPv1 or IGMPv2.
    OlderIgmp {
        /// The interface where the groups are joined.
        interface: String,
        /// The version.
        version: IgmpVersion,
    },
    /// No IGMP or MLD message of another host arrived.
    NoQuerier {
        /// The interface.
        interface: String,
        /// `IGMP or MLD`, or `MLD` in mode `socket`, where the kernel does not count IGMP.
        protocols: &'static str,
        /// How long the receiver has listened.
        elapsed: Duration,
    },
    /// The kernel has no membership of the group.
    NotJoined {
        /// The group.
        group: IpAddr,
        /// The interface where it should be joined.
        interface: String,
    },
    /// Frames of the group and port arrived from sources that are not wanted. XDP modes only.
    UnwantedSources {
        /// The group.
        group: IpAddr,
        /// The port.
        port: u16,
        /// How many frames.
        frames: u64,
        /// The latest of the sources.
        latest: Option<IpAddr>,
    },
    /// Frames of the group arrived for ports without a subscription. XDP modes only.
    OtherPorts {
        /// The group.
        group: IpAddr,
        /// The subscription's port.
        port: u16,
        /// The ports, up to 8.
        ports: Vec<u16>,
    },
    /// No frame of the group and port arrived from a source of the subscription. XDP modes only.
    NothingSeen {
        /// The group.
        group: IpAddr,
        /// The port.
        port: u16,
        /// The interface.
        interface: String,
    },
}

impl Finding {
    /// A name for programs: lower case, with underscores.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoFrames { .. } => "no_frames",
            Self::NoMulticast { .. } => "no_multicast",
            Self::OtherGroups { .. } => "other_groups",
            Self::FramesUnknown { .. } => "frames_unknown",
            Self::VlanTags { .. } => "vlan_tags",
            Self::OtherHost { .. } => "other_host",
            Self::ReversePath { .. } => "reverse_path",
            Self::WrongChecksum { .. } => "wrong_checksum",
            Self::HostWrongChecksum { .. } => "host_wrong_checksum",
            Self::Lost { .. } => "lost",
            Self::KernelOnly { .. } => "kernel_only",
            Self::HostIgnoredMulticast { .. } => "host_ignored_multicast",
            Self::OlderIgmp { .. } => "older_igmp",
            Self::NoQuerier { .. } => "no_querier",
            Self::NotJoined { .. } => "not_joined",
            Self::UnwantedSources { .. } => "unwanted_sources",
            Self::OtherPorts { .. } => "other_ports",
            Self::NothingSeen { .. } => "nothing_seen",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFrames { interface } => {
                write!(
                    f,
                    "no frame arrived on {interface}; check the cable, the switch port and the sender's interface"
                )
            }
            Self::NoMulticast { interface, frames } => {
                let frames = number(*frames, "frame");
                write!(f, "{frames} arrived on {interface}, without a multicast UDP datagram among them")
            }
            Self::OtherGroups { interface, frames } => write!(
                f,
                "{} on {interface} carried multicast UDP datagrams for a group or a port that was not subscribed to",
                number(*frames, "frame")
            ),
            Self::FramesUnknown { interface, frames } => write!(
                f,
                "{} arrived on {interface}; their groups, ports and sources are not known in mode socket",
                number(*frames, "frame")
            ),
            Self::VlanTags { interface, frames, wanted: None } => {
                write!(
                    f,
                    "{} on {interface} carried a VLAN tag, and untagged ones are wanted",
                    number(*frames, "frame")
                )
            }
            Self::VlanTags { interface, frames, wanted: Some(vlan) } => {
                write!(f, "{} on {interface} did not carry the VLAN tag {vlan}", number(*frames, "frame"))
            }
            Self::OtherHost { interface, frames } => write!(
                f,
                "{} on {interface} had another host's MAC address, or a VLAN tag without a VLAN interface",
                number(*frames, "frame")
            ),
            Self::ReversePath { interface, packets, sources } => {
                let packets = number(*packets, "packet");
                write!(f, "the reverse path filter (rp_filter) dropped {packets} in this network namespace")?;
                if !sources.is_empty() {
                    write!(f, ", and refuses {} on {interface}", listed(sources))?;
                }
                write!(f, "; {}", reverse_path_remedy(interface, sources))
            }
            Self::WrongChecksum { datagrams } => {
                write!(f, "{} had a wrong IPv4 or UDP checksum", number(*datagrams, "datagram"))
            }
            Self::HostWrongChecksum { datagrams } => write!(
                f,
                "the kernel dropped {} with a wrong IPv4 or UDP checksum in this network namespace",
                number(*datagrams, "datagram")
            ),
            Self::Lost { datagrams } => {
                write!(f, "the kernel dropped {} because the consumer was too slow", number(*datagrams, "datagram"))
            }
            Self::KernelOnly { interface, frames } => write!(
                f,
                "{} on {interface} were fragments, had IP options, were longer than a ring's frame or came on a queue \
                 that is not served; a receiver that shares packets does not take these",
                number(*frames, "multicast frame")
            ),
            Self::HostIgnoredMulticast { datagrams } => write!(
                f,
                "no socket in this network namespace took {}, because of the port or the source",
                number(*datagrams, "multicast datagram")
            ),
            Self::OlderIgmp { interface, version } => write!(
                f,
                "{interface} speaks {version}, as an older querier or force_igmp_version asks: joins of sources are \
                 not signalled"
            ),
            Self::NoQuerier { interface, protocols, elapsed } => write!(
                f,
                "no {protocols} message arrived on {interface} in {:.1} s; a switch that snoops needs a querier, which \
                 asks every 125 s by default",
                elapsed.as_secs_f64()
            ),
            Self::NotJoined { group, interface } => {
                write!(f, "the kernel has no membership of {group} on {interface}")
            }
            Self::UnwantedSources { group, port, frames, latest } => {
                let frames = number(*frames, "frame");
                write!(f, "{frames} of group {group}, port {port}, came from sources that are not wanted")?;
                latest.map_or(Ok(()), |latest| write!(f, ", the latest from {latest}"))
            }
            Self::OtherPorts { group, port, ports } => {
                let plural = if ports.len() == 1 { "" } else { "s" };
                write!(f, "frames of group {group} arrived for port{plural} {}, not for {port}", listed(ports))
            }
            Self::NothingSeen { group, port, interface } => {
                write!(
                    f,
                    "no frame of group {group}, port {port}, arrived on {interface} from a source of this subscription"
                )
            }
        }
    }
}

/// How to receive sources that the reverse path filter refuses.
pub(crate) fn reverse_path_remedy(interface: &str, sources: &[IpAddr]) -> String {
    let source = sources.first().map_or_else(|| "SOURCE".to_owned(), IpAddr::to_string);
    let name = in_sysctl(interface);
    format!(
        "add a route to each source (ip route add {source}/32 dev {interface}), or turn the filter off (sysctl -w \
         net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{name}.rp_filter=0)"
    )
}

fn number(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

pub(crate) fn listed<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// The counts that the explanation is made from.
pub(crate) struct Observed<'a> {
    pub mode: ReceiveMode,
    /// The kernel gets each packet too.
    pub share: bool,
    pub interface: &'a str,
    /// Where the groups are joined.
    pub joined_on: &'a InterfaceRef,
    pub vlan: Option<Vlan>,
    pub ledger: &'a Ledger,
    pub elapsed: Duration,
    /// The kernel's memberships; `None` if they are not known, or all were left.
    pub tables: Option<KernelTables>,
    /// Groups and ports of recent frames, without a subscription.
    pub other_ports: Vec<(IpAddr, u16)>,
    /// Subscriptions that have received nothing, with the latest source that was not wanted.
    pub silent: Vec<(SubscriptionReport, Option<IpAddr>)>,
    /// Sources of silent subscriptions that the reverse path filter refuses.
    pub refused: Vec<IpAddr>,
}

impl Observed<'_> {
    /// Finds what may explain that subscriptions received nothing.
    pub fn explain(&self) -> Evidence {
        if self.silent.is_empty() {
            return Evidence::default();
        }
        let joined: Option<BTreeSet<IpAddr>> =
            self.tables.as_ref().map(|tables| tables.on(self.joined_on.index).map(|group| group.group).collect());
        let silent = self.silent.iter().map(|(report, latest)| Silence {
            id: report.id,
            subscription: report.subscription.clone(),
            findings: self.of_subscription(report, *latest, joined.as_ref()),
        });
        Evidence { findings: self.of_all(), silent: silent.collect() }
    }

    fn of_all(&self) -> Vec<Finding> {
        let (ledger, interface) = (self.ledger, self.interface.to_owned());
        let host = ledger.host().unwrap_or_default();
        let mut findings = Vec::new();
        let mut add = |applies: bool, finding: Finding| {
            if applies {
                findings.push(finding);
            }
        };
        let xdp = self.mode != ReceiveMode::Socket;
        let frames = if xdp { self.frames() } else { host.interface_frames };
        let count = |verdict| ledger.verdict(verdict);
        if xdp || ledger.host().is_some() {
            add(frames == 0, Finding::NoFrames { interface: interface.clone() });
        }
        if xdp {
            let vlan_tags = count(Verdict::PassedVlan);
            let rest = [Verdict::PassedUnicast, Verdict::PassedMembership, Verdict::PassedOtherProtocol];
            let not_multicast = rest.into_iter().chain([Verdict::PassedNotIp]).map(count).sum::<u64>();
            let none = frames > 0 && not_multicast == frames;
            add(none, Finding::NoMulticast { interface: interface.clone(), frames });
            let others = count(Verdict::PassedOtherGroup);
            add(others > 0, Finding::OtherGroups { interface: interface.clone(), frames: others });
            let finding = Finding::VlanTags { interface: interface.clone(), frames: vlan_tags, wanted: self.vlan };
            add(vlan_tags > 0, finding);
        } else {
            add(frames > 0, Finding::FramesUnknown { interface: interface.clone(), frames });
            let frames = host.interface_other_host;
            add(frames > 0, Finding::OtherHost { interface: interface.clone(), frames });
        }
        let reverse_path = Finding::ReversePath {
            interface: self.joined_on.name.clone(),
            packets: host.reverse_path,
            sources: self.refused.clone(),
        };
        add(host.reverse_path > 0, reverse_path);
        let datagrams = ledger.dropped_for(DropReason::UdpChecksum) + ledger.dropped_for(DropReason::IpChecksum);
        add(datagrams > 0, Finding::WrongChecksum { datagrams });
        let datagrams = host.udp_checksum + host.ip_checksum;
        add(datagrams > 0, Finding::HostWrongChecksum { datagrams });
        // A drop of a socket is due to a full buffer only if the kernel counted it as such.
        let datagrams = ledger.lost() - ledger.kernel().dropped + ledger.kernel().dropped.min(host.udp_buffer_full);
        add(datagrams > 0, Finding::Lost { datagrams });
        let frames = ledger.kernel_only();
        add(self.share && frames > 0, Finding::KernelOnly { interface: interface.clone(), frames });
        let datagrams = host.udp_ignored_multicast;
        add(datagrams > 0 && !xdp, Finding::HostIgnoredMulticast { datagrams });
        let igmp = self.tables.as_ref().and_then(|tables| tables.igmp.get(&self.joined_on.index).copied());
        if let Some(version @ (IgmpVersion::V1 | IgmpVersion::V2)) = igmp {
            add(true, Finding::OlderIgmp { interface: self.joined_on.name.clone(), version });
        }
        let v6 = self.silent.iter().any(|(report, _)| report.subscription.group().is_ipv6());
        let no_querier = match xdp {
            true => count(Verdict::PassedMembership) == 0,
            false => v6 && ledger.host().is_some() && host.mld_queries == 0,
        };
        let protocols = if xdp { "IGMP or MLD" } else { "MLD" };
        add(no_querier, Finding::NoQuerier { interface, protocols, elapsed: self.elapsed });
        findings
    }

    fn of_subscription(
        &self,
        report: &SubscriptionReport,
        latest: Option<IpAddr>,
        joined: Option<&BTreeSet<IpAddr>>,
    ) -> Vec<Finding> {
        let (group, port) = (report.subscription.group(), report.subscription.port());
        let mut findings = Vec::new();
        if joined.is_some_and(|joined| !joined.contains(&group)) {
            findings.push(Finding::NotJoined { group, interface: self.joined_on.name.clone() });
        }
        if let Some(frames @ 1..) = report.unwanted() {
            findings.push(Finding::UnwantedSources { group, port, frames, latest });
        }
        let ports: BTreeSet<u16> =
            self.other_ports.iter().filter(|(of, _)| *of == group).map(|&(_, port)| port).collect();
        if !ports.is_empty() {
            findings.push(Finding::OtherPorts { group, port, ports: ports.into_iter().take(MOST_NAMED).collect() });
        }
        if findings.is_empty() && report.unwanted() == Some(0) && self.all_groups_known() {
            findings.push(Finding::NothingSeen { group, port, interface: self.interface.to_owned() });
        }
        findings
    }

    /// Frames that XDP saw.
    fn frames(&self) -> u64 {
        Verdict::ALL.into_iter().map(|verdict| self.ledger.verdict(verdict)).sum()
    }

    /// Returns true if each frame of a subscribed group was delivered, or dropped for its source: no frame was dropped
    /// later, and none passed to the kernel before the XDP program read its group.
    fn all_groups_known(&self) -> bool {
        let unknown = [
            Verdict::DroppedMalformed,
            Verdict::PassedVlan,
            Verdict::DroppedMartian,
            Verdict::DroppedRingFull,
            Verdict::DroppedRingBusy,
        ];
        let taken = self.ledger.verdict(Verdict::Redirected) + self.ledger.verdict(Verdict::Mapped);
        self.ledger.kernel_only() == 0
            && unknown.into_iter().all(|verdict| self.ledger.verdict(verdict) == 0)
            && taken == self.ledger.delivered_by_xdp()
    }
}
