//! Capture files made by hand, byte by byte.
#![allow(dead_code)] // Each test binary uses its part.

/// How the packets of a file begin.
#[derive(Clone, Copy, Debug)]
pub enum Link {
    Ethernet,
    /// Ethernet; the packets are whole frames.
    Frames,
    /// Ethernet with this number of VLAN tags.
    Tagged(usize),
    Cooked,
    Cooked2,
    Raw,
}

/// An IPv4 packet with a UDP datagram.
pub fn udp(source: [u8; 4], group: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let udp = [&4000u16.to_be_bytes()[..], &port.to_be_bytes(), &length.to_be_bytes(), &[0, 0], payload].concat();
    ip(source, group, 0, &udp)
}

/// An IPv4 packet with this word of flags and fragment offset.
pub fn ip(source: [u8; 4], group: [u8; 4], fragment: u16, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 7]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([16, 17, 0, 0]);
    packet.extend(source);
    packet.extend(group);
    packet.extend(payload);
    packet
}

impl Link {
    fn number(self) -> u16 {
        match self {
            Self::Ethernet | Self::Frames | Self::Tagged(_) => 1,
            Self::Cooked => 113,
            Self::Cooked2 => 276,
            Self::Raw => 101,
        }
    }

    fn wrap(self, packet: &[u8]) -> Vec<u8> {
        let head = match self {
            Self::Ethernet => [&[1, 0, 0x5e, 1, 1, 1, 2, 2, 2, 2, 2, 2][..], &[8, 0]].concat(),
            Self::Tagged(tags) => {
                let tags = [0x81, 0, 0, 100].repeat(tags);
                [&[1, 0, 0x5e, 1, 1, 1, 2, 2, 2, 2, 2, 2][..], &tags, &[8, 0]].concat()
            }
            Self::Cooked => [&[0, 0, 0, 1, 0, 6][..], &[0; 8], &[8, 0]].concat(),
            Self::Cooked2 => [&[8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6][..], &[0; 8]].concat(),
            Self::Frames | Self::Raw => Vec::new(),
        };
        [&head, packet].concat()
    }
}

/// A pcap file of packets with their times in nanoseconds; `big` is the byte order of its headers.
pub fn pcap(link: Link, nanoseconds: bool, big: bool, packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let half = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut file = word(if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }).to_vec();
    file.extend([half(2), half(4)].concat());
    file.extend([word(0), word(0), word(65_535), word(link.number().into())].concat());
    for (time, packet) in packets {
        let bytes = link.wrap(packet);
        let unit = if nanoseconds { 1 } else { 1000 };
        let (seconds, rest) = ((time / 1_000_000_000) as u32, (time % 1_000_000_000 / unit) as u32);
        file.extend([word(seconds), word(rest), word(bytes.len() as u32), word(bytes.len() as u32)].concat());
        file.extend(bytes);
    }
    file
}

/// A pcapng file, little-endian, with times in nanoseconds, an unknown block, and a second section.
pub fn pcapng(link: Link, packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let padded = [body, &vec![0; body.len().wrapping_neg() % 4]].concat();
        let length = (12 + padded.len() as u32).to_le_bytes();
        [&kind.to_le_bytes()[..], &length, &padded, &length].concat()
    };
    let section =
        block(0x0a0d_0d0a, &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    // if_tsresol 9: nanoseconds.
    let options = [9u16.to_le_bytes(), 1u16.to_le_bytes()].concat();
    let interface =
        [&link.number().to_le_bytes()[..], &[0, 0, 0, 0, 0, 0], &options, &[9, 0, 0, 0], &[0, 0, 0, 0]].concat();
    let head = [section, block(1, &interface)].concat();
    let mut file = [&head[..], &block(0x0000_0bad, b"unknown")].concat();
    for (number, (time, packet)) in packets.iter().enumerate() {
        if number == packets.len() / 2 {
            file.extend(&head);
        }
        let bytes = link.wrap(packet);
        let length = (bytes.len() as u32).to_le_bytes();
        let (high, low) = (((time >> 32) as u32).to_le_bytes(), (*time as u32).to_le_bytes());
        file.extend(block(6, &[&0u32.to_le_bytes()[..], &high, &low, &length, &length, &bytes].concat()));
    }
    file
}
