//! A querier: without one, a switch that snoops stops the streams 260 s after they were joined.

use std::time::Duration;

use crate::doctor::line::Line;
use crate::doctor::listen::{Query, Unheard};
use crate::doctor::subject::Subject;

/// A querier asks this often by default (RFC 3376, section 8.2).
const INTERVAL: Duration = Duration::from_secs(125);

struct Facts<'a> {
    interface: &'a str,
    elapsed: Duration,
    /// The queries of one protocol, or why none could be heard.
    queries: Result<&'a [Query], &'a Unheard>,
    /// MLD queries that the interface has received before.
    before: u64,
    protocol: &'static str,
    /// The bridge that the interface belongs to.
    bridge: Option<&'a str>,
}

pub fn check(subject: &Subject) -> Vec<Line> {
    let heard = subject.heard();
    let bridge = subject.relations.master.as_ref().filter(|master| master.kind == "bridge");
    let mut lines = Vec::new();
    for (ipv6, protocol) in [(false, "IGMP"), (true, "MLD")] {
        if !subject.wants(ipv6) {
            continue;
        }
        let queries = if ipv6 { &heard.mld } else { &heard.igmp };
        lines.extend(judge(&Facts {
            interface: &subject.joined_on.name,
            elapsed: heard.elapsed,
            queries: queries.as_deref(),
            before: if ipv6 { heard.mld_before } else { 0 },
            protocol,
            bridge: bridge.map(|bridge| bridge.name.as_str()),
        }));
    }
    lines
}

fn judge(facts: &Facts<'_>) -> Vec<Line> {
    let Facts { interface, elapsed, protocol, .. } = facts;
    let queries = match facts.queries {
        Ok(queries) => queries,
        Err(Unheard(reason)) => return vec![Line::skipped(format!("{protocol} queries cannot be heard: {reason}"))],
    };
    if let Some(query) = queries.first() {
        let old = queries.iter().find(|query| query.is_old);
        return vec![match old {
            Some(old) => Line::fail(format!(
                "the querier {} asks by {}, so that joins of sources are not signalled; configure it for {}",
                old.source,
                old.version,
                if *protocol == "IGMP" { "IGMPv3" } else { "MLDv2" }
            )),
            None => Line::ok(format!("the querier {} asks by {}", query.source, query.version)),
        }];
    }
    if facts.before > 0 {
        return vec![Line::ok(format!("{interface} has received {} {protocol} queries", facts.before))];
    }
    let seconds = elapsed.as_secs_f64();
    let text = format!("no {protocol} query arrived on {interface} in {seconds:.1} s");
    let consequence = "without a querier a switch that snoops stops the streams about 260 s after they were joined";
    let line = match *elapsed < INTERVAL {
        true => Line::warn(format!("{text}; a querier asks every 125 s by default, and {consequence}")),
        false => Line::warn(format!("{text}; {consequence}: turn the querier of the switch on")),
    };
    vec![match (facts.bridge, *elapsed < INTERVAL) {
        (Some(bridge), _) => line.remedy(format!("ip link set {bridge} type bridge mcast_querier 1")),
        (None, true) => line.remedy(format!("receiver doctor -i {interface} --wait 260")),
        (None, false) => line,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Fail, Ok, Skipped, Warn};

    fn query(version: &'static str, is_old: bool) -> Query {
        Query { version, source: [10, 0, 0, 1].into(), is_old }
    }

    fn facts<'a>(queries: Result<&'a [Query], &'a Unheard>, seconds: u64) -> Facts<'a> {
        let elapsed = Duration::from_secs(seconds);
        Facts { interface: "eth1", elapsed, queries, before: 0, protocol: "IGMP", bridge: None }
    }

    #[test]
    fn a_querier_is_named() {
        let lines = judge(&facts(Result::Ok(&[query("IGMPv3", false)]), 3));
        assert_eq!((outcomes(&lines), lines[0].text.as_str()), (vec![Ok], "the querier 10.0.0.1 asks by IGMPv3"));
        let old = [query("IGMPv3", false), query("IGMPv2", true)];
        assert_eq!(outcomes(&judge(&facts(Result::Ok(&old), 3))), [Fail]);
        assert_eq!(outcomes(&judge(&facts(Err(&Unheard("x".to_owned())), 3))), [Skipped]);
        assert_eq!(outcomes(&judge(&Facts { before: 2, protocol: "MLD", ..facts(Result::Ok(&[]), 3) })), [Ok]);
    }

    #[test]
    fn silence_is_a_warning_with_the_next_step() {
        let short = judge(&facts(Result::Ok(&[]), 3));
        assert_eq!(
            (outcomes(&short), short[0].remedy.as_deref()),
            (vec![Warn], Some("receiver doctor -i eth1 --wait 260"))
        );
        assert!(short[0].text.contains("260 s"), "{short:?}");
        let long = judge(&facts(Result::Ok(&[]), 260));
        assert_eq!((outcomes(&long), &long[0].remedy), (vec![Warn], &None));
        let bridge = judge(&Facts { bridge: Some("br0"), ..facts(Result::Ok(&[]), 3) });
        assert_eq!(bridge[0].remedy.as_deref(), Some("ip link set br0 type bridge mcast_querier 1"));
    }
}
