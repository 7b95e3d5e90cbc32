//! A receiver that is killed: the interface is left as it was found, and the next one starts.

#[path = "../../receiver/tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use netlab::Lab;
use receiver::{Builder, ReceiveMode, Wait};
use support::traces::Traces;
use support::{PATIENCE, Sending, causes, open, receive, stream, subscription};

const WANTED: &str = "10.0.0.1@232.1.1.1:5000";

fn killed_under_load(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let before = Traces::of(&lab);
    let mut config = stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]);
    (config.traffic.rate, config.spoof) = (50_000, true);
    let sending = Sending::start(&lab, config);
    for _ in 0..3 {
        let mut child = lab
            .rx()
            .command(env!("CARGO_BIN_EXE_receiver"))
            .args(["run", "-i", lab.rx_interface(), "--mode", mode.name()])
            .args(["--json", "--interval", "0.1", WANTED])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the victim");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let busy = |line: &str| {
            let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
            object["type"] == "interval" && object["subscriptions"][0]["packets"].as_u64() > Some(1_000)
        };
        assert!(output.lines().any(|line| busy(&line.expect("read"))), "the victim ended by itself");
        let during = Traces::of(&lab);
        assert!(during.xdp_program.is_some() && during.groups != before.groups);
        // `Child::kill` is SIGKILL.
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert_eq!(Traces::settled(&lab, &before), before);
    }
    // A new one starts at once, and receives from the sender that never stopped.
    let all = |builder: Builder| {
        let wanted = [WANTED, "[2001:db8::1]@[ff3e::1]:5000", "!10.0.0.9@239.1.1.1:5001"];
        wanted.into_iter().fold(builder, |builder, text| builder.subscribe(subscription(text))).mode(mode)
    };
    let mut receiver = open(&lab, all).expect("a new receiver");
    assert!(receiver.poll(Wait::For(PATIENCE), |_| {}).expect("poll") > 0);
    sending.stop();
    receive(&mut receiver, &[], |_| {});
    let ledger = receiver.handle().ledger().expect("ledger");
    assert_eq!(ledger.unaccounted(), 0, "{}", causes(&ledger));
}

#[test]
fn killed_under_load_copy() {
    killed_under_load(ReceiveMode::Copy);
}

#[test]
fn killed_under_load_mapped() {
    killed_under_load(ReceiveMode::Mapped);
}
