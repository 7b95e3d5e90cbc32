//! The receivers that run on the interface with a control socket: what they have lost, by their own counters.

use std::fs;

use receiver_host::Netlink;
use serde_json::Value;

use crate::control::{Client, Request, Selection, place};
use crate::doctor::line::Line;
use crate::doctor::subject::Subject;

struct Facts {
    interface: String,
    /// Words that begin `receiver run` for the interface.
    run: String,
    runs: Vec<Run>,
    /// Frames that the NIC dropped for want of a buffer.
    missed: u64,
}

/// A run, and its ledger by cause.
struct Run {
    name: String,
    causes: Value,
}

pub fn check(subject: &Subject) -> Vec<Line> {
    let directory = place::runtime_directory();
    let runs = place::names(&directory).into_iter().filter_map(|name| {
        let control = Some(place::socket(&directory, &name));
        let mut client = Client::connect(&Selection { name: None, control }).ok()?;
        let pid = client.request(&Request::Hello {}).ok()?["pid"].as_u64()?;
        let mode = client.request(&Request::Mode {}).ok()?;
        let causes = client.request(&Request::Ledger {}).ok()?["ledger"].take();
        let is_meant = mode["interface"] == *subject.name() && is_in_this_network(pid);
        is_meant.then_some(Run { name, causes })
    });
    let counters = Netlink::open().and_then(|netlink| netlink.link_counters(subject.interface.index));
    judge(&Facts {
        interface: subject.name().to_owned(),
        run: subject.run_command(),
        runs: runs.collect(),
        missed: counters.map_or(0, |counters| counters.rx_missed),
    })
}

/// Returns true unless `/proc` shows that a process is in another network namespace. Control sockets have none.
fn is_in_this_network(pid: u64) -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    namespace(&pid.to_string()).is_none_or(|theirs| Some(theirs) == namespace("thread-self"))
}

fn judge(facts: &Facts) -> Vec<Line> {
    let mut lines = Vec::new();
    for Run { name, causes } in &facts.runs {
        let count = |names: &[&str]| names.iter().filter_map(|cause| causes[*cause].as_u64()).sum::<u64>();
        let of_run = |option: &str| format!("{} --name {name} {option} SUBSCRIPTION", facts.run);
        let before = lines.len();
        let full = count(&["xsk_rx_ring_full", "dropped_ring_full", "dropped_ring_busy"]);
        if full > 0 {
            let text = format!("{name} has lost {full} datagrams because its ring was full: the reader was too slow");
            lines.push(Line::fail(text).remedy(of_run("--ring-size 16384")));
        }
        let empty = count(&["xsk_rx_fill_ring_empty_descs"]);
        if empty > 0 {
            let clean = if facts.missed == 0 { ", which the counters of the NIC do not show" } else { "" };
            let text = format!("{name} has found its fill ring empty {empty} times{clean}");
            lines.push(Line::fail(text).remedy(of_run("--frames 65536")));
        }
        let dropped = count(&["kernel_dropped"]);
        if dropped > 0 {
            let text = format!("the kernel dropped {dropped} datagrams at the sockets of {name}");
            lines.push(Line::fail(text).remedy(of_run("--socket-buffer 64MiB")));
        }
        let kept = count(&["not_kept"]);
        if kept > 0 {
            let text = format!("{name} has lost {kept} datagrams because its consumer kept too many");
            lines.push(Line::fail(text).remedy(of_run("--copy-limit 512MiB")));
        }
        let unserved = count(&["passed_no_socket"]);
        if unserved > 0 {
            let text = format!("{unserved} frames of {name} came on queues that no AF_XDP socket serves");
            lines.push(Line::warn(text).remedy(format!("receiver doctor -i {} --queues all", facts.interface)));
        }
        if lines.len() == before {
            lines.push(Line::ok(format!("{name} runs on {}, and has lost nothing", facts.interface)));
        }
    }
    if lines.is_empty() {
        lines.push(Line::ok(format!("no receiver with a control socket runs on {}", facts.interface)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Fail, Ok, Warn};
    use serde_json::json;

    fn lines(causes: Value, missed: u64) -> Vec<Line> {
        let runs = vec![Run { name: "feed".to_owned(), causes }];
        let run = "receiver run -i eth1".to_owned();
        judge(&Facts { interface: "eth1".to_owned(), run, runs, missed })
    }

    #[test]
    fn each_loss_has_its_remedy() {
        assert_eq!(outcomes(&lines(json!({"redirected": 9, "kernel_dropped": 0}), 0)), [Ok]);
        for (cause, remedy) in [
            ("xsk_rx_ring_full", "receiver run -i eth1 --name feed --ring-size 16384 SUBSCRIPTION"),
            ("dropped_ring_full", "receiver run -i eth1 --name feed --ring-size 16384 SUBSCRIPTION"),
            ("xsk_rx_fill_ring_empty_descs", "receiver run -i eth1 --name feed --frames 65536 SUBSCRIPTION"),
            ("kernel_dropped", "receiver run -i eth1 --name feed --socket-buffer 64MiB SUBSCRIPTION"),
            ("not_kept", "receiver run -i eth1 --name feed --copy-limit 512MiB SUBSCRIPTION"),
        ] {
            let lines = lines(json!({ cause: 3 }), 0);
            assert_eq!((outcomes(&lines), lines[0].remedy.as_deref()), (vec![Fail], Some(remedy)));
        }
        assert_eq!(outcomes(&lines(json!({"passed_no_socket": 3}), 0)), [Warn]);
    }

    #[test]
    fn a_fill_ring_that_is_empty_while_the_nic_looks_clean() {
        let causes = json!({"xsk_rx_fill_ring_empty_descs": 7});
        assert!(lines(causes.clone(), 0)[0].text.contains("which the counters of the NIC do not show"));
        assert!(!lines(causes, 1)[0].text.contains("NIC"));
    }
}
