//! The measurements over any bytes at any times, and over packets of a transport stream whose headers and tables are
//! sound, as chance would hardly find them: no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use receiver_feed::health::{Bursts, Mdi, RtpHealth, TsConfig, TsHealth};
use receiver_feed::protocol::RtpHeader;

/// A packet of 188 bytes.
type Packet = [u8; 188];

/// The CRC of tables (ISO/IEC 13818-1, annex A).
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 24, |sum, _| sum << 1 ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 })
    })
}

/// A packet with these bytes behind its header.
fn packet(pid: u16, head: u8, payload: &[u8]) -> Packet {
    let mut packet = [0xff; 188];
    // Bits of the start of a unit, of errors and of the priority; scrambling, adaptation and the counter.
    let (flags, rest) = (head & 0x40, head & 0x0f);
    packet[..4].copy_from_slice(&[0x47, flags | (pid >> 8) as u8 & 0x1f, pid as u8, 0x10 | rest]);
    packet[4..].iter_mut().zip(payload).for_each(|(byte, payload)| *byte = *payload);
    packet
}

/// A table with a sound length and a sound CRC.
fn table(id: u8, of: u16, version: u8, entries: &[u8]) -> Vec<u8> {
    let entries = &entries[..entries.len().min(160)];
    let length = 9 + entries.len();
    let mut table = vec![0, id, 0xb0, length as u8, (of >> 8) as u8, of as u8, version << 1 | 0xc1, 0, 0];
    table.extend(entries);
    let sum = crc(&table[1..]).to_be_bytes();
    table.extend(sum);
    table
}

fn sound(kind: u8, pid: u16, head: u8, body: &[u8]) -> Packet {
    // Few numbers, so that what belongs together meets.
    let pid = 0x100 + pid % 6;
    match kind % 9 {
        0 => packet(0, 0x40 | head & 0x0f, &table(0, 1, head >> 4, &programs(body))),
        1 => {
            let streams = body.iter().flat_map(|byte| [*byte, 0xe1, byte % 6, 0xf0, 0]);
            let head_of_table = [0xe1, body.first().map_or(0, |byte| byte % 6), 0xf0, 0];
            packet(
                pid,
                0x40 | head & 0x0f,
                &table(2, 1 + pid % 4, head >> 4, &[&head_of_table[..], &streams.collect::<Vec<_>>()].concat()),
            )
        }
        // A clock.
        2 => {
            let mut packet = packet(pid, head, &[&[7, 0x10 | head & 0x80], body].concat());
            packet[3] |= 0x20;
            packet
        }
        // A time stamp of a picture.
        3 => packet(pid, 0x40 | head & 0x0f, &[&[0, 0, 1, 0xe0, 0, 0, 0x80, 0x80 | head & 0x40, 10], body].concat()),
        4 => packet(0x1fff, head, body),
        5 => packet([1, 0x11, 0x10, 0x1ff0][usize::from(pid) % 4], head, body),
        6 => {
            let mut packet = packet(pid, head, body);
            packet[1] |= head & 0x80;
            packet[3] = head;
            packet
        }
        // The name of a service, as the whole of its description or with what follows it.
        7 => {
            let body = &body[..body.len().min(120)];
            let length = body.len() as u8 + 1;
            let service = [0, 1 + pid as u8 % 4, 0xfc, 0x80, length + 2, 0x48, length - head % 2, 1];
            packet(0x11, 0x40 | head & 0x0f, &table(0x42, 1, head >> 4, &[&[0, 1, 0xff][..], &service, body].concat()))
        }
        _ => packet(pid, head, body),
    }
}

/// Programs of a PAT: their numbers and PIDs.
fn programs(body: &[u8]) -> Vec<u8> {
    body.iter().flat_map(|byte| [0, byte % 5, 0xe1, byte % 6]).collect()
}

fuzz_target!(|input: (Vec<(u32, Vec<u8>)>, Vec<(u8, u16, u8, u32, Vec<u8>)>)| {
    let (any, stream) = input;
    let mut ts = TsHealth::new(TsConfig::default().precise_arrivals());
    let (mut rtp, mut mdi, mut bursts, mut now_ns) = (RtpHealth::new(90_000), Mdi::new(), Bursts::default(), 0u64);
    for (pause_ns, datagram) in &any {
        now_ns += u64::from(*pause_ns);
        ts.observe(datagram, now_ns);
        mdi.observe(now_ns, datagram.len(), 0);
        bursts.observe(now_ns, datagram.len());
        if let Ok(header) = RtpHeader::parse(datagram) {
            rtp.observe(&header, now_ns);
            ts.observe(&datagram[header.payload..header.end], now_ns);
        }
    }
    for (kind, pid, head, pause_ns, body) in &stream {
        now_ns += u64::from(*pause_ns);
        // It is found after five packets in a row.
        let packets: Vec<u8> = [sound(*kind, *pid, *head, body); 2].concat();
        ts.observe(&packets, now_ns);
        mdi.observe(now_ns, packets.len(), u64::from(head & 1));
        ts.poll(now_ns);
    }
    let report = ts.report();
    assert_eq!(report, ts.report());
    let _ = (rtp.report(), mdi.last(), bursts.peak_bit_rates());
});
