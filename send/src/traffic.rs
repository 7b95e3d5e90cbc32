//! What every kind of sending has: an interface, a rate and an end, packets, source ports and threads.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::SendError;
use crate::probe::PROBE_LEN;

/// The largest UDP payload over IPv4 in bytes: 65,535 less the IP and UDP headers.
pub const MAX_PAYLOAD_V4: usize = 65_535 - 20 - 8;
/// The largest UDP payload over IPv6 in bytes: 65,535 less the UDP header.
pub const MAX_PAYLOAD_V6: usize = 65_535 - 8;

/// Packets per second. More than any link carries, and computations with it stay far from an overflow.
const MAX_RATE: u64 = 1_000_000_000_000;
const MAX_THREADS: usize = 256;

/// The part that [`SendConfig`](crate::SendConfig) and [`LoadConfig`](crate::LoadConfig) have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Traffic {
    /// The interface to send on.
    pub interface: String,
    /// The first source port of each source, or of each stream and thread of a load. `None`: one that is free.
    #[serde(default)]
    pub source_port: Option<u16>,
    /// The number of source ports of each source, or of each stream and thread of a load. Each is a flow. Default 1.
    #[serde(default = "one_port")]
    pub source_ports: u16,
    /// Packets per second over all flows; 0, the default: as fast as possible.
    #[serde(default)]
    pub rate: u64,
    /// Stop after exactly this many packets.
    #[serde(default)]
    pub count: Option<u64>,
    /// Stop after this time, in seconds in a file. With `count`, whichever comes first. With neither, sending goes on
    /// until it is stopped.
    #[serde(default, with = "seconds")]
    pub duration: Option<Duration>,
    /// The UDP payload in bytes, from [`PROBE_LEN`], the default. The bytes after the probe header are zeros.
    #[serde(default = "probe_only")]
    pub size: usize,
    /// The IP time to live, or the hop limit, from 1. Default 16.
    #[serde(default = "ttl")]
    pub ttl: u8,
    /// The number of threads, 1 to 256. Default 1.
    #[serde(default = "one_thread")]
    pub threads: usize,
}

impl Traffic {
    /// As fast as possible, with the smallest payload, until stopped.
    #[must_use]
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            source_port: None,
            source_ports: one_port(),
            rate: 0,
            count: None,
            duration: None,
            size: probe_only(),
            ttl: ttl(),
            threads: one_thread(),
        }
    }

    /// Checks all fields. `port_blocks` is how many blocks of source ports lie one after the other.
    pub(crate) fn validate(&self, max_payload: usize, port_blocks: usize) -> Result<(), SendError> {
        self.validate_source_ports(port_blocks)?;
        if self.size < PROBE_LEN {
            return Err(SendError::SizeTooSmall { size: self.size, min: PROBE_LEN });
        }
        if self.size > max_payload {
            return Err(SendError::SizeTooLarge { size: self.size, max: max_payload });
        }
        if self.ttl == 0 {
            return Err(SendError::TtlZero);
        }
        check_ends(self.rate, self.count, self.duration)?;
        if !(1..=MAX_THREADS).contains(&self.threads) {
            return Err(SendError::Threads { threads: self.threads, max: MAX_THREADS });
        }
        Ok(())
    }

    fn validate_source_ports(&self, blocks: usize) -> Result<(), SendError> {
        if self.source_ports == 0 {
            return Err(SendError::NoSourcePort);
        }
        if self.source_port == Some(0) {
            return Err(SendError::SourcePortZero);
        }
        let ports = usize::from(self.source_ports).saturating_mul(blocks);
        let first = self.source_port.unwrap_or(1);
        if ports > usize::from(u16::MAX - first) + 1 {
            return Err(SendError::SourcePortRange { first, ports: ports.try_into().unwrap_or(u16::MAX) });
        }
        Ok(())
    }
}

/// Checks the rate, and what ends the sending.
pub(crate) fn check_ends(rate: u64, count: Option<u64>, duration: Option<Duration>) -> Result<(), SendError> {
    if count == Some(0) {
        return Err(SendError::CountZero);
    }
    if duration == Some(Duration::ZERO) {
        return Err(SendError::DurationZero);
    }
    if rate > MAX_RATE {
        return Err(SendError::Rate { rate, max: MAX_RATE });
    }
    Ok(())
}

fn one_port() -> u16 {
    1
}

fn probe_only() -> usize {
    PROBE_LEN
}

fn ttl() -> u8 {
    16
}

fn one_thread() -> usize {
    1
}

/// An optional time as seconds, with a fraction.
mod seconds {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(|time| time.as_secs_f64()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(deserializer)?;
        seconds.map(Duration::try_from_secs_f64).transpose().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LoadConfig, SendConfig};

    #[test]
    fn a_file_fills_the_same_configuration() {
        let text = r#"{"group": "232.1.1.1", "port": 5000, "traffic": {"interface": "veth0"}}"#;
        let read: SendConfig = serde_json::from_str(text).expect("a configuration");
        let mut config = SendConfig::new("veth0", [232, 1, 1, 1].into(), 5000);
        assert_eq!(read, config);
        config.traffic.duration = Some(Duration::from_millis(1500));
        config.traffic.source_port = Some(4000);
        config.vlan = vec![100, 200];
        let text = serde_json::to_string(&config).expect("text");
        assert!(text.contains("\"duration\":1.5"), "{text}");
        assert_eq!(serde_json::from_str::<SendConfig>(&text).expect("read back"), config);

        let text = r#"{"streams": [{"group": "ff3e::1", "port": 5000}], "traffic": {"interface": "veth0", "rate": 7}}"#;
        let load: LoadConfig = serde_json::from_str(text).expect("a configuration");
        assert_eq!((load.traffic.rate, load.streams[0].weight), (7, 1));
        let text = serde_json::to_string(&load).expect("text");
        assert_eq!(serde_json::from_str::<LoadConfig>(&text).expect("read back"), load);
    }

    #[test]
    fn unknown_fields_are_refused() {
        for text in [
            r#"{"group": "232.1.1.1", "port": 5000, "traffic": {"interface": "veth0"}, "rate": 7}"#,
            r#"{"group": "232.1.1.1", "port": 5000, "traffic": {"interface": "veth0", "rat": 7}}"#,
            r#"{"group": "232.1.1.1", "port": 5000, "traffic": {"interface": "veth0", "duration": -1}}"#,
        ] {
            assert!(serde_json::from_str::<SendConfig>(text).is_err(), "{text}");
        }
    }
}
