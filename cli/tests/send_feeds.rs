//! `receiver send --feed`: its options, its refusals and its report. The built command in two namespaces. Needs root.

mod command;
mod payloads;

use std::io;
use std::net::{SocketAddrV4, UdpSocket};
use std::process::Output;
use std::time::Duration;

use command::{Run, last_object, object};
use netlab::Lab;
use payloads::{FIRST, Source, number, numbers, received, sink};
use receiver_send::impair::{Fate, Fates, Impairment};
use rustix::process::Signal;
use serde_json::Value;
use socket2::{InterfaceIndexOrAddress, Socket};

fn send(lab: &Lab, arguments: &str) -> Output {
    let mut command = lab.tx().command(env!("CARGO_BIN_EXE_receiver"));
    command.args(["send", "-i", lab.tx_interface()]).args(arguments.split_whitespace()).output().expect("it runs")
}

const LEGS: &str = "--leg 10.0.0.1@232.1.1.1:5000?loss=2% --leg 10.0.0.2@232.1.1.2:5000";

#[test]
fn a_seed_gives_one_report() {
    let lab = Lab::new().expect("a lab");
    let report = |more: &str| {
        let line = format!("--feed moldudp64 {LEGS} --loss 1% --rate 0 --count 20k --session 7 --json {more}");
        let output = send(&lab, &line);
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
        object(&String::from_utf8(output.stdout).expect("text"))
    };
    let first = report("");
    assert_eq!((&first["type"], &first["feed"]), (&"send".into(), &"moldudp64".into()));
    assert_eq!((first["messages"].as_u64(), &first["streams"][0]["stream"]), (Some(20_000), &"0000000007".into()));
    let missing = |leg: usize| first["legs"][leg]["missing"].as_u64().expect("a number");
    assert!((300..500).contains(&missing(0)) && (130..270).contains(&missing(1)), "{first}");
    let counts = |report: &serde_json::Value| {
        let legs = report["legs"].as_array().expect("legs");
        (report["streams"].clone(), legs.iter().map(|leg| leg["gaps"].clone()).collect::<Vec<_>>())
    };
    assert_eq!(counts(&report("")), counts(&first), "the same seed");
    assert_ne!(counts(&report("--seed 2")), counts(&first), "another seed");
    assert_eq!(report("--exclusive-loss")["missing"].as_u64(), Some(0));
}

#[test]
fn the_report_in_words() {
    let lab = Lab::new().expect("a lab");
    let output = send(&lab, &format!("--feed iex-tp {LEGS} --count 300 --rate 10k --session 5"));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("iex-tp: 300 sequence numbers on veth-tx in "), "{text}");
    assert!(lines[0].contains("; seed 1; lost on all legs: 0 in 0 gaps"), "{text}");
    assert!(lines[1].starts_with("  10.0.0.1:") && lines[1].contains(" (own) to 232.1.1.1:5000: "), "{text}");
    assert_eq!(lines[3], "  stream 1/5: sequence 1 to 300, lost on all legs: 0 in 0 gaps");
}

#[test]
fn refusals_come_before_anything_is_sent() {
    let lab = Lab::new().expect("a lab");
    for (arguments, message) in [
        ("--feed itch --leg 232.1.1.1:5000", "there is no feed protocol `itch`; known are moldudp64, "),
        ("--feed moldudp64", "--leg <[S@]G:PORT[?KEY=VALUE&...]>"),
        ("--group 232.1.1.1 --port 5000 --loss 1%", "--feed <PROTOCOL>"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --loss 1", "`1` is not a share of packets; write a percentage"),
        ("--feed moldudp64 --leg 232.1.1.1", "`232.1.1.1` is no leg; write [SOURCE@]GROUP:PORT"),
        ("--feed moldudp64 --leg 232.1.1.1:5000?los=1%", "the key `los` is unknown; did you mean `loss`?"),
        ("--feed moldudp64 --leg 10.1.1.1:5000", "10.1.1.1 is not a multicast"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --loss 60% --reorder 50%", "add up to more than 100 %"),
        (
            "--feed moldudp64 --leg 232.1.1.1:5000 --exclusive-loss",
            "or allow loss on all legs. The options are --leg and --exclusive-loss",
        ),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --repack", "repacking needs two legs and a range"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --delay 11s", "delayed by more than 10s"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --delay 9s --rate 1M", "take a shorter delay, a lower rate"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --messages 0", "0 messages per packet are asked for; moldudp64 takes"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --messages 8..1", "`8..1` is no number or range"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --messages 99 --message-size 9000", "and UDP carries 65507"),
        ("--feed mpeg-ts --leg 232.1.1.1:5000 --rate 10", "needs 50 or more. The option is --rate"),
        ("--feed mpeg-ts --leg 232.1.1.1:5000 --messages 1..7", "take one number, not a range"),
        ("--feed rtp --leg 232.1.1.1:5000 --rate 0", "the times inside rtp follow from the rate; give a rate"),
        ("--feed rtp --leg 232.1.1.1:5000 --plain-ts", "The option is --plain-ts"),
        ("--feed cme-mdp3 --leg 232.1.1.1:5000 --streams 2", "cme-mdp3 on one group has 1 to 1"),
        ("--feed opra --leg 232.1.1.1:5000 --leg 232.1.1.2:5000 --messages 1..3 --repack", "opra counts packets"),
        ("--feed siac --leg 232.1.1.1:5000 --count 5G", "those of siac end at 4294967295"),
        ("--feed moldudp64 --leg 232.1.1.1:5000 --heartbeat 0", "heartbeats every 0ns are asked for; take 1ms"),
        (
            "--feed moldudp64 --leg 232.1.1.1:5000 --engine xdp",
            "a feed is not possible with this engine; use the engine socket",
        ),
    ] {
        let output = send(&lab, arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {error}");
        assert!(error.contains(message), "{arguments}: {error}");
    }
}

/// A socket of the sending end that gets what is sent to a group.
fn listener(lab: &Lab, group: &str) -> UdpSocket {
    let open = || -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind(group)?;
        let index = lab.tx().interface_index(lab.tx_interface()).map_err(io::Error::other)?;
        let address = group.parse::<SocketAddrV4>().map_err(io::Error::other)?;
        let socket = Socket::from(socket);
        socket.join_multicast_v4_n(address.ip(), &InterfaceIndexOrAddress::Index(index))?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 64 << 20)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        Ok(socket.into())
    };
    lab.tx().run(open).expect("the namespace").expect("a socket")
}

#[test]
fn a_relay_loses_what_its_seed_decides() {
    const COUNT: u32 = 3000;
    let lab = Lab::new().expect("a lab");
    let target = "udp://239.9.9.9:6000";
    let options = format!("interface={}&loss=5%&duplicate=1%&reorder=1%&reorder-by=4&seed=7", lab.rx_interface());
    let output = format!("{target}?{options}");
    let mut run = payloads::joined(&lab, &["-o", &output, FIRST]);
    let listener = listener(&lab, "239.9.9.9:6000");
    Source::new(&lab).send(0, 0..COUNT);
    received(&mut run, COUNT.into());
    let (mut came, mut buffer) = (Vec::new(), vec![0; 2000]);
    while let Ok((length, _)) = listener.recv_from(&mut buffer) {
        came.extend(numbers(&buffer[..length]));
    }
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!((code, err.as_str()), (Some(0), ""), "what is lost on purpose is no failure");

    let mut impairment = Impairment::default();
    (impairment.loss, impairment.duplicate) = ("5%".parse().expect("a share"), "1%".parse().expect("a share"));
    impairment.reorder = "1%".parse().expect("a share");
    let fates = Fates::new(7, 0, &impairment);
    let of = |fate| (0..COUNT).filter(|number| fates.of(u64::from(*number)) == fate).collect::<Vec<u32>>();
    let times = |number: &u32| came.iter().filter(|other| *other == number).count();
    assert_eq!((0..COUNT).filter(|number| times(number) == 0).collect::<Vec<_>>(), of(Fate::Lost));
    assert_eq!((0..COUNT).filter(|number| times(number) == 2).collect::<Vec<_>>(), of(Fate::Twice));
    let mut newest = 0;
    let mut late: Vec<u32> = Vec::new();
    for number in came {
        late.extend((number < newest).then_some(number));
        newest = newest.max(number);
    }
    late.sort_unstable();
    // The last ones may have left before anything overtook them.
    let held: Vec<u32> = of(Fate::HeldBack).into_iter().filter(|number| *number < COUNT - 50).collect();
    assert_eq!(late.into_iter().filter(|number| *number < COUNT - 50).collect::<Vec<_>>(), held);
    assert!(held.len() > 10);

    let summary = last_object(&out);
    let report = sink(&summary, target);
    let lost = of(Fate::Lost).len() as u64;
    let counts = ["packets", "impaired", "dropped"].map(|key| number(&report[key]));
    assert_eq!(counts, [u64::from(COUNT) - lost, lost, 0], "{report}");
    let others = ["duplicated", "reordered"].map(|key| number(&report[key]));
    assert_eq!(others, [of(Fate::Twice), of(Fate::HeldBack)].map(|all| all.len() as u64), "{report}");
    assert_eq!(number(&report["bytes"]), counts[0] * payloads::SIZE as u64);
}

/// Sends a feed to a receiver that takes all legs as one feed. Returns both reports.
fn transfer(lab: &Lab, arguments: &str, legs: &[&str], protocol: &str) -> (Value, Value) {
    // Room for all that is sent, so that a busy machine loses nothing.
    let options = ["--json", "--interval", "0.1", "--frames", "32768", "--feed", protocol];
    let mut run = Run::joined(lab, &[&options[..], legs].concat()).0;
    let output = send(lab, &format!("--feed {protocol} --json {arguments}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sent = object(&String::from_utf8(output.stdout).expect("text"));
    let packets: u64 = sent["legs"].as_array().expect("legs").iter().map(|leg| number(&leg["packets"])).sum();
    received(&mut run, packets);
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "{err}");
    (sent, last_object(&out)["feeds"][0].clone())
}

const SUBSCRIPTIONS: [&str; 2] = ["10.0.0.1@232.1.1.1:5000", "10.0.0.2@232.1.1.2:5000"];

#[test]
fn a_receiver_of_all_legs_misses_what_all_legs_lost() {
    let lab = Lab::new().expect("a lab");
    let losses = "--loss 10% --rate 2k --count 4k --seed 3";
    for (protocol, more) in [
        ("moldudp64", "--streams 3 --messages 1..4"),
        ("moldudp64", "--streams 3 --messages 1..4 --exclusive-loss"),
        ("iex-tp", "--messages 1..6 --repack"),
        ("rtp", ""),
        ("opra", "--messages 4"),
    ] {
        let (sent, feed) = transfer(&lab, &format!("{LEGS} {losses} {more}"), &SUBSCRIPTIONS, protocol);
        let total = &feed["total"];
        let shown = format!("{protocol} {more}: {feed}\n{sent}");
        assert_eq!(number(&total["missing"]), number(&sent["missing"]), "{shown}");
        assert_eq!(number(&total["messages"]), number(&sent["messages"]) - number(&sent["missing"]), "{shown}");
        assert_eq!(number(&sent["missing"]) == 0, more.contains("exclusive"), "{shown}");
        for leg in 0..2 {
            let lost = number(&sent["legs"][leg]["missing"]);
            assert!(lost > 0 && number(&feed["legs"][leg]["missing"]) == lost, "leg {leg} of {shown}");
        }
        let streams = sent["streams"].as_array().expect("streams");
        for stream in streams {
            let received = feed["streams"].as_array().expect("streams").iter();
            let same = received.clone().find(|other| other["stream"] == stream["stream"]).expect("the stream");
            for key in ["missing", "next_sequence", "first_sequence"] {
                // RTP's numbers have 16 bits on the wire.
                assert_eq!(number(&same[key]), number(&stream[key]), "{key} of {shown}");
            }
        }
    }
}
