//! Forward error correction of ST 2022-1: the parity of ffmpeg and of GStreamer, as tshark reads it, brings back
//! exactly what it determines.

use std::collections::{BTreeMap, BTreeSet};

use receiver_feed::fec::FecDecoder;

use crate::capture::{Link, pcap};
use crate::media::{sent_by_ffmpeg, sent_by_gstreamer};
use crate::tools::{Luck, Packet, number, payload, port, tshark};

/// Options that make tshark read parity.
const READ: [&str; 8] = [
    "-o",
    "2dparityfec.enable:TRUE",
    "-d",
    "udp.port==5004,rtp",
    "-d",
    "udp.port==5006,rtp",
    "-d",
    "udp.port==5008,rtp",
];

fn sequence(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[2], packet[3]])
}

/// What one parity packet covers, and whether it is of a row.
type Cover = (BTreeSet<u16>, bool);

/// The parity packets as tshark reads them.
fn covers(packets: &[Packet]) -> Vec<Cover> {
    let file = pcap(Link::Ethernet, true, false, packets);
    let names = ["snbase_low", "offset", "na", "d"].map(|name| format!("2dparityfec.{name}"));
    let rows = tshark(&file, &READ, "2dparityfec", &names.each_ref().map(String::as_str));
    let cover = |row: &Vec<Vec<String>>| {
        let [base, offset, count] = [0, 1, 2].map(|field: usize| number(&row[field][0]) as u16);
        ((0..count).map(|at| base.wrapping_add(at * offset)).collect(), row[3][0] == "1")
    };
    rows.iter().map(cover).collect()
}

/// What is lost for good: parity brings back a packet that it alone misses, again and again.
fn left(lost: &BTreeSet<u16>, covers: &[Cover]) -> BTreeSet<u16> {
    let mut left = lost.clone();
    while let Some(one) = covers.iter().find_map(|(cover, _)| {
        let mut missing = cover.intersection(&left);
        missing.next().filter(|_| missing.next().is_none()).copied()
    }) {
        left.remove(&one);
    }
    left
}

/// Loses single packets and bursts by a seed, decodes, and compares.
fn compare(packets: &[Packet], columns: u64, rows: u64) {
    let sent: BTreeMap<u16, Vec<u8>> = packets
        .iter()
        .filter(|packet| port(packet) == 5004)
        .map(|packet| (sequence(payload(packet)), payload(packet).to_vec()))
        .collect();
    let all = covers(packets);
    let of_rows = all.iter().filter(|(_, row)| *row).count();
    for (cover, row) in &all {
        assert_eq!(cover.len() as u64, if *row { columns } else { rows });
    }
    // Parity of the last matrix may cover what was not sent any more.
    let all: Vec<Cover> =
        all.into_iter().filter(|(cover, _)| cover.iter().all(|number| sent.contains_key(number))).collect();
    let mut total = (0, 0);
    for seed in 0..20 {
        let mut luck = Luck::new(seed);
        let mut lost = BTreeSet::new();
        let mut burst = 0;
        for number in sent.keys() {
            if luck.strikes(30) {
                burst = 1 + luck.below(columns + 2);
            }
            if burst > 0 {
                burst -= 1;
                lost.insert(*number);
            }
        }
        let (mut decoder, mut back) = (FecDecoder::new(), BTreeMap::new());
        for packet in packets {
            let bytes = payload(packet);
            match port(packet) {
                5004 if lost.contains(&sequence(bytes)) => {}
                5004 => decoder.media(bytes, |packet| drop(back.insert(sequence(&packet), packet.to_vec()))),
                5006 | 5008 => decoder
                    .parity(bytes, |packet| drop(back.insert(sequence(&packet), packet.to_vec())))
                    .unwrap_or_else(|error| panic!("{error}")),
                _ => {}
            }
        }
        back.retain(|number, _| sent.contains_key(number));
        for (number, packet) in &back {
            assert_eq!(packet, &sent[number], "packet {number}, seed {seed}");
        }
        // A packet may be made before it comes.
        let found: BTreeSet<u16> = back.keys().filter(|number| lost.contains(number)).copied().collect();
        let expected: BTreeSet<u16> = lost.difference(&left(&lost, &all)).copied().collect();
        assert_eq!(found, expected, "seed {seed}");
        let statistics = decoder.statistics();
        assert_eq!((statistics.rows, statistics.malformed), (of_rows as u64, 0), "{statistics:?}");
        assert!(statistics.columns > 0);
        total = (total.0 + lost.len(), total.1 + found.len());
    }
    assert!(total.1 > total.0 / 3 && total.1 < total.0, "{} of {} lost came back", total.1, total.0);
}

#[test]
fn parity_of_ffmpeg() {
    compare(&sent_by_ffmpeg("3", &["-fec", "prompeg=l=6:d=4"]), 6, 4);
}

#[test]
fn parity_of_gstreamer() {
    let sink = |port: u16| format!("udpsink host=232.1.1.1 port={port} multicast-iface=veth-tx sync=false async=false");
    let end = format!(
        "! rtpst2022-1-fecenc name=fec columns=5 rows=6 pt=96 ! {} fec.fec_0 ! {} fec.fec_1 ! {}",
        sink(5004),
        sink(5006),
        sink(5008)
    );
    compare(&sent_by_gstreamer("5", &end), 5, 6);
}
