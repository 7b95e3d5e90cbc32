//! ST 2022-1 over sound media and parity in any order, with losses: what is recovered is what was sent. And over any
//! packets: no panic, and what is recovered is RTP.
#![no_main]

use libfuzzer_sys::fuzz_target;
use receiver_feed::fec::FecDecoder;

const RTP_HEADER: usize = 12;

/// A media packet whose length and contents follow from its number.
fn media(sequence: u16) -> Vec<u8> {
    let mix = u32::from(sequence).wrapping_mul(2_654_435_761);
    let mut packet = vec![0x80, (mix >> 3) as u8 & 0x80 | 33];
    packet.extend([&sequence.to_be_bytes()[..], &mix.to_be_bytes(), &[9, 8, 7, 6]].concat());
    packet.extend((0..mix >> 7 & 0x1f).map(|at| (mix >> (at % 24)) as u8));
    packet
}

/// The parity of `count` media packets from `base` on that are `offset` apart.
fn parity(base: u16, offset: u8, count: u8, row: bool) -> Vec<u8> {
    let mut packet = vec![0; RTP_HEADER + 16];
    let mut length = 0;
    for at in 0..u16::from(count) {
        let media = media(base.wrapping_add(at * u16::from(offset)));
        let body = &media[RTP_HEADER..];
        length ^= body.len() as u16;
        packet[1] ^= media[1] & 0x80;
        packet[RTP_HEADER + 4] ^= media[1] & 0x7f;
        (0..4).for_each(|at| packet[RTP_HEADER + 8 + at] ^= media[4 + at]);
        packet.resize(packet.len().max(RTP_HEADER + 16 + body.len()), 0);
        body.iter().enumerate().for_each(|(at, byte)| packet[RTP_HEADER + 16 + at] ^= byte);
    }
    packet[0] = 0x80;
    packet[1] |= 96;
    packet[RTP_HEADER..RTP_HEADER + 2].copy_from_slice(&base.to_be_bytes());
    packet[RTP_HEADER + 2..RTP_HEADER + 4].copy_from_slice(&length.to_be_bytes());
    packet[RTP_HEADER + 4] |= 0x80;
    packet[RTP_HEADER + 12] = if row { 0x40 } else { 0 };
    (packet[RTP_HEADER + 13], packet[RTP_HEADER + 14]) = (offset, count);
    packet
}

fuzz_target!(|input: (u16, Vec<(u8, u8, u8, u8)>, Vec<(bool, Vec<u8>)>)| {
    let (base, sound, any) = input;
    let mut decoder = FecDecoder::new();
    for (kind, at, offset, count) in sound {
        // Far numbers make for a new numbering.
        let sequence = base.wrapping_add(u16::from(at) * if kind % 16 == 15 { 200 } else { 1 });
        let check = |packet: receiver_feed::Bytes| {
            let sequence = u16::from_be_bytes([packet[2], packet[3]]);
            assert_eq!(packet, media(sequence));
        };
        if kind % 2 == 0 {
            decoder.media(&media(sequence), check);
        } else {
            let (offset, count) = (offset % 24 + 1, count % 20 + 1);
            decoder.parity(&parity(sequence, offset, count, kind % 4 == 3), check).expect("it is sound");
        }
    }
    let statistics = decoder.statistics();
    assert_eq!(statistics.malformed, 0, "{statistics:?}");
    let check = |packet: receiver_feed::Bytes| assert!(packet.len() >= RTP_HEADER && packet[0] >> 6 == 2);
    for (is_parity, packet) in &any {
        if *is_parity {
            let _ = decoder.parity(packet, check);
        } else {
            decoder.media(packet, check);
        }
    }
});
