//! `receiver interfaces`: what it shows of veth with queues, of a bridge, and of an interface with an XDP program; and
//! that it changes nothing. Needs root.

mod command;
#[path = "../../receiver/tests/support/mod.rs"]
mod support;

use command::{Run, Scratch, WANTED, object};
use netlab::Lab;
use rustix::process::Signal;
use serde_json::Value;
use support::traces::Traces;

fn interfaces(lab: &Lab, words: &[&str]) -> String {
    let mut command = lab.rx().command(env!("CARGO_BIN_EXE_receiver"));
    let output = command.arg("interfaces").args(words).env_remove("RUST_LOG").output().expect("the command runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The modes of an interface that can be had, that cannot, and that are unknown.
fn modes(interface: &Value) -> [Vec<&str>; 3] {
    let of = |wanted: Option<bool>| {
        let modes = interface["modes"].as_array().expect("modes").iter();
        modes.filter(|mode| mode["available"].as_bool() == wanted).filter_map(|mode| mode["mode"].as_str()).collect()
    };
    [of(Some(true)), of(Some(false)), of(None)]
}

/// The answer without `--probe` on a kernel that reports features, and on an older one.
fn assert_modes(interface: &Value, expected: [&[&str]; 2], unknown: &[&str]) {
    let [yes, no, unsure] = modes(interface);
    let is_old = !unsure.is_empty();
    if is_old {
        assert_eq!(unsure, unknown, "{interface}");
    } else {
        assert_eq!([yes.as_slice(), no.as_slice()], expected, "{interface}");
    }
}

const NATIVE: [&str; 3] = ["zero-copy", "mapped", "copy"];

#[test]
fn a_veth_with_queues() {
    let lab = Lab::builder().queues(4).build().expect("a lab");
    let before = Traces::of(&lab);
    let all = object(&interfaces(&lab, &["--json"]));
    assert_eq!((&all["type"], &all["probed"]), (&"interfaces".into(), &false.into()), "{all}");
    let list = all["interfaces"].as_array().expect("a list");
    assert_eq!(list.len(), 1, "the loopback interface is left out: {all}");
    let veth = &list[0];
    let facts = ["name", "driver", "state"].map(|key| veth[key].as_str().unwrap_or_default());
    assert_eq!(facts, ["veth-rx", "veth", "up"]);
    assert_eq!((&veth["mtu"], &veth["queues"], &veth["xdp"]), (&1500.into(), &4.into(), &Value::Null), "{veth}");
    assert_modes(veth, [&["mapped", "copy", "generic", "socket"], &["zero-copy"]], &NATIVE);
    assert_eq!(Traces::of(&lab), before, "nothing was touched");

    let probed = object(&interfaces(&lab, &["veth-rx", "--probe", "--json"]));
    let veth = &probed["interfaces"][0];
    assert_eq!(modes(veth), [vec!["mapped", "copy", "generic", "socket"], vec!["zero-copy"], vec![]], "{probed}");
    assert!(veth["modes"][0]["reason"].as_str().is_some_and(|reason| reason.contains("no zero-copy")), "{probed}");
    assert_eq!(Traces::settled(&lab, &before), before, "nothing is left");

    let text = interfaces(&lab, &["veth-rx", "--probe"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("interface  driver  state  MTU   queues  modes"), "{text}");
    assert_eq!(lines[1], "veth-rx    veth    up     1500  4       mapped, copy, generic, socket  -", "{text}");
    assert!(lines.len() == 3 && lines[2].starts_with("  not zero-copy: "), "{text}");
}

#[test]
fn a_bridge_has_no_native_xdp() {
    let lab = Lab::new().expect("a lab");
    lab.rx().ip(&["link", "add", "br0", "type", "bridge"]).expect("a bridge");
    let before = object(&interfaces(&lab, &["br0", "--json"]));
    let bridge = &before["interfaces"][0];
    assert_eq!((&bridge["state"], &bridge["driver"]), (&"down".into(), &"bridge".into()), "{bridge}");
    lab.rx().ip(&["link", "set", "br0", "up", "multicast", "on"]).expect("up");
    let up = object(&interfaces(&lab, &["br0", "--json"]));
    assert_modes(&up["interfaces"][0], [&["generic", "socket"], &NATIVE], &NATIVE);
    let probed = object(&interfaces(&lab, &["br0", "--json", "--probe"]));
    assert_eq!(modes(&probed["interfaces"][0]), [vec!["generic", "socket"], NATIVE.to_vec(), vec![]], "{probed}");
    assert_eq!(object(&interfaces(&lab, &["br0", "--json"])), up, "nothing is left");
    lab.rx().ip(&["link", "add", "e\u{1b}[1m", "type", "bridge"]).expect("a strange name");
    let all = interfaces(&lab, &[]);
    assert!(!all.contains('\u{1b}'), "{all:?}");
    assert!(all.lines().any(|line| line.starts_with("br0 ")) && !all.contains("  not "), "{all}");
}

#[test]
fn the_process_that_has_xdp_is_named() {
    let lab = Lab::new().expect("a lab");
    let (run, _) = Run::joined(&lab, &["--mode", "copy", WANTED]);
    let pid = run.child.id();
    let before = Traces::of(&lab);
    for probe in [&[][..], &["--probe"]] {
        let all = object(&interfaces(&lab, &[&["veth-rx", "--json"][..], probe].concat()));
        let veth = &all["interfaces"][0];
        assert_eq!(veth["xdp"]["program"].as_u64(), before.xdp_program.map(u64::from), "{all}");
        assert_eq!(veth["xdp"]["name"], "receiver", "{all}");
        let process = &veth["xdp"]["processes"][0];
        assert_eq!((&process["pid"], &process["name"]), (&pid.into(), &"receiver".into()), "{all}");
        assert_eq!(modes(veth)[0], ["socket"], "{all}");
    }
    let text = interfaces(&lab, &[]);
    assert!(text.contains(&format!("`receiver`, held by receiver (pid {pid})")), "{text}");
    assert_eq!(Traces::of(&lab), before, "the run is left alone");
    run.signal(Signal::TERM);
    assert_eq!(run.end().2, Some(0));
}

/// The modes are those of the interface, and the last line is of the process.
#[test]
fn missing_privilege_is_named() {
    let lab = Lab::new().expect("a lab");
    assert!(!interfaces(&lab, &[]).contains("this process"));
    let tool = Scratch::new();
    std::fs::copy(env!("CARGO_BIN_EXE_receiver"), &tool.0).expect("a copy");
    let mut command = lab.rx().command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
    let output = command.arg(&tool.0).arg("interfaces").output().expect("setpriv (Debian: util-linux)");
    let text = String::from_utf8_lossy(&output.stdout);
    let last = "the modes with XDP are not for this process: this process lacks CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF";
    assert!(output.status.success() && text.lines().last() == Some(last), "{text}");
}

#[test]
fn wrong_words_are_refused() {
    let lab = Lab::new().expect("a lab");
    for (words, code, says) in
        [(&["--probe"][..], 2, "IFACE"), (&["veth-xr"], 1, "Did you mean veth-rx?"), (&["--json", "x"], 1, "`x`")]
    {
        let mut command = lab.rx().command(env!("CARGO_BIN_EXE_receiver"));
        let output = command.arg("interfaces").args(words).output().expect("the command runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{words:?}: {err}");
        assert!(err.contains(says), "{words:?}: {err}");
    }
}
