//! Frames made by hand, for what no UDP socket sends: wrong checksums, options, extension headers, tags.
#![allow(unsafe_code)] // The address of an AF_PACKET socket.
#![allow(dead_code, reason = "each test program takes what it needs")]

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::thread::sleep;
use std::time::Duration;

use netlab::Lab;
use socket2::{Domain, Socket, Type};

/// Sends whole Ethernet frames from the lab's sending side.
pub struct FrameSocket(Socket);

impl FrameSocket {
    pub fn open(lab: &Lab) -> Self {
        Self(packet_socket(lab))
    }

    pub fn send(&self, frame: &[u8]) {
        assert_eq!(self.0.send(frame).expect("send"), frame.len());
    }
}

/// A packet socket on the lab's sending interface.
pub fn packet_socket(lab: &Lab) -> Socket {
    let index = lab.tx().interface_index(lab.tx_interface()).expect("index");
    let socket = lab.tx().run(|| Socket::new(Domain::PACKET, Type::RAW, None)).expect("run").expect("AF_PACKET");
    // SAFETY: all of its fields are numbers.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index as i32;
    let length = size_of::<libc::sockaddr_ll>() as u32;
    // SAFETY: a live sockaddr_ll and its size.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
    socket
}

/// A UDP datagram to a group, right in every respect until somebody changes it.
pub struct Frame {
    pub bytes: Vec<u8>,
    /// Where the IP header begins.
    pub ip: usize,
    /// Where the UDP header begins.
    pub udp: usize,
}

impl Frame {
    /// Of `source` to `group`; both addresses of one family.
    pub fn udp(source: &str, group: &str, payload: &[u8]) -> Self {
        Self::with_extra(source, group, payload, &[])
    }

    /// With IPv4 options, a multiple of four bytes.
    pub fn with_options(source: &str, group: &str, payload: &[u8], options: &[u8]) -> Self {
        Self::with_extra(source, group, payload, options)
    }

    /// With an empty IPv6 destination options header.
    pub fn with_extension(source: &str, group: &str, payload: &[u8]) -> Self {
        Self::with_extra(source, group, payload, &[17, 0, 1, 4, 0, 0, 0, 0])
    }

    fn with_extra(source: &str, group: &str, payload: &[u8], extra: &[u8]) -> Self {
        let (source, group): (SocketAddr, SocketAddr) = (source.parse().expect(source), group.parse().expect(group));
        let udp_len = 8 + payload.len();
        let mut datagram = Vec::new();
        for word in [source.port(), group.port(), udp_len as u16, 0] {
            datagram.extend(word.to_be_bytes());
        }
        datagram.extend(payload);
        let mut pseudo = vec![0, 17];
        pseudo.extend((udp_len as u16).to_be_bytes());
        let mut bytes = vec![];
        match (source, group) {
            (SocketAddr::V4(source), SocketAddr::V4(group)) => {
                let [_, b, c, d] = group.ip().octets();
                bytes.extend([1, 0, 0x5e, b & 0x7f, c, d, 2, 0, 0, 0, 0, 1, 8, 0]);
                let total = (20 + extra.len() + udp_len) as u16;
                let mut header = vec![0x45 + (extra.len() / 4) as u8, 0];
                header.extend(total.to_be_bytes());
                header.extend([0, 1, 0, 0, 16, 17, 0, 0]);
                header.extend(source.ip().octets());
                header.extend(group.ip().octets());
                header.extend(extra);
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                pseudo.extend(&header[12..20]);
                bytes.extend(header);
            }
            (SocketAddr::V6(source), SocketAddr::V6(group)) => {
                let [.., a, b, c, d] = group.ip().octets();
                bytes.extend([0x33, 0x33, a, b, c, d, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
                bytes.extend([0x60, 0, 0, 0]);
                bytes.extend(((extra.len() + udp_len) as u16).to_be_bytes());
                bytes.extend([if extra.is_empty() { 17 } else { 60 }, 16]);
                bytes.extend(source.ip().octets());
                bytes.extend(group.ip().octets());
                pseudo.extend(&bytes[22..54]);
                bytes.extend(extra);
            }
            _ => panic!("{source} and {group} are of two families"),
        }
        pseudo.extend(&datagram);
        let sum = match checksum(&pseudo) {
            0 => 0xffff,
            sum => sum,
        };
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        let udp = bytes.len();
        bytes.extend(datagram);
        Self { bytes, ip: 14, udp }
    }

    /// Returns true if the UDP checksum is the sum of the IPv4 pseudo header alone, as one in 65,536 is by chance. Mode
    /// `generic` leaves such a frame to the kernel.
    pub fn looks_partial(&self) -> bool {
        let [addresses, datagram] = [&self.bytes[self.ip + 12..self.ip + 20], &self.bytes[self.udp..]];
        let pseudo = [addresses, &[0, 17], &datagram[4..6]].concat();
        datagram[6..8] == (!checksum(&pseudo)).to_be_bytes()
    }

    /// The UDP checksum.
    pub fn udp_checksum(&mut self) -> &mut [u8] {
        &mut self.bytes[self.udp + 6..self.udp + 8]
    }

    /// The IPv4 header's checksum.
    pub fn ip_checksum(&mut self) -> &mut [u8] {
        &mut self.bytes[self.ip + 10..self.ip + 12]
    }
}

/// RFC 1071.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&b| b.into())).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Sends the frame `count` times, milliseconds apart, because the receiver takes only some of XDP's samples at a time.
pub fn send(lab: &Lab, frame: &[u8], count: u64) {
    let socket = FrameSocket::open(lab);
    for _ in 0..count {
        socket.send(frame);
        sleep(Duration::from_millis(2));
    }
}

/// A frame with one wrong bit in its UDP checksum. The kernel checks short frames before it looks for a socket.
pub fn damaged(source: &str, group: &str) -> Vec<u8> {
    let mut frame = Frame::udp(source, group, b"short");
    frame.udp_checksum()[1] ^= 1;
    frame.bytes
}

/// The frame with a VLAN tag after the addresses.
pub fn tagged(frame: &[u8], vlan: u16) -> Vec<u8> {
    let tag = [&[0x81, 0x00][..], &vlan.to_be_bytes()].concat();
    [&frame[..12], &tag, &frame[12..]].concat()
}
