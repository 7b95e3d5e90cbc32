//! Where packets are lost: a short count at the NIC, in XDP, in the ring, and at the kernel's sockets.

use std::net::IpAddr;
use std::time::Duration;

use receiver::{Finding, Subscription, Verdict};

use crate::doctor::line::Line;
use crate::doctor::listen::{Counted, Unheard};
use crate::doctor::subject::Subject;

#[derive(Clone, Default)]
struct Facts {
    interface: String,
    /// Words that begin `receiver run` for the interface.
    run: String,
    elapsed: Duration,
    nic: Nic,
    /// `None` if there was no XDP.
    xdp: Option<Xdp>,
    socket: KernelSockets,
    each: Vec<Each>,
}

/// The NIC's counts.
#[derive(Clone, Default)]
struct Nic {
    frames: u64,
    dropped: u64,
    missed: u64,
}

/// The counts of XDP and its rings.
#[derive(Clone, Default)]
struct Xdp {
    wanted: u64,
    unwanted: u64,
    other_groups: u64,
    delivered: u64,
    lost: u64,
    fill_ring_empty: u64,
}

/// The counts of the kernel's sockets.
#[derive(Clone, Default)]
struct KernelSockets {
    delivered: u64,
    dropped: u64,
}

/// One subscription.
#[derive(Clone)]
struct Each {
    subscription: Subscription,
    xdp: u64,
    socket: u64,
    findings: Vec<Finding>,
}

pub fn check(subject: &Subject) -> Vec<Line> {
    let heard = subject.heard();
    match &heard.stages {
        Ok(counted) => judge(&facts(subject, heard.elapsed, counted)),
        Err(Unheard(reason)) => vec![Line::skipped(format!("nothing was counted: {reason}"))],
    }
}

fn facts(subject: &Subject, elapsed: Duration, counted: &Counted) -> Facts {
    let nic = counted.nic.map(|(before, after)| Nic {
        frames: after.rx_packets.saturating_sub(before.rx_packets),
        dropped: after.rx_dropped.saturating_sub(before.rx_dropped),
        missed: after.rx_missed.saturating_sub(before.rx_missed),
    });
    let xdp = counted.xdp.as_ref().ok();
    let count = |ledger: &receiver::Ledger, verdicts: &[Verdict]| -> u64 {
        verdicts.iter().map(|&verdict| ledger.verdict(verdict)).sum()
    };
    // The findings of XDP say more than those of kernel sockets.
    let evidence = &xdp.unwrap_or(&counted.socket).evidence;
    let each = subject.subscriptions.iter().map(|subscription| {
        let own = evidence.silent.iter().filter(|silent| silent.subscription == *subscription);
        Each {
            subscription: subscription.clone(),
            xdp: xdp.map_or(0, |stage| stage.packets(subscription)),
            socket: counted.socket.packets(subscription),
            findings: own.flat_map(|silent| &silent.findings).chain(&evidence.findings).cloned().collect(),
        }
    });
    Facts {
        interface: subject.name().to_owned(),
        run: subject.run_command(),
        elapsed,
        nic: nic.unwrap_or_default(),
        xdp: xdp.map(|stage| Xdp {
            wanted: count(
                &stage.ledger,
                &[Verdict::Redirected, Verdict::Mapped, Verdict::DroppedRingFull, Verdict::DroppedRingBusy],
            ),
            unwanted: count(
                &stage.ledger,
                &[Verdict::DroppedNotIncluded, Verdict::DroppedBlocked, Verdict::PassedShared],
            ),
            other_groups: count(&stage.ledger, &[Verdict::PassedOtherGroup]),
            delivered: stage.ledger.delivered(),
            lost: stage.ledger.lost(),
            fill_ring_empty: stage.ledger.sockets().iter().map(|socket| socket.rx_fill_ring_empty_descs).sum(),
        }),
        socket: KernelSockets {
            delivered: counted.socket.ledger.delivered(),
            dropped: counted.socket.ledger.kernel().dropped,
        },
        each: each.collect(),
    }
}

fn judge(facts: &Facts) -> Vec<Line> {
    let mut lines = vec![Line::ok(totals(facts))];
    lines.extend(losses(facts));
    lines.extend(facts.each.iter().map(|each| subscription(facts, each)));
    lines
}

/// All stages in one line.
fn totals(facts: &Facts) -> String {
    let Facts { interface, nic, socket, .. } = facts;
    let xdp = match &facts.xdp {
        Some(xdp) => format!(
            "XDP: {} wanted, {} of other sources, {} of other groups; ring: {} delivered, {} lost; ",
            xdp.wanted, xdp.unwanted, xdp.other_groups, xdp.delivered, xdp.lost
        ),
        None => String::new(),
    };
    format!(
        "{interface} in {:.1} s: {} frames, {} dropped, {} missed; {xdp}sockets: {} delivered, {} dropped",
        facts.elapsed.as_secs_f64(),
        nic.frames,
        nic.dropped,
        nic.missed,
        socket.delivered,
        socket.dropped
    )
}

/// A line for each stage that has lost packets.
fn losses(facts: &Facts) -> Vec<Line> {
    let Facts { interface, run, nic, socket, .. } = facts;
    let of_run = |options: &str| format!("{run} {options} {}", named(facts));
    let mut lines = Vec::new();
    if nic.missed > 0 {
        let text = format!("{interface} dropped {} frames for want of a buffer", nic.missed);
        lines.push(Line::fail(text).remedy(format!("ethtool -G {interface} rx 4096")));
    }
    if let Some(xdp) = &facts.xdp {
        if xdp.lost > 0 {
            let text = format!("{} datagrams were lost because the ring was full: the reader was too slow", xdp.lost);
            lines.push(Line::fail(text).remedy(of_run("--ring-size 16384")));
        }
        if xdp.fill_ring_empty > 0 {
            let counters = if nic.missed == 0 { ", which the counters of the NIC do not show" } else { "" };
            let text = format!("the fill ring was empty {} times{counters}", xdp.fill_ring_empty);
            lines.push(Line::fail(text).remedy(of_run("--frames 65536")));
        }
    }
    if socket.dropped > 0 {
        let text = format!("the kernel dropped {} datagrams at the sockets: their buffers were full", socket.dropped);
        lines.push(Line::fail(text).remedy("sysctl -w net.core.rmem_max=67108864"));
    }
    lines
}

/// The subscriptions as words of a command.
fn named(facts: &Facts) -> String {
    facts.each.iter().map(|each| each.subscription.to_string()).collect::<Vec<_>>().join(" ")
}

fn subscription(facts: &Facts, each: &Each) -> Line {
    let Each { subscription, xdp, socket, findings } = each;
    match (facts.xdp.is_some(), *xdp, *socket) {
        (true, 0, 0) | (false, _, 0) => {
            let reasons: Vec<String> = findings.iter().map(ToString::to_string).collect();
            let reasons = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) };
            let line = Line::fail(format!("{subscription} received nothing{reasons}"));
            let capture = || format!("tcpdump -n -i {} 'udp and dst host {}'", facts.interface, subscription.group());
            line.remedy(findings.iter().find_map(|finding| remedy(facts, each, finding)).unwrap_or_else(capture))
        }
        (true, xdp, 0) => Line::warn(format!(
            "{subscription}: {xdp} datagrams by XDP, and none by the kernel's sockets: after XDP the kernel drops \
             them, as a firewall or the reverse path filter does; mode socket would receive nothing"
        ))
        .remedy("nft list ruleset"),
        (true, 0, socket) => Line::ok(format!(
            "{subscription}: {socket} datagrams by kernel sockets, none of them by XDP, as with IP fragments"
        )),
        (true, xdp, socket) => Line::ok(format!("{subscription}: {xdp} datagrams by XDP, {socket} by kernel sockets")),
        (false, _, socket) => Line::ok(format!("{subscription}: {socket} datagrams by kernel sockets")),
    }
}

/// The command that helps against a finding.
fn remedy(facts: &Facts, each: &Each, finding: &Finding) -> Option<String> {
    let written = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    match finding {
        Finding::UnwantedSources { group, port, latest: Some(latest), .. } => {
            Some(format!("{} {}@{}:{port}", facts.run, written(latest), written(group)))
        }
        Finding::OtherPorts { ports, .. } => {
            let text = each.subscription.to_string();
            let (before, _) = text.rsplit_once(':')?;
            Some(format!("{} {before}:{}", facts.run, ports.first()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Fail, Ok, Warn};

    fn each(xdp: u64, socket: u64, findings: Vec<Finding>) -> Vec<Each> {
        let subscription = "10.0.0.1@232.1.1.1:5000".parse().expect("a subscription");
        vec![Each { subscription, xdp, socket, findings }]
    }

    fn facts(xdp: Option<Xdp>, each: Vec<Each>) -> Facts {
        let run = "receiver run -i eth1".to_owned();
        Facts { interface: "eth1".to_owned(), run, xdp, each, ..Facts::default() }
    }

    #[test]
    fn what_arrives_where() {
        let with_xdp = |xdp, socket| judge(&facts(Some(Xdp::default()), each(xdp, socket, Vec::new())));
        assert_eq!(outcomes(&with_xdp(5, 5)), [Ok, Ok]);
        assert_eq!(outcomes(&with_xdp(0, 5)), [Ok, Ok]);
        assert_eq!(outcomes(&with_xdp(5, 0)), [Ok, Warn]);
        assert_eq!(outcomes(&with_xdp(0, 0)), [Ok, Fail]);
        assert_eq!(outcomes(&judge(&facts(None, each(0, 5, Vec::new())))), [Ok, Ok]);
        let lines = judge(&facts(None, each(0, 0, Vec::new())));
        assert_eq!(lines[1].remedy.as_deref(), Some("tcpdump -n -i eth1 'udp and dst host 232.1.1.1'"));
    }

    #[test]
    fn losses_are_named_by_their_stage() {
        let lost = Xdp { lost: 3, ..Xdp::default() };
        let lines = judge(&facts(Some(lost), each(5, 5, Vec::new())));
        let remedy = "receiver run -i eth1 --ring-size 16384 10.0.0.1@232.1.1.1:5000";
        assert_eq!((outcomes(&lines), lines[1].remedy.as_deref()), (vec![Ok, Fail, Ok], Some(remedy)));
        let empty = Xdp { fill_ring_empty: 7, ..Xdp::default() };
        let lines = judge(&facts(Some(empty), each(5, 5, Vec::new())));
        assert!(lines[1].text.contains("empty 7 times, which the counters of the NIC do not show"), "{lines:?}");
        assert!(lines[1].remedy.as_ref().is_some_and(|remedy| remedy.contains("--frames 65536")), "{lines:?}");
        let missed = Facts { nic: Nic { missed: 2, ..Nic::default() }, ..facts(None, each(0, 5, Vec::new())) };
        assert_eq!(judge(&missed)[1].remedy.as_deref(), Some("ethtool -G eth1 rx 4096"));
        let full = KernelSockets { delivered: 5, dropped: 1 };
        let lines = judge(&Facts { socket: full, ..facts(None, each(0, 5, Vec::new())) });
        assert_eq!(outcomes(&lines), [Ok, Fail, Ok]);
    }
}
