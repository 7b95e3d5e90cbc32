//! A run's answer to `stats`, as the dashboard reads it: the JSON object of an interval, with the facts of the run.
//! Fields that a run does not give are empty.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

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
