//! The receive queues: those that packets reach against those that are served, and how deep their rings are.

use std::collections::BTreeSet;

use receiver::Queues;
use receiver_host::ethtool::{RingDepth, indirection_table, ring_depth};
use rustix::thread::sched_getaffinity;

use crate::doctor::line::Line;
use crate::doctor::subject::Subject;
use crate::doctor::target::served;

/// A receive ring with fewer slots overflows in a short burst.
const SHALLOW: u32 = 1024;

#[derive(Clone)]
struct Facts {
    interface: String,
    driver: Option<String>,
    /// Queues in use.
    available: u32,
    asked: Queues,
    /// The queue of each entry of the RSS table; `None` if the driver has none.
    table: Option<Vec<u32>>,
    ring: Option<(u32, u32)>,
    cpus: u32,
}

pub fn check(subject: &Subject) -> Vec<Line> {
    let name = subject.name();
    judge(&Facts {
        interface: name.to_owned(),
        driver: subject.interface.driver.clone(),
        available: subject.interface.queues,
        asked: subject.queues.clone(),
        table: indirection_table(name),
        ring: ring_depth(name).map(|RingDepth { receive, most, .. }| (receive, most)),
        cpus: sched_getaffinity(None).map_or(1, |set| set.count()),
    })
}

fn judge(facts: &Facts) -> Vec<Line> {
    let Facts { interface, available, asked, .. } = facts;
    // veth counts each direction by itself.
    let kind = if facts.driver.as_deref() == Some("veth") { "rx" } else { "combined" };
    let queues = crate::units::count((*available).into(), "receive queue");
    let served = served(asked, *available);
    let mut lines = Vec::new();
    if let Some(last) = served.last().filter(|last| *last >= available) {
        let text = format!("{interface} has {queues}, numbered from 0, and queue {last} is to be served");
        lines.push(Line::fail(text).remedy(format!("ethtool -L {interface} {kind} {}", last + 1)));
    }
    let reached: BTreeSet<u32> = match &facts.table {
        Some(table) => table.iter().copied().collect(),
        None => (0..*available).collect(),
    };
    let unserved: Vec<String> = reached.difference(&served).map(u32::to_string).collect();
    if !unserved.is_empty() {
        let plural = if unserved.len() == 1 { "queue" } else { "queues" };
        let text = format!(
            "packets reach {plural} {} of {interface}, which no AF_XDP socket serves: they take the slower kernel path",
            unserved.join(", ")
        );
        let count = served.len();
        let remedy = match (&facts.table, served.first()) {
            (Some(_), Some(0) | None) => format!("ethtool -X {interface} equal {count}"),
            (Some(_), Some(first)) => format!("ethtool -X {interface} start {first} equal {count}"),
            (None, _) => format!("ethtool -L {interface} {kind} {count}"),
        };
        lines.push(Line::warn(text).remedy(remedy));
    }
    if served.len() as u32 > facts.cpus {
        let cpus = crate::units::count(facts.cpus.into(), "CPU");
        let text = format!("{} queues are to be served by {cpus}, one thread each", served.len());
        lines.push(Line::warn(text).remedy(format!("ethtool -L {interface} {kind} {}", facts.cpus)));
    }
    if let Some((receive, most)) = facts.ring.filter(|(receive, most)| *receive < SHALLOW && receive < most) {
        let text = format!("the receive rings of {interface} have {receive} slots of {most}, and overflow in bursts");
        lines.push(Line::warn(text).remedy(format!("ethtool -G {interface} rx {}", most.min(4096))));
    }
    if lines.is_empty() {
        let ring = facts.ring.map(|(receive, _)| format!(", with rings of {receive} slots")).unwrap_or_default();
        lines.push(Line::ok(format!("{interface} has {queues}{ring}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Fail, Ok, Warn};

    fn nic() -> Facts {
        Facts {
            interface: "eth1".to_owned(),
            driver: Some("mlx5_core".to_owned()),
            available: 4,
            asked: Queues::All,
            table: Some(vec![0, 1, 2, 3]),
            ring: Some((1024, 8192)),
            cpus: 4,
        }
    }

    #[test]
    fn each_fault_has_its_remedy() {
        assert_eq!(outcomes(&judge(&nic())), [Ok]);
        for (facts, outcome, remedy) in [
            (Facts { asked: Queues::First(2), ..nic() }, Warn, "ethtool -X eth1 equal 2"),
            (Facts { asked: Queues::These(vec![2, 3]), ..nic() }, Warn, "ethtool -X eth1 start 2 equal 2"),
            (Facts { asked: Queues::First(2), table: None, ..nic() }, Warn, "ethtool -L eth1 combined 2"),
            (Facts { cpus: 2, ..nic() }, Warn, "ethtool -L eth1 combined 2"),
            (Facts { ring: Some((256, 8192)), ..nic() }, Warn, "ethtool -G eth1 rx 4096"),
        ] {
            let lines = judge(&facts);
            assert_eq!((outcomes(&lines), lines[0].remedy.as_deref()), (vec![outcome], Some(remedy)));
        }
        let lines = judge(&Facts { asked: Queues::These(vec![0, 7]), table: Some(vec![0]), ..nic() });
        assert_eq!((outcomes(&lines), lines[0].remedy.as_deref()), (vec![Fail], Some("ethtool -L eth1 combined 8")));
    }

    #[test]
    fn a_table_that_leaves_queues_out_and_a_ring_that_cannot_grow() {
        let narrowed = Facts { asked: Queues::First(1), table: Some(vec![0, 0]), ..nic() };
        assert_eq!(outcomes(&judge(&narrowed)), [Ok]);
        assert_eq!(outcomes(&judge(&Facts { ring: Some((256, 256)), ..nic() })), [Ok]);
    }
}
