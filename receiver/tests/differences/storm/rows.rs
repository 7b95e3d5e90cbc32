//! The differences that the table documents, for any frame: by them a difference is expected.

use std::net::IpAddr;

use receiver::ReceiveMode;
use receiver_common::wire::{self, Network, Udp, VlanTags};

use super::frames::Case;
use super::lane::Delivered;
use crate::cases::reason;
use crate::packet::sum;

/// One reason of the table, for which a mode delivers what a plain socket does not get.
pub struct Row {
    pub name: &'static str,
    pub reason: &'static str,
    modes: &'static [ReceiveMode],
    /// Takes a frame that may have carried the datagram, its source port, and the datagram.
    explains: fn(&[u8], u16, &Delivered) -> bool,
}

pub const ROWS: [Row; 2] = [
    Row {
        name: "the host's own address",
        reason: reason::OWN_ADDRESS,
        modes: &[ReceiveMode::ZeroCopy, ReceiveMode::Copy, ReceiveMode::Mapped, ReceiveMode::Generic],
        explains: |_, _, delivered| delivered.source == IpAddr::from([10, 0, 0, 100]),
    },
    Row {
        name: "UDP checksum of the pseudo header",
        reason: reason::PARTIAL,
        modes: &[ReceiveMode::ZeroCopy, ReceiveMode::Copy, ReceiveMode::Mapped],
        explains: |frame, port, delivered| udp(frame) == Some((port, pseudo_header(delivered))),
    },
];

/// The row of a datagram that came in this mode and not to a plain socket. A byte that was changed may be one of the
/// source port, so the datagram may be that of any of the cases.
pub fn row(mode: ReceiveMode, cases: &[Case], port: u16, delivered: &Delivered) -> Option<usize> {
    let frames = cases.iter().flat_map(|case| &case.frames);
    let explained = |row: &Row| frames.clone().any(|frame| (row.explains)(frame, port, delivered));
    ROWS.iter().position(|row| row.modes.contains(&mode) && explained(row))
}

/// Returns true if the program leaves each frame that may have carried this datagram to the kernel: it is a fragment,
/// or has options, a second tag or a unicast MAC address; in generic mode its checksum may be partial.
pub fn is_left_to_the_kernel(mode: ReceiveMode, cases: &[Case], port: u16, datagram: &Delivered) -> bool {
    let is_judged = |frame: &Vec<u8>| {
        let carried = frame[0] & 1 == 1 && carried(frame) == Some((port, datagram.clone()));
        carried && (mode != ReceiveMode::Generic || udp(frame) != Some((port, pseudo_header(datagram))))
    };
    !cases.iter().flat_map(|case| &case.frames).any(is_judged)
}

/// Returns true for a source in 0.0.0.0/8, which a group of 224.0.0.0/24 may have. The kernel takes what a NIC hands it
/// in lists, and drops such packets if the one before is to the same group (`ip_route_use_hint`).
pub fn is_unspecified(datagram: &Delivered) -> bool {
    matches!(datagram.source, IpAddr::V4(source) if source.octets()[0] == 0)
}

/// Source port and datagram of a frame, if it holds a whole one behind plain headers.
fn carried(frame: &[u8]) -> Option<(u16, Delivered)> {
    let (source, group, udp) = headers(frame)?;
    let payload = frame.get(udp.offset + wire::UDP_LEN..udp.offset + usize::from(udp.len))?.to_vec();
    let port = u16::from_be(udp.destination_port);
    Some((u16::from_be(udp.source_port), Delivered { source, group, port, payload }))
}

/// Source port and checksum field of a frame, if it holds a whole datagram behind plain headers.
fn udp(frame: &[u8]) -> Option<(u16, u16)> {
    headers(frame).map(|(_, _, udp)| (u16::from_be(udp.source_port), u16::from_be(udp.checksum)))
}

/// Source, group and UDP header.
fn headers(frame: &[u8]) -> Option<(IpAddr, IpAddr, Udp)> {
    Some(match wire::network(frame, VlanTags::default()).ok()? {
        Network::V4(offset) => {
            let packet = wire::udp_v4(frame, offset).ok()?;
            (packet.source.to_ne_bytes().into(), packet.group.to_ne_bytes().into(), packet.udp)
        }
        Network::V6(offset) => {
            let packet = wire::udp_v6(frame, offset).ok()?;
            (address_v6(packet.source), address_v6(packet.group), packet.udp)
        }
    })
}

fn address_v6(words: [u64; 2]) -> IpAddr {
    let bytes: [u8; 16] = std::array::from_fn(|at| words[at / 8].to_ne_bytes()[at % 8]);
    bytes.into()
}

/// The sum of the pseudo header.
fn pseudo_header(delivered: &Delivered) -> u16 {
    let mut bytes = vec![0, wire::PROTOCOL_UDP];
    bytes.extend((delivered.payload.len() as u16 + 8).to_be_bytes());
    for address in [delivered.source, delivered.group] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    !sum(&bytes)
}
