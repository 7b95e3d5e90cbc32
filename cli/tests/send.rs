//! `receiver send`: without privilege, and ended by a signal.

#[path = "../../send/tests/support/mod.rs"]
mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver_send::probe::PROBE_LEN;
use support::{address, joined, receive};

#[test]
fn without_privilege_own_addresses_send_and_spoofing_is_refused() {
    let lab = Lab::new().expect("a lab");
    let run = |source: &str| {
        let mut command = lab.tx().command("setpriv");
        command.args(["--reuid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
        command.args([env!("CARGO_BIN_EXE_receiver"), "send", "-i", lab.tx_interface(), "--group", "232.1.1.1"]);
        command.args(["--port", "5000", "--count", "3", "--json", "--source", source]);
        command.output().expect("setpriv starts")
    };
    let own = run("10.0.0.1");
    assert!(own.status.success(), "{own:?}");
    let report: serde_json::Value = serde_json::from_slice(&own.stdout).expect("one JSON object");
    assert_eq!((&report["type"], &report["packets"]), (&"send".into(), &3.into()));
    let spoofed = run("10.0.0.77");
    assert_eq!(spoofed.status.code(), Some(1), "{spoofed:?}");
    assert!(String::from_utf8_lossy(&spoofed.stderr).contains("CAP_NET_RAW"), "{spoofed:?}");
}

#[test]
fn signals_end_it_with_its_report() {
    let lab = Lab::new().expect("a lab");
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let socket = joined(&lab, address("232.1.1.1"));
        let mut command = lab.tx().command(env!("CARGO_BIN_EXE_receiver"));
        command.args(["send", "-i", lab.tx_interface(), "--group", "232.1.1.1", "--port", "5000", "--rate", "2000"]);
        command.arg("--json").stdout(Stdio::piped());
        let child = command.spawn().expect("the sender starts");
        // It is sending once something came.
        let started = Instant::now();
        while socket.peek(&mut [0; 64]).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "nothing was sent");
        }
        let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("signalled");
        let output = child.wait_with_output().expect("ended");
        assert_eq!(output.status.code(), Some(0));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        assert_eq!(report["stopped"], true);
        let received = receive(&socket, "232.1.1.1", PROBE_LEN);
        assert_eq!(report["packets"], received.received);
        assert!(received.is_clean());
    }
}
