//! What the kernel permits: reverse paths, memberships, firewall rules, privilege, and locked memory.

use netlab::Lab;

use crate::WANTED;
use crate::answer::{Answer, QUICK, apply, assert_mended, doctor, quick};
use crate::command::Scratch;
use crate::wire::{IGMPV2_QUERY, Repeating, sending};

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
