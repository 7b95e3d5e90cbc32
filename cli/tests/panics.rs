//! A panic in any thread of the command ends it in order, with exit code 101. Needs root.

mod command;
#[path = "../../receiver/tests/support/mod.rs"]
mod support;

use std::io::BufRead;

use command::{Run, Scratch, WANTED, send_payloads};
use netlab::Lab;
use support::traces::Traces;

#[test]
fn a_panic_in_any_thread_ends_the_process_in_order() {
    let lab = Lab::new().expect("a lab");
    let before = Traces::of(&lab);
    for thread in ["main", "queue-0", "receiver-link"] {
        let summary = Scratch::new();
        let arguments = ["--json", "--interval", "0.1", "--summary", summary.name(), "--output", "/dev/null", WANTED];
        let mut run = Run::start_in(&lab, &arguments, &[("RECEIVER_PANIC", thread)]);
        if thread == "receiver-link" {
            run.out.read_line(&mut String::new()).expect("standard output");
            send_payloads(&lab, &[b"one".to_vec()]);
            // The thread logs that the link went away, and panics there.
            lab.tx().ip(&["link", "set", lab.tx_interface(), "down"]).expect("ip");
        }
        let (_, err, code) = run.end();
        lab.tx().ip(&["link", "set", lab.tx_interface(), "up"]).expect("ip");
        assert_eq!(code, Some(101), "{thread}: {err}");
        let says = format!("receiver: this is a fault in the program: thread {thread} panicked at ");
        assert!(err.starts_with(&says), "{thread}: {err}");
        assert!(!err.contains("takes too long"), "in order, and not by force: {err}");
        assert_eq!(summary.0.exists(), thread != "main", "the main thread alone makes summaries");
        assert_eq!(Traces::settled(&lab, &before), before, "{thread}");
    }
}
