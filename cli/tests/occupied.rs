//! An interface that a receiver in another process has: the refusal names that process, and the remedy.

#[path = "../../receiver/tests/support/mod.rs"]
mod support;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver::ReceiveMode;
use support::occupied::{ASKED, assert_refused};
use support::traces::Traces;
use support::{NATIVE, PATIENCE, open, subscription};

/// A `receiver run` in the lab. Dropping this value kills it.
struct Running(Child);

impl Running {
    fn start(lab: &Lab, mode: ReceiveMode) -> Self {
        let child = lab
            .rx()
            .command(env!("CARGO_BIN_EXE_receiver"))
            .args(["run", "-i", lab.rx_interface(), "--mode", mode.name(), "10.0.0.1@232.1.1.1:5000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let running = Self(child.expect("the receiver starts"));
        let start = Instant::now();
        // 232.1.1.1 is joined last.
        while !Traces::of(lab).filters.contains("0xe8010101") {
            assert!(start.elapsed() < PATIENCE, "it joined nothing");
            std::thread::sleep(Duration::from_millis(10));
        }
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_receiver_in_another_process() {
    NATIVE.into_iter().for_each(a_receiver_of);
}

fn a_receiver_of(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let first = Running::start(&lab, mode);
    let holder = format!("held by receiver (pid {})", first.0.id());
    assert_refused(&lab, &["`receiver`", &holder, "give one receiver the subscriptions of both"]);
    let second = lab
        .rx()
        .command(env!("CARGO_BIN_EXE_receiver"))
        .args(["run", "-i", lab.rx_interface(), "--duration", "1", ASKED])
        .output()
        .expect("the second one ends");
    let message = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{message}");
    assert!(message.contains(&holder), "{message}");
    drop(
        open(&lab, |builder| builder.subscribe(subscription(ASKED)).mode(ReceiveMode::Socket))
            .expect("the remedy helps"),
    );
}
