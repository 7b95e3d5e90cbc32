//! MPEG-TS, plain or in RTP (RFC 2250): one program with a clock, data and null packets, without a fault by TR 101 290.
//!
//! Each transport stream packet is a function of its position, so that all legs have the same bytes. Packets repeat in
//! a cycle: PAT, PMT, SDT, the beginning of a PES packet with clock reference and time stamp, then its rest, in which
//! every eighth packet is a null packet.

use receiver_feed::protocol::{StreamKey, TS_PACKET_LEN};

use super::super::span::Span;
use super::draft::Draft;
use super::rtp;
use super::tables::{self, DATA_PID};
use super::timing::Timing;
use super::traits::{Builder, Counts, Limits};

/// The payload type of MPEG-TS (RFC 3551, section 6).
const PAYLOAD_TYPE: u8 = 33;
const NULL_PID: u16 = 0x1fff;
const SYNC_BYTE: u8 = 0x47;
/// The packets of a cycle: the least number, and the greatest one, with which a PES packet's length fits its field.
const CYCLE: [u64; 2] = [8, 300];
/// Cycles per second, where the limits of a cycle allow it: a clock reference each 40 ms.
const CYCLES_PER_SECOND: u64 = 25;
const CLOCK_HZ: u64 = 27_000_000;
/// The clock's base counts 90 kHz in 33 bits.
const BASE_DIVISOR: u64 = 300;
const BASE_MASK: u64 = (1 << 33) - 1;
/// How far a presentation time is ahead of the clock, in 90 kHz.
const PTS_AHEAD: u64 = 45_000;
/// Bytes of a packet's header, and of the adaptation field with a clock reference.
const HEADER: usize = 4;
const ADAPTATION: usize = 8;
/// Bytes of a PES header with a presentation time; those before and with the length do not count in it.
const PES_HEADER: usize = 14;
const PES_UNCOUNTED: usize = 6;
const PRIVATE_STREAM_1: u8 = 0xbd;

/// Transport streams.
#[derive(Debug)]
pub(super) struct MpegTs {
    timing: Timing,
    /// Transport stream packets of a datagram.
    packets: u64,
    is_plain: bool,
    cycle: u64,
    tables: [[u8; TS_PACKET_LEN]; 3],
}

impl MpegTs {
    pub(super) fn new(timing: Timing, packets: u32, is_plain: bool) -> Self {
        let packets = u64::from(packets.max(1));
        let per_second = timing.rate.saturating_mul(packets) / u64::from(timing.streams.max(1));
        let cycle = (per_second / CYCLES_PER_SECOND).clamp(CYCLE[0], CYCLE[1]);
        Self { timing, packets, is_plain, cycle, tables: tables::packets() }
    }

    /// Appends the packet at a position.
    fn packet(&self, out: &mut Vec<u8>, position: u64) {
        let (cycle, slot) = (position / self.cycle, position % self.cycle);
        let begin = out.len();
        match slot {
            0..=2 => {
                out.extend_from_slice(&self.tables[slot as usize]);
                out[begin + 3] |= (cycle & 0x0f) as u8;
            }
            _ if is_null(slot) => out.extend_from_slice(&head(NULL_PID, false, 0x10)),
            _ => self.data(out, position, cycle, slot),
        }
        out.resize(begin + TS_PACKET_LEN, 0xff);
    }

    fn data(&self, out: &mut Vec<u8>, position: u64, cycle: u64, slot: u64) {
        let continuity = ((cycle.wrapping_mul(data_before(self.cycle)) + data_before(slot)) & 0x0f) as u8;
        if slot > 3 {
            return out.extend_from_slice(&head(DATA_PID, false, 0x10 | continuity));
        }
        out.extend_from_slice(&head(DATA_PID, true, 0x30 | continuity));
        let clock = self.timing.ticks_of_part(position.into(), self.packets, CLOCK_HZ);
        let (base, extension) = ((clock / BASE_DIVISOR) & BASE_MASK, clock % BASE_DIVISOR);
        // The flag of the clock reference alone; then 33 bits, 6 reserved ones, and 9 bits.
        let reference = base << 15 | 0x3f << 9 | extension;
        out.extend_from_slice(&[ADAPTATION as u8 - 1, 0x10]);
        out.extend_from_slice(&reference.to_be_bytes()[2..]);
        let rest = TS_PACKET_LEN - HEADER;
        let length = rest - ADAPTATION + (data_before(self.cycle) as usize - 1) * rest - PES_UNCOUNTED;
        out.extend_from_slice(&[0, 0, 1, PRIVATE_STREAM_1]);
        out.extend_from_slice(&(length as u16).to_be_bytes());
        out.extend_from_slice(&[0x80, 0x80, (PES_HEADER - 9) as u8]);
        let pts = (base + PTS_AHEAD) & BASE_MASK;
        out.push(0x21 | (pts >> 29) as u8 & 0x0e);
        out.extend_from_slice(&((pts >> 14) as u16 & 0xfffe | 1).to_be_bytes());
        out.extend_from_slice(&((pts << 1) as u16 | 1).to_be_bytes());
    }
}

fn is_null(slot: u64) -> bool {
    slot % 8 == 7
}

/// How many packets of data come before a slot.
fn data_before(slot: u64) -> u64 {
    (3..slot).filter(|slot| !is_null(*slot)).count() as u64
}

fn head(pid: u16, begins: bool, control: u8) -> [u8; HEADER] {
    let [high, low] = pid.to_be_bytes();
    [SYNC_BYTE, high | if begins { 0x40 } else { 0 }, low, control]
}

impl Builder for MpegTs {
    fn limits(&self) -> Limits {
        let header = if self.is_plain { 0 } else { rtp::HEADER };
        Limits {
            counts: Counts::Packets,
            // Only RTP distinguishes streams.
            streams: if self.is_plain { 1 } else { u32::MAX },
            messages: 300,
            default_messages: 7,
            size: Span::one(TS_PACKET_LEN as u32),
            overhead: (header, 0),
            sequence: (1, u64::MAX),
            // A cycle of the least length takes 40 ms.
            least_rate: CYCLES_PER_SECOND * CYCLE[0].div_ceil(self.packets) * u64::from(self.timing.streams),
        }
    }

    fn key(&self, number: u32, session: u32) -> StreamKey {
        let session = if self.is_plain { 0 } else { session.wrapping_add(number) };
        StreamKey { channel: 0, session: session.into() }
    }

    fn data(&self, out: &mut Vec<u8>, draft: &Draft<'_>) {
        if !self.is_plain {
            rtp::header(out, draft, &self.timing, PAYLOAD_TYPE);
        }
        let first = draft.position.wrapping_mul(self.packets);
        for ahead in 0..self.packets {
            self.packet(out, first.wrapping_add(ahead));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::draft::Sizes;
    use super::super::tables::{PAT_PID, PMT_PID, SDT_PID};
    use super::*;
    use crate::random::{Purpose, Random};
    use receiver_feed::health::{TsConfig, TsHealth};

    /// Of a minute at a rate, with the packets' own times.
    #[test]
    fn an_analyzer_finds_no_fault() {
        let random = Random::new(1, Purpose::Size, 0);
        for (rate, packets, streams) in [(1000, 7, 1), (50, 7, 1), (200, 1, 1), (20_000, 7, 4)] {
            let timing = Timing { rate, streams };
            let builder = MpegTs::new(timing, packets, false);
            assert!(rate >= builder.limits().least_rate);
            let sizes = Sizes { random, span: Span::one(188), packing: Span::one(packets) };
            let mut health = TsHealth::new(TsConfig::default().precise_arrivals());
            let count = 60 * rate / u64::from(streams);
            for position in 0..count {
                let draft = Draft {
                    key: builder.key(0, 9),
                    stream: 0,
                    first: position,
                    position,
                    count: 1,
                    offset: 0,
                    utc_ns: 0,
                    tai_ns: 0,
                    sizes: &sizes,
                };
                let mut datagram = Vec::new();
                Builder::data(&builder, &mut datagram, &draft);
                assert_eq!(datagram.len(), rtp::HEADER + packets as usize * TS_PACKET_LEN);
                for (nth, packet) in datagram[rtp::HEADER..].chunks(TS_PACKET_LEN).enumerate() {
                    let at = u128::from(position) * u128::from(packets) + nth as u128;
                    health.observe(packet, timing.ticks_of_part(at, packets.into(), 1_000_000_000));
                }
            }
            let report = health.report();
            let mut clean = receiver_feed::health::Tr101290::default();
            clean.pcr_accuracy = Some(0);
            assert_eq!(report.errors, clean, "{rate} {packets} {streams}");
            let program = &report.programs[0];
            assert_eq!((report.programs.len(), program.service.as_deref()), (1, Some("Test")));
            assert_eq!((program.pcr_pid, program.streams[0].pid), (Some(DATA_PID), DATA_PID));
            let clock = report.pids.iter().find_map(|pid| pid.pcr).expect("a clock");
            assert!(clock.max_interval_ns < 100_000_000 && clock.max_deviation_ns < 500, "{clock:?}");
            let bits = rate * u64::from(packets) * 188 * 8 / u64::from(streams);
            assert!(clock.bit_rate.abs_diff(bits) <= bits / 1000, "{} of {bits}", clock.bit_rate);
            assert!(report.null_packets > 0);
            assert_eq!([PAT_PID, PMT_PID, SDT_PID].len() + 1, report.pids.len());
        }
    }
}
