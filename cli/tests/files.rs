//! Files and values for the command: a failed start changes no file, a file has one use, input has
//! bounds, and text that a terminal would act on. Needs root.

mod command;
#[path = "../../receiver/tests/support/mod.rs"]
mod support;

use std::fs;

use command::{Run, Scratch, WANTED, last_object, output, send_payloads};
use netlab::Lab;
use support::traces::Traces;

#[test]
fn a_failed_start_leaves_files_as_they_are() {
    let lab = Lab::new().expect("a lab");
    let i = lab.rx_interface();
    let (recording, summary, new) = (Scratch::with("kept"), Scratch::with("kept too"), Scratch::new());
    let files = ["--output", recording.name(), "--summary", summary.name(), WANTED];
    for refused in [&["-i", "nope0"][..], &["-i", i, "--mode", "zero-copy"], &["-i", i, "--ring-size", "100"]] {
        assert_ne!(output(&lab, &[refused, &files].concat()).status.code(), Some(0), "{refused:?}");
        assert_eq!((recording.read(), summary.read()), (b"kept".to_vec(), b"kept too".to_vec()), "{refused:?}");
        output(&lab, &[refused, &["--output", new.name(), WANTED]].concat());
        assert!(!new.0.exists(), "no file is created either: {refused:?}");
    }
    // A file that cannot be written is refused before anything is changed on the interface.
    let before = Traces::of(&lab);
    let folder = std::env::temp_dir();
    for option in ["--output", "--summary"] {
        let refused = output(&lab, &["-i", i, option, folder.to_str().expect("UTF-8"), WANTED]);
        let err = String::from_utf8_lossy(&refused.stderr);
        assert!(err.starts_with("receiver: cannot create /tmp: ") || err.contains("cannot create "), "{err}");
        assert_eq!((refused.status.code(), Traces::of(&lab) == before), (Some(1), true), "{err}");
    }
}

#[test]
fn a_recording_is_appended_to_and_a_summary_replaced() {
    let lab = Lab::new().expect("a lab");
    let (recording, summary) = (Scratch::with("before,"), Scratch::with("an old summary\n"));
    let arguments = ["--count", "2", "--output", recording.name(), "--summary", summary.name(), WANTED];
    let (run, _) = Run::joined(&lab, &arguments);
    send_payloads(&lab, &[b"one,".to_vec(), b"two".to_vec()]);
    assert_eq!(run.end().2, Some(0));
    assert_eq!(recording.read(), b"before,one,two");
    let text = String::from_utf8(summary.read()).expect("text");
    assert_eq!((text.lines().count(), &last_object(&text)["packets"]), (1, &2.into()), "{text}");
}

#[test]
fn discarded_datagrams_are_counted_and_written_nowhere() {
    let lab = Lab::new().expect("a lab");
    let (run, _) = Run::joined(&lab, &["--json", "--count", "2", "--output", "discard:", WANTED]);
    send_payloads(&lab, &[b"one".to_vec(), b"two".to_vec()]);
    let (out, err, code) = run.end();
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let summary = last_object(&out);
    assert_eq!((&summary["packets"], &summary["output_dropped"]), (&2.into(), &0.into()), "{summary}");
    assert!(!fs::exists("discard:").expect("the folder is there"), "it is no path");
}

#[test]
fn a_file_has_one_use() {
    let lab = Lab::new().expect("a lab");
    let list = Scratch::with(format!("{WANTED}\n"));
    let i = lab.rx_interface();
    for (arguments, uses) in [
        (vec!["-i", i, "--output", list.name(), "--subscriptions", list.name()], "--subscriptions and --output"),
        (vec!["-i", i, "--summary", list.name(), "--subscriptions", list.name()], "--subscriptions and --summary"),
        (vec!["-i", i, "--output", list.name(), "--summary", list.name(), WANTED], "--output and --summary"),
    ] {
        let refused = output(&lab, &arguments);
        let err = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{err}");
        assert!(err.starts_with(&format!("receiver: {uses} are the same file, ")), "{err}");
        assert_eq!(fs::read_to_string(&list.0).expect("the list"), format!("{WANTED}\n"));
    }
}

#[test]
fn input_has_bounds_and_messages_too() {
    let lab = Lab::new().expect("a lab");
    let before = Traces::of(&lab);
    let i = lab.rx_interface();
    let long = Scratch::with("x".repeat(12 << 20));
    let escapes = Scratch::with("\u{1b}]0;title\u{7}\u{9b}31m@232.1.1.1:5000\n");
    let words = "y".repeat(100_000);
    for arguments in [
        vec!["-i", i, "--subscriptions", "/dev/zero"],
        vec!["-i", i, "--subscriptions", long.name()],
        vec!["-i", i, "--subscriptions", escapes.name()],
        vec!["-i", i, "\u{1b}[31m@232.1.1.1:5000"],
        vec!["-i", i, &words],
        vec!["-i", i, "--mode", "\u{1b}[31m", WANTED],
        vec!["-i", i, "--mode", &words, WANTED],
        vec!["-i", i, "--vlan", "\u{1b}[31m", WANTED],
        vec!["-i", "\u{1b}[31m", WANTED],
        vec!["-i", &words, WANTED],
        vec!["-i", i, "--output", "/nowhere/\u{1b}[31m", WANTED],
        vec!["-i", i, "--queues", "4294967295", WANTED],
        vec!["-i", i, "--queues", "4294967295,", WANTED],
        vec!["-i", i, "--interval", "1e19", WANTED],
        vec!["-i", i, "--duration", "1e30", WANTED],
        vec!["-i", i, "--socket-buffer", "18446744073709551615", WANTED],
        vec!["-i", i, "--max-flows", "4294967295", WANTED],
        vec!["-i", i, "--frames", "4294967295", WANTED],
    ] {
        let refused = output(&lab, &arguments);
        let (err, shown) =
            (String::from_utf8_lossy(&refused.stderr), arguments[2].chars().take(30).collect::<String>());
        assert!(matches!(refused.status.code(), Some(1 | 2)), "{shown}: {:?} {err}", refused.status);
        assert!(!err.is_empty() && err.len() < 10_000, "{shown}: {} bytes", err.len());
        assert!(!err.chars().any(|c| c.is_control() && c != '\n'), "{shown}: {err:?}");
    }
    // Large values that make sense are accepted.
    let large = ["--duration", "1e19", "--interval", "1e9", "--copy-limit", "18446744073709551615"];
    let (run, _) = Run::joined(&lab, &[&large[..], &["--count", "1", WANTED]].concat());
    send_payloads(&lab, &[b"one".to_vec()]);
    assert_eq!(run.end().2, Some(0));
    assert_eq!(Traces::settled(&lab, &before), before);
}
