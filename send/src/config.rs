//! What to send, checked as far as that is possible before anything is opened.

use std::collections::HashSet;
use std::net::IpAddr;

use receiver_membership::{validate_group, validate_source};
use serde::{Deserialize, Serialize};

use crate::error::SendError;
use crate::traffic::{MAX_PAYLOAD_V4, MAX_PAYLOAD_V6, Traffic};

const MAX_BURST: usize = 1024;
const MAX_FLOWS: usize = 1 << 20;

/// What the [`Sender`](crate::Sender) sends. Start from [`SendConfig::new`] and set what differs.
///
/// ```
/// let mut config = receiver_send::SendConfig::new("veth0", "232.1.1.1".parse()?, 5000);
/// config.sources = vec!["10.0.0.1".parse()?];
/// config.traffic.rate = 1000;
/// config.traffic.count = Some(10);
/// config.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SendConfig {
    /// The group to send to.
    pub group: IpAddr,
    /// The UDP port to send to.
    pub port: u16,
    /// The sources. Those that the interface does not own are spoofed. Empty: the interface's first address of the
    /// family.
    #[serde(default)]
    pub sources: Vec<IpAddr>,
    /// The interface, the rate and the end, the packets and the threads.
    pub traffic: Traffic,
    /// Packets handed to the kernel at once, 1 to 1,024. `None`: 64 without a rate, else what is due in 0.1 ms, up to
    /// 64.
    #[serde(default)]
    pub burst: Option<usize>,
    /// VLAN ids, outermost first, up to two (802.1ad outside, 802.1Q inside). All packets are then complete frames.
    #[serde(default)]
    pub vlan: Vec<u16>,
    /// True to send complete frames for the interface's own addresses, too.
    #[serde(default)]
    pub spoof: bool,
    /// True to make complete frames skip the queueing discipline (PACKET_QDISC_BYPASS), which is faster. Packet
    /// captures on this host do not see them then.
    #[serde(default)]
    pub bypass_qdisc: bool,
}

impl SendConfig {
    /// As fast as possible, from the interface's first address, with the smallest payload, until stopped.
    #[must_use]
    pub fn new(interface: impl Into<String>, group: IpAddr, port: u16) -> Self {
        Self {
            group,
            port,
            sources: Vec::new(),
            traffic: Traffic::new(interface),
            burst: None,
            vlan: Vec::new(),
            spoof: false,
            bypass_qdisc: false,
        }
    }

    /// Checks all that can be checked without asking the kernel.
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
        let max_payload = if self.group.is_ipv4() { MAX_PAYLOAD_V4 } else { MAX_PAYLOAD_V6 };
        // The threads share the source ports.
        self.traffic.validate(max_payload, 1)?;
        if let Some(burst) = self.burst
            && !(1..=MAX_BURST).contains(&burst)
        {
            return Err(SendError::Burst { burst, max: MAX_BURST });
        }
        check_tags(&self.vlan)?;
        let (threads, flows) = (self.traffic.threads, self.flow_count());
        if flows > MAX_FLOWS {
            return Err(SendError::TooManyFlows { flows, max: MAX_FLOWS });
        }
        if threads > flows {
            return Err(SendError::MoreThreadsThanFlows { threads, flows });
        }
        Ok(())
    }

    fn flow_count(&self) -> usize {
        self.sources.len().max(1).saturating_mul(self.traffic.source_ports.into())
    }
}

/// Checks VLAN ids, outermost first.
pub(crate) fn check_tags(vlan: &[u16]) -> Result<(), SendError> {
    if vlan.len() > 2 {
        return Err(SendError::TooManyTags(vlan.len()));
    }
    match vlan.iter().find(|&&id| !(1..=4094).contains(&id)) {
        Some(&id) => Err(SendError::VlanId(id)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::probe::PROBE_LEN;
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
        assert!(matches!(refused(|c| c.traffic.source_port = Some(0)), E::SourcePortZero));
        assert!(matches!(refused(|c| c.traffic.source_ports = 0), E::NoSourcePort));
        assert!(matches!(
            refused(|c| (c.traffic.source_port, c.traffic.source_ports) = (Some(65_535), 2)),
            E::SourcePortRange { first: 65_535, ports: 2 }
        ));
        assert!(matches!(refused(|c| c.traffic.size = PROBE_LEN - 1), E::SizeTooSmall { .. }));
        assert!(matches!(refused(|c| c.traffic.size = MAX_PAYLOAD_V4 + 1), E::SizeTooLarge { .. }));
        assert!(matches!(refused(|c| c.traffic.ttl = 0), E::TtlZero));
        assert!(matches!(refused(|c| c.traffic.count = Some(0)), E::CountZero));
        assert!(matches!(refused(|c| c.traffic.duration = Some(Duration::ZERO)), E::DurationZero));
        assert!(matches!(refused(|c| c.traffic.rate = u64::MAX), E::Rate { rate: u64::MAX, .. }));
        assert!(matches!(refused(|c| c.burst = Some(0)), E::Burst { .. }));
        assert!(matches!(refused(|c| c.vlan = vec![0]), E::VlanId(0)));
        assert!(matches!(refused(|c| c.vlan = vec![4095]), E::VlanId(4095)));
        assert!(matches!(refused(|c| c.vlan = vec![1, 2, 3]), E::TooManyTags(3)));
        assert!(matches!(refused(|c| c.traffic.threads = 0), E::Threads { .. }));
        assert!(matches!(refused(|c| c.traffic.threads = 2), E::MoreThreadsThanFlows { threads: 2, flows: 1 }));
    }
}
