//! The options that every subcommand has: the log's level and format, and colours. Needs root.

mod command;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};

use command::{PATIENCE, Run, Scratch, WANTED, on_a_terminal};
use netlab::Lab;
use rustix::process::Signal;
use serde_json::Value;

/// Variables that would change what the command prints.
const CLEARED: [&str; 6] =
    ["RUST_LOG", "RECEIVER_LOG", "RECEIVER_LOG_FORMAT", "NO_COLOR", "CLICOLOR_FORCE", "CLICOLOR"];

fn receiver(words: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_receiver"));
    for name in CLEARED {
        command.env_remove(name);
    }
    command.envs(environment.iter().copied()).args(words.split_whitespace()).stdin(Stdio::null());
    command.output().expect("the command runs")
}

/// The log of a short run that has one warning: XDP is not permitted.
fn log_of(lab: &Lab, words: &str, environment: &[(&str, &str)]) -> String {
    let mut command = lab.rx().command("setpriv");
    for name in CLEARED {
        command.env_remove(name);
    }
    for (name, value) in environment {
        command.env(name, value);
    }
    command.args(["--bounding-set=-all", "--inh-caps=-all", env!("CARGO_BIN_EXE_receiver")]);
    command.args(words.split_whitespace());
    let output = command.output().expect("setpriv (Debian: util-linux)");
    let err = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(0), "{err}");
    err
}

#[test]
fn the_log_has_a_level_and_a_format() {
    let lab = Lab::new().expect("a lab");
    let run = format!("run -i veth-rx --duration 200ms {WANTED}");
    let lines = |text: &str, level: &str| text.lines().filter(|line| line.contains(&format!(" {level} "))).count();
    for (words, environment, warnings, decisions) in [
        (run.clone(), &[][..], 1, false),
        (format!("{run} -v"), &[], 1, true),
        (format!("-v {run}"), &[], 1, true),
        (format!("{run} --quiet"), &[], 0, false),
        (format!("{run} -qq"), &[], 0, false),
        (format!("{run} --log info"), &[], 1, true),
        (format!("{run} --log error"), &[], 0, false),
        (run.clone(), &[("RECEIVER_LOG", "error"), ("RUST_LOG", "info")], 0, false),
        (run.clone(), &[("RUST_LOG", "error")], 0, false),
        (format!("{run} -v"), &[("RECEIVER_LOG", "error")], 1, true),
        (format!("{run} --log warn"), &[("RECEIVER_LOG", "error")], 1, false),
    ] {
        let log = log_of(&lab, &words, environment);
        assert_eq!(
            (lines(&log, "WARN"), lines(&log, "INFO") > 0),
            (warnings, decisions),
            "{words} {environment:?}: {log}"
        );
    }
    for (words, environment) in [
        (format!("{run} --log-format json"), &[][..]),
        (run.clone(), &[("RECEIVER_LOG_FORMAT", "json"), ("CLICOLOR_FORCE", "1")]),
    ] {
        let log = log_of(&lab, &words, environment);
        let object: Value = serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {log}"));
        assert_eq!(object["level"], "WARN", "{log}");
        assert!(object["message"].as_str().is_some_and(|text| text.starts_with("XDP is not available")), "{log}");
        assert!(object["timestamp"].is_string() && object["target"].is_string(), "{log}");
    }
}

/// Whatever time the requests take: each is logged or counted as suppressed.
#[test]
fn the_log_suppresses_repeated_messages_and_counts_them() {
    const REQUESTS: u64 = 100;
    let lab = Lab::new().expect("a lab");
    let socket = Scratch::new();
    let (run, _) = Run::joined(&lab, &["-v", "--mode", "socket", "--control", socket.name(), WANTED]);
    let mut client = BufReader::new(UnixStream::connect(socket.name()).expect("the run listens"));
    client.get_ref().set_read_timeout(Some(PATIENCE)).expect("a time limit");
    for _ in 0..REQUESTS {
        client.get_mut().write_all(b"{\"request\":\"log-level\",\"level\":\"info\"}\n").expect("the run reads");
        client.read_line(&mut String::new()).expect("a reply");
    }
    run.signal(Signal::TERM);
    let (_, err, code) = run.end();
    assert_eq!(code, Some(0), "{err}");
    let (mut logged, mut suppressed) = (0, 0);
    for line in err.lines().filter(|line| line.contains("changed the run")) {
        match line.split_once(" more messages like this one were suppressed: ") {
            Some((before, _)) => {
                let count = before.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
                suppressed += count.unwrap_or_else(|| panic!("{line}"));
            }
            None => logged += 1,
        }
    }
    assert_eq!(logged + suppressed, REQUESTS, "{err}");
    assert!(logged >= 10 && suppressed > 0, "{logged} logged, {suppressed} suppressed: {err}");
}

#[test]
fn a_wrong_level_is_a_usage_error() {
    for (words, environment, says) in [
        ("membership -i lo --log dbug", &[][..], "did you mean debug?"),
        ("membership -i lo", &[("RECEIVER_LOG", "loud")], "`loud` is not a level of the log"),
        ("membership -i lo -v -q", &[], "cannot be used with"),
        ("run -i lo 232.1.1.1:1 --count -1", &[], "invalid value '-1' for '--count <N>': `-1` is not a number"),
    ] {
        let output = receiver(words, environment);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && err.contains(says), "{words}: {err}");
    }
}

#[test]
fn colours_are_those_that_were_asked_for() {
    let has_colour = |bytes: &[u8]| bytes.contains(&0x1b);
    for (words, environment, expected) in [
        ("run --help", &[][..], false),
        ("run --help --color always", &[], true),
        ("--color=always run --help", &[], true),
        ("--help", &[("CLICOLOR_FORCE", "1")], true),
        ("--help", &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        ("--help --color never", &[("CLICOLOR_FORCE", "1")], false),
        ("--help --color always", &[("NO_COLOR", "1")], true),
        ("run --wrong --color always", &[], true),
        ("run --wrong", &[], false),
        ("run --wrong --color never", &[("CLICOLOR_FORCE", "1")], false),
    ] {
        let output = receiver(words, environment);
        let coloured = has_colour(&output.stdout) || has_colour(&output.stderr);
        assert_eq!(coloured, expected, "{words} {environment:?}: {output:?}");
    }
    let lab = Lab::new().expect("a lab");
    for (more, environment, expected) in [
        ("", &[][..], false),
        ("--color always", &[], true),
        ("", &[("CLICOLOR_FORCE", "1")], true),
        ("--color never", &[("CLICOLOR_FORCE", "1")], false),
    ] {
        let log = log_of(&lab, &format!("run -i veth-rx --duration 200ms {WANTED} {more}"), environment);
        assert_eq!(has_colour(log.as_bytes()), expected, "{more} {environment:?}: {log}");
    }
}

#[test]
fn a_table_on_a_terminal_has_weight_only_if_wanted() {
    let lab = Lab::new().expect("a lab");
    for (more, expected) in [("", true), ("--color never", false)] {
        let words =
            format!("{} run -i veth-rx --duration 1 --interval 100ms {more} {WANTED}", env!("CARGO_BIN_EXE_receiver"));
        let output = on_a_terminal(&lab, &words).wait_with_output().expect("the run ends");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("232.1.1.1"), "{text:?}");
        assert_eq!(text.contains("\x1b[1m") || text.contains("\x1b[2m"), expected, "{more}: {text:?}");
    }
}
