//! A reader of framed streams, as docs/framed.md has them: for the tests and the fuzz target. Whatever the bytes are,
//! it finds records or refuses them.

use std::net::{IpAddr, Ipv6Addr};

/// What begins a stream.
pub const PREAMBLE: [u8; 8] = *b"SSMF\x01\0\0\0";
/// The longest record that a reader has to take, in bytes behind its head.
const LONGEST: usize = 1 << 20;
const HEAD: usize = 8;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    Subscription {
        number: u32,
        text: &'a str,
    },
    Packet(Packet<'a>),
    Loss {
        loss: Loss,
        causes: &'a str,
    },
    Statistics(Sums),
    End(Sums),
    /// A type of a later version.
    Other(u8),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    pub time: u64,
    pub number: u64,
    pub source: IpAddr,
    pub group: IpAddr,
    pub source_port: u16,
    pub port: u16,
    pub subscription: u32,
    pub by_xdp: bool,
    pub payload: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    pub time: u64,
    pub number: u64,
    pub lost: u64,
    pub unwritten: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums {
    pub time: u64,
    pub received: u64,
    pub lost: u64,
    pub unwritten: u64,
}

/// Why the bytes are no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They do not begin with the preamble.
    Preamble,
    /// They end within a record.
    Torn,
    /// A record's lengths contradict each other or its type, or it is too long.
    Length,
    /// A text is not UTF-8.
    Text,
}

/// The records of a stream.
pub struct Reader<'a> {
    rest: &'a [u8],
    has_failed: bool,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Result<Self, Fault> {
        Ok(Self { rest: bytes.strip_prefix(&PREAMBLE).ok_or(Fault::Preamble)?, has_failed: false })
    }

    fn read(&mut self) -> Result<Record<'a>, Fault> {
        let Some((&[a, b, c, d, kind, flags, low, high], rest)) = self.rest.split_first_chunk::<HEAD>() else {
            return Err(Fault::Torn);
        };
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > LONGEST {
            return Err(Fault::Length);
        }
        let (record, rest) = rest.split_at_checked(length).ok_or(Fault::Torn)?;
        let (fixed, more) = record.split_at_checked(u16::from_le_bytes([low, high]).into()).ok_or(Fault::Length)?;
        self.rest = rest;
        parse(kind, flags, fixed, more)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Record<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() || self.has_failed {
            return None;
        }
        let record = self.read();
        self.has_failed = record.is_err();
        Some(record)
    }
}

fn parse<'a>(kind: u8, flags: u8, fixed: &[u8], more: &'a [u8]) -> Result<Record<'a>, Fault> {
    let text = || std::str::from_utf8(more).map_err(|_| Fault::Text);
    let sums = || {
        let [time, received, lost, unwritten] = numbers(fixed)?;
        Ok(Sums { time, received, lost, unwritten })
    };
    Ok(match kind {
        1 => Record::Subscription { number: u32::from_le_bytes(*at(fixed, 0)?), text: text()? },
        2 => Record::Packet(Packet {
            time: u64::from_le_bytes(*at(fixed, 0)?),
            number: u64::from_le_bytes(*at(fixed, 8)?),
            source: address(*at(fixed, 16)?),
            group: address(*at(fixed, 32)?),
            source_port: u16::from_le_bytes(*at(fixed, 48)?),
            port: u16::from_le_bytes(*at(fixed, 50)?),
            subscription: u32::from_le_bytes(*at(fixed, 52)?),
            by_xdp: flags & 1 != 0,
            payload: more,
        }),
        3 => {
            let [time, number, lost, unwritten] = numbers(fixed)?;
            Record::Loss { loss: Loss { time, number, lost, unwritten }, causes: text()? }
        }
        4 => Record::Statistics(sums()?),
        5 => Record::End(sums()?),
        other => Record::Other(other),
    })
}

fn numbers(fixed: &[u8]) -> Result<[u64; 4], Fault> {
    let number = |place: usize| Ok(u64::from_le_bytes(*at(fixed, 8 * place)?));
    Ok([number(0)?, number(1)?, number(2)?, number(3)?])
}

fn at<const N: usize>(bytes: &[u8], place: usize) -> Result<&[u8; N], Fault> {
    bytes.get(place..).and_then(|rest| rest.first_chunk()).ok_or(Fault::Length)
}

fn address(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}
