//! Forward error correction by SMPTE ST 2022-1 (Pro-MPEG CoP 3): lost RTP packets are made again from parity packets.
//!
//! Media packets form a matrix of L columns and D rows. A column's parity is the XOR of D packets that are L apart, a
//! row's that of L packets in a row. They come on the media's port + 2 (columns) and + 4 (rows), as RTP:
//!
//! ```text
//! offset  bytes  FEC header, after the 12 bytes of RTP
//!      0      2  SNBase, low bits: the first sequence number that is covered
//!      2      2  length recovery: XOR of the lengths beyond 12 bytes
//!      4      1  E, payload type recovery
//!      5      3  mask, 0
//!      8      4  timestamp recovery
//!     12      1  N, D (0: column, 1: row), type (0: XOR), index
//!     13      1  offset between the packets that are covered: L in a column, 1 in a row
//!     14      1  NA, the number of packets that are covered: D in a column, L in a row
//!     15      1  SNBase, high bits
//!     16         XOR of all beyond 12 bytes
//! ```
//!
//! Padding, extension, source count and marker are recovered by the bits of the parity packet's own RTP header.
//!
//! ```
//! use receiver_feed::fec::FecDecoder;
//!
//! let media = |sequence: u8| [0x80, 33, 0, sequence, 0, 0, 0, sequence, 0, 0, 0, 1, b'a' + sequence];
//! // The row of packets 0 and 1: lengths are equal, so their XOR is 0.
//! let mut row = vec![0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
//! row.extend_from_slice(&[0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 1, 0x40, 1, 2, 0, b'a' ^ b'b']);
//!
//! let mut decoder = FecDecoder::new();
//! let mut recovered = Vec::new();
//! decoder.media(&media(0), |packet| recovered.push(packet));
//! decoder.parity(&row, |packet| recovered.push(packet))?;
//! assert_eq!(recovered, [&media(1)[..]]);
//! # Ok::<(), receiver_feed::protocol::ParseError>(())
//! ```

use std::collections::VecDeque;

use bytes::Bytes;

use crate::protocol::{ParseError, RtpHeader};

const RTP_HEADER: usize = 12;
const FEC_HEADER: usize = 16;
/// Media packets kept: ten of the largest matrices, of 100 packets.
const MEDIA: usize = 1024;
/// Parity packets that wait for more media.
const PARITY: usize = 256;

/// Counters of a decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FecStatistics {
    /// Media packets received.
    pub media: u64,
    /// Parity packets of columns.
    pub columns: u64,
    /// Parity packets of rows.
    pub rows: u64,
    /// Media packets made again.
    pub recovered: u64,
    /// Media packets that came again, after they were made again, or far from all others.
    pub late: u64,
    /// Parity packets that were given up: more than one of their packets was missing.
    pub unused: u64,
    /// Parity packets that were not understood, or whose contents contradict themselves.
    pub malformed: u64,
}

/// Recovers the lost packets of one RTP stream.
///
/// The packets that it hands out are byte for byte those that were lost. Push them into an
/// [`Arbiter`](crate::arbiter::Arbiter) as late arrivals of their leg.
#[derive(Clone, Debug)]
pub struct FecDecoder {
    /// By sequence number modulo [`MEDIA`].
    media: Box<[Option<(u16, Bytes)>]>,
    highest: Option<u16>,
    /// The sequence number that would confirm a new numbering, after one that is far from the highest.
    restart: Option<u16>,
    ssrc: u32,
    waiting: VecDeque<Parity>,
    statistics: FecStatistics,
}

/// A parity packet.
#[derive(Clone, Debug)]
struct Parity {
    base: u16,
    offset: u16,
    count: u16,
    length: u16,
    /// The first two bytes of RTP, less the version, and the timestamp.
    head: [u8; 2],
    timestamp: u32,
    payload: Bytes,
}

impl Parity {
    fn parse(packet: &[u8]) -> Result<(Self, bool), ParseError> {
        let rtp = RtpHeader::parse_fixed(packet)?;
        let fec = &packet[RTP_HEADER..];
        let Some(header) = fec.first_chunk::<FEC_HEADER>() else {
            return Err(ParseError::Short { needed: RTP_HEADER + FEC_HEADER, actual: packet.len() });
        };
        let (offset, count) = (u16::from(header[13]), u16::from(header[14]));
        let kind = header[12];
        // N and all types but XOR are reserved.
        if kind & 0xb8 != 0 {
            return Err(ParseError::Value { field: "type", value: kind.into() });
        }
        if offset == 0 || count == 0 || usize::from(offset) * usize::from(count) > MEDIA / 2 {
            return Err(ParseError::Value { field: "offset and NA", value: u64::from(offset) << 8 | u64::from(count) });
        }
        let pair = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let parity = Self {
            base: pair(0),
            offset,
            count,
            length: pair(2),
            head: [packet[0] & 0x3f, u8::from(rtp.marker) << 7 | header[4] & 0x7f],
            timestamp: u32::from(pair(8)) << 16 | u32::from(pair(10)),
            payload: Bytes::copy_from_slice(&fec[FEC_HEADER..]),
        };
        Ok((parity, kind & 0x40 != 0))
    }

    fn sequences(&self) -> impl Iterator<Item = u16> {
        let (base, offset) = (self.base, self.offset);
        (0..self.count).map(move |at| base.wrapping_add(at * offset))
    }

    fn covers(&self, sequence: u16) -> bool {
        let distance = sequence.wrapping_sub(self.base);
        distance.is_multiple_of(self.offset) && distance / self.offset < self.count
    }
}

impl Default for FecDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl FecDecoder {
    /// Keeps the last 1,024 media packets.
    #[must_use]
    pub fn new() -> Self {
        let (highest, restart, ssrc, waiting) = (None, None, 0, VecDeque::new());
        Self { media: vec![None; MEDIA].into(), highest, restart, ssrc, waiting, statistics: FecStatistics::default() }
    }

    /// The counters.
    #[must_use]
    pub fn statistics(&self) -> FecStatistics {
        self.statistics
    }

    /// Takes a media packet as a copy: see [`FecDecoder::media_bytes`]. What is not RTP is ignored.
    pub fn media(&mut self, packet: &[u8], recovered: impl FnMut(Bytes)) {
        self.media_bytes(Bytes::copy_from_slice(packet), recovered);
    }

    /// Takes a media packet, and hands out what can be recovered with it.
    pub fn media_bytes(&mut self, packet: Bytes, mut recovered: impl FnMut(Bytes)) {
        let Ok(header) = RtpHeader::parse(&packet) else { return };
        if self.highest.is_some() && header.ssrc != self.ssrc {
            self.begin();
        }
        self.ssrc = header.ssrc;
        self.statistics.media += 1;
        if !self.belongs(header.sequence) {
            self.statistics.late += 1;
            return;
        }
        self.statistics.late += u64::from(self.get(header.sequence).is_some());
        self.keep(header.sequence, packet);
        if self.waiting.iter().any(|parity| parity.covers(header.sequence)) {
            self.recover(&mut recovered);
        }
    }

    /// Takes a parity packet of columns or rows, and hands out what can be recovered with it.
    ///
    /// # Errors
    /// It is not a parity packet of ST 2022-1. It is counted.
    pub fn parity(&mut self, packet: &[u8], mut recovered: impl FnMut(Bytes)) -> Result<(), ParseError> {
        let (parity, row) = Parity::parse(packet).inspect_err(|_| self.statistics.malformed += 1)?;
        if row {
            self.statistics.rows += 1;
        } else {
            self.statistics.columns += 1;
        }
        if self.waiting.len() == PARITY {
            self.waiting.pop_front();
            self.statistics.unused += 1;
        }
        self.waiting.push_back(parity);
        self.recover(&mut recovered);
        Ok(())
    }

    /// Forgets all packets: a new numbering begins.
    #[cold]
    fn begin(&mut self) {
        let (statistics, ssrc) = (self.statistics, self.ssrc);
        *self = Self { statistics, ssrc, ..Self::new() };
    }

    /// Returns true if a packet is near the highest. One that is far away is damaged or very old, unless the next one
    /// follows it: then a new numbering begins, with which the kept packets have nothing to do.
    fn belongs(&mut self, sequence: u16) -> bool {
        let distance = |highest: u16| sequence.wrapping_sub(highest).min(highest.wrapping_sub(sequence));
        if self.highest.is_none_or(|highest| usize::from(distance(highest)) < MEDIA) {
            self.restart = None;
            return true;
        }
        let confirmed = self.restart == Some(sequence);
        if confirmed {
            self.begin();
        } else {
            self.restart = Some(sequence.wrapping_add(1));
        }
        confirmed
    }

    fn keep(&mut self, sequence: u16, packet: Bytes) {
        self.media[usize::from(sequence) % MEDIA] = Some((sequence, packet));
        let ahead = |highest: u16| sequence.wrapping_sub(highest) < 1 << 15;
        if self.highest.is_none_or(ahead) {
            self.highest = Some(sequence);
        }
    }

    fn get(&self, sequence: u16) -> Option<&Bytes> {
        self.media[usize::from(sequence) % MEDIA]
            .as_ref()
            .filter(|(kept, _)| *kept == sequence)
            .map(|(_, packet)| packet)
    }

    /// Uses each waiting parity packet that misses one packet, until none is left that does.
    fn recover(&mut self, recovered: &mut impl FnMut(Bytes)) {
        let Some(highest) = self.highest else { return };
        let mut again = true;
        while again {
            again = false;
            let mut waiting = std::mem::take(&mut self.waiting);
            waiting.retain(|parity| {
                let mut missing = parity.sequences().filter(|sequence| self.get(*sequence).is_none());
                match (missing.next(), missing.next()) {
                    (None, _) => false,
                    (Some(sequence), None) => {
                        match self.rebuild(parity, sequence) {
                            Some(packet) => {
                                self.statistics.recovered += 1;
                                self.keep(sequence, packet.clone());
                                recovered(packet);
                                again = true;
                            }
                            None => self.statistics.malformed += 1,
                        }
                        false
                    }
                    // Its media are about to be forgotten.
                    (Some(_), Some(_)) if highest.wrapping_sub(parity.base) > (MEDIA / 2) as u16 => {
                        let old = highest.wrapping_sub(parity.base) < 1 << 15;
                        self.statistics.unused += u64::from(old);
                        !old
                    }
                    _ => true,
                }
            });
            self.waiting = waiting;
        }
    }

    /// The packet `missing`: the XOR of the parity packet and of all others that it covers.
    fn rebuild(&self, parity: &Parity, missing: u16) -> Option<Bytes> {
        let (mut length, mut head, mut timestamp) = (parity.length, parity.head, parity.timestamp);
        let mut payload = parity.payload.to_vec();
        for sequence in parity.sequences().filter(|sequence| *sequence != missing) {
            let packet = self.get(sequence)?;
            let body = &packet[RTP_HEADER..];
            length ^= body.len() as u16;
            head[0] ^= packet[0] & 0x3f;
            head[1] ^= packet[1];
            timestamp ^= u32::from_be_bytes(*packet[4..].first_chunk()?);
            if payload.len() < body.len() {
                payload.resize(body.len(), 0);
            }
            payload.iter_mut().zip(body).for_each(|(parity, byte)| *parity ^= byte);
        }
        let body = payload.get(..length.into())?;
        let mut packet = Vec::with_capacity(RTP_HEADER + body.len());
        packet.extend_from_slice(&[0x80 | head[0], head[1]]);
        packet.extend_from_slice(&missing.to_be_bytes());
        packet.extend_from_slice(&timestamp.to_be_bytes());
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        packet.extend_from_slice(body);
        Some(packet.into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A media packet whose length, timestamp, marker and type depend on its number.
    fn media(sequence: u16, salt: u8) -> Vec<u8> {
        let mix = u32::from(sequence).wrapping_mul(2_654_435_761) ^ u32::from(salt);
        let length = 20 + (mix >> 7) as usize % 60;
        let mut packet = vec![0x80, (mix >> 3) as u8 & 0x80 | 33];
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&mix.to_be_bytes());
        packet.extend_from_slice(&[9, 8, 7, 6]);
        packet.extend((0..length).map(|at| (mix >> (at % 24)) as u8 ^ at as u8));
        packet
    }

    /// The parity of `packets`, as the specification says.
    fn parity(packets: &[Vec<u8>], offset: u8, row: bool) -> Vec<u8> {
        let longest = packets.iter().map(Vec::len).max().unwrap();
        let mut sum = vec![0; longest];
        let mut length = 0;
        for packet in packets {
            length ^= (packet.len() - 12) as u16;
            sum.iter_mut().zip(packet).for_each(|(sum, byte)| *sum ^= byte);
        }
        let mut bytes = vec![0x80 | sum[0] & 0x3f, sum[1] & 0x80 | 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&packets[0][2..4]);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&[0x80 | sum[1] & 0x7f, 0, 0, 0]);
        bytes.extend_from_slice(&sum[4..8]);
        bytes.extend_from_slice(&[if row { 0x40 } else { 0 }, offset, packets.len() as u8, 0]);
        bytes.extend_from_slice(&sum[12..]);
        bytes
    }

    /// A matrix of `columns` × `rows` from `base` on, its parity of columns, and of rows if asked for.
    fn matrix(base: u16, columns: u16, rows: u16, both: bool) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let all: Vec<_> = (0..columns * rows).map(|at| media(base.wrapping_add(at), 5)).collect();
        let column = |at: usize| all.iter().skip(at).step_by(columns.into()).cloned().collect::<Vec<_>>();
        let mut parities: Vec<_> = (0..columns.into()).map(|at| parity(&column(at), columns as u8, false)).collect();
        if both {
            parities.extend(all.chunks(columns.into()).map(|row| parity(row, 1, true)));
        }
        (all, parities)
    }

    fn decode(all: &[Vec<u8>], parities: &[Vec<u8>], lost: &BTreeSet<usize>) -> (BTreeSet<Vec<u8>>, FecStatistics) {
        let (mut decoder, mut recovered) = (FecDecoder::new(), BTreeSet::new());
        for (_, packet) in all.iter().enumerate().filter(|(at, _)| !lost.contains(at)) {
            decoder.media(packet, |packet| assert!(recovered.insert(packet.to_vec())));
        }
        for packet in parities {
            decoder.parity(packet, |packet| assert!(recovered.insert(packet.to_vec()))).unwrap();
        }
        (recovered, decoder.statistics())
    }

    #[test]
    fn a_burst_as_long_as_a_row_is_recovered_by_columns() {
        let (all, parities) = matrix(65_530, 5, 4, false);
        let lost: BTreeSet<usize> = (7..12).collect();
        let (recovered, statistics) = decode(&all, &parities, &lost);
        assert_eq!(recovered, lost.iter().map(|at| all[*at].clone()).collect());
        assert_eq!((statistics.media, statistics.columns, statistics.recovered), (15, 5, 5));
        let (recovered, _) = decode(&all, &parities, &(7..13).collect());
        assert_eq!(recovered.len(), 4, "the column with two losses stays");
    }

    #[test]
    fn rows_and_columns_help_each_other() {
        let (all, parities) = matrix(100, 5, 4, true);
        // Two in one column and two in one row, with one in common.
        let (recovered, _) = decode(&all, &parities, &[0, 5, 6].into());
        assert_eq!(recovered.len(), 3);
        let (recovered, _) = decode(&all, &parities, &[0, 1, 5, 6].into());
        assert_eq!(recovered.len(), 0, "a square of four cannot be recovered");
    }

    #[test]
    fn a_packet_of_long_ago_displaces_nothing() {
        let (all, parities) = matrix(5_000, 4, 4, false);
        let mut decoder = FecDecoder::new();
        for packet in all.iter().skip(1) {
            decoder.media(packet, |_| panic!("nothing can be recovered"));
        }
        // It has the place of packet 5,005 in the memory.
        decoder.media(&media(5_005 - 1_024, 5), |_| panic!("nothing can be recovered"));
        let mut recovered = Vec::new();
        for parity in &parities {
            decoder.parity(parity, |packet| recovered.push(packet.to_vec())).unwrap();
        }
        assert_eq!((recovered, decoder.statistics().late), (vec![all[0].clone()], 1));
    }

    #[test]
    fn packets_of_an_old_numbering_recover_nothing() {
        let mut decoder = FecDecoder::new();
        let packets = |from: u16, salt| (from..from + 40).map(move |sequence| media(sequence, salt));
        packets(100, 1).for_each(|packet| decoder.media(&packet, |_| ()));
        packets(40_000, 1).for_each(|packet| decoder.media(&packet, |_| ()));
        // The sender begins anew with other contents, and 114 is lost. Packet 116 of the first numbering is still in
        // its place.
        packets(100, 2).take(16).filter(|packet| packet[3] != 114).for_each(|packet| decoder.media(&packet, |_| ()));
        let row: Vec<_> = (112..117).map(|sequence| media(sequence, 2)).collect();
        decoder.parity(&parity(&row, 1, true), |_| panic!("two packets are missing")).unwrap();
        let mut recovered = Vec::new();
        decoder.media(&row[4], |packet| recovered.push(packet.to_vec()));
        assert_eq!(recovered, [row[2].clone()]);
        assert_eq!(decoder.statistics().late, 2, "the first packet of each new numbering");
    }

    #[test]
    fn parity_before_its_media_waits() {
        let (all, parities) = matrix(100, 4, 4, false);
        let (mut decoder, mut recovered) = (FecDecoder::new(), Vec::new());
        decoder.media(&all[0], |_| ());
        for packet in &parities {
            decoder.parity(packet, |packet| recovered.push(packet)).unwrap();
        }
        for packet in all.iter().skip(1).filter(|packet| **packet != all[9]) {
            decoder.media(packet, |packet| recovered.push(packet));
        }
        assert!(recovered.contains(&Bytes::from(all[9].clone())));
        assert!(recovered.iter().all(|packet| all.contains(&packet.to_vec())));
        let statistics = decoder.statistics();
        assert_eq!(statistics.recovered, statistics.late + 1, "the last of a column is made before it comes");
    }

    #[test]
    fn other_parity_is_refused() {
        let mut packet = parity(&[media(1, 0), media(2, 0)], 1, true);
        let mut decoder = FecDecoder::new();
        assert!(decoder.parity(&packet[..27], |_| ()).is_err());
        packet[24] |= 0x08;
        assert!(decoder.parity(&packet, |_| ()).is_err());
        packet[24] = 0x40;
        packet[26] = 0;
        assert!(decoder.parity(&packet, |_| ()).is_err());
        assert_eq!(decoder.statistics().malformed, 3);
    }

    proptest! {
        /// Every packet that rows and columns determine is recovered, and none is wrong.
        #[test]
        fn what_can_be_recovered_is(
            base: u16,
            columns in 1u16..11,
            rows in 4u16..11,
            both: bool,
            lost in prop::collection::btree_set(0usize..100, 0..30),
        ) {
            let (all, parities) = matrix(base, columns, rows, both);
            let lost: BTreeSet<usize> = lost.into_iter().filter(|at| *at < all.len()).collect();
            prop_assume!(lost.len() < all.len());
            let (recovered, _) = decode(&all, &parities, &lost);
            let columns = usize::from(columns);
            let mut left = lost.clone();
            while let Some(at) = left.iter().copied().find(|at| {
                let alone = |same: &dyn Fn(&usize) -> bool| left.iter().filter(|other| same(other)).count() == 1;
                let column = alone(&|other| other % columns == at % columns);
                column || (both && alone(&|other| other / columns == at / columns))
            }) {
                left.remove(&at);
            }
            prop_assert_eq!(recovered, lost.difference(&left).map(|at| all[*at].clone()).collect::<BTreeSet<_>>());
        }

        #[test]
        fn any_packets(
            packets in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..60)), 0..60),
        ) {
            let mut decoder = FecDecoder::new();
            for (is_parity, mut packet) in packets {
                if let Some(first) = packet.first_mut() {
                    *first = 0x80 | *first & 0x0f;
                }
                if is_parity {
                    let _ = decoder.parity(&packet, |_| ());
                } else {
                    decoder.media(&packet, |_| ());
                }
            }
        }
    }
}
