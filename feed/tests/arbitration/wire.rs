//! Datagrams to arbitrate, made by hand.

use bytes::Bytes;
use receiver_feed::arbiter::{Arbiter, Delivery, Event, LegId};
use receiver_feed::protocol::{AnyProtocol, Protocol};

/// A MoldUDP64 datagram; each message holds its sequence number.
pub fn mold(first: u64, count: u16) -> Bytes {
    let mut bytes = [b"SESSION-01", &first.to_be_bytes()[..], &count.to_be_bytes()].concat();
    for sequence in first..first + u64::from(count) {
        bytes.extend_from_slice(&[0, 8]);
        bytes.extend_from_slice(&sequence.to_be_bytes());
    }
    bytes.into()
}

/// A MoldUDP64 heartbeat, or the end of the session.
pub fn mold_empty(next: u64, end: bool) -> Bytes {
    [&b"SESSION-01"[..], &next.to_be_bytes(), if end { &[0xff, 0xff] } else { &[0, 0] }].concat().into()
}

/// An RTP packet with its extended sequence number as payload.
pub fn rtp(sequence: u64, timestamp: u32) -> Bytes {
    let header = [&[0x80, 96][..], &(sequence as u16).to_be_bytes(), &timestamp.to_be_bytes(), &[0, 0, 0, 7]];
    [&header.concat()[..], &sequence.to_be_bytes()].concat().into()
}

/// A Pillar packet that was sent at `sent_ns`; each message holds its sequence number and `mark`. The numbers wrap.
pub fn pillar(flag: u8, first: u32, count: u8, sent_ns: u64, mark: u32) -> Bytes {
    let size = 16 + 10 * u16::from(count);
    let (seconds, nanoseconds) = ((sent_ns / 1_000_000_000) as u32, (sent_ns % 1_000_000_000) as u32);
    let mut bytes = [&size.to_le_bytes()[..], &[flag, count], &first.to_le_bytes()].concat();
    bytes.extend_from_slice(&seconds.to_le_bytes());
    bytes.extend_from_slice(&nanoseconds.to_le_bytes());
    for at in 0..u32::from(count) {
        bytes.extend_from_slice(&10u16.to_le_bytes());
        bytes.extend_from_slice(&first.wrapping_add(at).to_le_bytes());
        bytes.extend_from_slice(&mark.to_le_bytes());
    }
    bytes.into()
}

/// What an arbiter delivered, message by message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Data(u64),
    Recovered(u64),
    Gap(u64, u64, u64),
    Lost(u64, u64),
    Reset(u64),
    End(u64),
    LegLost(usize, receiver_feed::arbiter::LegLoss),
    LegBack(usize),
    Stale,
}

/// Writes down the events, and checks that each message is the one that its sequence number says.
#[derive(Default, Debug)]
pub struct Record {
    pub seen: Vec<Seen>,
    pub marks: Vec<u32>,
}

impl Record {
    pub fn take(&mut self, protocol: AnyProtocol, delivery: Delivery<Bytes, Bytes>) {
        match delivery.event {
            Event::Data(data) => {
                for sequence in self.messages(protocol, data.datagram.as_ref(), data.first, data.skip, data.count) {
                    self.seen.push(Seen::Data(sequence));
                }
            }
            Event::Recovered(data) => {
                for sequence in self.messages(protocol, data.datagram.as_ref(), data.first, data.skip, data.count) {
                    self.seen.push(Seen::Recovered(sequence));
                }
            }
            Event::Gap(gap) => self.seen.push(Seen::Gap(gap.from, gap.to, gap.since_ns)),
            Event::Lost(gap) => self.seen.push(Seen::Lost(gap.from, gap.to)),
            Event::Reset { next } => self.seen.push(Seen::Reset(next)),
            Event::End { next } => self.seen.push(Seen::End(next)),
            Event::LegLost { leg, loss } => self.seen.push(Seen::LegLost(leg.index(), loss)),
            Event::LegBack { leg } => self.seen.push(Seen::LegBack(leg.index())),
            Event::Stale { .. } => self.seen.push(Seen::Stale),
            _ => {}
        }
    }

    fn messages(&mut self, protocol: AnyProtocol, bytes: &[u8], first: u64, skip: u32, count: u32) -> Vec<u64> {
        let packet = protocol.parse(bytes).expect("it was parsed before");
        let (skip, count) = (skip as usize, count as usize);
        let texts: Vec<&[u8]> = match protocol {
            AnyProtocol::Rtp(_) => vec![&bytes[packet.body as usize..]],
            _ => packet.messages(bytes).skip(skip).take(count).collect(),
        };
        assert_eq!(texts.len(), count, "the messages are in the datagram");
        for (sequence, text) in (first..).zip(&texts) {
            match protocol {
                AnyProtocol::NysePillar(_) => {
                    assert_eq!(text[2..6], (sequence as u32).to_le_bytes());
                    self.marks.push(u32::from_le_bytes(text[6..10].try_into().unwrap()));
                }
                _ => assert_eq!(text[..], sequence.to_be_bytes(), "message {sequence}"),
            }
        }
        (first..first + count as u64).collect()
    }

    pub fn data(&self) -> Vec<u64> {
        self.seen.iter().filter_map(|seen| if let Seen::Data(at) = seen { Some(*at) } else { None }).collect()
    }
}

/// Pushes datagrams in the order of their arrival.
pub fn run(
    arbiter: &mut Arbiter<AnyProtocol, Bytes>,
    arrivals: impl IntoIterator<Item = (u64, usize, Bytes)>,
    record: &mut Record,
) {
    let protocol = *arbiter.protocol();
    for (now_ns, leg, datagram) in arrivals {
        let leg = LegId::new(leg as u8);
        arbiter.push(leg, now_ns, datagram, |delivery| record.take(protocol, delivery)).expect("a sound datagram");
    }
}

/// Lets time pass.
pub fn poll(arbiter: &mut Arbiter<AnyProtocol, Bytes>, now_ns: u64, record: &mut Record) {
    let protocol = *arbiter.protocol();
    arbiter.poll::<Bytes>(now_ns, |delivery| record.take(protocol, delivery));
}
