//! What to send, checked as far as that is possible before anything is opened.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use super::error::SendError;
use crate::probe::PROBE_LEN;
use receiver_membership::{validate_group, validate_source};

/// Largest UDP payload over IPv4, bytes: 65,535 less the IP and UDP headers.
pub const MAX_PAYLOAD_V4: usize = 65_535 - 20 - 8;
/// Largest UDP payload over IPv6, bytes: 65,535 less the UDP header.
pub const MAX_PAYLOAD_V6: usize = 65_535 - 8;

/// Packets a second. More than any link takes; what is computed from it stays far from an overflow.
pub(super) const MAX_RATE: u64 = 1_000_000_000_000;
const MAX_BURST: usize = 1024;
const MAX_THREADS: usize = 256;
const MAX_FLOWS: usize = 1 << 20;

/// What to send. Start from [`SendConfig::new`] and set what differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendConfig {
    /// Interface to send on.
    pub interface: String,
    /// Group to send to.
    pub group: IpAddr,
    /// UDP port to send to.
    pub port: u16,
    /// Sources. Those that the interface does not own are spoofed. Empty: the interface's first address of the family.
    pub sources: Vec<IpAddr>,
    /// First source port of each source; `None`: one that is free.
    pub source_port: Option<u16>,
    /// Source ports of each source, one after the other: as many flows. Default 1.
    pub source_ports: u16,
    /// Packets a second over all flows; 0, the default: as fast as it goes.
    pub rate: u64,
    /// Stop after exactly so many packets.
    pub count: Option<u64>,
    /// Stop after this time. With `count`, whichever comes first; with neither, only when told to.
    pub duration: Option<Duration>,
    /// UDP payload in bytes, from [`PROBE_LEN`], the default. What follows the probe header is zeros.
    pub size: usize,
    /// IP time to live, or hop limit. Default 16.
    pub ttl: u8,
    /// Threads; each has its own flows, so that there must be as many flows. Default 1.
    pub threads: usize,
    /// Packets handed to the kernel at once; `None`: 64 flat out, else what is due in 0.1 ms, up to 64.
    pub burst: Option<usize>,
    /// VLAN ids, outermost first, at most two (802.1ad outside, 802.1Q inside). Sends all as complete frames.
    pub vlan: Vec<u16>,
    /// Complete frames for the interface's own addresses too.
    pub spoof: bool,
    /// Complete frames skip the queueing discipline (PACKET_QDISC_BYPASS): faster, and unseen by packet captures here.
    pub bypass_qdisc: bool,
}

impl SendConfig {
    /// Flat out, from the interface's first address, smallest payload, until stopped.
    pub fn new(interface: impl Into<String>, group: IpAddr, port: u16) -> Self {
        Self {
            interface: interface.into(),
            group,
            port,
            sources: Vec::new(),
            source_port: None,
            source_ports: 1,
            rate: 0,
            count: None,
            duration: None,
            size: PROBE_LEN,
            ttl: 16,
            threads: 1,
            burst: None,
            vlan: Vec::new(),
            spoof: false,
            bypass_qdisc: false,
        }
    }

    /// Checks all that can be told without asking the kernel.
    ///
    /// # Errors
    /// Those of [`SendError`] whose exit code is 2.
    pub fn validate(&self) -> Result<(), SendError> {
        validate_group(self.group)?;
        if self.port == 0 {
            return Err(SendError::PortZero);
        }
        let mut seen = HashSet::new();
        for &source in &self.sources {
            validate_source(source, self.group)?;
            if !seen.insert(source) {
                return Err(SendError::SourceTwice(source));
            }
        }
        self.validate_source_ports()?;
        let max = if self.group.is_ipv4() { MAX_PAYLOAD_V4 } else { MAX_PAYLOAD_V6 };
        if self.size < PROBE_LEN {
            return Err(SendError::SizeTooSmall { size: self.size, min: PROBE_LEN });
        }
        if self.size > max {
            return Err(SendError::SizeTooLarge { size: self.size, max });
        }
        if self.ttl == 0 {
            return Err(SendError::TtlZero);
        }
        if self.count == Some(0) {
            return Err(SendError::CountZero);
        }
        if self.duration == Some(Duration::ZERO) {
            return Err(SendError::DurationZero);
        }
        if self.rate > MAX_RATE {
            return Err(SendError::Rate { rate: self.rate, max: MAX_RATE });
        }
        if let Some(burst) = self.burst
            && !(1..=MAX_BURST).contains(&burst)
        {
            return Err(SendError::Burst { burst, max: MAX_BURST });
        }
        if self.vlan.len() > 2 {
            return Err(SendError::TooManyTags(self.vlan.len()));
        }
        if let Some(&id) = self.vlan.iter().find(|&&id| !(1..=4094).contains(&id)) {
            return Err(SendError::VlanId(id));
        }
        if !(1..=MAX_THREADS).contains(&self.threads) {
            return Err(SendError::Threads { threads: self.threads, max: MAX_THREADS });
        }
        let flows = self.flow_count();
        if flows > MAX_FLOWS {
            return Err(SendError::TooManyFlows { flows, max: MAX_FLOWS });
        }
        if self.threads > flows {
            return Err(SendError::MoreThreadsThanFlows { threads: self.threads, flows });
        }
        Ok(())
    }

    fn validate_source_ports(&self) -> Result<(), SendError> {
        if self.source_ports == 0 {
            return Err(SendError::NoSourcePort);
        }
        match self.source_port {
            Some(0) => Err(SendError::SourcePortZero),
            Some(first) if first.checked_add(self.source_ports - 1).is_none() => {
                Err(SendError::SourcePortRange { first, ports: self.source_ports })
            }
            _ => Ok(()),
        }
    }

    fn flow_count(&self) -> usize {
        self.sources.len().max(1).saturating_mul(self.source_ports.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use receiver_membership::SubscriptionError;

    fn address(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn refused(change: impl FnOnce(&mut SendConfig)) -> SendError {
        let mut config = SendConfig::new("veth0", address("232.1.1.1"), 5000);
        config.sources = vec![address("10.0.0.1")];
        config.validate().expect("what is changed is right before");
        change(&mut config);
        let error = config.validate().expect_err("refused");
        assert_eq!(error.exit_code(), 2, "{error}");
        error
    }

    #[test]
    fn each_mistake_has_its_own_error() {
        use SendError as E;
        use SubscriptionError as S;
        assert!(matches!(refused(|c| c.group = address("10.1.1.1")), E::Address(S::GroupNotMulticast(_))));
        assert!(matches!(refused(|c| c.group = address("ff3e::1")), E::Address(S::MixedFamilies { .. })));
        assert!(matches!(refused(|c| c.sources = vec![address("224.0.0.9")]), E::Address(S::SourceMulticast(_))));
        assert!(matches!(refused(|c| c.sources = vec![address("0.0.0.0")]), E::Address(S::SourceUnspecified(_))));
        assert!(matches!(refused(|c| c.sources = vec![address("10.0.0.1"); 2]), E::SourceTwice(_)));
        assert!(matches!(refused(|c| c.port = 0), E::PortZero));
        assert!(matches!(refused(|c| c.source_port = Some(0)), E::SourcePortZero));
        assert!(matches!(refused(|c| c.source_ports = 0), E::NoSourcePort));
        assert!(matches!(
            refused(|c| (c.source_port, c.source_ports) = (Some(65_535), 2)),
            E::SourcePortRange { first: 65_535, ports: 2 }
        ));
        assert!(matches!(refused(|c| c.size = PROBE_LEN - 1), E::SizeTooSmall { .. }));
        assert!(matches!(refused(|c| c.size = MAX_PAYLOAD_V4 + 1), E::SizeTooLarge { .. }));
        assert!(matches!(refused(|c| c.ttl = 0), E::TtlZero));
        assert!(matches!(refused(|c| c.count = Some(0)), E::CountZero));
        assert!(matches!(refused(|c| c.duration = Some(Duration::ZERO)), E::DurationZero));
        assert!(matches!(refused(|c| c.rate = u64::MAX), E::Rate { rate: u64::MAX, .. }));
        assert!(matches!(refused(|c| c.burst = Some(0)), E::Burst { .. }));
        assert!(matches!(refused(|c| c.vlan = vec![0]), E::VlanId(0)));
        assert!(matches!(refused(|c| c.vlan = vec![4095]), E::VlanId(4095)));
        assert!(matches!(refused(|c| c.vlan = vec![1, 2, 3]), E::TooManyTags(3)));
        assert!(matches!(refused(|c| c.threads = 0), E::Threads { .. }));
        assert!(matches!(refused(|c| c.threads = 2), E::MoreThreadsThanFlows { threads: 2, flows: 1 }));
    }
}
