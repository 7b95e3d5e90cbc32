//! What the kernel counts for a whole network namespace and for the interface, since the receiver was opened. The files
//! of /proc/net and the netlink socket stay open: they belong to the namespace in which they were opened, so that any
//! thread can read them.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use receiver_host::Netlink;
use receiver_membership::tables::KernelTables;

/// What the kernel counted since the receiver was opened: `host_*` for the whole network namespace, all programs
/// together (`/proc/net/snmp`, `snmp6` and `netstat`), `interface_*` for the interface (netlink). Both families are
/// added up. These counts overlap each other and the receiver's own: they are evidence, and no part of
/// [`Ledger::unaccounted`](crate::Ledger::unaccounted).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostLedger {
    /// UDP datagrams dropped because of a wrong checksum (`InCsumErrors`).
    pub udp_checksum: u64,
    /// UDP datagrams dropped because a socket's buffer was full, or memory ran out (`RcvbufErrors`, `MemErrors`).
    pub udp_buffer_full: u64,
    /// UDP datagrams that could not be delivered, for any reason but a closed port (`InErrors`).
    pub udp_errors: u64,
    /// Multicast UDP datagrams for which no socket was open (`IgnoredMulti`).
    pub udp_ignored_multicast: u64,
    /// IPv4 packets dropped because of a wrong header checksum (`InCsumErrors` of IpExt).
    pub ip_checksum: u64,
    /// IP packets dropped because of their header (`InHdrErrors`), wrong checksums among them.
    pub ip_header: u64,
    /// IP packets dropped for want of memory (`InDiscards`).
    pub ip_discarded: u64,
    /// IPv4 packets dropped by the reverse path filter (`IPReversePathFilter`).
    pub reverse_path: u64,
    /// MLD queries received (`Icmp6InGroupMembQueries`).
    pub mld_queries: u64,
    /// Frames that the interface received. With XDP in the driver not every driver counts what XDP consumed.
    pub interface_frames: u64,
    /// Frames to multicast addresses, where the driver counts them; veth does not.
    pub interface_multicast: u64,
    /// Frames that the interface or the network stack dropped before any protocol saw them.
    pub interface_dropped: u64,
    /// Frames that were not for this host: another MAC address, or a VLAN tag without a VLAN interface (Linux 6.0).
    pub interface_other_host: u64,
}

impl HostLedger {
    /// Every count by its name in [`Ledger::causes`](crate::Ledger::causes).
    pub(crate) fn causes(&self) -> [(&'static str, u64); 13] {
        [
            ("host_udp_checksum", self.udp_checksum),
            ("host_udp_buffer_full", self.udp_buffer_full),
            ("host_udp_errors", self.udp_errors),
            ("host_udp_ignored_multicast", self.udp_ignored_multicast),
            ("host_ip_checksum", self.ip_checksum),
            ("host_ip_header", self.ip_header),
            ("host_ip_discarded", self.ip_discarded),
            ("host_reverse_path", self.reverse_path),
            ("host_mld_queries", self.mld_queries),
            ("interface_frames", self.interface_frames),
            ("interface_multicast", self.interface_multicast),
            ("interface_dropped", self.interface_dropped),
            ("interface_other_host", self.interface_other_host),
        ]
    }

    /// The difference to the start. A counter that is lower than at the start belongs to an interface that was made
    /// again.
    fn since(&self, start: &Self) -> Self {
        let [mut now, before] = [self, start].map(|counts| counts.causes().map(|(_, count)| count));
        for (now, before) in now.iter_mut().zip(before) {
            *now = now.checked_sub(before).unwrap_or(*now);
        }
        let [udp_checksum, udp_buffer_full, udp_errors, udp_ignored_multicast, rest @ ..] = now;
        let [ip_checksum, ip_header, ip_discarded, reverse_path, mld_queries, rest @ ..] = rest;
        let [interface_frames, interface_multicast, interface_dropped, interface_other_host] = rest;
        Self {
            udp_checksum,
            udp_buffer_full,
            udp_errors,
            udp_ignored_multicast,
            ip_checksum,
            ip_header,
            ip_discarded,
            reverse_path,
            mld_queries,
            interface_frames,
            interface_multicast,
            interface_dropped,
            interface_other_host,
        }
    }
}

/// Reads what the kernel counts.
#[derive(Debug)]
pub(crate) struct HostCounters {
    snmp: File,
    /// `None` in a kernel without IPv6.
    snmp6: Option<File>,
    netstat: File,
    igmp: File,
    igmp6: Option<File>,
    netlink: Netlink,
    opened: Instant,
    start: HostLedger,
}

impl HostCounters {
    /// Opens the files and the socket in the calling thread's network namespace. What is counted from now on counts.
    pub fn open(interface: u32) -> io::Result<Self> {
        let open = |name: &str| File::open(format!("/proc/thread-self/net/{name}"));
        let mut this = Self {
            snmp: open("snmp")?,
            snmp6: open("snmp6").ok(),
            netstat: open("netstat")?,
            igmp: open("igmp")?,
            igmp6: open("igmp6").ok(),
            netlink: Netlink::open()?,
            opened: Instant::now(),
            start: HostLedger::default(),
        };
        this.start = this.total(interface)?;
        Ok(this)
    }

    /// How long it has counted.
    pub fn elapsed(&self) -> Duration {
        self.opened.elapsed()
    }

    /// What was counted since the start. The interface's counts are 0 if it is gone.
    pub fn counted(&self, interface: u32) -> io::Result<HostLedger> {
        Ok(self.total(interface)?.since(&self.start))
    }

    /// The groups that are joined on each interface, without their sources, and the version of IGMP that it speaks.
    pub fn tables(&self) -> io::Result<KernelTables> {
        let igmp6 = self.igmp6.as_ref().map(contents).transpose()?.unwrap_or_default();
        Ok(KernelTables::parse(&contents(&self.igmp)?, &igmp6, "", ""))
    }

    /// Returns true if the kernel would refuse a datagram of a source that is joined: see [`Netlink::refuses_source`].
    pub fn refuses(&self, source: Ipv4Addr, group: Ipv4Addr, interface: u32) -> io::Result<bool> {
        self.netlink.refuses_source(source, group, interface)
    }

    fn total(&self, interface: u32) -> io::Result<HostLedger> {
        let (snmp, netstat) = (contents(&self.snmp)?, contents(&self.netstat)?);
        let snmp6 = self.snmp6.as_ref().map(contents).transpose()?.unwrap_or_default();
        let v4 = |protocol, name| column(&snmp, protocol, name);
        let v6 = |name| line(&snmp6, name);
        let link = self.netlink.link_counters(interface).unwrap_or_default();
        Ok(HostLedger {
            udp_checksum: v4("Udp:", "InCsumErrors") + v6("Udp6InCsumErrors"),
            udp_buffer_full: v4("Udp:", "RcvbufErrors")
                + v4("Udp:", "MemErrors")
                + v6("Udp6RcvbufErrors")
                + v6("Udp6MemErrors"),
            udp_errors: v4("Udp:", "InErrors") + v6("Udp6InErrors"),
            udp_ignored_multicast: v4("Udp:", "IgnoredMulti") + v6("Udp6IgnoredMulti"),
            ip_checksum: column(&netstat, "IpExt:", "InCsumErrors"),
            ip_header: v4("Ip:", "InHdrErrors") + v6("Ip6InHdrErrors"),
            ip_discarded: v4("Ip:", "InDiscards") + v6("Ip6InDiscards"),
            reverse_path: column(&netstat, "TcpExt:", "IPReversePathFilter"),
            mld_queries: v6("Icmp6InGroupMembQueries"),
            interface_frames: link.rx_packets,
            interface_multicast: link.rx_multicast,
            interface_dropped: link.rx_dropped + link.rx_missed,
            interface_other_host: link.rx_other_host,
        })
    }
}

/// Reads a file of /proc from its beginning.
pub(crate) fn contents(file: &File) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16_384];
    loop {
        match file.read_at(&mut buffer, bytes.len() as u64)? {
            0 => break,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A count of /proc/net/snmp or netstat, where a line of names and a line of values begin with the protocol. A counter
/// that this kernel does not have is 0.
pub fn column(text: &str, protocol: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs.find(|(column, _)| *column == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// A count of /proc/net/snmp6, which has a line for each.
pub fn line(text: &str, name: &str) -> u64 {
    let mut pairs = text.lines().filter_map(|line| line.split_once(char::is_whitespace));
    pairs.find(|(key, _)| *key == name).and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_protocol_and_name() {
        let snmp = "Udp: InDatagrams InErrors\nUdp: 7 8\nUdpLite: InDatagrams InErrors\nUdpLite: 1 2\n";
        assert_eq!((column(snmp, "Udp:", "InErrors"), column(snmp, "UdpLite:", "InErrors")), (8, 2));
        assert_eq!((column(snmp, "Udp:", "InCsumErrors"), column("", "Udp:", "InErrors")), (0, 0));
        let snmp6 = "Udp6InErrors                    \t4\nUdp6InErrorsMore \t5\n";
        assert_eq!((line(snmp6, "Udp6InErrors"), line(snmp6, "Udp6")), (4, 0));
    }

    #[test]
    fn each_count_is_a_difference_of_its_own() {
        let start = HostLedger { udp_checksum: 5, interface_frames: 900, ..HostLedger::default() };
        let now = HostLedger { udp_checksum: 7, mld_queries: 1, interface_frames: 30, ..start };
        let expected = HostLedger { udp_checksum: 2, mld_queries: 1, interface_frames: 30, ..HostLedger::default() };
        assert_eq!(now.since(&start), expected, "the interface was made again, and counts anew");
    }
}
