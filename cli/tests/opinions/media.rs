//! RTP and MPEG-TS of ffmpeg and of GStreamer, live, less what a seed loses.

use std::collections::BTreeMap;

use netlab::Lab;
use serde_json::Value;

use crate::capture::{Link, pcap};
use crate::command::{Run, Scratch};
use crate::counts;
use crate::sequence::count_rtp;
use crate::tools::{
    Luck, Packet, Tap, analyze, continuity_of_ffmpeg, number, numbers, payload, port, run, stream, tshark,
};

/// Bytes of an RTP header without sources or extension.
const RTP: usize = 12;
/// Packets at the beginning that are not lost: what ffmpeg reads twice, and what names the streams.
const WHOLE: usize = 40;

/// What ffmpeg makes its streams of.
const SOURCES: [&str; 8] =
    ["-f", "lavfi", "-i", "testsrc=size=320x240:rate=25", "-f", "lavfi", "-i", "sine=frequency=440"];
/// And how.
const CODECS: [&str; 12] = [
    "-c:v",
    "mpeg2video",
    "-b:v",
    "900k",
    "-c:a",
    "mp2",
    "-b:a",
    "64k",
    "-metadata",
    "service_name=Studio",
    "-metadata",
    "service_provider=Project",
];

/// What a program of the sending namespace sends to groups.
pub fn sent_by(program: &str, arguments: &[&str]) -> Vec<Packet> {
    let lab = Lab::new().expect("a lab");
    let tap = Tap::start(&lab);
    let output =
        lab.tx().command(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    tap.stop()
}

/// What makes ffmpeg send `seconds` of a transport stream by RTP to 232.1.1.1:5004, with more options.
fn words_for_ffmpeg<'a>(seconds: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    let head = ["-hide_banner", "-loglevel", "error", "-nostdin", "-re"];
    let tail = ["-f", "rtp_mpegts", "rtp://232.1.1.1:5004?pkt_size=1316"];
    [&head[..], &SOURCES, &["-t", seconds], &CODECS, options, &tail].concat()
}

/// What ffmpeg sends by [`words_for_ffmpeg`].
pub fn sent_by_ffmpeg(seconds: &str, options: &[&str]) -> Vec<Packet> {
    sent_by("ffmpeg", &words_for_ffmpeg(seconds, options))
}

/// A transport stream of ffmpeg as GStreamer sends it by RTP, with the end of its pipeline.
pub fn sent_by_gstreamer(seconds: &str, end: &str) -> Vec<Packet> {
    let file = Scratch::new();
    let head = ["-hide_banner", "-loglevel", "error", "-nostdin"];
    let tail = ["-f", "mpegts", "-y", file.name()];
    run("ffmpeg", &[&head[..], &SOURCES, &["-t", seconds], &CODECS, &tail].concat(), b"");
    let pipeline = format!(
        "filesrc location={} blocksize=1316 ! video/mpegts,systemstream=true,packetsize=188 ! identity sleep-time=2000 \
         ! rtpmp2tpay ssrc=0 {end}",
        file.name()
    );
    sent_by("gst-launch-1.0", &[&["-q"], &pipeline.split(' ').collect::<Vec<_>>()[..]].concat())
}

/// Continuity errors by PID in rows of `mp2t.pid`, `mp2t.cc` and `mp2t.afc`, by the rules of ISO 13818-1, 2.4.3.3. No
/// packet comes twice, and none states a discontinuity.
fn continuity(rows: &[Vec<Vec<String>>]) -> (BTreeMap<u64, u64>, BTreeMap<u64, u64>) {
    let (mut last, mut errors, mut packets) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for row in rows {
        let [pids, counters, controls] = &row[..3] else { panic!("{row:?}") };
        assert_eq!((pids.len(), counters.len()), (counters.len(), controls.len()), "{row:?}");
        for ((pid, counter), control) in pids.iter().zip(counters).zip(controls) {
            let (pid, counter, has_payload) = (number(pid), number(counter), number(control) & 1 != 0);
            *packets.entry(pid).or_default() += 1;
            let expected = last.insert(pid, counter).map(|last| (last + u64::from(has_payload)) % 16);
            if pid != 0x1fff && expected.is_some_and(|expected| expected != counter) {
                *errors.entry(pid).or_default() += 1;
            }
        }
    }
    (errors, packets)
}

/// What is left of a stream to port 5004 after losses that a seed decides.
fn lossy(packets: &[Packet], seed: u64) -> Vec<Packet> {
    let mut luck = Luck::new(seed);
    let media = packets.iter().filter(|packet| port(packet) == 5004).enumerate();
    media.filter(|(at, _)| *at < WHOLE || !luck.strikes(10)).map(|(_, packet)| packet.clone()).collect()
}

/// Compares the analysis of a stream to port 5004 with the second opinions. Nothing is lost near its beginning.
fn compare(kept: &[Packet]) -> Value {
    assert!(kept.len() > 2 * WHOLE, "{} packets", kept.len());
    let file = pcap(Link::Ethernet, true, false, kept);
    let analysis = analyze(&file, &["--window", "1s"]);
    let stream = stream(&analysis, 5004);
    assert_eq!(stream["feed"], "mpeg-ts", "{analysis}");

    // RTP, by tshark.
    let options = ["-d", "udp.port==5004,rtp"];
    let rows = tshark(&file, &options, "rtp", &["rtp.seq", "rtp.ssrc", "mp2t.pid", "mp2t.cc", "mp2t.afc"]);
    let sequences: Vec<u64> = rows.iter().map(|row| number(&row[0][0])).collect();
    let mut expected = count_rtp(&sequences);
    let transport = &stream["transport_stream"];
    expected.messages = rows.iter().map(|row| row[2].len() as u64).sum();
    assert_eq!(counts(stream), expected);
    assert!(expected.missing > 3, "there is something to compare: {expected:?}");
    let synchronization_source = u32::from_str_radix(stream["stream"].as_str().expect("a name"), 16).expect("an SSRC");
    assert!(rows.iter().all(|row| number(&row[1][0]) == u64::from(synchronization_source)), "{stream}");
    assert_eq!(numbers(&stream["rtp"], ["packets", "lost"]), [expected.packets, expected.missing]);

    // Continuity by PID: by tshark's fields, and by ffmpeg.
    let rows: Vec<_> = rows.into_iter().map(|row| row[2..].to_vec()).collect();
    let (errors, of_pids) = continuity(&rows);
    let pids = transport["pids"].as_array().expect("PIDs");
    let by_pid = |name: &str| -> BTreeMap<u64, u64> {
        pids.iter().map(|pid| numbers(pid, ["pid", name]).into()).filter(|(_, count)| *count > 0).collect()
    };
    assert_eq!(by_pid("packets"), of_pids);
    let found = by_pid("continuity_errors");
    assert_eq!(found, errors, "{transport}");
    assert!(!errors.is_empty());
    assert_eq!(numbers(&transport["priority_1"], ["continuity"])[0], errors.values().sum::<u64>());
    let bytes: Vec<u8> = kept.iter().flat_map(|packet| payload(packet)[RTP..].to_vec()).collect();
    assert_eq!(continuity_of_ffmpeg(&bytes), errors, "{transport}");

    // Programs and their streams, by ffprobe.
    let arguments = ["-v", "error", "-show_programs", "-of", "json", "-f", "mpegts", "-i", "-"];
    let probed: Value = serde_json::from_slice(&run("ffprobe", &arguments, &bytes).0).expect("JSON");
    let (theirs, ours) = (&probed["programs"][0], &transport["programs"][0]);
    assert_eq!(ours["service"], theirs["tags"]["service_name"], "{probed}");
    assert_eq!(ours["provider"], theirs["tags"]["service_provider"], "{probed}");
    for (ours_name, theirs_name) in [("number", "program_num"), ("pmt_pid", "pmt_pid"), ("pcr_pid", "pcr_pid")] {
        assert_eq!(ours[ours_name], theirs[theirs_name], "{ours_name}: {ours} {theirs}");
    }
    let hexadecimal = |stream: &Value| number(stream["id"].as_str().expect("an id"));
    let mut probed_pids: Vec<u64> = theirs["streams"].as_array().expect("streams").iter().map(hexadecimal).collect();
    let mut our_pids: Vec<u64> =
        ours["streams"].as_array().expect("streams").iter().map(|stream| numbers(stream, ["pid"])[0]).collect();
    probed_pids.sort_unstable();
    our_pids.sort_unstable();
    assert_eq!(our_pids, probed_pids);
    assert!(analysis["streams"].as_array().expect("streams").len() == 1, "{analysis}");
    stream.clone()
}

#[test]
fn a_transport_stream_of_ffmpeg_through_loss() {
    let packets = sent_by_ffmpeg("3", &[]);
    for seed in 0..4 {
        compare(&lossy(&packets, seed));
    }
}

#[test]
fn a_transport_stream_of_gstreamer_through_loss() {
    let packets = sent_by_gstreamer("4", "! udpsink host=232.1.1.1 port=5004 multicast-iface=veth-tx sync=false");
    for seed in 0..4 {
        compare(&lossy(&packets, seed));
    }
}

/// The relay of the project loses what its seed decides.
#[test]
fn a_transport_stream_of_ffmpeg_through_a_lossy_relay() {
    let lab = Lab::new().expect("a lab");
    let interface = lab.rx_interface();
    let output = format!("udp://239.9.9.9:5004?interface={interface}&source={}&loss=4%&seed=3", lab.rx_v4());
    let (run, _) = Run::joined(&lab, &["-o", &output, "10.0.0.1@232.1.1.1:5004"]);
    let tap = Tap::start(&lab);
    let mut ffmpeg = lab.tx().command("ffmpeg");
    let sent = ffmpeg.args(words_for_ffmpeg("4", &[])).output().expect("ffmpeg");
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    // It passes on all that it has received.
    run.signal(rustix::process::Signal::TERM);
    let (_, error, code) = run.end();
    assert_eq!(code, Some(0), "{error}");
    let all = tap.stop();
    let to = |group: u8| all.iter().filter(move |packet| packet.1[16] == group && port(packet) == 5004);
    let number = |packet: &&Packet| u16::from_be_bytes([payload(packet)[2], payload(packet)[3]]);
    let relayed: Vec<u16> = to(239).map(|packet| number(&packet)).collect();
    assert!(relayed.is_sorted_by_key(|number| number.wrapping_sub(relayed[0])), "in order: {relayed:?}");
    // From where nothing is lost for a while.
    let whole = |window: &[u16]| window[WHOLE - 1].wrapping_sub(window[0]) as usize == WHOLE - 1;
    let from = relayed.windows(WHOLE).position(whole).expect("a part without loss");
    let kept: Vec<Packet> = to(239).skip(from).cloned().collect();
    let stream = compare(&kept);
    let (first, last) = (relayed[from], relayed[relayed.len() - 1]);
    let between = |number: &u16| number.wrapping_sub(first) <= last.wrapping_sub(first);
    let sent = to(232).map(|packet| number(&packet)).filter(between).count() as u64;
    assert_eq!(numbers(&stream, ["packets", "missing"]), [kept.len() as u64, sent - kept.len() as u64]);
}

/// Loss, repetition and reordering, and the jitter of a live source, against `tshark -z rtp,streams`.
#[test]
fn an_audio_stream_of_gstreamer_through_damage() {
    let pipeline = "audiotestsrc is-live=true samplesperbuffer=441 num-buffers=200 ! \
                    audio/x-raw,format=S16BE,rate=44100,channels=2 ! rtpL16pay pt=10 mtu=1000 seqnum-offset=65400 ! \
                    udpsink host=232.1.1.1 port=5004 multicast-iface=veth-tx";
    let packets = sent_by("gst-launch-1.0", &[&["-q"], &pipeline.split(' ').collect::<Vec<_>>()[..]].concat());
    for seed in 0..4 {
        let mut luck = Luck::new(seed);
        let mut damaged: Vec<Packet> = Vec::new();
        for (at, packet) in packets.iter().enumerate() {
            let copies = if at > 3 && luck.strikes(20) { 0 } else { 1 + usize::from(luck.strikes(30)) };
            damaged.extend(std::iter::repeat_n(packet.clone(), copies));
        }
        for at in 4..damaged.len() - 1 {
            // Times stay in order.
            if luck.strikes(30) {
                let (early, late) = (damaged[at].0, damaged[at + 1].0);
                damaged.swap(at, at + 1);
                (damaged[at].0, damaged[at + 1].0) = (early, late);
            }
        }
        let file = pcap(Link::Cooked, true, false, &damaged);
        let analysis = analyze(&file, &["--window", "1s"]);
        let stream = stream(&analysis, 5004);
        let rows = tshark(&file, &["-d", "udp.port==5004,rtp"], "rtp", &["rtp.seq", "rtp.p_type"]);
        let sequences: Vec<u64> = rows.iter().map(|row| number(&row[0][0])).collect();
        let mut expected = count_rtp(&sequences);
        expected.messages = expected.packets;
        assert_eq!((counts(stream), stream["feed"].as_str()), (expected, Some("rtp")), "seed {seed}: {stream}");
        assert!(rows.iter().all(|row| row[1] == ["10"]), "16-bit audio of two channels");
        assert!(sequences.iter().max() > Some(&65_500) && sequences.iter().min() < Some(&100), "it wraps");

        // tshark counts a repeated packet as one that was not lost.
        let (packets, lost, jitter) = streams_of_tshark(&file);
        let [missing, duplicates] = numbers(stream, ["missing", "duplicates"]);
        assert_eq!((packets, lost), (stream["packets"].as_u64().expect("packets"), missing as i64 - duplicates as i64));
        let ours = stream["rtp"]["highest_jitter_nanoseconds"].as_f64().expect("jitter") / 1e6;
        assert!((ours - jitter).abs() < 0.01 + jitter / 100.0, "{ours} ms, tshark has {jitter} ms");
    }
}

/// Packets, lost packets and the highest jitter in milliseconds of the only stream in tshark's table of RTP streams.
fn streams_of_tshark(file: &[u8]) -> (u64, i64, f64) {
    let scratch = Scratch::with(file);
    let arguments = ["-n", "-r", scratch.name(), "-d", "udp.port==5004,rtp", "-q", "-z", "rtp,streams"];
    let table = String::from_utf8(run("tshark", &arguments, b"").0).expect("text");
    let line = table.lines().find(|line| line.contains("0x")).unwrap_or_else(|| panic!("{table}"));
    // Packets, lost, (share), delta: least, mean, most, jitter: least, mean, most.
    let words: Vec<&str> = line.split_whitespace().collect();
    let share = words.iter().position(|word| word.starts_with('(')).unwrap_or_else(|| panic!("{table}"));
    let number = |at: usize| words[at].parse::<f64>().unwrap_or_else(|error| panic!("{error}: {table}"));
    (number(share - 2) as u64, number(share - 1) as i64, number(share + 6))
}
