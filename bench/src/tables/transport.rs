//! The health of transport streams: the share of one core that 500 streams of 10 Mbit/s take, from memory.
//!
//! Each stream is MPEG-TS in RTP, seven packets in a datagram. A datagram passes through the measurements of RTP (loss,
//! jitter), of the transport stream (TR 101 290) and of the delivery index. Each stream has memory of its own, together
//! 10 MB: received datagrams are not in a CPU's own cache either. Time is that of the CPU in this thread.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use receiver_feed::health::{Mdi, RtpHealth, TsConfig, TsHealth};
use receiver_feed::protocol::RtpHeader;
use serde::Serialize;

use crate::allocations;
use crate::child::pin;
use crate::conditions::cpu_time;
use crate::lab::{Bench, CONSUMER_CPU};
use crate::report::Table;
use crate::statistics::{Interval, interval};

const STREAMS: usize = 500;
const BITS_PER_SECOND: u64 = 10_000_000;
const TS_PACKET: usize = 188;
const TS_PACKETS: usize = 7;
const RTP_HEADER: usize = 12;
const DATAGRAM: usize = RTP_HEADER + TS_PACKETS * TS_PACKET;
/// Datagrams of a stream in memory. The continuity counters are the same again after 16.
const PERIOD: usize = 16;
/// Datagrams per second of all streams.
const RATE: f64 = (STREAMS as u64 * BITS_PER_SECOND) as f64 / (8 * TS_PACKETS * TS_PACKET) as f64;
const PAT: u16 = 0;
const PMT: u16 = 0x100;
const VIDEO: u16 = 0x101;
const AUDIO: u16 = 0x102;
const NULL: u16 = 0x1fff;

/// The measured cost.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Transport {
    /// Nanoseconds per datagram, by round.
    pub rounds: Vec<f64>,
    /// Allocations per datagram.
    pub allocations: f64,
}

struct Stream {
    datagrams: Box<[[u8; DATAGRAM]; PERIOD]>,
    ts: TsHealth,
    rtp: RtpHealth,
    mdi: Mdi,
}

impl Stream {
    fn new(ssrc: u32) -> Self {
        let mut datagrams = Box::new([[0xff; DATAGRAM]; PERIOD]);
        let (mut video, mut audio) = (0, 0);
        for (at, datagram) in datagrams.iter_mut().enumerate() {
            datagram[..2].copy_from_slice(&[0x80, 33]);
            datagram[8..RTP_HEADER].copy_from_slice(&ssrc.to_be_bytes());
            let (packets, _) = datagram[RTP_HEADER..].as_chunks_mut::<TS_PACKET>();
            for (nth, packet) in packets.iter_mut().enumerate() {
                // Tables 60 times a second, a clock reference in each datagram, audio, stuffing; the rest is video. In
                // one period each counter advances by a multiple of 16.
                let (pid, counter, payload) = match (at, nth) {
                    (0, 0) => (PAT, at, Some(section(0, 1, &[0, 7, 0xe1, 0x00]))),
                    (0, 1) => {
                        let streams = [0x1b, 0xe1, 0x01, 0xf0, 0x00, 0x0f, 0xe1, 0x02, 0xf0, 0x00];
                        (PMT, at, Some(section(2, 7, &[&[0xe1, 0x01, 0xf0, 0x00][..], &streams].concat())))
                    }
                    (1..15, 5) => (NULL, 0, None),
                    (_, 6) => {
                        audio += 1;
                        (AUDIO, audio, None)
                    }
                    _ => {
                        video += 1;
                        (VIDEO, video, None)
                    }
                };
                let start = if payload.is_some() { 0x40 } else { 0 };
                packet[..4].copy_from_slice(&[
                    0x47,
                    start | (pid >> 8) as u8,
                    pid as u8,
                    0x10 | (counter & 0x0f) as u8,
                ]);
                if let Some(payload) = payload {
                    packet[4..4 + payload.len()].copy_from_slice(&payload);
                }
            }
        }
        let (ts, rtp, mdi) = (TsHealth::new(TsConfig::default()), RtpHealth::new(90_000), Mdi::new());
        Self { datagrams, ts, rtp, mdi }
    }

    /// Makes the datagram of turn `turn` the next of its stream: sequence, timestamp and clock reference.
    fn number(&mut self, turn: u64, now_ns: u64) {
        let datagram = &mut self.datagrams[turn as usize % PERIOD];
        datagram[2..4].copy_from_slice(&(turn as u16).to_be_bytes());
        let clock = now_ns * 9 / 100_000;
        datagram[4..8].copy_from_slice(&(clock as u32).to_be_bytes());
        let (packets, _) = datagram[RTP_HEADER..].as_chunks_mut::<TS_PACKET>();
        for (at, packet) in packets.iter_mut().enumerate() {
            // Tables have a counter of their own, which advances once in a period.
            if packet[1] & 0x40 != 0 {
                packet[3] = 0x10 | (turn as usize / PERIOD) as u8 & 0x0f;
            } else if at == 2 {
                let counter = packet[3] & 0x0f;
                let base = clock.to_be_bytes();
                packet[3..7].copy_from_slice(&[0x30 | counter, 7, 0x10, (clock >> 25) as u8]);
                packet[7..10].copy_from_slice(&[(clock >> 17) as u8, (clock >> 9) as u8, (clock >> 1) as u8]);
                packet[10..12].copy_from_slice(&[base[7] << 7 | 0x7e, 0]);
            }
        }
    }

    fn observe(&mut self, turn: u64, now_ns: u64) {
        let datagram = &self.datagrams[turn as usize % PERIOD];
        let Ok(header) = RtpHeader::parse(datagram) else { return };
        self.rtp.observe(&header, now_ns);
        let media = &datagram[header.payload..header.end];
        self.ts.observe(media, now_ns);
        self.mdi.observe(now_ns, media.len(), 0);
    }
}

/// A section of one packet, behind a pointer field, with its CRC.
fn section(table: u8, extension: u16, body: &[u8]) -> Vec<u8> {
    let length = (0xb000 | (body.len() + 9) as u16).to_be_bytes();
    let mut bytes = [&[table][..], &length, &extension.to_be_bytes(), &[0xc1, 0, 0], body].concat();
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8)
            .fold(crc ^ u32::from(*byte) << 24, |crc, _| if crc >> 31 != 0 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 })
    });
    bytes.extend(crc.to_be_bytes());
    [vec![0], bytes].concat()
}

/// All streams, and the turn that is next.
struct Streams {
    streams: Vec<Stream>,
    turn: u64,
}

impl Streams {
    fn new() -> Self {
        Self { streams: (0..STREAMS).map(|ssrc| Stream::new(ssrc as u32)).collect(), turn: 0 }
    }

    /// `turns` datagrams of each stream. Returns the time of the measurements and their allocations.
    fn run(&mut self, turns: u64) -> (Duration, u64) {
        let (mut time, mut allocated) = (Duration::ZERO, 0);
        let pause_ns = 1e9 / RATE;
        for turn in self.turn..self.turn + turns {
            let at = |nth: usize| ((turn * STREAMS as u64 + nth as u64) as f64 * pause_ns) as u64;
            self.streams.iter_mut().enumerate().for_each(|(nth, stream)| stream.number(turn, at(nth)));
            let (before, start) = (allocations::count(), cpu_time());
            for (nth, stream) in self.streams.iter_mut().enumerate() {
                stream.observe(turn, at(nth));
            }
            time += cpu_time() - start;
            allocated += allocations::count() - before;
        }
        self.turn += turns;
        (time, allocated)
    }
}

/// Measures on the consumer's CPU.
pub fn measure(bench: &Bench, rounds: usize) -> Result<Transport> {
    const TURNS: u64 = 8 * PERIOD as u64;
    const TRIES: usize = 3;
    let measure = || -> Result<Transport> {
        pin(CONSUMER_CPU)?;
        let mut streams = Streams::new();
        // What is found first allocates: PIDs, programs, clocks.
        streams.run(2 * PERIOD as u64);
        let (mut transport, mut count) = (Transport::default(), 0);
        for _ in 0..rounds {
            let mut least = f64::MAX;
            for _ in 0..TRIES {
                bench.go_on()?;
                let (time, allocated) = streams.run(TURNS);
                let datagrams = TURNS * STREAMS as u64;
                least = least.min(time.as_nanos() as f64 / datagrams as f64);
                transport.allocations += allocated as f64;
                count += datagrams;
            }
            transport.rounds.push(least);
        }
        transport.allocations /= count.max(1) as f64;
        for stream in &streams.streams {
            let (errors, lost) = (stream.ts.report().errors, stream.rtp.report().lost);
            ensure!((errors.priority_1(), errors.priority_2(), lost) == (0, 0, 0), "a stream has errors: {errors:?}");
        }
        Ok(transport)
    };
    thread::scope(|scope| scope.spawn(measure).join()).ok().context("the thread that measures health panicked")?
}

impl Transport {
    fn nanoseconds(&self) -> Option<Interval> {
        interval(&self.rounds.iter().copied().map(Some).collect::<Vec<_>>())
    }

    /// The share of one core that all streams take.
    pub fn share(&self) -> Option<Interval> {
        let of_core = |nanoseconds: f64| nanoseconds * RATE / 1e9;
        let Interval { median, low, high } = self.nanoseconds()?;
        Some(Interval { median: of_core(median), low: of_core(low), high: of_core(high) })
    }
}

pub fn report(transport: &Transport) -> String {
    let mut text =
        Table::new(&["streams", "datagrams/s", "ns/datagram", "between", "core %", "allocations/datagram", ""]);
    if let (Some(nanoseconds), Some(share)) = (transport.nanoseconds(), transport.share()) {
        text.line(vec![
            format!("{STREAMS} of {} Mbit/s", BITS_PER_SECOND / 1_000_000),
            format!("{RATE:.0}"),
            format!("{:.0}", nanoseconds.median),
            format!("{:.0}..{:.0}", nanoseconds.low, nanoseconds.high),
            format!("{:.1}", 100.0 * share.median),
            format!("{:.6}", transport.allocations),
            String::new(),
        ]);
    }
    format!("Health of transport streams: RTP, TR 101 290 and delivery index, seven packets in a datagram\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_streams_are_sound_and_allocate_nothing() {
        let mut streams = Streams::new();
        streams.run(2 * PERIOD as u64);
        let (_, allocated) = streams.run(64 * PERIOD as u64);
        let report = streams.streams[7].ts.report();
        assert_eq!((report.errors.priority_1(), report.errors.priority_2(), allocated), (0, 0, 0), "{report:?}");
        assert_eq!((report.programs.len(), report.programs[0].streams.len(), report.pids.len()), (1, 2, 4));
        assert!(report.pids.iter().any(|pid| pid.pcr.is_some_and(|pcr| pcr.count > 900)));
        let rate = report.bit_rate.expect("more than a second passed");
        assert!(rate.abs_diff(BITS_PER_SECOND) < BITS_PER_SECOND / 50, "{rate}");
        assert_eq!(streams.streams[7].rtp.report().lost, 0);
    }
}
