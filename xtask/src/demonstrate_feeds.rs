//! The demonstration of feeds: one feed on two legs that lose packets, and the receiver that makes one feed of both.
//! The sender's report is the truth with which the receiver's is compared.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use netlab::Lab;
use serde::Deserialize;

use crate::demonstration::{Mode, Running, Scratch};
use crate::interrupt;

/// The legs, as the receiver subscribes to them and as the sender names them.
const LEGS: [&str; 2] = ["10.0.0.1@232.1.1.1:5000", "10.0.0.2@232.1.1.2:5000"];
/// Messages of one part, and how many of them per second.
const COUNT: u64 = 20_000;
const RATE: u64 = 5_000;
/// The longest time from the receiver's start to its first line, when it has joined.
const START: Duration = Duration::from_secs(20);
/// How long a message may be late. A machine with two processors can keep the sender waiting between the legs.
const WINDOW: &str = "1s";
/// Time from the last datagram to the receiver's end: gaps are declared by then.
const REST: Duration = Duration::from_millis(1500);
/// The longest run of a sender.
const PATIENCE: Duration = Duration::from_secs(30);

/// A part of the demonstration.
struct Part {
    title: &'static str,
    /// Options of the sender.
    loss: &'static [&'static str],
}

const PARTS: [Part; 2] = [
    Part {
        title: "Each leg loses 1 % of its packets, and never both the same message",
        loss: &["--loss", "1%", "--exclusive-loss"],
    },
    Part { title: "Each leg loses 5 % of its packets, whatever the other one loses", loss: &["--loss", "5%"] },
];

/// What the sender reports.
#[derive(Clone, Debug, Deserialize)]
struct Sent {
    messages: u64,
    missing: u64,
    gaps: u64,
    legs: Vec<Missing>,
}

/// What a leg lost.
#[derive(Clone, Debug, Deserialize)]
struct Missing {
    missing: u64,
}

/// What the receiver reports.
#[derive(Clone, Debug, Deserialize)]
struct Summary {
    mode: String,
    unaccounted: i64,
    /// Datagrams that this host dropped.
    lost: u64,
    feeds: Vec<Feed>,
}

#[derive(Clone, Debug, Deserialize)]
struct Feed {
    legs: Vec<Leg>,
    total: Total,
    missing_by: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Deserialize)]
struct Leg {
    missing: u64,
    first_share: f64,
}

#[derive(Clone, Debug, Deserialize)]
struct Total {
    messages: u64,
    missing: u64,
    gaps: u64,
}

/// Runs the demonstration, as root or in a user namespace.
pub fn run(receiver: &Path, mode: Mode) -> Result<ExitCode> {
    let interrupted = interrupt::outlive()?;
    let lab = Lab::new()?;
    println!(
        "Two network namespaces joined by veth. The sender makes a MoldUDP64 feed of {COUNT} messages, and sends each \
         of them on two legs, A ({}) and B ({}, 1 ms later). The receiver takes both legs as one feed.",
        LEGS[0], LEGS[1]
    );
    let mut is_good = true;
    for part in &PARTS {
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
        let Some(outcome) = run_part(&lab, receiver, mode, part, &interrupted)? else { break };
        println!("\n{}.\n{outcome}", part.title);
        for fault in outcome.faults() {
            eprintln!("error: {fault}");
            is_good = false;
        }
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `None` if it was interrupted.
fn run_part(lab: &Lab, receiver: &Path, mode: Mode, part: &Part, interrupted: &AtomicBool) -> Result<Option<Outcome>> {
    let folder = Scratch::new()?;
    let [summary, report, lines] = ["summary.json", "sent.json", "lines"].map(|name| folder.file(name));
    let create = |path: &Path| File::create(path).with_context(|| format!("cannot make {}", path.display()));
    let mut receiving = lab.rx().command(receiver);
    receiving.args([
        "run",
        "-i",
        lab.rx_interface(),
        "--feed",
        "moldudp64",
        "--feed-window",
        WINDOW,
        "--frames",
        "32768",
        "--summary",
    ]);
    receiving.arg(&summary).args(mode.arguments()).args(LEGS).stdout(create(&lines)?);
    // Its warnings name each gap; the result counts them.
    receiving.env("RUST_LOG", "error");
    let mut running = Running::start("the receiver", &mut receiving)?;
    let ends = |running: &mut Running, time| -> Result<bool> {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline && !interrupted.load(Ordering::Relaxed) {
            if running.ended()?.is_some() {
                return Ok(true);
            }
            sleep(Duration::from_millis(20));
        }
        Ok(false)
    };
    let start = Instant::now();
    while fs::metadata(&lines).is_ok_and(|lines| lines.len() == 0) && !interrupted.load(Ordering::Relaxed) {
        ensure!(!ends(&mut running, Duration::from_millis(20))?, "the receiver ended before anything was sent");
        ensure!(start.elapsed() < START, "the receiver has not joined after {} s", START.as_secs());
    }
    let mut sending = lab.tx().command(receiver);
    sending.args(sender_arguments(lab.tx_interface(), part));
    let mut sender = Running::start("the sender", sending.stdout(create(&report)?))?;
    let has_ended = ends(&mut sender, PATIENCE)?;
    ensure!(has_ended || interrupted.load(Ordering::Relaxed), "the sender did not end");
    let sent = sender.end(Duration::ZERO)?;
    ends(&mut running, REST)?;
    let received = running.end(Duration::ZERO)?;
    if interrupted.load(Ordering::Relaxed) {
        return Ok(None);
    }
    if !sent.success() || !received.success() {
        bail!("the sender ended with {sent}, the receiver with {received}");
    }
    let read =
        |path| fs::read_to_string(path).with_context(|| format!("there is no report in {}", Path::display(path)));
    Ok(Some(Outcome::of(&read(&report)?, &read(&summary)?)?))
}

fn sender_arguments(interface: &str, part: &Part) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["send", "-i", interface, "--feed", "moldudp64", "--json"].map(str::to_owned).into();
    arguments.extend(["--leg".into(), LEGS[0].into(), "--leg".into(), format!("{}?delay=1ms", LEGS[1])]);
    arguments.extend(["--rate".into(), RATE.to_string(), "--count".into(), COUNT.to_string()]);
    arguments.extend(["--messages", "1..4"].iter().chain(part.loss).map(|&word| word.to_owned()));
    arguments
}

/// What was sent, and what was received.
struct Outcome {
    sent: Sent,
    mode: String,
    unaccounted: i64,
    dropped: u64,
    feed: Feed,
}

impl Outcome {
    /// From the reports of sender and receiver.
    fn of(sent: &str, summary: &str) -> Result<Self> {
        let sent: Sent = serde_json::from_str(sent).context("the sender's report is not as expected")?;
        let summary: Summary = serde_json::from_str(summary).context("the receiver's summary is not as expected")?;
        let Summary { mode, unaccounted, lost: dropped, feeds } = summary;
        let feed = feeds.into_iter().next().context("the receiver reports no feed")?;
        ensure!(sent.legs.len() == 2 && feed.legs.len() == 2, "the reports do not have two legs");
        Ok(Self { sent, mode, unaccounted, dropped, feed })
    }

    /// Lists what is wrong.
    fn faults(&self) -> Vec<String> {
        let Self { sent, feed: Feed { legs, total, missing_by }, .. } = self;
        let attributed: u64 = missing_by.values().sum();
        let mut checks = vec![
            ("messages were delivered or are reported as missing", total.messages + total.missing, sent.messages),
            ("missing messages have a cause", attributed, total.missing),
        ];
        // A busy machine loses packets of its own, which its counters show.
        if self.dropped == 0 {
            checks.push(("messages are reported as missing", total.missing, sent.missing));
        }
        let lost_on = ["messages are reported as lost on leg A", "messages are reported as lost on leg B"];
        let lost = legs.iter().zip(&sent.legs).map(|(leg, sent)| (leg.missing, sent.missing));
        if self.dropped == 0 {
            checks.extend(lost_on.into_iter().zip(lost).map(|(what, (is, should))| (what, is, should)));
        }
        let wrong = checks.into_iter().filter(|(_, is, should)| is != should);
        let mut faults: Vec<String> = wrong.map(|(what, is, should)| format!("{is} {what}, not {should}")).collect();
        if self.unaccounted != 0 {
            faults.push(format!("{} frames are unaccounted for", self.unaccounted));
        }
        faults
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, mode, unaccounted, dropped, feed } = self;
        let (a, b) = (&feed.legs[0], &feed.legs[1]);
        writeln!(
            f,
            "  Of {} messages leg A lost {}, leg B {}.",
            sent.messages, sent.legs[0].missing, sent.legs[1].missing
        )?;
        writeln!(f, "  Both lost the same {} messages, in {} gaps.", sent.missing, sent.gaps)?;
        writeln!(
            f,
            "  The receiver, in mode {mode}, delivered {} messages, each once; {} are missing, in {} gaps.",
            feed.total.messages, feed.total.missing, feed.total.gaps
        )?;
        if feed.total.missing > 0 {
            let causes: Vec<_> = feed.missing_by.iter().map(|(cause, count)| format!("{cause} {count}")).collect();
            writeln!(f, "  Where the missing messages were lost: {}.", causes.join(", "))?;
        }
        if *dropped > 0 {
            writeln!(f, "  This machine was busy and dropped {dropped} packets of its own, so more may be missing.")?;
        }
        write!(
            f,
            "  Leg A was first with {:.1} %, leg B with {:.1} %: what A had lost. {unaccounted} frames are unaccounted \
             for.",
            100.0 * a.first_share,
            100.0 * b.first_share
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn outcome(missing: u64, delivered: u64, network: u64, unaccounted: i64, dropped: u64) -> Outcome {
        let sent = json!({"messages": 1000, "missing": 5, "gaps": 4, "legs": [{"missing": 50}, {"missing": 40}]});
        let legs = json!([{"missing": 50, "first_share": 0.95}, {"missing": 40, "first_share": 0.05}]);
        let total = json!({"messages": delivered, "missing": missing, "gaps": 4});
        let feed = json!({"legs": legs, "total": total, "missing_by": {"network": network}});
        let summary = json!({"mode": "socket", "unaccounted": unaccounted, "lost": dropped, "feeds": [feed]});
        Outcome::of(&sent.to_string(), &summary.to_string()).expect("as the commands write them")
    }

    #[test]
    fn a_good_run_has_no_faults_and_reads_well() {
        let good = outcome(5, 995, 5, 0, 0);
        assert_eq!(good.faults(), Vec::<String>::new());
        let text = good.to_string();
        for part in [
            "Of 1000 messages leg A lost 50, leg B 40.",
            "Both lost the same 5 messages, in 4 gaps.",
            "in mode socket, delivered 995 messages, each once; 5 are missing, in 4 gaps.",
            "Where the missing messages were lost: network 5.",
            "Leg A was first with 95.0 %, leg B with 5.0 %",
            "0 frames are unaccounted for.",
        ] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
    }

    #[test]
    fn every_fault_is_found() {
        let sum = "999 messages were delivered or are reported as missing, not 1000";
        assert_eq!(outcome(5, 994, 5, 0, 0).faults(), [sum]);
        assert_eq!(outcome(5, 995, 4, 0, 0).faults(), ["4 missing messages have a cause, not 5"]);
        assert_eq!(outcome(6, 994, 6, 0, 0).faults(), ["6 messages are reported as missing, not 5"]);
        assert_eq!(outcome(5, 995, 5, 3, 0).faults(), ["3 frames are unaccounted for"]);
    }

    #[test]
    fn a_busy_machine_is_no_fault_as_long_as_it_is_counted() {
        assert_eq!(outcome(6, 994, 6, 0, 9).faults(), Vec::<String>::new());
        assert!(outcome(6, 994, 6, 0, 9).to_string().contains("was busy and dropped 9 packets of its own"));
        assert_eq!(outcome(6, 995, 6, 0, 9).faults().len(), 1);
    }

    #[test]
    fn other_reports_are_refused() {
        assert!(Outcome::of("{}", "{}").is_err());
        assert!(Outcome::of("", "").is_err());
    }

    #[test]
    fn the_second_leg_is_late() {
        let line = sender_arguments("veth-tx", &PARTS[0]).join(" ");
        assert_eq!(
            line,
            "send -i veth-tx --feed moldudp64 --json --leg 10.0.0.1@232.1.1.1:5000 --leg \
             10.0.0.2@232.1.1.2:5000?delay=1ms --rate 5000 --count 20000 --messages 1..4 --loss 1% --exclusive-loss"
        );
    }
}
