//! Second opinions: what `receiver analyze` counts against what tshark, ffprobe and ffmpeg count in the same packets.
//! The senders are ffmpeg and GStreamer, live in namespaces, and a sender of MoldUDP64 in this file. Needs root.

#[path = "../capture/mod.rs"]
mod capture;
mod captures;
#[path = "../command/mod.rs"]
mod command;
mod fec;
mod media;
mod sequence;
mod tools;

use capture::{Link, pcap, pcapng, udp};
use sequence::count;
use tools::{Luck, Packet, analyze, number, numbers, tshark};

const SOURCE: [u8; 4] = [10, 0, 0, 1];
const GROUP: [u8; 4] = [232, 1, 1, 1];
const NAMES: [&str; 9] = [
    "packets",
    "messages",
    "heartbeats",
    "first_sequence",
    "next_sequence",
    "gaps",
    "missing",
    "duplicates",
    "reordered",
];

/// The counts of a stream in an analysis.
fn counts(stream: &serde_json::Value) -> sequence::Counts {
    let found = numbers(stream, NAMES);
    let [packets, messages, heartbeats, first_sequence, next_sequence, gaps, missing, duplicates, reordered] = found;
    sequence::Counts {
        packets,
        messages,
        heartbeats,
        first_sequence,
        next_sequence,
        gaps,
        missing,
        duplicates,
        reordered,
    }
}

fn mold(session: &[u8; 10], first: u64, count: u16) -> Vec<u8> {
    let mut datagram = [&session[..], &first.to_be_bytes(), &count.to_be_bytes()].concat();
    if count != 0xffff {
        (0..count).for_each(|number| datagram.extend([&[0, 3], &number.to_be_bytes()[..], b"!"].concat()));
    }
    datagram
}

/// Two sessions of MoldUDP64, one after the other, with messages, heartbeats and the end: lost, repeated and swapped by
/// a seed.
fn damaged_sessions(seed: u64) -> Vec<Packet> {
    let mut luck = Luck::new(seed);
    let mut datagrams = Vec::new();
    for session in [b"MORNING001", b"EVENING002"] {
        let (mut sequence, first_one) = (1 + luck.below(1 << 40), datagrams.len());
        for _ in 0..400 {
            let count = if luck.strikes(12) { 0 } else { 1 + luck.below(9) };
            let lost = luck.strikes(25) && datagrams.len() > first_one;
            if !lost {
                datagrams.push(mold(session, sequence, count as u16));
            }
            if luck.strikes(30) {
                datagrams.push(mold(session, sequence, count as u16));
            }
            sequence += count;
        }
        for at in first_one + 2..datagrams.len() - 1 {
            if luck.strikes(40) {
                datagrams.swap(at, at + 1);
            }
        }
        datagrams.push(mold(session, sequence, 0xffff));
    }
    let times = (0..).map(|at: u64| 1_700_000_000_000_000_000 + at * 1_000_000);
    times.zip(datagrams.iter().map(|datagram| udp(SOURCE, GROUP, 5000, datagram))).collect()
}

#[test]
fn moldudp64_as_tshark_reads_it() {
    const FIELDS: [&str; 3] = ["moldudp64.session", "moldudp64.sequence", "moldudp64.count"];
    let mut worst = sequence::Counts::default();
    for (seed, link) in (0..).zip([Link::Ethernet, Link::Tagged(1), Link::Cooked, Link::Cooked2, Link::Raw]) {
        let packets = damaged_sessions(seed);
        let file = if seed % 2 == 0 { pcapng(link, &packets) } else { pcap(link, true, false, &packets) };
        let rows = tshark(&file, &["-d", "udp.port==5000,moldudp64"], "moldudp64", &FIELDS);
        // Nothing fills a gap after a second.
        let analysis = analyze(&file, &["--feed", "moldudp64", "--window", "1s"]);
        let streams = analysis["streams"].as_array().expect("streams");
        assert_eq!((rows.len(), streams.len()), (packets.len(), 2), "{link:?}: {analysis}");
        for stream in streams {
            let name = stream["stream"].as_str().expect("a session");
            let of_session = rows.iter().filter(|row| row[0][0] == name);
            let read: Vec<(u64, u64)> = of_session.map(|row| (number(&row[1][0]), number(&row[2][0]))).collect();
            let ends = read.iter().filter(|packet| packet.1 == 0xffff).count() as u64;
            let read: Vec<_> = read.into_iter().map(|(first, count)| (first, count % 0xffff)).collect();
            let found = counts(stream);
            assert_eq!(found, count(&read, ends), "{link:?}, seed {seed}, {name}");
            worst.missing += found.missing;
            worst.duplicates += found.duplicates;
            worst.reordered += found.reordered;
            worst.heartbeats += found.heartbeats;
        }
    }
    let enough = [worst.missing, worst.duplicates, worst.reordered, worst.heartbeats].iter().all(|count| *count > 20);
    assert!(enough, "there is something to compare: {worst:?}");
}
