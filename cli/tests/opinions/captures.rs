//! Capture files as others write them: dumpcap with one or two interfaces or all, in pcap and pcapng, and mergecap from
//! files with other link types and time resolutions. The analysis of each is that of the datagrams that were sent.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use netlab::Lab;
use serde_json::Value;

use crate::capture::{Link, pcap, pcapng};
use crate::command::{Scratch, send_payloads, wait_for};
use crate::counts;
use crate::sequence::{Counts, count};
use crate::tools::{Packet, analyze, number, payload, run, stream, tshark};
use crate::{damaged_sessions, mold};

/// Each capture has this number of datagrams: the third is repeated, and the tenth is missing.
const COUNT: usize = 30;

fn datagrams() -> Vec<Vec<u8>> {
    let sequences = (0..COUNT as u64).map(|at| if at == 2 { 1 } else { at + u64::from(at > 8) });
    sequences.map(|at| mold(b"MORNING001", 1 + 2 * at, 2)).collect()
}

/// As `receiver analyze - < FILE`.
fn analyze_file(path: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_receiver"));
    command.args(["analyze", "-", "--json", "--feed", "moldudp64"]).stdin(File::open(path).expect("the file"));
    let output = command.output().expect("the receiver runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Captures with these options what one socket sends in the sending namespace. Returns the file.
fn captured(lab: &Lab, options: &[&str]) -> Scratch {
    let file = Scratch::new();
    let words = ["-q", "-w", file.name(), "-f", "udp port 5000", "-c", &COUNT.to_string()];
    let mut dumpcap = lab.tx().command("dumpcap");
    let mut child = dumpcap.args(words).args(options).stderr(Stdio::piped()).spawn().expect("dumpcap");
    // It names the file once it sees packets.
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let begun = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("File: "));
    assert!(begun, "dumpcap {options:?} ended");
    send_payloads(lab, &datagrams());
    wait_for(&format!("dumpcap {options:?} sees all packets"), || child.try_wait().expect("a child").is_some());
    assert!(child.wait().expect("a child").success(), "dumpcap {options:?}");
    file
}

#[test]
fn what_dumpcap_writes() {
    let lab = Lab::new().expect("a lab");
    for (options, links) in [
        (&["-i", "veth-tx"][..], 1),
        (&["-P", "-i", "veth-tx"], 1),
        (&["-i", "any"], 1),
        (&["-P", "-i", "any"], 1),
        (&["-i", "any", "-y", "LINUX_SLL2"], 1),
        (&["-i", "lo", "-i", "veth-tx"], 2),
        (&["-i", "lo", "-i", "any"], 2),
    ] {
        let file = captured(&lab, options);
        let analysis = analyze_file(file.name());
        let expected: Vec<(u64, u64)> =
            datagrams().iter().map(|datagram| (u64::from(datagram[17]), u64::from(datagram[19]))).collect();
        let expected = count(&expected, 0);
        assert_eq!((expected.duplicates, expected.missing), (1, 4));
        assert_eq!(counts(stream(&analysis, 5000)), expected, "{options:?}: {analysis}");
        let rows = tshark(&file.read(), &["-d", "udp.port==5000,moldudp64"], "moldudp64", &["frame.encap_type"]);
        assert_eq!(rows.len() as u64, expected.packets, "{options:?}");
        let (table, _) = run("capinfos", &["-M", "-I", file.name()], b"");
        let table = String::from_utf8_lossy(&table).into_owned();
        assert!(table.contains(&format!("Number of interfaces in file: {links}")), "{options:?}: {table}");
    }
}

/// Microseconds and nanoseconds, Ethernet and a cooked capture, in turn in one file.
#[test]
fn what_mergecap_writes() {
    let packets = damaged_sessions(7);
    let half = |odd: usize| -> Vec<Packet> { packets.iter().skip(odd).step_by(2).cloned().collect() };
    let parts =
        [Scratch::with(pcap(Link::Ethernet, false, false, &half(0))), Scratch::with(pcapng(Link::Cooked2, &half(1)))];
    let merged = Scratch::new();
    run("mergecap", &["-w", merged.name(), parts[0].name(), parts[1].name()], b"");
    let file = merged.read();
    let whole = analyze(&pcap(Link::Raw, true, false, &packets), &["--feed", "moldudp64"]);
    let analysis = analyze(&file, &["--feed", "moldudp64"]);
    let all = |analysis: &Value| -> Vec<Counts> {
        analysis["streams"].as_array().expect("streams").iter().map(counts).collect()
    };
    assert_eq!(all(&analysis), all(&whole));
    let rows = tshark(&file, &[], "udp", &["frame.time_epoch", "frame.interface_id", "udp.length"]);
    let time = |row: &Vec<Vec<String>>| row[0][0].parse::<f64>().expect("a time");
    let seconds = time(&rows[rows.len() - 1]) - time(&rows[0]);
    assert!((analysis["seconds"].as_f64().expect("seconds") - seconds).abs() < 1e-5, "{analysis}");
    let on = |interface: u64| rows.iter().filter(|row| number(&row[1][0]) == interface).count();
    assert!(on(0) > 100 && on(1) > 100, "two interfaces");
    let bytes: u64 = packets.iter().map(|packet| payload(packet).len() as u64 + 8).sum();
    assert_eq!(rows.iter().map(|row| number(&row[2][0])).sum::<u64>(), bytes);
}
