//! A run's answer to `stats`, as the dashboard reads it: the JSON object of an interval, with the facts of the run.
//! Fields that a run does not give are empty.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::feeds::FeedReport;

/// The answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// The name of the run.
    pub name: Option<String>,
    pub interface: String,
    pub mode: String,
    /// The kernel gets each packet too.
    pub share: bool,
    pub refused_modes: Vec<RefusedMode>,
    /// The receive queues: numbers, or objects with counts.
    pub queues: Vec<Value>,
    pub elapsed_seconds: f64,
    pub interval_seconds: f64,
    /// The sum over all subscriptions.
    #[serde(flatten)]
    pub total: Flow,
    pub lost: u64,
    pub subscriptions: Vec<Subscription>,
    pub ledger: BTreeMap<String, u64>,
    pub in_flight: u64,
    /// `None` while traffic flows.
    pub unaccounted: Option<u64>,
    pub output_dropped: u64,
    pub log_dropped: u64,
    pub sinks: Vec<Sink>,
    pub feeds: Vec<FeedReport>,
    pub warnings: Vec<String>,
    /// False while the link cannot receive.
    pub link_up: Option<bool>,
    /// The latest changes of the link, the oldest first.
    pub link_events: Vec<LinkEvent>,
}

/// Where datagrams go, and how many of them it dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Sink {
    pub name: String,
    pub dropped: u64,
    /// By reason.
    pub dropped_by: BTreeMap<String, u64>,
    /// `ok`, or what is wrong.
    pub state: String,
}

/// Something that happened to the link.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LinkEvent {
    pub event: String,
    pub seconds_ago: f64,
}

/// A faster mode that is not available.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RefusedMode {
    pub mode: String,
    pub reason: String,
}

/// One subscription.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Subscription {
    pub subscription: String,
    pub name: Option<String>,
    pub id: Option<Value>,
    #[serde(flatten)]
    pub flow: Flow,
    pub passed_shared: Option<u64>,
    pub other_members: Option<u64>,
    pub last_packet_seconds_ago: Option<f64>,
}

impl Subscription {
    /// The name, if there is one, and the subscription as a user writes it.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("{name} {}", self.subscription),
            None => self.subscription.clone(),
        }
    }

    /// What identifies it from one answer to the next: its sources may change, its id does not.
    pub fn key(&self) -> String {
        self.id.as_ref().map_or_else(|| self.subscription.clone(), Value::to_string)
    }
}

/// Counts since the start, and rates.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Flow {
    pub packets: u64,
    pub bytes: u64,
    /// `None` if unknown.
    pub blocked: Option<u64>,
    pub packets_per_second: f64,
    pub bits_per_second: f64,
    pub blocked_per_second: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{self, Dropped, Figures};
    use crate::sink::SinkReport;
    use crate::view::JsonFigures;
    use crate::view::feeds::tests::with_gaps;

    /// A name that a run does not use would leave its field empty, without an error.
    #[test]
    fn each_figure_has_the_name_that_a_run_gives_it() {
        let flow = figures::Flow {
            packets: 1,
            bytes: 2,
            blocked: Some(3),
            packet_rate: 4.0,
            bit_rate: 5.0,
            block_rate: Some(6.0),
        };
        let sink = SinkReport {
            name: "archive".to_owned(),
            dropped: 7,
            dropped_by: BTreeMap::from([("slow", 7)]),
            state: "ok".to_owned(),
            ..SinkReport::default()
        };
        let stream = figures::Stream {
            id: 8,
            name: Some("a".to_owned()),
            subscription: "232.1.1.1:1".to_owned(),
            flow,
            passed_shared: Some(9),
            other_members: Some(10),
            last_seconds_ago: Some(11.0),
        };
        let given = Figures {
            elapsed: 12.0,
            span: 1.0,
            streams: vec![stream],
            total: flow,
            ledger: receiver::Ledger::default(),
            in_flight: 13,
            unaccounted: Some(14),
            feeds: vec![with_gaps()],
            probe: None,
            warnings: vec!["an older querier".to_owned()],
            dropped: Dropped { sinks: vec![sink], display: 0, log: 15 },
            evidence: receiver::Evidence::default(),
        };
        let json = serde_json::to_value(JsonFigures::new(&given)).expect("JSON");
        assert!(json["lost"].is_u64());
        let read: Stats = serde_json::from_value(json).expect("an answer");
        let all = |flow: Flow| {
            let rates = (flow.packets_per_second, flow.bits_per_second, flow.blocked_per_second);
            ((flow.packets, flow.bytes, flow.blocked), rates)
        };
        let expected = ((1, 2, Some(3)), (4.0, 5.0, Some(6.0)));
        assert_eq!((read.elapsed_seconds, all(read.total)), (12.0, expected));
        assert_eq!((read.in_flight, read.unaccounted, read.output_dropped, read.log_dropped), (13, Some(14), 7, 15));
        assert_eq!((read.warnings, read.ledger.get("redirected")), (given.warnings.clone(), Some(&0)));
        assert_eq!(read.feeds, given.feeds);
        let sink = &read.sinks[0];
        assert_eq!(
            (sink.name.as_str(), sink.dropped, sink.dropped_by["slow"], sink.state.as_str()),
            ("archive", 7, 7, "ok")
        );
        let one = &read.subscriptions[0];
        assert_eq!((one.key(), one.label(), all(one.flow)), ("8".to_owned(), "a 232.1.1.1:1".to_owned(), expected));
        assert_eq!(
            (one.passed_shared, one.other_members, one.last_packet_seconds_ago),
            (Some(9), Some(10), Some(11.0))
        );
    }

    #[test]
    fn reads_what_is_there_and_does_without_the_rest() {
        let stats: Stats = serde_json::from_str(
            r#"{"type":"interval","mode":"copy","packets":7,"packets_per_second":2.5,"blocked":null,"unaccounted":null,
                "ledger":{"redirected":7},"queues":[0,{"queue":1,"taken":4}],"new_field":{"a":1},
                "subscriptions":[{"subscription":"232.1.1.1:1","packets":7,"last_packet_seconds_ago":0.5,"id":3}]}"#,
        )
        .expect("an answer");
        assert_eq!((stats.total.packets, stats.total.blocked, stats.unaccounted), (7, None, None));
        assert_eq!((stats.queues.len(), stats.ledger["redirected"]), (2, 7));
        let one = &stats.subscriptions[0];
        assert_eq!((one.flow.packets, one.last_packet_seconds_ago, one.key().as_str()), (7, Some(0.5), "3"));
        assert_eq!(serde_json::from_str::<Stats>("{}").expect("nothing").subscriptions.len(), 0);
    }
}
