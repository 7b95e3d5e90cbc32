//! A packet socket whose frames may ask for the offloads of a NIC: a checksum, and the cut into datagrams.
#![allow(unsafe_code)] // A socket option.

use std::os::fd::AsRawFd;

use netlab::Lab;
use socket2::Socket;

use crate::support::frame::{packet_socket, tagged};

/// Bytes of `struct virtio_net_hdr`, with which each message begins.
pub const OFFLOAD: usize = 10;
/// linux/if_packet.h.
const PACKET_VNET_HDR: libc::c_int = 15;
/// linux/virtio_net.h.
const NEEDS_CHECKSUM: u8 = 1;
const GSO_UDP_L4: u8 = 5;

/// What a NIC would be asked to do with the frame (linux/virtio_net.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Where the UDP header begins, if the NIC adds the checksum.
    pub checksum_start: Option<u16>,
    /// Bytes of payload of each datagram, or 0 for one datagram.
    pub segment: u16,
}

impl Offload {
    /// The header of a message with this frame.
    pub fn header(self) -> [u8; OFFLOAD] {
        let mut header = [0; OFFLOAD];
        if let Some(start) = self.checksum_start {
            header[0] = NEEDS_CHECKSUM;
            header[6..8].copy_from_slice(&start.to_ne_bytes());
            header[8..10].copy_from_slice(&6_u16.to_ne_bytes());
            if self.segment > 0 {
                header[1] = GSO_UDP_L4;
                header[2..4].copy_from_slice(&(start + 8).to_ne_bytes());
                header[4..6].copy_from_slice(&self.segment.to_ne_bytes());
            }
        }
        header
    }
}

/// The message with an 802.1Q tag behind the addresses of its frame.
pub fn with_tag(message: &[u8], vlan: u16) -> Vec<u8> {
    let (offload, frame) = message.split_at(OFFLOAD);
    let mut tagged = [offload, &tagged(frame, vlan)].concat();
    if tagged[0] & NEEDS_CHECKSUM != 0 {
        let start = u16::from_ne_bytes([tagged[6], tagged[7]]) + 4;
        tagged[6..8].copy_from_slice(&start.to_ne_bytes());
    }
    tagged
}

/// The message with MAC addresses that a bridge forwards: a station's source, and no destination that is reserved
/// (IEEE 802.1Q, table 8-1).
pub fn for_bridge(message: &[u8], station: [u8; 6]) -> Vec<u8> {
    let mut changed = message.to_vec();
    if let Some(addresses) = changed.get_mut(OFFLOAD..OFFLOAD + 12) {
        if matches!(addresses, [1, 0x80, 0xc2, 0, 0, 0..0x10, ..]) {
            addresses[5] = 0x20;
        }
        addresses[6..].copy_from_slice(&station);
    }
    changed
}

/// Sends from the lab's sending side.
pub struct OffloadSocket(Socket);

impl OffloadSocket {
    pub fn open(lab: &Lab) -> Self {
        let socket = packet_socket(lab);
        let on: libc::c_int = 1;
        let (option, length) = ((&raw const on).cast(), size_of_val(&on) as u32);
        // SAFETY: a live integer and its size.
        let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, PACKET_VNET_HDR, option, length) };
        assert_eq!(set, 0, "PACKET_VNET_HDR: {}", std::io::Error::last_os_error());
        Self(socket)
    }

    /// Sends a message: the offload header, then the frame. Returns false if the kernel does not take such a frame.
    /// What it has no memory for at the moment is lost, as on a network.
    pub fn send(&self, message: &[u8]) -> bool {
        match self.0.send(message) {
            Ok(_) => true,
            Err(error) => match error.raw_os_error() {
                Some(libc::EINVAL | libc::EMSGSIZE) => false,
                Some(libc::ENOBUFS | libc::EAGAIN) => true,
                _ => panic!("send: {error}"),
            },
        }
    }
}
