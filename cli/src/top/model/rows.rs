//! Rows of the dashboard's panels, derived from two answers.

use std::collections::BTreeMap;

use receiver::printable;
use serde_json::Value;

use crate::causes::Kind;
use crate::figures::per_second;
use crate::top::stats::{Sink, Stats, Subscription};

/// The state of a subscription.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Status {
    /// Packets come.
    Receiving,
    /// No packet for this number of seconds.
    Silent(f64),
    /// There was no packet yet.
    Never,
}

impl Status {
    /// That of a subscription, if it is silent after `patience` seconds.
    pub fn of(subscription: &Subscription, patience: f64) -> Self {
        match subscription.last_packet_seconds_ago {
            None => Self::Never,
            Some(seconds) if seconds > patience => Self::Silent(seconds),
            Some(_) => Self::Receiving,
        }
    }

    /// Its word in the dashboard, and for the filter.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Receiving => "receives",
            Self::Silent(_) => "SILENT",
            Self::Never => "never",
        }
    }
}

/// Frames that were dropped for one cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Drop {
    /// Its name in the ledger.
    pub cause: String,
    pub kind: Kind,
    pub explanation: String,
    pub count: u64,
    /// Frames per second.
    pub rate: f64,
}

/// The drops of the later answer, with rates since the earlier one.
pub fn drops(before: &Stats, now: &Stats, explain: fn(&str) -> Option<(Kind, &'static str)>) -> Vec<Drop> {
    let span = now.elapsed_seconds - before.elapsed_seconds;
    let drop = |(cause, &count): (&String, &u64)| {
        let (kind, explanation) = explain(cause).filter(|_| count > 0)?;
        let earlier = before.ledger.get(cause).copied();
        let rate = earlier.map_or(0.0, |earlier| per_second(count, earlier, span));
        Some(Drop { cause: cause.clone(), kind, explanation: explanation.to_owned(), count, rate })
    };
    let mut drops: Vec<Drop> = now.ledger.iter().filter_map(drop).collect();
    drops.extend(now.sinks.iter().filter(|sink| sink.dropped > 0).map(|sink| of_sink(sink, before, span)));
    let rank = |drop: &Drop| match drop.kind {
        Kind::Lost => 0,
        Kind::Bad => 1,
        Kind::Unwanted => 2,
    };
    drops.sort_by(|a, b| rank(a).cmp(&rank(b)).then(b.rate.total_cmp(&a.rate)).then(b.count.cmp(&a.count)));
    drops
}

/// Datagrams that a sink did not write.
fn of_sink(sink: &Sink, before: &Stats, span: f64) -> Drop {
    let earlier = before.sinks.iter().find(|earlier| earlier.name == sink.name).map(|earlier| earlier.dropped);
    Drop {
        cause: format!("sink {}", printable(&sink.name, 64)),
        kind: Kind::Lost,
        explanation: if ["", "ok"].contains(&sink.state.as_str()) {
            sink.dropped_by.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
        } else {
            printable(&sink.state, 200)
        },
        count: sink.dropped,
        rate: earlier.map_or(0.0, |earlier| per_second(sink.dropped, earlier, span)),
    }
}

/// One receive queue: its counts, and how fast they grow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue {
    /// Its number; `None` for the kernel path.
    pub number: Option<u32>,
    /// Counts by name, and each count's growth per second.
    pub counts: BTreeMap<String, (u64, f64)>,
}

impl Queue {
    /// The count of this name, if there is one.
    pub fn count(&self, name: &str) -> Option<(u64, f64)> {
        self.counts.get(name).copied()
    }
}

/// The queues of the later answer, with rates since the earlier one.
pub fn queues(before: &Stats, now: &Stats) -> Vec<Queue> {
    let span = now.elapsed_seconds - before.elapsed_seconds;
    let earlier: Vec<(Option<u32>, BTreeMap<String, u64>)> = before.queues.iter().map(counts).collect();
    now.queues
        .iter()
        .map(|queue| {
            let (number, counts) = counts(queue);
            let earlier = earlier.iter().find(|(other, _)| *other == number).map(|(_, counts)| counts);
            let with_rate = |(name, count): (String, u64)| {
                let earlier = earlier.and_then(|earlier| earlier.get(&name).copied());
                let rate = earlier.map_or(0.0, |earlier| per_second(count, earlier, span));
                (name, (count, rate))
            };
            Queue { number, counts: counts.into_iter().map(with_rate).collect() }
        })
        .collect()
}

/// A queue's number and its counts. Objects within are flattened.
fn counts(queue: &Value) -> (Option<u32>, BTreeMap<String, u64>) {
    fn add(value: &Value, into: &mut BTreeMap<String, u64>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            match value.as_u64() {
                Some(count) => drop(into.insert(name.clone(), count)),
                None => add(value, into),
            }
        }
    }
    let mut counts = BTreeMap::new();
    add(queue, &mut counts);
    let number = queue.as_u64().or_else(|| counts.remove("queue")).and_then(|number| u32::try_from(number).ok());
    (number, counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_sink_that_drops_is_a_cause() {
        let stats = |elapsed_seconds: f64, dropped: u64| Stats {
            elapsed_seconds,
            sinks: vec![
                Sink { name: "archive".into(), dropped, state: "waiting for a reader".into(), ..Sink::default() },
                Sink::default(),
            ],
            ..Stats::default()
        };
        let drops = drops(&stats(1.0, 10), &stats(2.0, 30), |_| None);
        assert_eq!(drops.len(), 1);
        assert_eq!((drops[0].cause.as_str(), drops[0].count, drops[0].rate), ("sink archive", 30, 20.0));
        assert_eq!(drops[0].explanation, "waiting for a reader");
    }

    #[test]
    fn queues_are_numbers_or_objects() {
        let before = Stats {
            elapsed_seconds: 1.0,
            queues: vec![json!(0), json!({"queue": 1, "taken": 10, "xsk": {"rx_dropped": 1}})],
            ..Stats::default()
        };
        let now = Stats {
            elapsed_seconds: 3.0,
            queues: vec![json!(0), json!({"queue": 1, "taken": 30, "xsk": {"rx_dropped": 1}})],
            ..Stats::default()
        };
        let queues = queues(&before, &now);
        assert_eq!((queues[0].number, queues[0].counts.len()), (Some(0), 0));
        assert_eq!(queues[1].count("taken"), Some((30, 10.0)));
        assert_eq!(queues[1].count("rx_dropped"), Some((1, 0.0)));
        assert_eq!(queues[1].count("other"), None);
    }
}
