//! `receiver analyze`: capture files of every kind, and what is found in them. Needs no privilege.

#[path = "capture/mod.rs"]
mod capture;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use capture::{Link, ip, pcap, pcapng, udp};
use serde_json::{Value, json};

const SOURCE: [u8; 4] = [10, 0, 0, 1];
const GROUP: [u8; 4] = [232, 1, 1, 1];
const MS: u64 = 1_000_000;

/// Analyzes a capture that comes on standard input.
fn analyze(file: &[u8], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_receiver"));
    command.args(["analyze", "-"]).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("receiver");
    // A command that refuses its arguments reads nothing.
    let _ = child.stdin.take().expect("a pipe").write_all(file);
    child.wait_with_output().expect("receiver")
}

fn found(file: &[u8], arguments: &[&str]) -> Value {
    let output = analyze(file, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn mold(first: u64, count: u16) -> Vec<u8> {
    let mut datagram = [&b"MORNING001"[..], &first.to_be_bytes(), &count.to_be_bytes()].concat();
    (0..count).for_each(|_| datagram.extend(b"\0\x02Hi"));
    datagram
}

/// A swap, a gap of two, a repetition, a heartbeat, and a datagram of something else.
fn eventful() -> Vec<(u64, Vec<u8>)> {
    let datagrams = [
        mold(1, 2),
        mold(3, 1),
        mold(5, 1),
        mold(4, 1),
        mold(6, 1),
        mold(9, 2),
        mold(9, 2),
        mold(11, 0),
        b"something else".to_vec(),
    ];
    let times = (1..).map(|number: u64| 1_700_000_000_000_000_000 + number * MS);
    times.zip(datagrams.map(|datagram| udp(SOURCE, GROUP, 5000, &datagram))).collect()
}

#[test]
fn each_kind_of_file_and_link_gives_the_same() {
    let packets = eventful();
    let files = [Link::Ethernet, Link::Tagged(1), Link::Tagged(3), Link::Cooked, Link::Cooked2, Link::Raw]
        .into_iter()
        .flat_map(|link| {
            [
                pcap(link, false, false, &packets),
                pcap(link, true, false, &packets),
                pcap(link, false, true, &packets),
                pcapng(link, &packets),
            ]
        });
    for file in files {
        let analysis = found(&file, &["--feed", "moldudp64"]);
        assert_eq!(analysis["seconds"], 0.008, "{analysis}");
        let streams = analysis["streams"].as_array().expect("streams");
        assert_eq!(streams.len(), 1, "{analysis}");
        for (name, value) in [
            ("feed", json!("moldudp64")),
            ("source", json!("10.0.0.1")),
            ("group", json!("232.1.1.1")),
            ("port", json!(5000)),
            ("stream", json!("MORNING001")),
            ("packets", json!(8)),
            ("messages", json!(10)),
            ("heartbeats", json!(1)),
            ("malformed", json!(1)),
            ("first_sequence", json!(1)),
            ("next_sequence", json!(11)),
            ("gaps", json!(1)),
            ("missing", json!(2)),
            ("duplicates", json!(1)),
            ("reordered", json!(1)),
            ("resets", json!(0)),
        ] {
            assert_eq!(streams[0][name], value, "{name}: {analysis}");
        }
    }
}

/// CME and Eurex do not count messages in their headers.
#[test]
fn messages_that_no_header_counts_are_counted() {
    let message = [8u16.to_le_bytes(), [0; 2], [0; 2], [0; 2]].concat();
    let datagram = [&7u32.to_le_bytes()[..], &1u64.to_le_bytes(), &message.repeat(3)].concat();
    let file = pcap(Link::Raw, true, false, &[(0, udp(SOURCE, GROUP, 5000, &datagram))]);
    let stream = &found(&file, &["--feed", "cme-mdp3"])["streams"][0];
    assert_eq!((&stream["packets"], &stream["messages"]), (&json!(1), &json!(3)), "{stream}");
}

#[test]
fn words_for_people() {
    let output = analyze(&pcap(Link::Ethernet, true, false, &eventful()), &["--feed", "moldudp64"]);
    let text = String::from_utf8(output.stdout).expect("text");
    let line = "moldudp64 10.0.0.1 > 232.1.1.1:5000, MORNING001: 8 packets, 10 messages, sequence 1 to 10, 2 missing, \
                1 gap, 1 duplicate, 1 reordered, 1 malformed";
    let total = "9 packets in 0.0 s: 1 stream of 8 datagrams, 2 missing in 1 gap";
    assert_eq!(text.lines().collect::<Vec<_>>(), [line, total]);
}

#[test]
fn what_comes_after_the_window_is_late_and_not_missing() {
    let late = |after: u64| {
        let times = [0, MS, MS + after, MS + after + 1];
        let datagrams = [mold(1, 1), mold(3, 1), mold(2, 1), mold(4, 1)];
        let packets = times.into_iter().zip(datagrams.map(|datagram| udp(SOURCE, GROUP, 5000, &datagram)));
        let file = pcap(Link::Raw, true, false, &packets.collect::<Vec<_>>());
        let stream = &found(&file, &["--feed", "moldudp64"])["streams"][0];
        ["gaps", "missing", "recovered", "reordered"].map(|name| stream[name].as_u64().expect("a number"))
    };
    assert_eq!((late(9 * MS), late(11 * MS)), ([0, 0, 0, 1], [1, 0, 1, 1]));
}

#[test]
fn fragments_are_put_together() {
    let whole = udp(SOURCE, GROUP, 5000, &mold(1, 100));
    let payload = &whole[20..];
    let (first, rest) = payload.split_at(240);
    let packets = [
        (0, ip(SOURCE, GROUP, 240 / 8, rest)),
        (1, ip(SOURCE, GROUP, 0x2000, first)),
        // One whose rest is missing.
        (2, ip([10, 0, 0, 2], GROUP, 0x2000, first)),
    ];
    let analysis = found(&pcap(Link::Ethernet, true, false, &packets), &["--feed", "moldudp64"]);
    let stream = &analysis["streams"][0];
    assert_eq!((&stream["packets"], &stream["messages"]), (&json!(1), &json!(100)), "{analysis}");
    assert_eq!((&analysis["frames"]["fragments"], &analysis["streams"][1]), (&json!(3), &Value::Null));
}

#[test]
fn ipv6_has_its_addresses() {
    let payload = mold(1, 1);
    let length = (8 + payload.len()) as u16;
    let addresses = ["2001:db8::1", "ff3e::1"].map(|text| text.parse::<std::net::Ipv6Addr>().expect("an address"));
    let [source, group] = addresses.map(|address| address.octets());
    let head = [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[17, 16], &source, &group].concat();
    let udp = [&4000u16.to_be_bytes()[..], &5000u16.to_be_bytes(), &length.to_be_bytes(), &[0, 0]].concat();
    let whole = [head, udp, payload].concat();
    // The second was cut off when it was captured.
    let packets = [(0, whole.clone()), (1, whole[..whole.len() - 1].to_vec())];
    let analysis = found(&pcap(Link::Raw, true, false, &packets), &["--feed", "moldudp64"]);
    let stream = &analysis["streams"][0];
    assert_eq!((&stream["source"], &stream["group"]), (&json!("2001:db8::1"), &json!("ff3e::1")), "{analysis}");
    assert_eq!((&analysis["frames"]["cut_off"], &stream["port"]), (&json!(1), &json!(5000)), "{analysis}");
}

#[test]
fn rtp_and_transport_streams_are_recognized_and_others_named_unknown() {
    let rtp = |sequence: u16| {
        [&[0x80, 96][..], &sequence.to_be_bytes(), &u32::from(sequence).to_be_bytes(), b"\0\0\0\x07media"].concat()
    };
    let transport = [&[0x47, 0x1f, 0xff, 0x10][..], &[0xff; 184]].concat().repeat(7);
    let mut packets: Vec<(u64, Vec<u8>)> = Vec::new();
    for number in 0..6u16 {
        let at = u64::from(number) * MS;
        // 3 is missing, and the number wraps.
        if number != 3 {
            packets.push((at, udp(SOURCE, GROUP, 5000, &rtp(number.wrapping_sub(2)))));
        }
        packets.push((at, udp(SOURCE, GROUP, 5001, &transport)));
        packets.push((at, udp(SOURCE, GROUP, 5002, b"market data")));
    }
    let analysis = found(&pcap(Link::Ethernet, true, false, &packets), &[]);
    let streams = analysis["streams"].as_array().expect("streams");
    let feeds: Vec<_> = streams.iter().map(|stream| (stream["feed"].clone(), stream["packets"].clone())).collect();
    assert_eq!(feeds, [(json!("rtp"), json!(5)), (json!("mpeg-ts"), json!(6)), (Value::Null, json!(6))]);
    assert_eq!((&streams[0]["missing"], &streams[0]["rtp"]["lost"]), (&json!(1), &json!(1)), "{analysis}");
    assert_eq!(streams[0]["stream"], "00000007");
    assert_eq!(streams[1]["transport_stream"]["null_packets"], 42, "{analysis}");
}

#[test]
fn what_was_not_asked_for_is_left_out() {
    let packets: Vec<(u64, Vec<u8>)> =
        [(SOURCE, GROUP, 5000), ([10, 0, 0, 2], GROUP, 5000), (SOURCE, [10, 0, 0, 9], 53)]
            .into_iter()
            .map(|(source, group, port)| (0, udp(source, group, port, &mold(1, 1))))
            .collect();
    let file = pcap(Link::Ethernet, true, false, &packets);
    for (arguments, streams, left_out) in [
        (&[][..], 2, 1),
        (&["--unicast"], 3, 0),
        (&["--only", "10.0.0.2@232.1.1.1:5000"], 1, 2),
        (&["--only", "!10.0.0.2@232.1.1.1:5000"], 1, 2),
        (&["--only", "232.1.1.1:5000"], 2, 1),
        (&["--only", "10.0.0.3@232.1.1.1:5000", "--only", "10.0.0.1@232.1.1.1:5001"], 0, 3),
    ] {
        let analysis = found(&file, &[&["--feed", "moldudp64"], arguments].concat());
        let count = analysis["streams"].as_array().map(Vec::len);
        assert_eq!((count, &analysis["left_out"]), (Some(streams), &json!(left_out)), "{arguments:?}: {analysis}");
    }
}

#[test]
fn a_file_that_ends_early_or_is_none_is_named() {
    let file = pcap(Link::Ethernet, true, false, &eventful());
    let cut = analyze(&file[..file.len() - 5], &["--feed", "moldudp64", "--json"]);
    let analysis: Value = serde_json::from_slice(&cut.stdout).expect("JSON");
    assert_eq!((cut.status.code(), &analysis["frames"]["packets"]), (Some(0), &json!(8)));
    let says = String::from_utf8_lossy(&cut.stderr);
    assert_eq!(says, "receiver: standard input: it ends in the middle of a packet; what came before is analyzed\n");
    for (file, part) in
        [(&b""[..], "standard input: it is empty"), (b"no capture at all, but text", "editcap -F pcapng")]
    {
        let refused = analyze(file, &[]);
        let says = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && says.contains(part), "{says}");
    }
    let unknown = analyze(b"", &["--feed", "moldudp"]);
    let says = String::from_utf8_lossy(&unknown.stderr);
    assert!(unknown.status.code() == Some(2) && says.contains("known are moldudp64, cme-mdp3"), "{says}");
}

/// What `ffmpeg -re -f lavfi -i testsrc=size=160x120:rate=25 -f lavfi -i sine=frequency=440 -t 3 -c:v mpeg2video -b:v
/// 120k -c:a mp2 -b:a 64k -metadata service_name=Studio -metadata service_provider=Project -f rtp_mpegts
/// rtp://232.1.1.1:5004` (Debian 12) sent, as dumpcap recorded it: 102 RTP packets, and one of RTCP on the next port.
const FFMPEG: &[u8] = include_bytes!("data/ffmpeg-rtp-mpegts.pcap");

/// A record of a pcap file: its header and its packet.
type Record<'a> = (&'a [u8], &'a [u8]);

/// The file's header, and its records.
fn records(file: &[u8]) -> (&[u8], Vec<Record<'_>>) {
    let (header, mut rest) = file.split_at(24);
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (head, more) = rest.split_at(16);
        let length = u32::from_le_bytes(head[8..12].try_into().expect("four bytes")) as usize;
        all.push((head, &more[..length]));
        rest = &more[length..];
    }
    (header, all)
}

#[test]
fn a_stream_of_ffmpeg_is_whole_and_named() {
    let analysis = found(FFMPEG, &[]);
    let (stream, control) = (&analysis["streams"][0], &analysis["streams"][1]);
    assert_eq!((&stream["feed"], &stream["packets"], &stream["missing"]), (&json!("mpeg-ts"), &json!(102), &json!(0)));
    assert_eq!((&control["feed"], &control["port"], &control["packets"]), (&Value::Null, &json!(5005), &json!(1)));
    let transport = &stream["transport_stream"];
    let program = &transport["programs"][0];
    assert_eq!((&program["service"], &program["provider"]), (&json!("Studio"), &json!("Project")), "{transport}");
    assert_eq!((&transport["packets"], &transport["priority_1"]["continuity"]), (&json!(714), &json!(0)));
    // Without times from hardware.
    assert_eq!(transport["priority_2"]["pcr_accuracy"], Value::Null);
}

/// A second opinion: `tshark -d udp.port==5004,rtp -q -z rtp,streams` (4.0) has, of the same packets, 99 packets, 3
/// lost, and a highest jitter of 14.957 ms. It takes the repeated packet for one of those that are missing.
#[test]
fn a_damaged_stream_of_ffmpeg_has_the_loss_and_the_jitter_that_tshark_finds() {
    let (header, records) = records(FFMPEG);
    let mut kept: Vec<Record<'_>> = Vec::new();
    for (number, record) in (1..).zip(records.into_iter().filter(|(_, packet)| packet[36..38] == 5004u16.to_be_bytes()))
    {
        if ![20, 50, 51, 52].contains(&number) {
            kept.push(record);
        }
        if number == 70 {
            kept.push(record);
        }
    }
    // The 80th and the one after it change places; the times stay.
    let (one, two) = (kept[76], kept[77]);
    (kept[76], kept[77]) = ((one.0, two.1), (two.0, one.1));
    let file = kept.into_iter().fold(header.to_vec(), |file, (head, packet)| [&file[..], head, packet].concat());
    let stream = &found(&file, &[])["streams"][0];
    let of = |name: &str| stream[name].as_u64().expect(name);
    assert_eq!(["packets", "gaps", "missing", "duplicates", "reordered"].map(of), [99, 2, 4, 1, 1], "{stream}");
    assert_eq!(of("missing") - of("duplicates"), 3);
    assert_eq!((stream["rtp"]["highest_jitter_nanoseconds"].as_f64().expect("jitter") / 1e3).round(), 14_956.0);
    let pids = stream["transport_stream"]["pids"].as_array().expect("PIDs");
    let missing: u64 = pids.iter().map(|pid| pid["missing"].as_u64().expect("a number")).sum();
    assert_eq!(missing, 28, "4 RTP packets of 7, in the order of the sequence: {pids:?}");
}

#[test]
fn a_block_without_room_for_its_process_id_ends_the_file() {
    for short in [[1, 0, 0, 0x80, 8, 0, 0, 0], [0x80, 0, 0, 1, 0, 0, 0, 11]] {
        let file = [&pcapng(Link::Ethernet, &eventful())[..], &short, &[0; 8]].concat();
        let output = analyze(&file, &["--feed", "moldudp64", "--json"]);
        let analysis: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(analysis["frames"]["packets"], 9, "{analysis}");
        let says = String::from_utf8_lossy(&output.stderr);
        assert!(says.contains("is no capture: a block is too short; what came before is analyzed"), "{says}");
    }
}

/// No bytes make it fail in another way than by its word.
#[test]
fn damaged_files_end_in_order() {
    for link in [Link::Ethernet, Link::Cooked2] {
        for file in [pcap(link, true, false, &eventful()), pcapng(link, &eventful())] {
            for at in (0..file.len()).step_by(31) {
                let mut damaged = file.clone();
                damaged[at] ^= 0xff;
                let output = analyze(&damaged, &["--feed", "moldudp64"]);
                assert!(matches!(output.status.code(), Some(0 | 1)), "byte {at}: {output:?}");
            }
        }
    }
}
