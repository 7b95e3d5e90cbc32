//! `receiver replay --rewrite`: tshark reads what arrives, with right checksums; rules that are wrong send nothing. The
//! built command in two namespaces. Needs root.

mod capture;
mod command;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use capture::Link;
use command::Folder;
use etherparse::PacketBuilder;
use netlab::Lab;
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(60);

/// A pcap file of Ethernet frames, a microsecond apart: IPv4, IPv4 with a VLAN tag, IPv6 with two.
fn write_capture(path: &str) {
    let vlan = |id: u16| etherparse::VlanId::try_new(id).expect("an id");
    let source = [2, 0, 0, 0, 0, 1];
    let (group, group6) = ([1, 0, 0x5e, 1, 1, 1], [0x33, 0x33, 0, 0, 0, 1]);
    let address6 = |text: &str| text.parse::<std::net::Ipv6Addr>().expect("an address").octets();
    let mut frames = vec![Vec::new(); 3];
    let plain = PacketBuilder::ethernet2(source, group).ipv4([10, 0, 0, 1], [232, 1, 1, 1], 16).udp(4000, 5000);
    plain.write(&mut frames[0], b"plain").expect("memory");
    let tagged = PacketBuilder::ethernet2(source, group).single_vlan(vlan(100));
    let tagged = tagged.ipv4([10, 0, 0, 2], [232, 1, 1, 2], 16).udp(4000, 5000);
    tagged.write(&mut frames[1], b"tagged").expect("memory");
    let double = PacketBuilder::ethernet2(source, group6).double_vlan(vlan(200), vlan(100));
    let double = double.ipv6(address6("2001:db8::1"), address6("ff3e::1"), 16).udp(4000, 5000);
    double.write(&mut frames[2], b"double").expect("memory");
    let packets: Vec<_> = (1_000_000_000..).step_by(1000).zip(frames).collect();
    fs::write(path, capture::pcap(Link::Frames, true, false, &packets)).expect("a file");
}

#[test]
fn rewritten_frames_have_right_checksums() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    let (capture, arrived) = (folder.text("in.pcap"), folder.text("arrived.pcapng"));
    write_capture(&capture);
    let rules = [
        "group=232.1.1.1:5000->232.129.9.9:6000",
        "group=[ff3e::1]->[ff3e::9]",
        "source=10.0.0.1->10.0.0.9:4001",
        "source=*->[2001:db8::9]",
        "port=5000->7000",
        "mac=02:00:00:00:00:01->02:00:00:00:00:09",
        "vlan=200->300",
        "vlan=100->none",
    ];
    let mut tshark = lab.rx().command("tshark");
    let filter = "ether src 02:00:00:00:00:09";
    tshark.args(["-q", "-i", lab.rx_interface(), "-c", "30", "-f", filter, "-w", &arrived]);
    let mut tshark = tshark.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("tshark (Debian: tshark)");
    let mut replay = lab.tx().command(env!("CARGO_BIN_EXE_receiver"));
    replay.args(["replay", "-i", lab.tx_interface(), &capture, "--loop", "--speed", "0.001", "--json"]);
    replay.args(rules.map(|rule| format!("--rewrite={rule}"))).env_remove("RUST_LOG");
    let mut replay = replay.stdout(Stdio::piped()).spawn().expect("the receiver starts");
    // It goes on until the capture has begun and is complete.
    let deadline = Instant::now() + PATIENCE;
    let ended = loop {
        match tshark.try_wait().expect("a child") {
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            other => break other,
        }
    };
    let _ = tshark.kill();
    kill_process(Pid::from_child(&replay), Signal::INT).expect("a signal");
    let mut report = String::new();
    std::io::Read::read_to_string(&mut replay.stdout.take().expect("a pipe"), &mut report).expect("text");
    assert!(replay.wait().expect("a child").success(), "{report}");
    assert!(ended.is_some_and(|status| status.success()), "the capture is complete: {report}");
    let report = command::object(report.trim());
    assert_eq!(report["rewritten"], report["packets"], "{report}");

    let checked = ["-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-r", &arrived, "-T", "fields"];
    let fields = [
        "eth.dst",
        "ieee8021ad.id",
        "vlan.id",
        "ip.src",
        "ip.dst",
        "ipv6.src",
        "ipv6.dst",
        "udp.srcport",
        "udp.dstport",
        "ip.checksum.status",
        "udp.checksum.status",
    ];
    let output = Command::new("tshark").args(checked).args(fields.iter().flat_map(|field| ["-e", field])).output();
    let text = String::from_utf8(output.expect("tshark").stdout).expect("UTF-8");
    let expected = [
        "01:00:5e:01:09:09|||10.0.0.9|232.129.9.9|||4001|6000|1|1",
        "01:00:5e:01:01:01|||10.0.0.2|232.1.1.2|||4000|7000|1|1",
        "33:33:00:00:00:09|300|100|||2001:db8::9|ff3e::9|4000|7000||1",
    ];
    let lines: Vec<String> = text.lines().map(|line| line.replace('\t', "|")).collect();
    assert_eq!(lines.len(), 30, "{text}");
    for line in expected {
        assert!(lines.iter().any(|other| other == line), "{line} is not in {lines:?}");
    }
    let other = lines.iter().find(|line| !expected.contains(&line.as_str()));
    assert_eq!(other, None);
}

#[test]
fn a_rule_that_is_wrong_is_a_fault_of_the_command_line() {
    let replay = |rules: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_receiver"));
        // Neither the file nor the interface exists: the rules are checked first.
        command.args(["replay", "-i", "none0", "/nonexistent"]).args(rules.iter().flat_map(|rule| ["--rewrite", rule]));
        let output = command.env_remove("RUST_LOG").output().expect("it runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    let (code, err) = replay(&["port=1->2", "group=232.1.1.1->10.0.0.1"]);
    assert_eq!(code, Some(2), "{err}");
    let reason = "the rule group=232.1.1.1->10.0.0.1 is refused: 10.0.0.1 is no multicast group; write a group";
    assert!(err.contains(reason), "{err}");
    let (code, err) = replay(&["port=*->1", "port=2->3"]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("the rule port=2->3 never applies: the rule port=*->1 comes first"), "{err}");
}
