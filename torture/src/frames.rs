//! Queries of every version of IGMP and MLD, as whole Ethernet frames.
#![allow(unsafe_code)] // The address of an AF_PACKET socket.

use std::net::Ipv6Addr;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use netlab::Namespace;
use socket2::{Domain, Socket, Type};

use crate::ground::TX;

/// A version of a querier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Querier {
    /// IGMPv1 (RFC 1112).
    Igmp1,
    /// IGMPv2 (RFC 2236).
    Igmp2,
    /// IGMPv3 (RFC 3376).
    Igmp3,
    /// MLDv1 (RFC 2710).
    Mld1,
    /// MLDv2 (RFC 3810).
    Mld2,
}

impl Querier {
    /// Every version.
    pub const ALL: [Self; 5] = [Self::Igmp1, Self::Igmp2, Self::Igmp3, Self::Mld1, Self::Mld2];

    /// A general query.
    fn frame(self) -> Vec<u8> {
        match self {
            Self::Igmp1 => igmp(&[0x11, 0, 0, 0, 0, 0, 0, 0]),
            Self::Igmp2 => igmp(&[0x11, 20, 0, 0, 0, 0, 0, 0]),
            Self::Igmp3 => igmp(&[0x11, 20, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]),
            Self::Mld1 => mld(&[&[130, 0, 0, 0, 7, 0xd0, 0, 0][..], &[0; 16]].concat()),
            Self::Mld2 => mld(&[&[130, 0, 0, 0, 7, 0xd0, 0, 0][..], &[0; 16], &[2, 125, 0, 0]].concat()),
        }
    }
}

/// Sends a general query from the senders' namespace.
pub fn send_query(tx: &Namespace, querier: Querier) -> Result<()> {
    let index = tx.interface_index(TX)?;
    let frame = querier.frame();
    let sent = tx.run(|| {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        // SAFETY: all of its fields are numbers.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index as i32;
        let length = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: a live sockaddr_ll and its size.
        if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        socket.send(&frame)
    })?;
    sent.map(drop).with_context(|| format!("cannot send a query of {querier:?}"))
}

fn igmp(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    // The option is Router Alert (RFC 2113).
    let mut header = vec![0x46, 0xc0, 0, (24 + message.len()) as u8, 0, 1, 0, 0, 1, 2, 0, 0];
    header.extend([10, 9, 0, 1, 224, 0, 0, 1, 0x94, 4, 0, 0]);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = [&[1, 0, 0x5e, 0, 0, 1, 2, 0, 0, 0, 0, 1, 8, 0][..], &header, &message].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn mld(message: &[u8]) -> Vec<u8> {
    let (source, group) = (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
    let addresses = [source.octets(), group.octets()].concat();
    let mut message = message.to_vec();
    let sum = checksum(&[&addresses[..], &[0, 0, 0, message.len() as u8, 0, 0, 0, 58], &message].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    // Hop-by-hop options with Router Alert (RFC 2711).
    let options = [58, 0, 5, 2, 0, 0, 1, 0];
    let header = [0x60, 0, 0, 0, 0, (options.len() + message.len()) as u8, 0, 1];
    let ethernet = [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];
    [&ethernet[..], &header, &addresses, &options, &message].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&b| b.into())).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_right() {
        let frame = Querier::Igmp3.frame();
        assert_eq!((checksum(&frame[14..38]), checksum(&frame[38..50])), (0, 0));
        let frame = Querier::Mld2.frame();
        let (addresses, message) = (&frame[22..54], &frame[62..]);
        assert_eq!(message.len(), 28);
        assert_eq!(checksum(&[addresses, &[0, 0, 0, 28, 0, 0, 0, 58], message].concat()), 0);
    }
}
