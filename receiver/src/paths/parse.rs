//! Finds the datagram in a redirected frame, with the parser that the XDP program uses, and verifies its checksums.

use std::ops::Range;

use receiver_common::wire::{self, IPV4_LEN, IPV6_LEN, Network, UDP_LEN, Udp, VlanTags, Window};
use receiver_common::{FlowKeyV4, FlowKeyV6, Port};

use crate::engine::filter::FlowKey;
use crate::paths::checksum::{self, UdpChecksum};
use crate::stats::queue_counters::{DropReason, QueueCounters};

/// A frame's datagram.
pub(crate) struct Parsed {
    pub key: FlowKey,
    pub source_port: u16,
    pub payload: Range<usize>,
}

/// Parses a frame that carries these tags.
#[inline]
pub(crate) fn parse(
    frame: &[u8],
    tags: VlanTags,
    verify_checksums: bool,
    counters: &QueueCounters,
) -> Result<Parsed, DropReason> {
    let malformed = |_| DropReason::Malformed;
    match wire::network(frame, tags).map_err(malformed)? {
        Network::V4(offset) => {
            let datagram = wire::udp_v4(frame, offset).map_err(malformed)?;
            let range = payload(&datagram.udp)?;
            if verify_checksums {
                let header = frame.bytes::<IPV4_LEN>(offset).ok_or(DropReason::Malformed)?;
                if !checksum::ipv4_header_is_good(header) {
                    return Err(DropReason::IpChecksum);
                }
                verified(checksum::udp_v4(header, udp_bytes(frame, &range)?), counters)?;
            }
            let port = Port::from_wire(datagram.udp.destination_port);
            let key = FlowKey::V4(FlowKeyV4 { source: datagram.source, group: datagram.group, port });
            Ok(Parsed { key, source_port: u16::from_be(datagram.udp.source_port), payload: range })
        }
        Network::V6(offset) => {
            let datagram = wire::udp_v6(frame, offset).map_err(malformed)?;
            let range = payload(&datagram.udp)?;
            if verify_checksums {
                let header = frame.bytes::<IPV6_LEN>(offset).ok_or(DropReason::Malformed)?;
                verified(checksum::udp_v6(header, udp_bytes(frame, &range)?), counters)?;
            }
            let port = Port::from_wire(datagram.udp.destination_port);
            let key = FlowKey::V6(FlowKeyV6 { source: datagram.source, group: datagram.group, port });
            Ok(Parsed { key, source_port: u16::from_be(datagram.udp.source_port), payload: range })
        }
    }
}

/// Where the payload lies. The UDP length decides: padding behind it is cut off.
#[inline]
fn payload(udp: &Udp) -> Result<Range<usize>, DropReason> {
    if !udp.lengths_agree {
        return Err(DropReason::Malformed);
    }
    Ok(udp.offset + UDP_LEN..udp.offset + usize::from(udp.len))
}

#[inline]
fn udp_bytes<'a>(frame: &'a [u8], payload: &Range<usize>) -> Result<&'a [u8], DropReason> {
    frame.get(payload.start - UDP_LEN..payload.end).ok_or(DropReason::Malformed)
}

#[inline]
fn verified(checksum: UdpChecksum, counters: &QueueCounters) -> Result<(), DropReason> {
    match checksum {
        UdpChecksum::Good => Ok(()),
        UdpChecksum::Partial => {
            counters.checksum_partial.add(1);
            Ok(())
        }
        UdpChecksum::Absent => {
            counters.checksum_absent.add(1);
            Ok(())
        }
        UdpChecksum::Bad => Err(DropReason::UdpChecksum),
    }
}
