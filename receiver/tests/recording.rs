//! Recordings as a source: the same frames, live and from a file, give the same datagrams; times and gaps are those of
//! the file. Needs root for the live part.

mod support;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver::{
    Datagram, DatagramSource, Error, Path, ReceiveMode, Receiver, Recording, RecordingError, Subscription, TimeOrigin,
    Wait,
};
use support::frame::{Frame, FrameSocket, checksum, damaged, tagged};

const WANTED: [&str; 4] =
    ["10.0.0.1@232.1.1.1:5000", "239.1.1.1:5000", "!10.0.0.2@239.1.1.2:5001", "[2001:db8::1]@[ff3e::1]:5000"];
const PATIENCE: Duration = Duration::from_secs(60);

fn subscriptions() -> Vec<Subscription> {
    WANTED.iter().map(|text| text.parse().expect("a subscription")).collect()
}

/// A pcap file with nanoseconds: a frame each millisecond.
fn pcap<'a>(frames: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_3c4d, 0x0004_0002, 0, 0, 65_535, 1u32] {
        file.extend(word.to_le_bytes());
    }
    for (number, frame) in frames.into_iter().enumerate() {
        for word in [100, 1_000_000 * number as u32, frame.len() as u32, frame.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

fn recording(file: Vec<u8>) -> Recording {
    Recording::read("frames", std::io::Cursor::new(file), subscriptions()).expect("a recording")
}

/// The two fragments of a datagram.
fn fragments(frame: &Frame) -> [Vec<u8>; 2] {
    let half = 16;
    let (header, datagram) = (&frame.bytes[..frame.udp], &frame.bytes[frame.udp..]);
    let fragment = |flags: [u8; 2], part: &[u8]| {
        let mut bytes = [header, part].concat();
        let total = (bytes.len() - frame.ip) as u16;
        bytes[frame.ip + 2..frame.ip + 4].copy_from_slice(&total.to_be_bytes());
        bytes[frame.ip + 6..frame.ip + 8].copy_from_slice(&flags);
        bytes[frame.ip + 10..frame.ip + 12].fill(0);
        let sum = checksum(&bytes[frame.ip..frame.udp]);
        bytes[frame.ip + 10..frame.ip + 12].copy_from_slice(&sum.to_be_bytes());
        bytes
    };
    [fragment([0x20, 0], &datagram[..half]), fragment([0, half as u8 / 8], &datagram[half..])]
}

fn frames() -> Vec<Vec<u8>> {
    let wanted = |payload: &[u8]| Frame::udp("10.0.0.1:4000", "232.1.1.1:5000", payload);
    let padded = [wanted(b"padded").bytes, vec![0; 20]].concat();
    let [first, second] = fragments(&wanted(b"a datagram in two fragments"));
    vec![
        wanted(b"first").bytes,
        wanted(b"").bytes,
        wanted(&[0xa5; 1400]).bytes,
        padded,
        Frame::udp("10.0.0.2:4000", "232.1.1.1:5000", b"another source").bytes,
        Frame::udp("10.0.0.1:4000", "232.1.1.1:5001", b"another port").bytes,
        Frame::udp("10.0.0.1:4000", "232.1.1.9:5000", b"another group").bytes,
        damaged("10.0.0.1:4000", "232.1.1.1:5000"),
        tagged(&wanted(b"another VLAN").bytes, 7),
        first,
        Frame::with_options("10.0.0.1:4000", "232.1.1.1:5000", b"behind options", &[1, 1, 1, 1]).bytes,
        second,
        Frame::udp("10.0.0.2:4001", "239.1.1.1:5000", b"any source").bytes,
        Frame::udp("10.0.0.1:4001", "239.1.1.2:5001", b"a source that is not blocked").bytes,
        Frame::udp("10.0.0.2:4001", "239.1.1.2:5001", b"a source that is blocked").bytes,
        Frame::udp("[2001:db8::1]:4000", "[ff3e::1]:5000", b"IPv6").bytes,
        Frame::udp("[2001:db8::2]:4000", "[ff3e::1]:5000", b"IPv6, another source").bytes,
        wanted(b"last").bytes,
    ]
}

/// A datagram without its time, which differs.
type Seen = (Vec<u8>, SocketAddr, IpAddr, u16, u32, Path);

fn seen(datagram: &Datagram<'_>) -> Seen {
    let (group, port) = (datagram.group(), datagram.port());
    (datagram.payload().to_vec(), datagram.source(), group, port, datagram.subscription().number(), datagram.path())
}

/// All datagrams of a source that ends.
fn all(source: &mut dyn DatagramSource) -> Vec<Seen> {
    let mut all = Vec::new();
    loop {
        match source.receive(Wait::Forever, &mut |datagram| all.push(seen(&datagram))) {
            Ok(_) => {}
            Err(Error::Stopped) => return all,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_same_frames_live_and_recorded_give_the_same_datagrams() {
    let mut recording = recording(pcap(&frames()));
    let recorded = all(&mut recording);
    assert_eq!(recorded.len(), 10, "{recorded:?}");
    let counts = recording.counts();
    assert_eq!((counts.packets, counts.delivered, counts.dropped), (18, 10, 1), "{counts:?}");
    assert_eq!(counts.unwanted, 6, "{counts:?}");
    assert_eq!(recording.problem(), None);
    let expected: BTreeSet<_> = recorded.iter().map(|seen| format!("{seen:?}")).collect();
    assert_eq!(expected.len(), 10);

    for mode in [ReceiveMode::Mapped, ReceiveMode::Copy] {
        let lab = Lab::new().expect("a lab");
        let open = || Receiver::builder(lab.rx_interface()).mode(mode).subscribe_all(subscriptions()).build();
        let mut receiver = lab.rx().run(open).expect("the namespace").expect("a receiver");
        let source: &mut dyn DatagramSource = &mut receiver;
        let socket = FrameSocket::open(&lab);
        let mut live = BTreeSet::new();
        let deadline = Instant::now() + PATIENCE;
        while live.len() < expected.len() {
            assert!(Instant::now() < deadline, "{mode}: {:?} do not come", expected.difference(&live));
            for frame in frames() {
                socket.send(&frame);
                sleep(Duration::from_millis(1));
            }
            let mut take = |datagram: Datagram<'_>| {
                live.insert(format!("{:?}", seen(&datagram)));
            };
            while source.receive(Wait::For(Duration::from_millis(200)), &mut take).expect("it receives") > 0 {}
        }
        assert_eq!(live, expected, "{mode}");
    }
}

#[test]
fn times_are_those_of_the_file() {
    let mut recording = recording(pcap(&frames()[..3]));
    let mut times = Vec::new();
    recording
        .poll(Wait::Never, |datagram| {
            assert_eq!(datagram.time().origin, TimeOrigin::Recording);
            times.push(datagram.time().nanoseconds);
        })
        .expect("three datagrams");
    assert_eq!(times, [100_000_000_000, 100_001_000_000, 100_002_000_000]);
    assert!(matches!(recording.poll(Wait::Forever, |_| ()), Err(Error::Stopped)));
}

#[test]
fn gaps_are_those_of_the_file_on_request() {
    // A gap of 2 ms at a hundredth of the speed is 200 ms.
    let mut recording = recording(pcap(&frames()[..3])).speed(Some(0.01)).expect("a speed");
    let start = Instant::now();
    let mut polls = 0;
    let mut count = 0;
    loop {
        match recording.poll(Wait::For(Duration::from_millis(1)), |_| count += 1) {
            Ok(_) => polls += 1,
            Err(Error::Stopped) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    assert!(count == 3 && polls > 3, "{count} {polls}");
    let refused = self::recording(pcap(&frames()[..1])).speed(Some(0.0)).expect_err("no speed");
    assert!(refused.to_string().contains("a speed is from 0.001 to 1000000 times"), "{refused}");
}

#[test]
fn subscriptions_have_the_ids_of_a_receiver() {
    let recording = recording(pcap(&[]));
    let ids: Vec<_> = recording.subscriptions().into_iter().map(|(id, one)| (id.number(), one)).collect();
    assert_eq!(ids, (0..).zip(subscriptions()).collect::<Vec<_>>());
}

#[test]
fn a_file_that_is_cut_gives_what_is_whole() {
    let mut file = pcap(&frames()[..3]);
    file.truncate(file.len() - 1);
    let mut recording = recording(file);
    assert_eq!(all(&mut recording).len(), 2);
    assert_eq!(recording.problem(), Some("frames: it ends in the middle of a packet"));
}

#[test]
fn what_cannot_be_opened_names_the_reason() {
    let open = |name: &str, file: &[u8], wanted: &[&str]| {
        let wanted: Vec<Subscription> = wanted.iter().map(|text| text.parse().expect("a subscription")).collect();
        Recording::read(name, std::io::Cursor::new(file.to_vec()), wanted).expect_err("a refusal").to_string()
    };
    assert_eq!(open("a", b"", &[]), "cannot read the recording a: it is empty");
    let text = open("a", &[7; 100], &[]);
    assert!(text.starts_with("cannot read the recording a: it is neither pcap nor pcapng; convert it"), "{text}");
    let text = open("a", &pcap(&[]), &["239.1.1.1:1", "10.0.0.1@239.1.1.1:1"]);
    assert!(text.contains("10.0.0.1@239.1.1.1:1"), "{text}");
    let error = Recording::open("/nonexistent/a", Vec::new()).expect_err("no file");
    assert!(matches!(error, RecordingError::Open { .. }));
    let text = error.to_string();
    assert!(
        text.starts_with("cannot open the recording /nonexistent/a: ") && text.contains("check the path"),
        "{text}"
    );
}

#[test]
fn packets_without_an_ethernet_header_are_read() {
    let frame = &frames()[0];
    let mut file = pcap(&[frame[14..].to_vec()]);
    file[20] = 101;
    let all = all(&mut recording(file));
    assert_eq!((all.len(), all[0].0.as_slice()), (1, &b"first"[..]));
}
