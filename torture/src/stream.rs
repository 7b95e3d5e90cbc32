//! The streams of an episode: their addresses, what a subscription wants of them, and their payloads, which can be
//! checked byte by byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::random::Random;

/// Groups of an episode: their roles are those of [`Role`].
pub const GROUPS: usize = 5;
/// Sources that send to each group.
pub const SOURCES: usize = 2;
/// Streams: each source to each group.
pub const STREAMS: usize = GROUPS * SOURCES;

/// The first byte of a packet of RTP: version 2.
const RTP: u8 = 0x80;
/// Bytes of its header.
const RTP_HEADER: usize = 12;
/// Bytes before the random part of a payload.
const HEADER: usize = 26;
/// The largest payload. It fits the smallest MTU of IPv6.
const LARGEST: u64 = 1_200;

/// The IP version of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Who changes the subscription of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nobody.
    Steady,
    /// Clients of the control socket, by named sources.
    Named,
    /// Clients of the control socket, by blocked sources.
    Blocking,
    /// The configuration file.
    File,
}

/// The role of a group by its number.
pub fn role(group: usize) -> Role {
    [Role::Steady, Role::Named, Role::Named, Role::Blocking, Role::File][group]
}

/// The groups that clients of the control socket change.
pub const MOVING: [usize; 3] = [1, 2, 3];
/// The group that the configuration file changes.
pub const OF_FILE: usize = 4;

/// What a run has subscribed of a group. A mask has a bit for each source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Nothing.
    Absent,
    /// These sources.
    Include(u8),
    /// All but these sources.
    Exclude(u8),
}

impl Filter {
    /// Returns true if packets of this source are wanted.
    pub fn wants(self, source: usize) -> bool {
        match self {
            Self::Absent => false,
            Self::Include(mask) => mask & (1 << source) != 0,
            Self::Exclude(mask) => mask & (1 << source) == 0,
        }
    }

    /// The sources that it names.
    pub fn named(self) -> impl Iterator<Item = usize> {
        let mask = match self {
            Self::Absent => 0,
            Self::Include(mask) | Self::Exclude(mask) => mask,
        };
        (0..SOURCES).filter(move |source| mask & (1 << source) != 0)
    }
}

/// The number of the stream of a source to a group.
pub fn stream(group: usize, source: usize) -> usize {
    group * SOURCES + source
}

/// The group and the source of a stream.
pub fn parts(stream: usize) -> (usize, usize) {
    (stream / SOURCES, stream % SOURCES)
}

impl Family {
    /// The address of a source.
    pub fn source(self, source: usize) -> IpAddr {
        let last = 1 + source as u8;
        match self {
            Self::V4 => Ipv4Addr::new(10, 9, 0, last).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, last.into()).into(),
        }
    }

    /// The address of the receiving end.
    pub fn receiver(self) -> IpAddr {
        self.source(99)
    }

    /// The address of a group.
    pub fn group(self, group: usize) -> IpAddr {
        let (last, is_any) = (1 + group as u8, role(group) == Role::Blocking);
        match self {
            Self::V4 => Ipv4Addr::new(if is_any { 239 } else { 232 }, 9, 0, last).into(),
            Self::V6 => Ipv6Addr::new(if is_any { 0xff1e } else { 0xff3e }, 0, 0, 0, 0, 0, 9, last.into()).into(),
        }
    }

    /// The length of the prefix of its addresses.
    pub fn prefix(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }

    /// Group and port, as in a subscription.
    pub fn group_and_port(self, group: usize) -> String {
        format!("{}:{}", shown(self.group(group)), port(group))
    }

    /// A subscription as it is written.
    pub fn subscription(self, group: usize, filter: Filter) -> String {
        let sources: Vec<String> = filter.named().map(|source| shown(self.source(source))).collect();
        let (sources, group) = (sources.join(","), self.group_and_port(group));
        match filter {
            Filter::Include(_) => format!("{sources}@{group}"),
            Filter::Exclude(mask) if mask != 0 => format!("!{sources}@{group}"),
            Filter::Exclude(_) | Filter::Absent => group,
        }
    }
}

/// The stream that a feed makes of its two legs, which are the streams of group 0.
pub const FEED: usize = 0;
/// The other leg of the feed.
pub const SECOND_LEG: usize = 1;

/// The UDP port of a group.
pub fn port(group: usize) -> u16 {
    5_000 + group as u16
}

fn shown(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its stream.
    pub stream: usize,
    /// Its number in the stream, from 0.
    pub sequence: u64,
    /// The sender's round in which it was sent.
    pub round: u64,
    /// It has a header of RTP, as the packets of a feed.
    pub is_rtp: bool,
}

impl Packet {
    /// Writes the payload, which follows from the episode and the packet.
    pub fn write(&self, episode: u64, payload: &mut Vec<u8>) {
        payload.clear();
        if self.is_rtp {
            payload.extend([RTP, 96]);
            payload.extend((self.sequence as u16).to_be_bytes());
            payload.extend((self.sequence as u32).wrapping_mul(90).to_be_bytes());
            payload.extend(1_u32.to_be_bytes());
        }
        let start = payload.len();
        payload.extend(episode.to_be_bytes());
        payload.extend((self.stream as u16).to_be_bytes());
        payload.extend(self.sequence.to_be_bytes());
        payload.extend(self.round.to_be_bytes());
        let mut random = Random::part(episode ^ self.sequence, self.stream as u64 ^ self.round << 16);
        let length = HEADER + random.below(LARGEST - HEADER as u64) as usize;
        while payload.len() < start + length {
            payload.extend(random.next().to_be_bytes());
        }
        payload.truncate(start + length);
    }

    /// Reads a payload of an episode, and compares all of it. `room` is memory to write the comparison to.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(episode: u64, payload: &[u8], room: &mut Vec<u8>) -> Result<Self, String> {
        // The tag of an episode begins with zeroes.
        let is_rtp = payload.first() == Some(&RTP);
        let content = payload.get(if is_rtp { RTP_HEADER } else { 0 }..).unwrap_or_default();
        let number =
            |at: usize| content.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        let (Some(tag), Some(sequence), Some(round)) = (number(0), number(10), number(18)) else {
            return Err(format!("a payload of {} bytes, shorter than any that was sent", payload.len()));
        };
        let stream = usize::from(u16::from_be_bytes([content[8], content[9]]));
        if tag != episode || stream >= STREAMS {
            return Err(format!("a payload of episode {tag}, stream {stream}, which nobody sent"));
        }
        let packet = Self { stream, sequence, round, is_rtp };
        packet.write(episode, room);
        if room != payload {
            let at = room.iter().zip(payload).position(|(sent, came)| sent != came);
            return Err(format!(
                "packet {sequence} of stream {stream} came altered: {} bytes sent, {} came, first difference at {at:?}",
                room.len(),
                payload.len()
            ));
        }
        Ok(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_known_byte_by_byte() {
        let (mut payload, mut room) = (Vec::new(), Vec::new());
        let packet = Packet { stream: 0, sequence: 70, round: 71, is_rtp: true };
        packet.write(9, &mut payload);
        assert_eq!(Packet::read(9, &payload, &mut room), Ok(packet));
        let packet = Packet { stream: 3, is_rtp: false, ..packet };
        packet.write(9, &mut payload);
        assert!((HEADER..LARGEST as usize).contains(&payload.len()));
        assert_eq!(Packet::read(9, &payload, &mut room), Ok(packet));
        assert!(Packet::read(8, &payload, &mut room).is_err(), "another episode");
        assert!(Packet::read(9, &payload[..20], &mut room).is_err(), "cut");
        assert!(Packet::read(9, &payload[..payload.len() - 1], &mut room).is_err() || payload.len() == HEADER);
        *payload.last_mut().expect("bytes") ^= 1;
        assert!(Packet::read(9, &payload, &mut room).is_err(), "altered");
    }

    #[test]
    fn a_filter_names_and_wants_sources() {
        assert!(Filter::Include(1).wants(0) && !Filter::Include(1).wants(1) && !Filter::Absent.wants(0));
        assert!(!Filter::Exclude(1).wants(0) && Filter::Exclude(1).wants(1));
        assert_eq!(Family::V4.subscription(1, Filter::Include(3)), "10.9.0.1,10.9.0.2@232.9.0.2:5001");
        assert_eq!(Family::V4.subscription(3, Filter::Exclude(2)), "!10.9.0.2@239.9.0.4:5003");
        assert_eq!(Family::V6.subscription(3, Filter::Exclude(0)), "[ff1e::9:4]:5003");
        assert!((0..STREAMS).all(|number| stream(parts(number).0, parts(number).1) == number));
    }
}
