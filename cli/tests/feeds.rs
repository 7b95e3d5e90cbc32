//! Feeds: two legs with loss become one ordered stream, in each mode; what both lost is counted; legs that are left and
//! joined again; faults of the configuration. The built command in two namespaces. Needs root.

mod command;
mod legs;
mod payloads;

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use command::{Folder, PATIENCE, Run, Scratch, last_object, object, source};
use legs::{A, B, GROUPS, header};
use netlab::Lab;
use payloads::{joined, until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A datagram with this many messages, which its first sequence number tells from all others.
fn datagram(session: &str, first: u64, count: u16) -> Vec<u8> {
    let mut bytes = header(session, first, count);
    for sequence in first..first + u64::from(count) {
        let text = format!("message {sequence}");
        bytes.extend((text.len() as u16).to_be_bytes());
        bytes.extend(text.into_bytes());
    }
    bytes
}

/// Datagrams of one message each.
fn datagrams(sequences: impl IntoIterator<Item = u64>) -> Vec<u8> {
    sequences.into_iter().flat_map(|sequence| datagram("MORNING", sequence, 1)).collect()
}

/// Sends both legs.
struct Source([UdpSocket; 2]);

impl Source {
    fn new(lab: &Lab) -> Self {
        Self([1, 2].map(|last| source(lab, last)))
    }

    fn send(&self, leg: usize, bytes: &[u8]) {
        self.0[leg].send_to(bytes, GROUPS[leg]).expect("sent");
    }

    /// Sends each sequence number on both legs, but for what they lose.
    fn send_all(&self, sequences: impl IntoIterator<Item = u64>, lost: [&BTreeSet<u64>; 2]) {
        for sequence in sequences {
            for leg in [0, 1] {
                if !lost[leg].contains(&sequence) {
                    self.send(leg, &datagram("MORNING", sequence, 1));
                }
            }
            if sequence % 32 == 0 {
                sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Each number up to `last` that `divisor` divides.
fn multiples(divisor: u64, last: u64) -> BTreeSet<u64> {
    (1..=last).filter(|number| number % divisor == 0).collect()
}

fn feed(object: &Value) -> &Value {
    let feeds = object["feeds"].as_array().expect("feeds");
    assert_eq!(feeds.len(), 1, "{object}");
    &feeds[0]
}

/// Ends a run by a signal. Returns its summary and what it logged.
fn end(run: Run) -> (Value, String) {
    run.signal(Signal::INT);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "{err}");
    (last_object(&out), err)
}

#[test]
fn two_legs_with_loss_become_one_ordered_stream() {
    const LAST: u64 = 1000;
    for mode in ["mapped", "copy", "generic", "socket"] {
        let lab = Lab::new().expect("a lab");
        let written = Scratch::new();
        let arguments = ["--mode", mode, "--feed", "moldudp64", "--feed-window", "10s", "-o", written.name(), A, B];
        let mut run = joined(&lab, &arguments);
        let (a, b) = (multiples(7, LAST), multiples(11, LAST));
        let both: BTreeSet<u64> = &a & &b;
        Source::new(&lab).send_all(1..=LAST, [&a, &b]);
        let delivered = LAST - both.len() as u64;
        let interval = until(&mut run, |object| feed(object)["total"]["messages"] == delivered);
        assert_eq!(feed(&interval)["state"], "recovering", "late fills may still come: {interval}");
        let (summary, err) = end(run);
        assert!(fs::read(&written.0).expect("a file") == datagrams((1..=LAST).filter(|n| !both.contains(n))), "{mode}");
        let feed = feed(&summary);
        let (gaps, missing) = (both.len(), both.len());
        let stream = json!({
            "stream": "MORNING", "state": "live", "packets": 2 * LAST - (a.len() + b.len()) as u64,
            "messages": delivered, "heartbeats": 0, "first_sequence": 1, "next_sequence": LAST + 1, "gaps": gaps,
            "missing": missing, "longest_gap": 1, "recovered": 0,
            "duplicates": LAST - (&a | &b).len() as u64, "reordered": 0, "resets": 0, "held": 0,
        });
        assert_eq!(feed["streams"], json!([stream]), "{mode}");
        assert_eq!((&feed["name"], &feed["feed"]), (&"moldudp64".into(), &"moldudp64".into()));
        assert_eq!((&feed["more_streams"], &feed["state"]), (&0.into(), &"live".into()));
        let causes = feed["missing_by"].as_object().expect("causes").values();
        assert_eq!(causes.filter_map(Value::as_u64).sum::<u64>(), both.len() as u64, "{mode}");
        for (at, lost, subscription) in [(0, &a, A), (1, &b, B)] {
            let leg = &feed["legs"][at];
            assert_eq!((&leg["name"], &leg["subscription"]), (&subscription.into(), &subscription.into()));
            assert_eq!((&leg["missing"], &leg["is_lost"]), (&lost.len().into(), &false.into()), "{mode}: {leg}");
            assert_eq!(leg["packets"], LAST - lost.len() as u64, "{mode}: {leg}");
        }
        let first = |at: usize| feed["legs"][at]["first_arrivals"].as_u64().expect("a count");
        assert_eq!(first(0) + first(1), delivered, "{mode}");
        assert_eq!(summary["unaccounted"], 0, "{mode}: {summary}");
        let gap = "feed moldudp64, stream MORNING: sequence number 77 is missing: no leg has delivered them in time";
        assert!(err.contains(gap), "{mode}: {err}");
    }
}

/// What is missing on one leg is waited for, and is declared missing when nothing more comes. The rest is held in its
/// frames, and reaches the sinks then.
#[test]
fn a_gap_is_declared_on_time_when_nothing_arrives() {
    let lab = Lab::new().expect("a lab");
    let written = Scratch::new();
    let options = ["--feed", "moldudp64", "--feed-window", "300ms", "-o", written.name(), A, B];
    let mut run = joined(&lab, &options);
    let source = Source::new(&lab);
    // Leg B has shown that it is alive, and says no more: it may still have 3.
    source.send(1, &datagram("MORNING", 1, 1));
    for sequence in [1, 2, 4, 5] {
        source.send(0, &datagram("MORNING", sequence, 1));
    }
    let held = until(&mut run, |object| feed(object)["total"]["held"] == 2);
    assert_eq!((&feed(&held)["state"], &feed(&held)["total"]["gaps"]), (&"recovering".into(), &0.into()));
    assert_eq!(feed(&held)["total"]["messages"], 2, "{held}");
    let after = until(&mut run, |object| feed(object)["total"]["held"] == 0);
    assert_eq!((&feed(&after)["total"]["gaps"], &feed(&after)["total"]["messages"]), (&1.into(), &4.into()));
    assert!(feed(&after)["last_gap_seconds_ago"].is_number(), "{after}");
    // In time for a late fill.
    source.send(1, &datagram("MORNING", 3, 1));
    until(&mut run, |object| feed(object)["total"]["recovered"] == 1);
    let (summary, err) = end(run);
    assert!(fs::read(&written.0).expect("a file") == datagrams([1, 2, 4, 5, 3]));
    assert_eq!((&feed(&summary)["total"]["missing"], &feed(&summary)["state"]), (&0.into(), &"live".into()));
    assert_eq!(summary["ledger"]["not_kept"], 0, "{summary}");
    assert!(err.contains("sequence number 3 is missing: "), "{err}");
}

/// What is held at the end reaches the sinks, and the gap in front of it is counted.
#[test]
fn the_end_of_a_run_counts_what_is_still_waited_for() {
    let lab = Lab::new().expect("a lab");
    let written = Scratch::new();
    let arguments = ["--feed", "moldudp64", "--feed-window", "1h", "-o", written.name(), A, B];
    let mut run = joined(&lab, &arguments);
    let source = Source::new(&lab);
    source.send(1, &datagram("MORNING", 1, 1));
    for sequence in [1, 4, 5] {
        source.send(0, &datagram("MORNING", sequence, 1));
    }
    until(&mut run, |object| feed(object)["total"]["held"] == 2);
    let (summary, _) = end(run);
    assert!(fs::read(&written.0).expect("a file") == datagrams([1, 4, 5]));
    let total = &feed(&summary)["total"];
    assert_eq!((&total["missing"], &total["messages"], &total["held"]), (&2.into(), &3.into(), &0.into()), "{total}");
    assert_eq!(feed(&summary)["state"], "live", "no leg was silent for long: {summary}");
    assert_eq!(feed(&summary)["streams"][0]["state"], "live", "{summary}");
}

/// Legs that pack messages differently, other subscriptions beside the feed, malformed datagrams, heartbeats, and
/// streams beyond the bound.
#[test]
fn a_feed_of_the_configuration_beside_other_subscriptions() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let (all, other, recording) = (folder.text("all"), folder.text("other"), folder.text("recording"));
    let text = format!(
        "json = true\ninterval = \"50ms\"\n\
         [[subscription]]\nname = \"a\"\naddress = \"{A}\"\n[[subscription]]\nname = \"b\"\naddress = \"{B}\"\n\
         [[subscription]]\nname = \"other\"\naddress = \"10.0.0.1@232.1.1.3:5000\"\n\
         [[feed]]\nname = \"itch\"\nprotocol = \"moldudp64\"\nlegs = [\"b\", \"a\"]\nwindow = 10\nstreams = 1\n\
         [[sink]]\nname = \"all\"\ntarget = \"{all}\"\n\
         [[sink]]\nname = \"recording\"\ntarget = \"pcapng:{recording}\"\n\
         [[sink]]\nname = \"other\"\ntarget = \"{other}\"\nsubscriptions = [\"other\"]\n"
    );
    let file = Scratch::with(text);
    let (mut run, _) = Run::joined(&lab, &["--config", file.name()]);
    let source = Source::new(&lab);
    let sent = [
        (0, datagram("MORNING", 1, 3)),
        (1, datagram("MORNING", 1, 2)),
        // Message 4 is new, and the datagram is passed on whole.
        (1, datagram("MORNING", 3, 2)),
        (0, datagram("MORNING", 4, 1)),
        (0, header("MORNING", 5, 0)),
        (1, b"no MoldUDP64".to_vec()),
        (1, datagram("EVENING", 1, 1)),
    ];
    for (leg, bytes) in &sent {
        source.send(*leg, bytes);
        // One path may be faster than the other.
        sleep(Duration::from_millis(20));
    }
    source.0[0].send_to(b"as it is", ("232.1.1.3", 5000)).expect("sent");
    until(&mut run, |object| object["packets"] == 8);
    let (summary, err) = end(run);
    let delivered = [&sent[0].1[..], &sent[2].1].concat();
    assert!(fs::read(&all).expect("a file") == [&delivered[..], b"as it is"].concat());
    assert_eq!(fs::read(&other).expect("a file"), b"as it is");
    assert_eq!(payloads::sink(&summary, "recording")["packets"], 8, "a recording has each leg as it came");
    let feed = feed(&summary);
    assert_eq!((&feed["name"], &feed["feed"]), (&"itch".into(), &"moldudp64".into()));
    let total = &feed["total"];
    assert_eq!((&total["messages"], &total["missing"], &total["heartbeats"]), (&4.into(), &0.into(), &1.into()));
    let (b, a) = (&feed["legs"][0], &feed["legs"][1]);
    assert_eq!((&b["name"], &a["name"], &b["subscription"]), (&"b".into(), &"a".into(), &B.into()));
    assert_eq!((&b["malformed"], &b["untracked"], &b["packets"]), (&1.into(), &1.into(), &4.into()), "{b}");
    assert!(a["peak_bits_per_second"][0].as_u64().is_some_and(|rate| rate > 0), "{a}");
    assert!(err.contains("feed itch, leg b: a datagram is not of the protocol moldudp64: "), "{err}");
}

#[test]
fn legs_of_ipv6_that_share_an_interface() {
    let lab = Lab::new().expect("a lab");
    let sources = lab.sources_v6();
    let groups: [Ipv6Addr; 2] = ["ff3e::1", "ff3e::2"].map(|group| group.parse().expect("a group"));
    let subscriptions: Vec<String> =
        sources.iter().zip(groups).map(|(source, group)| format!("[{source}]@[{group}]:5000")).collect();
    let written = Scratch::new();
    let arguments = ["--feed", "moldudp64", "--feed-window", "10s", "-o", written.name()];
    let mut run = joined(&lab, &[&arguments[..], &[&subscriptions[0], &subscriptions[1]]].concat());
    let index = lab
        .tx()
        .run(|| rustix::net::netdevice::name_to_index(UdpSocket::bind("[::]:0").expect("a socket"), lab.tx_interface()))
        .expect("the namespace")
        .expect("an index");
    let legs: Vec<UdpSocket> = sources
        .iter()
        .take(2)
        .map(|source| lab.tx().run(|| UdpSocket::bind((IpAddr::V6(*source), 4000))).expect("the namespace"))
        .map(|socket| socket.expect("a socket"))
        .collect();
    for sequence in 1..100 {
        for (at, leg) in legs.iter().enumerate() {
            if sequence % 10 != 3 * at as u64 {
                let to = std::net::SocketAddrV6::new(groups[at], 5000, 0, index);
                leg.send_to(&datagram("MORNING", sequence, 1), SocketAddr::V6(to)).expect("sent");
            }
        }
    }
    until(&mut run, |object| feed(object)["total"]["messages"] == 99);
    let (summary, _) = end(run);
    assert!(fs::read(&written.0).expect("a file") == datagrams(1..100));
    assert_eq!(feed(&summary)["legs"][0]["missing"], 9, "{summary}");
}

/// A leg that a client leaves is lost, and takes its place again when it is joined under its name. A reload keeps the
/// feeds, and names those that changed.
#[test]
fn a_leg_is_left_and_joined_again_and_feeds_outlive_a_reload() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let (config, control) = (folder.text("a.toml"), folder.text("socket"));
    let write = |legs: &str| {
        let text = format!(
            "json = true\ninterval = \"50ms\"\n\
             [[subscription]]\nname = \"a\"\naddress = \"{A}\"\n[[subscription]]\nname = \"b\"\naddress = \"{B}\"\n\
             [[feed]]\nprotocol = \"moldudp64\"\nleg_timeout = \"200ms\"\n{legs}"
        );
        fs::write(&config, text).expect("a file");
    };
    write("");
    let (mut run, _) = Run::joined(&lab, &["--config", &config, "--control", &control]);
    let ctl = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_receiver"));
        let output = command.args(["ctl", "--control", &control, "--json"]).args(words).output().expect("it runs");
        assert!(output.status.success(), "{words:?}: {output:?}");
        object(std::str::from_utf8(&output.stdout).expect("text"))["result"].clone()
    };
    let source = Source::new(&lab);
    let mut next = 1;
    let mut send_until = |run: &mut Run, is_right: &dyn Fn(&Value) -> bool| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            source.send_all(next..next + 5, [&BTreeSet::new(), &BTreeSet::new()]);
            next += 5;
            let now = until(run, |object| object["type"] == "interval");
            if is_right(&now) {
                return now;
            }
            assert!(Instant::now() < deadline, "it does not come to that: {now}");
        }
    };
    let packets = |object: &Value, leg: usize| feed(object)["legs"][leg]["packets"].as_u64().expect("a count");
    send_until(&mut run, &|object| packets(object, 1) > 0);
    ctl(&["leave", "b"]);
    let lost = send_until(&mut run, &|object| feed(object)["legs"][1]["is_lost"] == true);
    assert_eq!(feed(&lost)["legs"][1]["outages"], 1, "{lost}");
    // Under its name, at another place.
    ctl(&["join", "10.0.0.2@232.1.1.2:5001", "--name", "b"]);
    let back = send_until(&mut run, &|object| {
        feed(object)["legs"][1]["is_lost"] == false && packets(object, 1) > packets(&lost, 1)
    });
    assert_eq!(feed(&back)["total"]["missing"], 0, "{back}");
    write("legs = [\"a\"]\n");
    assert_eq!(ctl(&["reload"])["needs_restart"], json!(["feed moldudp64"]));
    write("");
    assert_eq!(ctl(&["reload"])["needs_restart"], json!([]));
    let (summary, err) = end(run);
    assert_eq!(feed(&summary)["legs"].as_array().map(Vec::len), Some(2));
    for line in ["leg b is lost: it sends nothing", "leg b is back"] {
        assert!(err.contains(&format!("feed moldudp64, stream MORNING: {line}")), "{line}: {err}");
    }
}

/// What both legs lost is asked for until it comes, and is passed on when it does.
#[test]
fn what_is_missing_is_asked_for_again() {
    let lab = Lab::new().expect("a lab");
    let written = Scratch::new();
    let server = lab.tx().run(|| UdpSocket::bind("10.0.0.1:0")).expect("the namespace").expect("a socket");
    let address = server.local_addr().expect("an address");
    let text = format!(
        "json = true\ninterval = \"50ms\"\noutput = \"{}\"\n\
         [[subscription]]\nname = \"a\"\naddress = \"{A}\"\n[[subscription]]\nname = \"b\"\naddress = \"{B}\"\n\
         [[feed]]\nprotocol = \"moldudp64\"\nrecovery = \"1m\"\nrerequest = \"{address}\"\n",
        written.name()
    );
    let file = Scratch::with(text);
    let (mut run, _) = Run::joined(&lab, &["--config", file.name()]);
    let source = Source::new(&lab);
    for sequence in [1, 2, 5, 6] {
        for leg in [0, 1] {
            source.send(leg, &datagram("MORNING", sequence, 1));
        }
    }
    server.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    for answers in [false, true] {
        let mut request = [0; 64];
        let (length, from) = server.recv_from(&mut request).expect("a request");
        assert_eq!(request[..length], header("MORNING", 3, 2));
        if answers {
            server.send_to(&datagram("MORNING", 3, 2), from).expect("sent");
        }
    }
    let after = until(&mut run, |object| feed(object)["total"]["recovered"] == 2);
    assert_eq!(feed(&after)["state"], "live", "{after}");
    let (summary, _) = end(run);
    let expected = [datagrams([1, 2, 5, 6]), datagram("MORNING", 3, 2)].concat();
    assert!(fs::read(&written.0).expect("a file") == expected);
    let (total, found) = (&feed(&summary)["total"], &feed(&summary)["rerequest"]);
    assert_eq!((&total["missing"], &total["messages"], &total["gaps"]), (&0.into(), &6.into(), &1.into()), "{total}");
    assert_eq!((&found["answers"], &found["filled"], &found["given_up"]), (&1.into(), &2.into(), &0.into()), "{found}");
    assert!(found["requests"].as_u64().is_some_and(|requests| requests >= 2), "{found}");
    for leg in [0, 1] {
        let leg = &feed(&summary)["legs"][leg];
        assert_eq!((&leg["packets"], &leg["missing"]), (&4.into(), &2.into()), "the answer came by no leg: {leg}");
    }
}

/// An RTP packet.
fn rtp(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, 96];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend((u32::from(sequence) * 90).to_be_bytes());
    bytes.extend(7_u32.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The parity of a row of packets that are equally long, as ST 2022-1 has it.
fn row(packets: &[Vec<u8>]) -> Vec<u8> {
    let xor = |at: usize| packets.iter().fold(0, |xor, packet| xor ^ packet[at]);
    let mut bytes = vec![0x80, 97, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([packets[0][2], packets[0][3], 0, 0, 0x80 | xor(1), 0, 0, 0]);
    bytes.extend((4..8).map(xor));
    bytes.extend([0x40, 1, packets.len() as u8, 0]);
    bytes.extend((12..packets[0].len()).map(xor));
    bytes
}

#[test]
fn a_packet_is_made_again_from_parity_in_its_place() {
    let rows = "[[subscription]]\nname = \"rows\"\naddress = \"10.0.0.1@232.1.1.1:5004\"\n";
    // Named, and joined by the run itself.
    for (subscription, fec, joined) in [(rows, "[\"rows\"]", 2), ("", "true", 3)] {
        is_made_again(subscription, fec, joined);
    }
}

fn is_made_again(subscription: &str, fec: &str, joined: usize) {
    let lab = Lab::new().expect("a lab");
    let written = Scratch::new();
    let text = format!(
        "json = true\ninterval = \"50ms\"\n\
         [[subscription]]\nname = \"media\"\naddress = \"{A}\"\n{subscription}\
         [[feed]]\nprotocol = \"rtp\"\nfec = {fec}\nwindow = \"1m\"\n\
         [[sink]]\nname = \"media\"\ntarget = \"{}\"\nsubscriptions = [\"media\"]\n",
        written.name()
    );
    let file = Scratch::with(text);
    let (mut run, _) = Run::joined(&lab, &["--config", file.name()]);
    let source = Source::new(&lab);
    let packets: Vec<Vec<u8>> = (10..15).map(|n| rtp(n, format!("payload {n}").as_bytes())).collect();
    for at in [0, 1, 3] {
        source.send(0, &packets[at]);
    }
    until(&mut run, |object| feed(object)["total"]["held"] == 1);
    source.0[0].send_to(&row(&packets[..4]), ("232.1.1.1", 5004)).expect("sent");
    source.send(0, &packets[4]);
    until(&mut run, |object| feed(object)["total"]["messages"] == 5);
    let (summary, _) = end(run);
    assert!(fs::read(&written.0).expect("a file") == packets.concat());
    assert_eq!(summary["subscriptions"].as_array().map(Vec::len), Some(joined), "{summary}");
    let (leg, found) = (&feed(&summary)["legs"][0], &feed(&summary)["fec"]);
    assert_eq!(
        (&found["rows"], &found["recovered"], &found["malformed"]),
        (&1.into(), &1.into(), &0.into()),
        "{found}"
    );
    assert_eq!((&leg["missing"], &leg["packets"], &leg["first_arrivals"]), (&1.into(), &4.into(), &4.into()), "{leg}");
    assert_eq!(feed(&summary)["total"]["missing"], 0, "{summary}");
    assert_eq!(leg["rtp"]["packets"], 4, "{leg}");
}

/// The faults of a file, without its name.
fn faults(text: &str) -> Vec<String> {
    let file = Scratch::with(text);
    let output = Command::new(env!("CARGO_BIN_EXE_receiver")).args(["config", "check", file.name()]).output();
    let output = output.expect("the command runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let err = String::from_utf8(output.stderr).expect("text");
    let lines = err.strip_prefix("receiver: ").expect("the name of the command").lines();
    lines.map(|line| line.trim_start().trim_start_matches(file.name()).to_owned()).collect()
}

#[test]
fn faults_of_feeds_have_their_line_and_a_remedy() {
    let subscription = |name: &str, last: u32| {
        format!(
            "[[subscription]]\nname = \"{name}\"\naddress = \"10.0.0.1@232.1.{}.{}:5000\"\n",
            last / 200,
            last % 200
        )
    };
    let two = subscription("alpha", 1) + &subscription("beta", 2);
    let feed = |text: &str| faults(&format!("{two}[[feed]]\n{text}"));
    for (text, says) in [
        ("name = \"x\"\n", ":7: [[feed]]: missing field `protocol`"),
        ("protocol = \"moldupd64\"\n", ":8: there is no feed protocol `moldupd64`; did you mean `moldudp64`?"),
        (
            "protocol = \"rtp\"\nlegs = [\"alhpa\"]\n",
            ":7: no [[subscription]] has the name `alhpa`; did you mean `alpha`?",
        ),
        (
            "protocol = \"rtp\"\nlegs = []\n",
            ":7: feed rtp has no legs; name one or more subscriptions, or remove `legs`",
        ),
        (
            "protocol = \"rtp\"\nlegs = [\"beta\", \"beta\"]\n",
            ":7: `beta` is a leg of feed rtp and of feed rtp; name it once",
        ),
        ("protocol = \"rtp\"\nwindow = \"soon\"\n", ":9: `window` cannot be `soon`: `soon` is not a length of time"),
        ("protocol = \"rtp\"\nwindow = 0\n", ":9: `window` cannot be `0`: `0` is no time"),
        ("protocol = \"rtp\"\nheld = \"many\"\n", ":9: `held` cannot be `many`: `many` is not a number"),
        (
            "protocol = \"rtp\"\nclass = \"E\"\n",
            ":9: `class` cannot be `E`: `E` is no class of ST 2022-7; write A (10 ms)",
        ),
        (
            "protocol = \"rtp\"\nrerequest = \"10.0.0.9:1\"\n",
            ":9: `rerequest` is for moldudp64, not for rtp; remove it",
        ),
        ("protocol = \"opra\"\nfec = [\"beta\"]\n", ":9: `fec` is for rtp and mpeg-ts, not for opra; remove it"),
        ("protocol = \"rtp\"\nfec = [\"bet\"]\n", ":7: no [[subscription]] has the name `bet`; did you mean `beta`?"),
        (
            "protocol = \"moldudp64\"\nrerequest = \"10.0.0.9\"\n",
            ":9: `rerequest` cannot be `10.0.0.9`: it is a unicast address and a port, such as 10.0.0.9:5100",
        ),
        ("protocol = \"rtp\"\nname = \"7\"\n", ":9: the name `7` of a feed is not valid: "),
        ("protocol = \"rtp\"\nleg = [\"beta\"]\n", ":9: unknown key `leg`; did you mean `legs`?"),
        (
            "protocol = \"rtp\"\nlegs = [\"beta\"]\n[[feed]]\nprotocol = \"rtp\"\nlegs = [\"alpha\"]\n",
            ":10: the feed of line 7 has the name `rtp` too; name each feed once",
        ),
        (
            "protocol = \"rtp\"\nlegs = [\"beta\"]\n[[feed]]\nname = \"x\"\nprotocol = \"rtp\"\n",
            ":10: feed x takes all subscriptions, beside other feeds; name its `legs`",
        ),
    ] {
        let found = feed(text);
        assert!(found.len() == 1 && found[0].starts_with(says), "{text}: {found:#?}");
    }
    assert!(faults(&format!("feed = \"moldupd64\"\n{two}"))[0].starts_with(":1: `feed` cannot be `moldupd64`: "));
    let many: String = (0..65).map(|n| subscription(&format!("s{n}"), n)).collect();
    let says = "feed rtp has 65 legs, and a feed has up to 64; name the legs of each feed in a [[feed]] of its own";
    assert_eq!(faults(&format!("feed = \"rtp\"\n{many}")), [says]);
    let file = Scratch::with(format!("{two}[[feed]]\nprotocol = \"rtp\"\n"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_receiver"));
    let output =
        command.args(["run", "-i", "none", "--config", file.name(), "--feed", "rtp"]).output().expect("it runs");
    let err = String::from_utf8(output.stderr).expect("text");
    assert!(err.contains("--feed and [[feed]] exclude each other; remove one of them"), "{err}");
}
