//! `receiver doctor` in namespaces in which a check fails, and in which it does not. Each remedy that can be run here
//! is run, and the check turns ok.

mod command;
#[path = "../../receiver/tests/support/mod.rs"]
mod support;

use std::os::fd::{AsFd, AsRawFd};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use command::{Run, Scratch, object, send};
use netlab::Lab;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::members::Member;
use support::{Sending, stream};

/// Programs that are not the receiver's.
static FOREIGN: &[u8] = aya::include_bytes_aligned!("../../receiver-ebpf/object/baseline.bpf.o");
const WANTED: &str = "10.0.0.1@232.1.1.1:5000";
/// Without trying modes, and hardly listening.
const QUICK: [&str; 3] = ["--no-probe", "--wait", "0.05"];

/// What the command printed in JSON.
struct Answer {
    value: Value,
    code: Option<i32>,
}

impl Answer {
    fn of(output: &Output) -> Self {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(out.lines().count(), 1, "{out}{err}");
        let this = Self { value: object(&out), code: output.status.code() };
        let failed = this.value["fail"].as_u64().expect("a count");
        assert_eq!(this.code, Some(i32::from(failed > 0)), "{out}{err}");
        assert_eq!(err.is_empty(), failed == 0, "{err}");
        this
    }

    /// The lines of a check.
    fn lines(&self, check: &str) -> Vec<&Value> {
        let lines = self.value["checks"].as_array().expect("checks");
        lines.iter().filter(|line| line["check"] == check).collect()
    }

    /// The one line of a check with this outcome: its text and its remedy.
    fn line(&self, check: &str, outcome: &str) -> (&str, &str) {
        let lines = self.lines(check);
        let mut found = lines.iter().filter(|line| line["outcome"] == outcome);
        let line = found.next().unwrap_or_else(|| panic!("{check} has no line that is {outcome}: {lines:?}"));
        assert!(found.next().is_none(), "{check} has two lines that are {outcome}: {lines:?}");
        (line["text"].as_str().expect("a text"), line["remedy"].as_str().unwrap_or_default())
    }

    /// Asserts that all lines of a check are ok.
    fn assert_ok(&self, check: &str) {
        let lines = self.lines(check);
        assert!(!lines.is_empty() && lines.iter().all(|line| line["outcome"] == "ok"), "{check}: {lines:?}");
    }
}

fn command(lab: &Lab, arguments: &[&str]) -> netlab::Command {
    let mut command = lab.rx().command(env!("CARGO_BIN_EXE_receiver"));
    command.args(["doctor", "-i", lab.rx_interface(), "--json"]).args(arguments).env_remove("RUST_LOG");
    command.env_remove("RECEIVER_LOG");
    command
}

fn doctor(lab: &Lab, arguments: &[&str]) -> Answer {
    Answer::of(&command(lab, arguments).output().expect("the doctor runs"))
}

fn quick(lab: &Lab, arguments: &[&str]) -> Answer {
    doctor(lab, &[&QUICK[..], arguments].concat())
}

/// Runs a remedy in the receiving namespace, as a user types it.
fn apply(lab: &Lab, remedy: &str) {
    let output = lab.rx().command("sh").args(["-c", remedy]).output().expect("a shell");
    assert!(output.status.success(), "`{remedy}`: {}", String::from_utf8_lossy(&output.stderr));
}

/// Asserts that a check has a line with this outcome and this part, and that its remedy turns the check ok.
fn assert_mended(lab: &Lab, arguments: &[&str], check: &str, outcome: &str, part: &str) {
    let answer = quick(lab, arguments);
    let (text, remedy) = answer.line(check, outcome);
    assert!(text.contains(part), "{text}");
    apply(lab, remedy);
    quick(lab, arguments).assert_ok(check);
}

/// Sends probes until it is dropped.
fn sending(lab: &Lab, group: &str, port: u16, sources: &[&str]) -> Sending {
    let mut config = stream(lab, group, port, sources);
    (config.traffic.rate, config.traffic.count) = (500, None);
    Sending::start(lab, config)
}

/// Sends a packet again and again from the other end, until it is dropped.
struct Repeating(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Repeating {
    /// An IGMP message to all hosts.
    fn igmp(lab: &Lab, message: &'static [u8]) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = lab.tx().spawn(move || {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::RAW, Some(2.into()));
            let socket = socket.expect("a raw socket");
            socket.set_multicast_if_v4(&[10, 0, 0, 1].into()).expect("interface");
            let all_hosts = std::net::SocketAddr::from(([224, 0, 0, 1], 0));
            while !ended.load(Ordering::Relaxed) {
                socket.send_to(message, &all_hosts.into()).expect("sent");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self(end, Some(thread.expect("a thread")))
    }
}

impl Drop for Repeating {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}

/// An IGMPv3 general query (RFC 3376, section 4.1), and an IGMPv2 one (RFC 2236, section 2).
const IGMPV3_QUERY: [u8; 12] = [0x11, 100, 0xec, 0x1e, 0, 0, 0, 0, 2, 125, 0, 0];
const IGMPV2_QUERY: [u8; 8] = [0x11, 100, 0xee, 0x9b, 0, 0, 0, 0];

#[test]
fn a_healthy_host() {
    let lab = Lab::new().expect("lab");
    let traffic = sending(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
    let querier = Repeating::igmp(&lab, &IGMPV3_QUERY);
    let before = support::traces::Traces::of(&lab);
    let answer = doctor(&lab, &["--wait", "1", WANTED]);
    for check in [
        "kernel",
        "privilege",
        "link",
        "driver",
        "master",
        "queues",
        "offloads",
        "occupied",
        "running",
        "reverse_path",
        "firewall",
        "membership",
        "sharing",
        "modes",
        "querier",
        "stages",
    ] {
        answer.assert_ok(check);
    }
    assert_eq!((&answer.value["interface"], &answer.value["subscriptions"][0]), (&"veth-rx".into(), &WANTED.into()));
    let (modes, _) = answer.line("modes", "ok");
    assert!(modes.starts_with("mapped, copy, generic work on veth-rx; zero-copy not: "), "{modes}");
    let (querier_line, _) = answer.line("querier", "ok");
    assert_eq!(querier_line, "the querier 10.0.0.1 asks by IGMPv3");
    let stages = answer.lines("stages");
    let counts = stages[1]["text"].as_str().expect("a text");
    assert!(counts.contains("datagrams by XDP, ") && counts.contains(" by kernel sockets"), "{counts}");
    drop((traffic, querier));
    assert_eq!(support::traces::Traces::of(&lab), before, "the doctor leaves nothing behind");
}

#[test]
fn text_is_for_people_and_the_exit_code_for_scripts() {
    let lab = Lab::new().expect("lab");
    let run = |arguments: &[&str]| {
        let mut command = lab.rx().command(env!("CARGO_BIN_EXE_receiver"));
        let output = command.args(["doctor", "-i", "veth-rx"]).args(arguments).output().expect("the doctor runs");
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text"));
        (output.status.code(), texts)
    };
    let (code, [out, err]) = run(&QUICK);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.lines().any(|line| line.starts_with("ok      kernel       Linux ")), "{out}");
    assert!(out.lines().any(|line| line == "                     $ receiver doctor -i veth-rx --wait 260"), "{out}");
    assert!(out.lines().last().is_some_and(|line| line.contains(" ok, ") && line.contains(" 0 fail")), "{out}");
    lab.rx().ip(&["link", "set", "veth-rx", "down"]).expect("down");
    let (code, [out, err]) = run(&QUICK);
    assert_eq!((code, err.as_str()), (Some(1), "receiver: a check failed\n"), "{out}");
    assert_eq!(run(&["--wait", "261"]).0, Some(2));
    assert_eq!(run(&["10.0.0.1@10.1.1.1:5000"]).0, Some(2));
}

#[test]
fn a_link_that_is_down_and_one_without_multicast() {
    let lab = Lab::new().expect("lab");
    for (fault, text) in [
        (["link", "set", "veth-rx", "down"].as_slice(), "is down"),
        (&["link", "set", "veth-rx", "multicast", "off"], "does not do multicast"),
    ] {
        lab.rx().ip(fault).expect("a fault");
        let answer = quick(&lab, &[WANTED]);
        let (found, remedy) = answer.line("link", "fail");
        assert!(found.contains(text), "{found}");
        apply(&lab, remedy);
        lab.rx().ip(&["route", "replace", "224.0.0.0/4", "dev", "veth-rx"]).expect("route");
        quick(&lab, &[WANTED]).assert_ok("link");
    }
}

#[test]
fn ipv6_that_is_disabled_or_has_no_room() {
    let lab = Lab::new().expect("lab");
    let wanted = "[2001:db8::1]@[ff3e::1]:5000";
    quick(&lab, &[wanted]).assert_ok("link");
    lab.rx().sysctl("net/ipv6/conf/veth-rx/disable_ipv6", "1").expect("sysctl");
    let answer = quick(&lab, &[wanted]);
    let (text, remedy) = answer.line("link", "fail");
    assert!(text.contains("IPv6 is disabled"), "{text}");
    apply(&lab, remedy);
    lab.rx().ip(&["address", "add", "fe80::64/64", "dev", "veth-rx", "nodad"]).expect("address");
    quick(&lab, &[wanted]).assert_ok("link");
    lab.rx().ip(&["link", "set", "veth-rx", "mtu", "1000"]).expect("mtu");
    let answer = quick(&lab, &[wanted]);
    let (text, remedy) = answer.line("link", "fail");
    assert!(text.contains("below 1280"), "{text}");
    apply(&lab, remedy);
    lab.rx().ip(&["address", "add", "fe80::64/64", "dev", "veth-rx", "nodad"]).expect("address");
    quick(&lab, &[wanted]).assert_ok("link");
}

#[test]
fn a_strict_reverse_path_filter_and_a_foreign_source() {
    let lab = Lab::new().expect("lab");
    lab.rx().sysctl("net/ipv4/conf/veth-rx/rp_filter", "1").expect("sysctl");
    quick(&lab, &[WANTED]).assert_ok("reverse_path");
    let many: Vec<String> = (1..=6).map(|last| format!("192.0.2.{last}")).collect();
    for wanted in ["192.0.2.1@232.1.1.1:5000".to_owned(), format!("{}@232.1.1.1:5000", many.join(","))] {
        assert_mended(&lab, &[&wanted], "reverse_path", "fail", "192.0.2.");
    }
}

#[test]
fn older_versions_of_igmp_and_mld() {
    let lab = Lab::new().expect("lab");
    for (sysctl, value, version) in [
        ("net/ipv4/conf/veth-rx/force_igmp_version", "2", "IGMPv2"),
        ("net/ipv6/conf/veth-rx/force_mld_version", "1", "MLDv1"),
    ] {
        lab.rx().sysctl(sysctl, value).expect("sysctl");
        let answer = quick(&lab, &[]);
        let (text, remedy) = answer.line("membership", "fail");
        assert!(text.contains(&format!("is kept at {version}")), "{text}");
        apply(&lab, remedy);
        assert_eq!(quick(&lab, &[]).lines("membership").iter().filter(|line| line["outcome"] == "fail").count(), 0);
    }
    // A querier of an older version, which no command on this host changes.
    let _querier = Repeating::igmp(&lab, &IGMPV2_QUERY);
    let answer = doctor(&lab, &["--no-probe", "--wait", "0.5", WANTED]);
    let (text, _) = answer.line("querier", "fail");
    assert!(text.contains("the querier 10.0.0.1 asks by IGMPv2"), "{text}");
    let answer = quick(&lab, &[WANTED]);
    let (text, _) = answer.line("membership", "fail");
    assert!(text.contains("IGMPv2 compatibility mode"), "{text}");
}

#[test]
fn more_sources_than_a_socket_can_name() {
    let lab = Lab::new().expect("lab");
    let many: Vec<String> = (1..=11).map(|last| format!("10.0.0.{last}")).collect();
    let wanted = format!("{}@232.1.1.1:5000", many.join(","));
    quick(&lab, &[WANTED]).assert_ok("membership");
    assert_mended(&lab, &[&wanted], "membership", "warn", "11 sources");
}

#[test]
fn a_bridge_and_a_macvlan_in_place_of_the_interface() {
    let lab = Lab::new().expect("lab");
    quick(&lab, &[]).assert_ok("master");
    lab.rx().ip(&["link", "add", "br0", "type", "bridge"]).expect("bridge");
    lab.rx().ip(&["link", "set", "br0", "up"]).expect("up");
    lab.rx().ip(&["link", "set", "veth-rx", "master", "br0"]).expect("master");
    let on = |name: &str| {
        let mut command = lab.rx().command(env!("CARGO_BIN_EXE_receiver"));
        Answer::of(&command.args(["doctor", "-i", name, "--json"]).args(QUICK).output().expect("the doctor runs"))
    };
    let answer = on("br0");
    let (text, remedy) = answer.line("master", "warn");
    assert!(text.contains("bridge of veth-rx"), "{text}");
    assert_eq!(remedy, "receiver doctor -i veth-rx");
    let answer = on("veth-rx");
    let (text, remedy) = answer.line("master", "warn");
    assert!(text.contains("belongs to the bridge br0"), "{text}");
    let querier = answer.lines("querier");
    assert!(querier.iter().all(|line| line["remedy"] == "ip link set br0 type bridge mcast_querier 1"), "{querier:?}");
    apply(&lab, remedy);
    on("veth-rx").assert_ok("master");
    lab.rx().ip(&["link", "add", "mac0", "link", "veth-rx", "type", "macvlan"]).expect("macvlan");
    let answer = on("mac0");
    let (text, remedy) = answer.line("master", "warn");
    assert!(text.contains("macvlan interface on veth-rx"), "{text}");
    assert_eq!(remedy, "receiver doctor -i veth-rx");
    assert!(on("veth-rx").line("master", "warn").0.contains("mac0"));
}

#[test]
fn another_xdp_program() {
    let lab = Lab::new().expect("lab");
    quick(&lab, &[]).assert_ok("occupied");
    // A receiver's own is no fault, and is not disturbed.
    let (run, _) = Run::joined(&lab, &["--mode", "copy", WANTED]);
    let answer = doctor(&lab, &["--wait", "0.05", WANTED]);
    let (text, _) = answer.line("occupied", "ok");
    assert!(text.contains(&format!("receiver (pid {})", run.child.id())), "{text}");
    answer.assert_ok("sharing");
    assert!(answer.line("modes", "skipped").0.contains("has an XDP program already"));
    assert!(answer.line("stages", "skipped").0.contains("may take the packets"));
    drop(run);
    // A foreign one, which this process holds, and then nobody.
    let mut ebpf = aya::Ebpf::load(FOREIGN).expect("load");
    let program: &mut aya::programs::Xdp = ebpf.program_mut("drop_all").expect("program").try_into().expect("XDP");
    program.load().expect("load");
    attach(&lab, program.fd().expect("loaded").as_fd().as_raw_fd());
    let answer = quick(&lab, &[]);
    let (text, remedy) = answer.line("occupied", "fail");
    assert!(text.contains("`drop_all`, held by "), "{text}");
    assert_eq!(remedy, format!("kill {}", std::process::id()));
    drop(ebpf);
    assert_mended(&lab, &[], "occupied", "fail", "which no process holds");
}

/// Attaches a program by netlink, as `ip link set veth-rx xdp` does: no link holds it.
fn attach(lab: &Lab, program: i32) {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink};
    let index = lab.rx().interface_index("veth-rx").expect("an index");
    // Protocol 0 is NETLINK_ROUTE. struct nlmsghdr: RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK. struct ifinfomsg. IFLA_XDP
    // (nested): IFLA_XDP_FD.
    let mut message = Vec::new();
    for word in [44, 19 | 5 << 16, 1, 0, 0, index, 0, 0, 12 | (43 | 1 << 15) << 16, 8 | 1 << 16, program as u32] {
        message.extend_from_slice(&u32::to_le_bytes(word));
    }
    let answer = lab.rx().run(|| {
        let kernel = netlink::SocketAddrNetlink::new(0, 0);
        let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
        rustix::net::sendto(&socket, &message, SendFlags::empty(), &kernel)?;
        let mut answer = [0; 512];
        rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
        rustix::io::Result::Ok(i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]))
    });
    assert_eq!(answer.expect("run"), Ok(0), "the kernel's answer");
}

#[test]
fn another_member_of_the_group_is_named() {
    let lab = Lab::new().expect("lab");
    let _member = Member::join(&lab, "232.1.1.1", 5000);
    let answer = quick(&lab, &[WANTED]);
    let (text, remedy) = answer.line("sharing", "warn");
    assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
    assert_eq!(remedy, format!("receiver run -i veth-rx --share {WANTED}"));
    quick(&lab, &["10.0.0.1@232.1.1.2:5000"]).assert_ok("sharing");
}

#[test]
fn no_querier() {
    let lab = Lab::new().expect("lab");
    let answer = quick(&lab, &[WANTED]);
    let (text, remedy) = answer.line("querier", "warn");
    assert!(text.contains("260 s") && text.contains("no IGMP query"), "{text}");
    assert_eq!(remedy, "receiver doctor -i veth-rx --wait 260");
    let _querier = Repeating::igmp(&lab, &IGMPV3_QUERY);
    doctor(&lab, &["--no-probe", "--wait", "0.5", WANTED]).assert_ok("querier");
}

#[test]
fn the_wrong_source_port_and_group_on_the_wire() {
    let lab = Lab::new().expect("lab");
    let _traffic = sending(&lab, "232.1.1.1", 5000, &["10.0.0.2"]);
    let look = |wanted: &str| doctor(&lab, &["--wait", "0.7", wanted]);
    for (wanted, reason, remedy) in [
        (WANTED, "the latest from 10.0.0.2", "receiver run -i veth-rx 10.0.0.2@232.1.1.1:5000"),
        (
            "10.0.0.2@232.1.1.1:5001",
            "arrived for port 5000, not for 5001",
            "receiver run -i veth-rx 10.0.0.2@232.1.1.1:5000",
        ),
        ("10.0.0.2@232.1.1.2:5000", "not subscribed to", "tcpdump -n -i veth-rx 'udp and dst host 232.1.1.2'"),
    ] {
        let answer = look(wanted);
        let (text, found) = answer.line("stages", "fail");
        assert!(text.starts_with(&format!("{wanted} received nothing: ")) && text.contains(reason), "{text}");
        assert_eq!(found, remedy, "{text}");
    }
    look("10.0.0.2@232.1.1.1:5000").assert_ok("stages");
    // Blocked: any source but that one.
    drop(_traffic);
    let _traffic = sending(&lab, "239.1.1.1", 5000, &["10.0.0.2"]);
    let answer = look("!10.0.0.2@239.1.1.1:5000");
    assert!(answer.line("stages", "fail").0.contains("sources that are not wanted"));
    look("!10.0.0.1@239.1.1.1:5000").assert_ok("stages");
}

/// The doctor itself is stopped while packets come: rings and sockets fill up.
#[test]
fn a_slow_stage() {
    let lab = Lab::new().expect("lab");
    let mut command = command(&lab, &["--wait", "4", WANTED]);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
    let child = child.expect("the doctor runs");
    let start = std::time::Instant::now();
    while !support::traces::Traces::of(&lab).filters.contains("0xe8010101") {
        assert!(start.elapsed() < support::PATIENCE, "it joined nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Both receivers have joined soon after.
    std::thread::sleep(Duration::from_millis(500));
    let pid = Pid::from_raw(child.id() as i32).expect("a pid");
    kill_process(pid, Signal::STOP).expect("stopped");
    send(&lab, &["10.0.0.1"], 30_000);
    kill_process(pid, Signal::CONT).expect("continued");
    let answer = Answer::of(&child.wait_with_output().expect("it ends"));
    let lines = answer.lines("stages");
    let texts: Vec<&str> = lines.iter().filter_map(|line| line["text"].as_str()).collect();
    assert!(texts.iter().any(|text| text.contains("lost because the ring was full")), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("at the sockets: their buffers were full")), "{texts:?}");
}

/// Without privilege the doctor does what it can, and names what it lacks.
#[test]
fn without_privilege() {
    let lab = Lab::new().expect("lab");
    let tool = Scratch::new();
    std::fs::copy(env!("CARGO_BIN_EXE_receiver"), &tool.0).expect("a copy");
    let mut command = lab.rx().command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
    command.arg(&tool.0).args(["doctor", "-i", "veth-rx", "--json", "--wait", "0.5", WANTED]);
    let _traffic = sending(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
    let answer = Answer::of(&command.output().expect("setpriv (Debian: util-linux)"));
    let (text, remedy) = answer.line("privilege", "warn");
    assert!(text.contains("CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF"), "{text}");
    assert!(answer.line("modes", "skipped").0.contains("CAP_"));
    assert_eq!(answer.line("querier", "skipped").0, "IGMP queries cannot be heard: that needs CAP_NET_RAW");
    let stages = answer.lines("stages");
    assert!(stages.iter().all(|line| line["outcome"] == "ok"), "{stages:?}");
    apply(&lab, remedy);
    let mut command = lab.rx().command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&tool.0);
    let output = command.args(["doctor", "-i", "veth-rx", "--json", "--wait", "0.05", WANTED]).output();
    let answer = Answer::of(&output.expect("setpriv"));
    answer.assert_ok("privilege");
}

#[test]
fn an_interface_that_does_not_exist() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_receiver")).args(["doctor", "-i", "eth99"]).output();
    let output = output.expect("start");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`eth99` does not exist"));
}

#[test]
fn rules_that_drop() {
    let lab = Lab::new().expect("lab");
    quick(&lab, &[WANTED]).assert_ok("firewall");
    let nft = |rules: &str| apply(&lab, &format!("nft '{rules}'"));
    nft("add table inet filter");
    nft("add chain inet filter input { type filter hook input priority 0; policy accept; }");
    nft("add rule inet filter input ip daddr 232.0.0.0/8 udp dport 4000-6000 counter drop");
    let answer = quick(&lab, &[WANTED]);
    let (text, remedy) = answer.line("firewall", "fail");
    assert!(text.contains("by a rule of chain inet filter input"), "{text}");
    // The kernel drops them in truth, and then no more.
    let traffic = sending(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
    let stages = doctor(&lab, &["--wait", "0.5", WANTED]);
    let (warning, list) = stages.line("stages", "warn");
    assert!(warning.contains("and none by the kernel's sockets"), "{warning}");
    apply(&lab, list);
    apply(&lab, remedy);
    quick(&lab, &[WANTED]).assert_ok("firewall");
    doctor(&lab, &["--wait", "0.5", WANTED]).assert_ok("stages");
    drop(traffic);
    // A policy that drops, as many hosts have it: the stream passes already, and the queries do not.
    nft("add rule inet filter input ct state established,related accept");
    nft("chain inet filter input { policy drop; }");
    let answer = quick(&lab, &[WANTED]);
    let (text, remedy) = answer.line("firewall", "fail");
    assert!(text.starts_with("nftables drops IGMP queries by the policy"), "{text}");
    apply(&lab, remedy);
    quick(&lab, &[WANTED]).assert_ok("firewall");
    let v6 = "[2001:db8::1]@[ff3e::1]:5000";
    for expected in ["drops [2001:db8::1]@[ff3e::1]:5000", "drops MLD queries"] {
        let answer = quick(&lab, &[v6]);
        let lines = answer.lines("firewall");
        assert!(lines[0]["text"].as_str().is_some_and(|text| text.contains(expected)), "{lines:?}");
        apply(&lab, lines[0]["remedy"].as_str().expect("a remedy"));
    }
    quick(&lab, &[v6]).assert_ok("firewall");
    // A rule that nobody can follow without its state.
    nft("insert rule inet filter input limit rate 5/second drop");
    assert!(quick(&lab, &[v6]).line("firewall", "warn").0.contains("is not understood"));
}

#[test]
fn queues_that_nobody_serves() {
    let lab = Lab::builder().queues(2).build().expect("lab");
    quick(&lab, &["--queues", "2"]).assert_ok("queues");
    assert_mended(&lab, &["--queues", "1"], "queues", "warn", "packets reach queue 1 of veth-rx");
    assert_mended(
        &lab,
        &["--queues", "2"],
        "queues",
        "fail",
        "1 receive queue, numbered from 0, and queue 1 is to be served",
    );
}

#[test]
fn offloads_that_are_in_the_way() {
    let lab = Lab::new().expect("lab");
    quick(&lab, &[]).assert_ok("offloads");
    for feature in ["rx-gro-list", "rx-udp-gro-forwarding"] {
        lab.rx().set_feature("veth-rx", feature, true).expect("a feature");
        assert_mended(&lab, &[], "offloads", "warn", feature);
    }
    // veth removes tags by default.
    assert_mended(&lab, &["--vlan", "7"], "offloads", "fail", "removes VLAN tags");
    lab.rx().ip(&["link", "set", "veth-rx", "mtu", "20000"]).expect("mtu");
    assert_mended(&lab, &[], "offloads", "warn", "20000");
}

/// The limit on locked memory counts without CAP_IPC_LOCK. Raising it takes CAP_SYS_RESOURCE, which this host may lack.
#[test]
fn locked_memory() {
    let lab = Lab::new().expect("lab");
    let tool = Scratch::new();
    std::fs::copy(env!("CARGO_BIN_EXE_receiver"), &tool.0).expect("a copy");
    let run = |capabilities: &str| {
        let mut command = lab.rx().command("prlimit");
        command.args(["--memlock=65536:65536", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.args(["--inh-caps", capabilities, "--ambient-caps", capabilities]).arg(&tool.0);
        Answer::of(&command.args(["doctor", "-i", "veth-rx", "--json"]).args(QUICK).output().expect("prlimit"))
    };
    let answer = run("-all");
    let (text, remedy) = answer.line("memory", "warn");
    assert!(text.contains("may lock 64 KiB"), "{text}");
    assert_eq!(remedy, "prlimit --pid $$ --memlock=16777216:16777216");
    run("-all,+ipc_lock").assert_ok("memory");
}

/// A receiver that is stopped while packets come loses some, and its own counters show where.
#[test]
fn a_receiver_that_runs_and_loses() {
    let lab = Lab::new().expect("lab");
    let runtime = std::env::temp_dir().join(format!("receiver-doctor-runtime-{}", std::process::id()));
    std::fs::create_dir_all(&runtime).expect("a folder");
    let look = || {
        let mut command = command(&lab, &QUICK);
        Answer::of(&command.env("RUNTIME_DIRECTORY", &runtime).output().expect("the doctor runs"))
    };
    let arguments = ["-n", "feed", "--mode", "copy", "--duration", "600", WANTED];
    let mut run = Run::start_in(&lab, &arguments, &[("RUNTIME_DIRECTORY", runtime.to_str().expect("UTF-8"))]);
    std::io::BufRead::read_line(&mut run.out, &mut String::new()).expect("it joined");
    let answer = look();
    assert_eq!(answer.line("running", "ok").0, "feed runs on veth-rx, and has lost nothing");
    run.signal(Signal::STOP);
    send(&lab, &["10.0.0.1"], 20_000);
    run.signal(Signal::CONT);
    let answer = look();
    let (text, remedy) = answer.line("running", "fail");
    assert!(text.starts_with("feed has lost ") && text.contains("its ring was full"), "{text}");
    assert_eq!(remedy, "receiver run -i veth-rx --name feed --ring-size 16384 SUBSCRIPTION");
    drop(run);
    assert!(look().line("running", "ok").0.starts_with("no receiver with a control socket"));
    // A run in another network, whose interface has the same name.
    let other = Lab::new().expect("lab");
    let mut run = Run::start_in(&other, &arguments, &[("RUNTIME_DIRECTORY", runtime.to_str().expect("UTF-8"))]);
    std::io::BufRead::read_line(&mut run.out, &mut String::new()).expect("it joined");
    assert!(look().line("running", "ok").0.starts_with("no receiver with a control socket"));
    drop(run);
    let _ = std::fs::remove_dir_all(&runtime);
}

/// Native XDP takes as many receive queues as the other end has transmit queues.
#[test]
fn modes_that_the_driver_refuses() {
    let lab = Lab::builder().rx_queues(1).tx_queues(2).build().expect("lab");
    let answer = doctor(&lab, &["--wait", "0.05"]);
    let (text, _) = answer.line("modes", "warn");
    assert!(text.starts_with("mode generic works on veth-rx, which is slow; zero-copy, mapped, copy not: "), "{text}");
    assert!(answer.line("occupied", "ok").0.starts_with("no XDP program"));
    lab.tx().set_channels("veth-tx", netlab::Channels::Tx, 1).expect("channels");
    doctor(&lab, &["--wait", "0.05"]).assert_ok("modes");
}

#[test]
fn progress_is_for_terminals() {
    let lab = Lab::new().expect("lab");
    let words = format!("{} doctor -i veth-rx --no-probe --wait 0.2", env!("CARGO_BIN_EXE_receiver"));
    let output = command::on_a_terminal(&lab, &words).wait_with_output().expect("script");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("\rlistening: 0 of 1 s") && text.contains("\r\u{1b}[K"), "{text}");
}
