//! Rules of nftables that drop packets on the kernel path: those of the subscriptions, and the queries of the querier.

use std::io;
use std::net::IpAddr;
use std::process::Command;

use crate::doctor::line::Line;
use crate::doctor::nftables::{Fate, Packet, Payload, Ruleset, Sentence};
use crate::doctor::subject::Subject;

/// The most sources of a subscription that are tried.
const MOST_SOURCES: usize = 16;

struct Facts {
    /// What is tried: its name in a line, and the packet.
    packets: Vec<(String, Packet)>,
    ruleset: Ruleset,
}

pub fn check(subject: &Subject) -> Vec<Line> {
    let output = match Command::new("nft").args(["-j", "list", "ruleset"]).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let line = Line::skipped("the rules of nftables were not read: the command nft is not installed");
            return vec![line.remedy("apt install nftables")];
        }
        Err(error) => return vec![Line::skipped(format!("nft cannot be run: {error}"))],
    };
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        let reason = reason.lines().next().unwrap_or_default();
        return vec![Line::skipped(format!("nft does not list its rules, which needs CAP_NET_ADMIN: {reason}"))];
    }
    match serde_json::from_slice(&output.stdout).ok().and_then(|value| Ruleset::of_json(&value)) {
        Some(ruleset) => judge(&Facts { packets: packets(subject), ruleset }),
        None => vec![Line::skipped("the list of nft was not understood").remedy("nft list ruleset")],
    }
}

/// A packet of each source of each subscription, and a query of each protocol.
fn packets(subject: &Subject) -> Vec<(String, Packet)> {
    let interface = &subject.joined_on.name;
    let packet = |source, group, payload| Packet { interface: interface.clone(), source, group, payload };
    let mut packets = Vec::new();
    for one in &subject.subscriptions {
        let payload = Payload::Udp { port: one.port() };
        let mut sources: Vec<Option<IpAddr>> = match one.filter().is_exclude() {
            true => Vec::new(),
            false => one.filter().sources().iter().copied().map(Some).take(MOST_SOURCES).collect(),
        };
        if sources.is_empty() {
            sources.push(None);
        }
        packets.extend(sources.into_iter().map(|source| (one.to_string(), packet(source, one.group(), payload))));
    }
    if subject.wants(false) {
        packets.push(("IGMP queries".to_owned(), packet(None, [224, 0, 0, 1].into(), Payload::Igmp)));
    }
    if subject.wants(true) {
        let all_nodes = IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, 1]);
        packets.push(("MLD queries".to_owned(), packet(None, all_nodes, Payload::MldQuery)));
    }
    packets
}

fn judge(Facts { packets, ruleset }: &Facts) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (name, packet) in packets {
        let line = match ruleset.fate(packet) {
            Fate::Accepted => continue,
            Fate::Dropped(Sentence { chain, policy }) => {
                let why = if policy { "by the policy of" } else { "by a rule of" };
                let text = format!("nftables drops {name} {why} chain {chain}: mode socket and fragments need them");
                Line::fail(text).remedy(format!("nft insert rule {chain} {} accept", packet.as_match(&chain)))
            }
            Fate::Unclear(Sentence { chain, .. }) => {
                let text = format!("nftables may drop {name} in chain {chain}: a rule there is not understood");
                Line::warn(text).remedy(format!("nft list chain {chain}"))
            }
        };
        if !lines.iter().any(|before| before.remedy == line.remedy) {
            lines.push(line);
        }
    }
    if lines.is_empty() {
        lines.push(Line::ok("no rule of nftables drops the packets, or the queries of a querier"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Fail, Ok, Warn};
    use serde_json::{Value, json};

    fn lines(rules: &[Value]) -> Vec<Line> {
        let mut all = vec![
            json!({"table": {"family": "inet", "name": "filter"}}),
            json!({"chain": {"family": "inet", "table": "filter", "name": "input", "type": "filter", "hook": "input",
                "prio": 0, "policy": "accept"}}),
        ];
        all.extend(rules.iter().map(
            |expressions| json!({"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": expressions}}),
        ));
        let ruleset = Ruleset::of_json(&json!({ "nftables": all })).expect("a ruleset");
        let packet = Packet {
            interface: "eth1".to_owned(),
            source: Some([10, 0, 0, 1].into()),
            group: [232, 1, 1, 1].into(),
            payload: Payload::Udp { port: 5000 },
        };
        judge(&Facts { packets: vec![("10.0.0.1@232.1.1.1:5000".to_owned(), packet)], ruleset })
    }

    #[test]
    fn each_fate_is_a_line() {
        assert_eq!(outcomes(&lines(&[])), [Ok]);
        let dropped = lines(&[json!([{"drop": null}])]);
        let remedy = "nft insert rule inet filter input iifname \"eth1\" ip daddr 232.1.1.1 udp dport 5000 accept";
        assert_eq!((outcomes(&dropped), dropped[0].remedy.as_deref()), (vec![Fail], Some(remedy)));
        let unclear = lines(&[json!([{"xt": {"type": "match", "name": "u32"}}, {"drop": null}])]);
        assert_eq!(
            (outcomes(&unclear), unclear[0].remedy.as_deref()),
            (vec![Warn], Some("nft list chain inet filter input"))
        );
    }
}
