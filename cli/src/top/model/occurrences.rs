//! What has happened between two answers.

use std::collections::HashMap;

use super::rows::Status;
use crate::top::stats::{Stats, Subscription};
use crate::units::{age, count};

/// The most subscriptions that are named one by one.
const MOST_NAMED: usize = 5;

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// Seconds since the start of the run.
    pub at: f64,
    pub weight: Weight,
    pub text: String,
}

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Good,
    Plain,
    Warning,
    Bad,
}

impl Weight {
    /// Its word in the dashboard.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Plain => "info",
            Self::Warning => "warn",
            Self::Bad => "BAD",
        }
    }
}

/// Counts of the ledger that grow with what happens to the link.
const LINK: [(&str, &str); 3] = [
    ("link_outages", "the link was down"),
    ("link_ipv4_outages", "the interface lost IPv4"),
    ("link_ipv6_outages", "the interface lost IPv6"),
];

/// The name of a subscription, or the subscription itself.
fn short_name(subscription: &Subscription) -> &str {
    subscription.name.as_deref().unwrap_or(&subscription.subscription)
}

/// What happened from one answer to the next.
pub fn between(
    before: &Stats,
    earlier: &HashMap<String, Status>,
    now: &Stats,
    statuses: &HashMap<String, Status>,
) -> Vec<Occurrence> {
    let mut all = Vec::new();
    let mut add = |weight, text| all.push(Occurrence { at: now.elapsed_seconds, weight, text });
    if before.mode != now.mode {
        add(Weight::Warning, format!("the mode changed from {} to {}", before.mode, now.mode));
    }
    let grown = |name: &str| {
        let [now, before] = [now, before].map(|stats| stats.ledger.get(name).copied().unwrap_or(0));
        now.saturating_sub(before)
    };
    for (name, text) in LINK {
        // A run that gives the link's events has named it.
        match if now.link_up.is_some() { 0 } else { grown(name) } {
            0 => {}
            1 => add(Weight::Bad, text.to_owned()),
            times => add(Weight::Bad, format!("{text}, {times} times")),
        }
    }
    match now.unaccounted {
        Some(frames) if frames > 0 && before.unaccounted != now.unaccounted => {
            let verb = if frames == 1 { "is" } else { "are" };
            add(Weight::Bad, format!("{} {verb} unaccounted for: a fault in the receiver", count(frames, "frame")));
        }
        _ => {}
    }
    for warning in now.warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
        add(Weight::Warning, warning.clone());
    }
    for (before, now, text) in [
        (before.output_dropped, now.output_dropped, "a sink dropped a datagram (output_dropped)"),
        (before.log_dropped, now.log_dropped, "the reader of the log is too slow: a line was dropped (log_dropped)"),
    ] {
        if before == 0 && now > 0 {
            add(Weight::Warning, text.to_owned());
        }
    }
    let (mut stopped, mut back, mut joined) = (Vec::new(), Vec::new(), Vec::new());
    for (at, subscription) in now.subscriptions.iter().enumerate() {
        let key = subscription.key();
        match (earlier.get(&key), statuses.get(&key)) {
            (None, _) => joined.push((at, 0.0)),
            (Some(Status::Receiving | Status::Never), Some(&Status::Silent(seconds))) => stopped.push((at, seconds)),
            (Some(Status::Silent(_)), Some(Status::Receiving)) => back.push((at, 0.0)),
            _ => {}
        }
    }
    let name = |at: usize| short_name(&now.subscriptions[at]);
    for (which, weight, one, many) in [
        (stopped, Weight::Bad, "has been silent for", "have been silent for"),
        (back, Weight::Good, "receives again", "receive again"),
        (joined, Weight::Plain, "was joined", "were joined"),
    ] {
        let since = |seconds: f64| if seconds > 0.0 { format!(" {}", age(seconds)) } else { String::new() };
        if which.len() > MOST_NAMED {
            let least = which.iter().map(|&(_, seconds)| seconds).fold(f64::MAX, f64::min);
            add(weight, format!("{} {many}{}", count(which.len() as u64, "subscription"), since(least)));
        } else {
            for (at, seconds) in which {
                add(weight, format!("{} {one}{}", name(at), since(seconds)));
            }
        }
    }
    let left: Vec<_> =
        before.subscriptions.iter().filter(|subscription| !statuses.contains_key(&subscription.key())).collect();
    if left.len() > MOST_NAMED {
        add(Weight::Plain, format!("{} were left", count(left.len() as u64, "subscription")));
    } else {
        for subscription in left {
            add(Weight::Plain, format!("{} was left", short_name(subscription)));
        }
    }
    all
}
