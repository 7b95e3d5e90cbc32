//! Capture files: whatever the bytes are, packets and datagrams are found or refused, each within the file. The first
//! byte chooses what the file begins with, as chance would hardly find it.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../capture/src/capture.rs"]
mod capture;
#[allow(dead_code)]
#[path = "../../capture/src/frame.rs"]
mod frame;

/// The header of pcap with nanoseconds, less the link type.
const PCAP: [u8; 20] = [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0];
/// A section header of pcapng, and the description of an Ethernet interface.
const PCAPNG: [u8; 48] = [
    0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 28, 0, 0, 0, 1, 0, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0,
];
/// Link types: Ethernet, cooked of both versions, plain IP.
const LINKS: [u16; 4] = [1, 113, 276, 101];
/// A small buffer makes for many executions.
const LARGEST_BLOCK: usize = 64 << 10;

fuzz_target!(|input: (u8, &[u8])| {
    let (begin, rest) = input;
    let file = match begin % 8 {
        link @ 0..4 => [&PCAP[..], &u32::from(LINKS[usize::from(link)]).to_le_bytes(), &headers(rest)].concat(),
        4 | 5 => [&PCAPNG[..], rest].concat(),
        _ => rest.to_vec(),
    };
    let mut frames = frame::Frames::default();
    let (mut packets, mut datagrams) = (0, 0);
    let _ = capture::packets_within(LARGEST_BLOCK, &file[..], true, |packet| {
        packets += 1;
        frames.take(&packet, |found| {
            datagrams += 1;
            // A datagram in fragments can be longer than the file: each repeats in memory what it was given.
            assert!(found.payload.len() <= 65_535 * 2, "{}", found.payload.len());
        });
    });
    let counts = frames.counts;
    assert_eq!(counts.packets, packets);
    assert!(counts.not_udp + counts.malformed + datagrams <= counts.packets, "{counts:?} {datagrams}");
});

/// Packets of the length that the byte before each states, each behind a record's header.
fn headers(mut rest: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    while let Some((&length, after)) = rest.split_first() {
        let (packet, after) = after.split_at(after.len().min(length.into()));
        let length = (packet.len() as u32).to_le_bytes();
        records.extend([&[0; 8][..], &length, &length, packet].concat());
        rest = after;
    }
    records
}
