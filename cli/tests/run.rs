//! `receiver run` as a user runs it: the built command in two namespaces joined by veth. Needs root.

mod command;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use command::{
    Run, Scratch, WANTED, is_in_the_ledger, last_object, object, on_a_terminal, output, send, send_payloads, send_with,
};
use netlab::Lab;
use rustix::process::Signal;

#[test]
fn json_has_its_names_and_the_right_counts() {
    for mode in ["mapped", "copy", "generic", "socket"] {
        let lab = Lab::new().expect("a lab");
        let file = Scratch::new();
        let arguments = [
            "--json",
            "--probe",
            "--interval",
            "0.1",
            "--mode",
            mode,
            "--duration",
            "1.2",
            "--summary",
            file.name(),
            WANTED,
            "!10.0.0.9@239.1.1.1:5001",
        ];
        let (run, line) = Run::joined(&lab, &arguments);
        let start = object(&line);
        assert_eq!(
            (&start["type"], &start["interface"], &start["mode"]),
            (&"start".into(), &"veth-rx".into(), &mode.into())
        );
        assert_eq!(start["refused_modes"], serde_json::json!([]));
        assert_eq!(start["queues"], if mode == "socket" { serde_json::json!([]) } else { serde_json::json!([0]) });
        assert_eq!(start["subscriptions"], serde_json::json!([WANTED, "!10.0.0.9@239.1.1.1:5001"]));

        send_with(&lab, &["10.0.0.1", "10.0.0.2", "10.0.0.3"], 3000, |config| config.traffic.size = 100);
        let (out, err, code) = run.end();
        assert_eq!((code, err.as_str()), (Some(0), ""));
        let interval = object(out.lines().next().expect("an interval"));
        assert_eq!(interval["type"], "interval");
        for name in ["elapsed_seconds", "packets_per_second", "bits_per_second", "in_flight"] {
            assert!(interval[name].is_number(), "{name}: {interval}");
        }
        assert!(interval["unaccounted"].is_null() || interval["unaccounted"] == 0, "{interval}");
        for name in ["packets", "bytes", "packets_per_second", "bits_per_second"] {
            assert!(interval["subscriptions"][0][name].is_number(), "{name}: {interval}");
        }
        for name in ["blocked", "blocked_per_second"] {
            assert_eq!(interval["subscriptions"][0][name].is_null(), mode == "socket", "{name}: {interval}");
        }
        assert!(interval["ledger"].is_object());
        let summary = last_object(&out);
        assert_eq!(
            (&summary["type"], &summary["interface"], &summary["mode"]),
            (&"summary".into(), &"veth-rx".into(), &mode.into())
        );
        let elapsed = summary["elapsed_seconds"].as_f64().expect("a number");
        assert!((1.2..10.0).contains(&elapsed), "{elapsed}");
        let wanted = &summary["subscriptions"][0];
        assert_eq!(wanted["subscription"], WANTED);
        assert_eq!((&wanted["packets"], &wanted["bytes"]), (&2000.into(), &200_000.into()), "{mode}");
        assert_eq!(wanted["blocked"], if mode == "socket" { serde_json::Value::Null } else { 1000.into() });
        assert!(wanted["last_packet_seconds_ago"].as_f64().is_some_and(|seconds| seconds < elapsed));
        assert!(summary["subscriptions"][1]["last_packet_seconds_ago"].is_null());
        assert_eq!(summary["unaccounted"], 0, "{summary}");
        // In mode generic, frames with a partial checksum, as those of senders on this host, take the kernel path.
        let delivered = if ["mapped", "copy"].contains(&mode) { "xdp_delivered" } else { "kernel_delivered" };
        assert_eq!(summary["ledger"][delivered], 2000, "{summary}");
        for (verdict, of) in [("redirected", "copy"), ("mapped", "mapped")] {
            assert_eq!(summary["ledger"][verdict], if mode == of { 2000 } else { 0 }, "{summary}");
        }
        assert_eq!((&summary["probe"]["received"], &summary["probe"]["lost"]), (&2000.into(), &0.into()));
        assert_eq!(object(std::str::from_utf8(&file.read()).expect("text")), summary);
    }
}

/// Into its mapped ring, or with busy polling by AF_XDP.
#[test]
fn mode_generic_takes_whole_checksums_by_xdp() {
    for (more, ways) in [(&[][..], ["mapped", "redirected"]), (&["--busy-poll"], ["redirected", "mapped"])] {
        let lab = Lab::new().expect("a lab");
        let arguments = [&["--json", "--mode", "generic", "--count", "500", WANTED][..], more].concat();
        let (run, _) = Run::joined(&lab, &arguments);
        send_with(&lab, &["10.0.0.1"], 500, |config| config.spoof = true);
        let (out, err, code) = run.end();
        assert_eq!(code, Some(0), "{err}");
        let summary = last_object(&out);
        // One whole checksum in 65,536 looks partial.
        let [by_xdp, other, by_kernel] =
            [ways[0], ways[1], "passed_partial_checksum"].map(|cause| summary["ledger"][cause].as_u64());
        assert_eq!((by_xdp.zip(by_kernel).map(|(one, two)| one + two), other), (Some(500), Some(0)), "{summary}");
        assert!(by_xdp > Some(450), "{summary}");
        assert_eq!((&summary["packets"], &summary["unaccounted"]), (&500.into(), &0.into()), "{summary}");
    }
}

#[test]
fn count_is_exact_on_one_queue_and_on_several() {
    for (queues, count, mode) in
        [(1, 700, "mapped"), (4, 1001, "mapped"), (1, 700, "copy"), (4, 1001, "copy"), (1, 333, "socket")]
    {
        let lab = Lab::builder().queues(queues).build().expect("a lab");
        let file = Scratch::new();
        let count_text = count.to_string();
        let arguments = ["--json", "--mode", mode, "--count", &count_text, "--output", file.name(), WANTED];
        let (run, line) = Run::joined(&lab, &arguments);
        if mode != "socket" {
            assert_eq!(object(&line)["queues"].as_array().map(Vec::len), Some(queues as usize));
        }
        // Many flows spread over the queues.
        send_with(&lab, &["10.0.0.1", "10.0.0.2"], 3000, |config| {
            (config.traffic.source_port, config.traffic.source_ports, config.traffic.size) = (Some(4000), 16, 50);
        });
        let (out, err, code) = run.end();
        assert_eq!((code, err.as_str()), (Some(0), ""));
        let summary = last_object(&out);
        assert_eq!(summary["packets"], count);
        assert_eq!(file.read().len(), 50 * count, "the file has as many payloads as were counted");
        assert_eq!(summary["unaccounted"], 0, "{summary}");
    }
}

#[test]
fn output_is_the_payloads_in_order() {
    let lab = Lab::new().expect("a lab");
    let payloads: Vec<Vec<u8>> = (0..300u32).map(|n| n.to_be_bytes().repeat(1 + n as usize % 200)).collect();
    let file = Scratch::new();
    let (run, _) = Run::joined(&lab, &["--count", "300", "--output", file.name(), WANTED]);
    send_payloads(&lab, &payloads);
    assert_eq!(run.end().2, Some(0));
    assert!(file.read() == payloads.concat(), "the file differs from what was sent");
}

#[test]
fn output_to_standard_output_leaves_it_to_the_payloads() {
    let lab = Lab::new().expect("a lab");
    let mut run = Run::start(&lab, &["--json", "--count", "2", "--output", "-", WANTED]);
    let mut line = String::new();
    run.err.read_line(&mut line).expect("standard error");
    assert_eq!(object(&line)["type"], "start");
    send_payloads(&lab, &[b"first,".to_vec(), b"second".to_vec()]);
    let (out, err, code) = run.end();
    assert_eq!((out.as_str(), code), ("first,second", Some(0)));
    assert_eq!(last_object(&err)["packets"], 2);
}

#[test]
fn hex_dumps_each_datagram() {
    let lab = Lab::new().expect("a lab");
    let mut run = Run::start(&lab, &["--hex", "--count", "1", WANTED]);
    run.err.read_line(&mut String::new()).expect("standard error");
    send_payloads(&lab, &[b"hello, multicast\n".to_vec()]);
    let (out, _, code) = run.end();
    assert_eq!(code, Some(0));
    assert!(out.contains(" 10.0.0.1:4000 > 232.1.1.1:5000 xdp 17 bytes\n"), "{out}");
    assert!(
        out.contains("0000  68 65 6c 6c 6f 2c 20 6d 75 6c 74 69 63 61 73 74  |hello, multicast|\n0010  0a "),
        "{out}"
    );
}

#[test]
fn signals_end_with_the_summary() {
    let lab = Lab::new().expect("a lab");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let (run, line) = Run::joined(&lab, &["--interval", "0.1", WANTED]);
        assert_eq!(line, "veth-rx: mode mapped, queue 0, 1 subscription\n");
        send(&lab, &["10.0.0.1", "10.0.0.3"], 200);
        sleep(Duration::from_millis(300));
        run.signal(signal);
        let (out, err, code) = run.end();
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert!(out.starts_with("not zero-copy: "), "{out}");
        assert!(out.contains(" packets/s, ") && out.contains(" bit/s, "), "a line per interval: {out}");
        assert!(out.contains("100 packets with 2.20 kB of payload"), "{out}");
        assert!(out.contains(&format!("  {WANTED}: 100 packets, 2.20 kB, 100 blocked, last 0.")), "{out}");
        assert!(out.contains("dropped: dropped_not_included 100\n"), "{out}");
        assert!(out.contains("100 blocked, 0 lost, 0 unaccounted"), "{out}");
    }
}

#[test]
fn a_terminal_gets_a_table() {
    let lab = Lab::new().expect("a lab");
    let words = format!(
        "stty cols 100 rows 20; {} run -i veth-rx --interval 0.1 --duration 1 {WANTED}",
        env!("CARGO_BIN_EXE_receiver")
    );
    let mut child = on_a_terminal(&lab, &words);
    let mut terminal = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut out = String::new();
    while !out.contains("in flight") {
        assert!(terminal.read_line(&mut out).expect("text") > 0, "it ended: {out}");
    }
    send(&lab, &["10.0.0.1", "10.0.0.3"], 200);
    terminal.read_to_string(&mut out).expect("text");
    assert_eq!(child.wait().expect("a child").code(), Some(0), "{out}");
    for part in ["subscription", "packets/s", "last packet", "not zero-copy: ", "0 in flight", "\x1b[J", "total"] {
        assert!(out.contains(part), "{part} is missing: {out}");
    }
    assert!(out.contains("100 packets with 2.20 kB of payload"), "the summary follows: {out}");
    for left in ["\x1b[?25l", "\x1b[?1049h"] {
        assert!(!out.contains(left), "the terminal is left as it was: {out:?}");
    }
}

#[test]
fn a_dumb_terminal_gets_lines() {
    let lab = Lab::new().expect("a lab");
    let words = format!("{} run -i veth-rx --interval 0.1 --duration 0.5 {WANTED}", env!("CARGO_BIN_EXE_receiver"));
    for environment in [Some("dumb"), Some(""), None] {
        let mut command = lab.rx().command("script");
        command.args(["-q", "-e", "-c", &words, "/dev/null"]).env_remove("TERM").stdin(Stdio::null());
        if let Some(kind) = environment {
            command.env("TERM", kind);
        }
        let output = command.output().expect("script (Debian: bsdutils)");
        let out = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && out.contains(" in flight\r\n"), "{environment:?}: {out}");
        assert!(!out.contains('\x1b'), "{environment:?}: {out:?}");
    }
}

#[test]
fn traffic_on_its_way_is_in_flight_and_not_unaccounted() {
    let lab = Lab::new().expect("a lab");
    for json in [true, false] {
        let mut arguments = vec!["--interval", "0.01", "--duration", "3", WANTED];
        if json {
            arguments.push("--json");
        }
        let (run, _) = Run::joined(&lab, &arguments);
        send_with(&lab, &["10.0.0.1", "10.0.0.2"], 100_000, |config| config.traffic.rate = 100_000);
        let (out, err, code) = run.end();
        assert_eq!((code, err.as_str()), (Some(0), ""));
        if !json {
            let intervals: Vec<&str> = out.lines().filter(|line| line.contains(" packets/s, ")).collect();
            let (summary, intervals) = intervals.split_last().expect("a summary");
            assert!(summary.contains(" lost, 0 unaccounted"), "{summary}");
            assert!(intervals.len() > 10 && intervals.iter().all(|line| line.ends_with(" in flight")), "{out}");
            continue;
        }
        let objects: Vec<_> = out.lines().map(object).collect();
        let (summary, intervals) = objects.split_last().expect("a summary");
        assert_eq!((&summary["unaccounted"], &summary["in_flight"]), (&0.into(), &0.into()), "{summary}");
        let mut before = 0;
        let (mut flowing, mut resting) = (0, 0);
        for interval in intervals {
            let packets = interval["packets"].as_u64().expect("a number");
            match packets > before {
                true => {
                    flowing += 1;
                    assert!(interval["unaccounted"].is_null(), "{interval}");
                }
                false => {
                    resting += u32::from(!interval["unaccounted"].is_null());
                    assert!(interval["unaccounted"].is_null() || interval["unaccounted"] == 0, "{interval}");
                }
            }
            before = packets;
        }
        assert!(flowing > 5 && resting > 0, "{flowing} with traffic, {resting} at rest: {out}");
    }
}

/// Starts the command under limits of open files, as `ulimit` sets them.
fn limited(lab: &Lab, limit: &str, arguments: &[&str]) -> std::process::Child {
    let mut command = lab.rx().command("sh");
    command.args(["-c", &format!("{limit}; exec \"$0\" run -i veth-rx \"$@\""), env!("CARGO_BIN_EXE_receiver")]);
    command.args(arguments).env_remove("RUST_LOG").stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("sh")
}

#[test]
fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    let lab = Lab::new().expect("a lab");
    let mut child = limited(&lab, "ulimit -Sn 100; ulimit -Hn 3000", &["--json", WANTED]);
    let mut start = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut start).expect("text");
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).expect("limits");
    child.kill().expect("a child");
    child.wait().expect("a child");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["3000", "3000"], "{limits}");
}

#[test]
fn too_few_open_files_are_named_with_the_remedy() {
    let lab = Lab::new().expect("a lab");
    let file =
        Scratch::with((1..=2000).map(|n| format!("10.0.0.1@232.1.{}.{}:5000\n", n / 250, n % 250)).collect::<String>());
    let child = limited(&lab, "ulimit -n 60", &["--subscriptions", file.name()]);
    let output = child.wait_with_output().expect("a child");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("This process may have 60 files open, and ") && err.contains("`ulimit -n`"), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
}

/// Runs the command as root without any capability.
fn without_privilege(lab: &Lab, arguments: &[&str]) -> std::process::Output {
    let mut command = lab.rx().command("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", env!("CARGO_BIN_EXE_receiver"), "run", "-i", "veth-rx"]);
    command.args(arguments).env_remove("RUST_LOG").output().expect("setpriv (Debian: util-linux)")
}

#[test]
fn a_fall_back_from_xdp_is_prominent_and_can_be_refused() {
    let lab = Lab::new().expect("a lab");
    let output = without_privilege(&lab, &["--json", "--duration", "0.2", WANTED]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
    // The log's target is the module that warns.
    let expected = ": XDP is not available on veth-rx, so kernel sockets receive (mode socket): ";
    assert!(err.lines().count() == 1 && err.contains(" WARN receiver::") && err.contains(expected), "{err}");
    assert!(err.contains("Reasons: zero-copy, mapped, copy, generic: ") && err.contains("not permitted"), "{err}");
    let out = String::from_utf8_lossy(&output.stdout);
    let summary = last_object(&out);
    assert_eq!(summary["mode"], "socket");
    assert_eq!(summary["refused_modes"].as_array().map(Vec::len), Some(4), "{summary}");
    let warning = summary["warnings"][0].as_str().expect("a warning");
    assert!(err.contains(warning), "{warning}");

    let output = without_privilege(&lab, &["--duration", "0.2", WANTED]);
    let out = String::from_utf8_lossy(&output.stdout);
    let heading = "veth-rx: mode socket (XDP is not available), ";
    assert_eq!(out.matches(heading).count(), 2, "at the start and in the summary: {out}");
    assert!(!out.contains("not copy: "), "the warning has named the reason: {out}");

    let output = without_privilege(&lab, &["--require-xdp", WANTED]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{err}");
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines.len() == 5 && lines[0].starts_with("receiver: XDP is required on veth-rx, and each mode"), "{err}");
    for (line, mode) in lines[1..].iter().zip(["zero-copy", "mapped", "copy", "generic"]) {
        assert!(line.starts_with(&format!("  {mode}: ")), "{err}");
    }
}

#[test]
fn a_full_disk_fails_the_run_at_its_end_and_a_reader_that_goes_ends_it_quietly() {
    let lab = Lab::new().expect("a lab");
    let (run, _) = Run::joined(&lab, &["--count", "100", "--output", "/dev/full", WANTED]);
    send(&lab, &["10.0.0.1"], 100);
    let (_, err, code) = run.end();
    assert_eq!(code, Some(1));
    assert!(err.contains("receiver: cannot write to /dev/full: No space left on device"), "{err}");
    assert!(err.contains(" of payload ") && is_in_the_ledger(&err, "mapped"), "the summary: {err}");

    for arguments in [["--interval", "0.1", WANTED].as_slice(), &["--json", "--interval", "0.1", WANTED]] {
        let (mut run, _) = Run::joined(&lab, arguments);
        // Replacing the reading end of the pipe closes it.
        let mut other = Run::start(&lab, &["--help"]);
        std::mem::swap(&mut run.out, &mut other.out);
        drop(other);
        let (_, err, code) = run.end();
        assert_eq!((code, err.as_str()), (Some(0), ""));
    }
}

#[test]
fn subscriptions_come_from_a_file_by_the_thousand() {
    let lab = Lab::new().expect("a lab");
    let file = Scratch::new();
    let mut text = "# many\n".to_owned();
    for n in 0..1000 {
        text += &format!("10.0.0.1@232.1.{}.{}:5000 # number {n}\n", 1 + n / 250, 1 + n % 250);
    }
    fs::write(&file.0, text).expect("a file");
    let (run, line) = Run::joined(&lab, &["--json", "--count", "10", "--subscriptions", file.name()]);
    assert_eq!(object(&line)["subscriptions"].as_array().map(Vec::len), Some(1000));
    send(&lab, &["10.0.0.1"], 10);
    let (out, err, code) = run.end();
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let summary = last_object(&out);
    assert_eq!((&summary["subscriptions"][0]["packets"], &summary["unaccounted"]), (&10.into(), &0.into()));
}

#[test]
fn bad_requests_say_why_and_exit_with_their_code() {
    let lab = Lab::new().expect("a lab");
    let i = lab.rx_interface();
    lab.rx().ip(&["link", "add", "down0", "type", "veth", "peer", "name", "down1"]).expect("a link that is down");
    for (arguments, code, says) in [
        (vec!["-i", "nope0", WANTED], 1, "`nope0` does not exist"),
        (vec!["-i", "down0", WANTED], 1, "down0 is down"),
        (
            vec!["-i", "lo", WANTED],
            1,
            "interface lo is the loopback interface, on which multicast from a network never arrives; name the interface \
             that the streams come in on (there are: veth-rx, down1, down0). To try senders of this host",
        ),
        (vec!["-i", i, "--mode", "zero-copy", WANTED], 1, "mode zero-copy is not available on veth-rx"),
        (
            vec!["-i", i, "--share", "--mode", "copy", WANTED],
            2,
            "share is true: mode copy takes packets away from the other programs on the host; ask for mode mapped or \
             auto, or for mode socket, where each program gets its packets anyway. The option is --share",
        ),
        (
            vec!["-i", i, "--queues", "7", WANTED],
            1,
            "veth-rx has 1 receive queue, and the first 7 were asked for; ask for at most 1, or change their number \
             with `ethtool -L veth-rx`. For queue 7 alone write `--queues 7,`",
        ),
        (
            vec!["-i", i, "--queues", "4294967295", WANTED],
            1,
            "veth-rx has 1 receive queue, and the first 4294967295 were asked for",
        ),
        (
            vec!["-i", i, "--queues", "7,", WANTED],
            1,
            "veth-rx has 1 receive queue, numbered from 0, and queue 7 was asked",
        ),
        (vec!["-i", i, "--output", "/nowhere/file", WANTED], 1, "cannot create /nowhere/file"),
        (vec!["-i", i, "--subscriptions", "/nowhere/file"], 1, "cannot read the subscriptions in /nowhere/file"),
        (vec!["-i", i, "224.0.0.9@232.1.1.1:5000"], 2, "224.0.0.9"),
        (vec!["-i", i, "0.0.0.0@232.1.1.1:5000"], 2, "0.0.0.0"),
        (vec!["-i", i, "[fe80::1]@232.1.1.1:5000"], 2, "fe80::1"),
        (vec!["-i", i, "10.0.0.1@232.1.1.1:0"], 2, "port"),
        (vec!["-i", i, "232.1.1.1:5000"], 2, "--allow-asm-in-ssm-range"),
        (vec!["-i", i, WANTED, WANTED], 2, "is repeated from the command line; name each"),
        (vec!["-i", i, "--ring-size", "100", WANTED], 2, "ring_size is 100"),
        (
            vec!["-i", i, "--require-xdp", "--mode", "socket", WANTED],
            2,
            "mode is socket: it has no XDP, which is required; ask for another mode, or do not require XDP. The option is \
             --mode",
        ),
        (vec!["-i", i], 2, "SUBSCRIPTION"),
        (vec!["-i", i, "--mode", "best", WANTED], 2, "`best` is not a mode; write auto"),
    ] {
        let output = output(&lab, &arguments);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
        assert!(err.contains(says), "{arguments:?}: {err}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        if !err.starts_with("error: ") {
            assert!(err.starts_with("receiver: ") && err.lines().count() == 1, "one paragraph: {err}");
        }
    }
}
