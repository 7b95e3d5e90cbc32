//! Forward error correction against ffmpeg's sender: `data/prompeg.bin` holds what these ports received from
//! `ffmpeg -re -f lavfi -i testsrc=size=160x120:rate=25 -t 1.2 -c:v mpeg2video -b:v 100k -f rtp_mpegts
//! -fec prompeg=l=5:d=4 'rtp://127.0.0.1:5000?pkt_size=200'`. Each datagram follows its port and its length, which are
//! big-endian u16s.

use std::collections::BTreeMap;

use receiver_feed::fec::{FecDecoder, FecStatistics};

const CAPTURE: &[u8] = include_bytes!("data/prompeg.bin");

fn datagrams() -> Vec<(u16, &'static [u8])> {
    let (mut rest, mut all) = (CAPTURE, Vec::new());
    while let Some((&[a, b, c, d], after)) = rest.split_first_chunk() {
        let (datagram, after) = after.split_at(u16::from_be_bytes([c, d]).into());
        all.push((u16::from_be_bytes([a, b]), datagram));
        rest = after;
    }
    all
}

fn sequence(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[2], packet[3]])
}

/// Drops the media packets that `lost` names by their place in the capture. Returns how many were dropped, how many of
/// them came back, and the counters. What comes back must be what was sent.
fn run(lost: impl Fn(usize) -> bool) -> (usize, usize, FecStatistics) {
    let sent: BTreeMap<u16, &[u8]> = datagrams()
        .into_iter()
        .filter(|(port, _)| *port == 5000)
        .map(|(_, packet)| (sequence(packet), packet))
        .collect();
    let (mut decoder, mut back, mut dropped, mut place) = (FecDecoder::new(), BTreeMap::new(), Vec::new(), 0);
    for (port, packet) in datagrams() {
        if port != 5000 {
            decoder.parity(packet, |packet| drop(back.insert(sequence(&packet), packet))).expect("parity");
            continue;
        }
        if lost(place) {
            dropped.push(sequence(packet));
        } else {
            decoder.media(packet, |packet| drop(back.insert(sequence(&packet), packet)));
        }
        place += 1;
    }
    for (number, packet) in &back {
        // The parity of the last matrix covers packets beyond the capture's end.
        if let Some(sent) = sent.get(number) {
            assert_eq!(&packet[..], *sent, "packet {number}");
        }
    }
    (dropped.len(), dropped.iter().filter(|number| back.contains_key(number)).count(), decoder.statistics())
}

#[test]
fn ffmpeg_parity_recovers_single_losses_and_bursts() {
    let (dropped, back, statistics) = run(|place| place % 9 == 4 && place < 80);
    assert_eq!((dropped, back), (9, 9), "{statistics:?}");
    // A burst as long as a row, in each other matrix.
    let (dropped, back, statistics) = run(|place| (10..15).contains(&(place % 40)) && place < 80);
    assert_eq!((dropped, back), (10, 10), "{statistics:?}");
    assert_eq!(statistics.malformed, 0);
    assert!(statistics.columns > 10 && statistics.rows > 10);
}
