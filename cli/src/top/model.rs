//! What the dashboard shows, made from a run's answers to `stats`: the latest figures, the course of the rates, and
//! what has happened. Pure.

mod feeds;
mod link;
mod occurrences;
mod rows;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::stats::{Stats, Subscription};
use crate::causes;
use crate::feeds::FeedReport;
use crate::view::STOPPED_AFTER;

pub use occurrences::{Occurrence, Weight};
pub use rows::{Drop, Queue, Status};

/// Rates that are kept for each subscription: two minutes of seconds.
const HISTORY: usize = 120;
/// Occurrences that are kept.
const OCCURRENCES: usize = 200;
/// Lines of the log that are kept.
const LINES: usize = 500;

/// The latest rates, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History(VecDeque<f32>);

impl History {
    fn push(&mut self, rate: f64) {
        if self.0.len() == HISTORY {
            self.0.pop_front();
        }
        self.0.push_back(rate as f32);
    }

    /// Up to `most` of the latest.
    pub fn latest(&self, most: usize) -> impl Iterator<Item = f32> + '_ {
        self.0.iter().skip(self.0.len().saturating_sub(most)).copied()
    }
}

/// The dashboard's knowledge of a run.
#[derive(Clone, Default)]
pub struct Model {
    stats: Stats,
    /// Grows with each answer.
    generation: u64,
    /// Seconds without a packet after which a subscription counts as silent.
    patience: f64,
    total: History,
    histories: HashMap<String, History>,
    statuses: HashMap<String, Status>,
    drops: Vec<Drop>,
    queues: Vec<Queue>,
    occurrences: VecDeque<Occurrence>,
    log: VecDeque<String>,
    /// The findings about subscriptions that were asked for, by key.
    findings: HashMap<String, Vec<String>>,
    /// Why there is no answer.
    lost: Option<String>,
}

impl Model {
    /// Nothing is known yet. Answers come at this interval.
    pub fn new(interval: Duration) -> Self {
        Self { patience: interval.saturating_mul(STOPPED_AFTER).as_secs_f64(), ..Self::default() }
    }

    /// The latest answer.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Grows with each answer: what was derived from an older one is stale.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns true once there was an answer.
    pub fn is_known(&self) -> bool {
        self.generation > 0
    }

    /// The subscriptions, in the order of joining.
    pub fn subscriptions(&self) -> &[Subscription] {
        &self.stats.subscriptions
    }

    /// The feeds, in the order of the configuration.
    pub fn feeds(&self) -> &[FeedReport] {
        &self.stats.feeds
    }

    /// The state of a subscription.
    pub fn status(&self, subscription: &Subscription) -> Status {
        Status::of(subscription, self.patience)
    }

    /// The number of subscriptions that have fallen silent, and of those that never received anything.
    pub fn silent(&self) -> (usize, usize) {
        self.statuses.values().fold((0, 0), |(silent, never), status| match status {
            Status::Silent(_) => (silent + 1, never),
            Status::Never => (silent, never + 1),
            Status::Receiving => (silent, never),
        })
    }

    /// The course of the total packet rate.
    pub fn total(&self) -> &History {
        &self.total
    }

    /// The course of a subscription's packet rate.
    pub fn history(&self, subscription: &Subscription) -> Option<&History> {
        self.histories.get(&subscription.key())
    }

    /// Drops by cause: the lost ones first, then by rate and count.
    pub fn drops(&self) -> &[Drop] {
        &self.drops
    }

    /// The receive queues.
    pub fn queues(&self) -> &[Queue] {
        &self.queues
    }

    /// What has happened, the latest first, with seconds since then.
    pub fn occurrences(&self) -> impl Iterator<Item = (f64, &Occurrence)> {
        let now = self.stats.elapsed_seconds;
        self.occurrences.iter().rev().map(move |occurrence| ((now - occurrence.at).max(0.0), occurrence))
    }

    /// The lines of the log, oldest first.
    pub fn log(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        self.log.iter().map(String::as_str)
    }

    /// Why there is no answer, if the connection is lost.
    pub fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// The findings about a subscription, if they were asked for.
    pub fn findings(&self, key: &str) -> Option<&[String]> {
        self.findings.get(key).map(Vec::as_slice)
    }

    /// Takes an answer.
    pub fn update(&mut self, stats: Stats) {
        if self.lost.take().is_some() {
            self.note(stats.elapsed_seconds, Weight::Good, "the connection is back".to_owned());
        }
        let restarted = self.is_known() && stats.elapsed_seconds < self.stats.elapsed_seconds;
        if restarted {
            self.restart();
            self.note(stats.elapsed_seconds, Weight::Warning, "the run was started anew".to_owned());
        }
        self.total.push(stats.total.packets_per_second);
        let mut histories = std::mem::take(&mut self.histories);
        self.histories = stats
            .subscriptions
            .iter()
            .map(|subscription| {
                let key = subscription.key();
                let mut history = histories.remove(&key).unwrap_or_default();
                history.push(subscription.flow.packets_per_second);
                (key, history)
            })
            .collect();
        let statuses = stats.subscriptions.iter().map(|one| (one.key(), Status::of(one, self.patience))).collect();
        let before = std::mem::replace(&mut self.statuses, statuses);
        for occurrence in link::changes(&self.stats, &stats).collect::<Vec<_>>() {
            self.keep(occurrence);
        }
        if self.is_known() && !restarted {
            for occurrence in occurrences::between(&self.stats, &before, &stats, &self.statuses) {
                self.keep(occurrence);
            }
            for occurrence in feeds::changes(&self.stats, &stats) {
                self.keep(occurrence);
            }
        } else {
            for warning in &stats.warnings {
                self.note(stats.elapsed_seconds, Weight::Warning, warning.clone());
            }
        }
        self.drops = rows::drops(&self.stats, &stats, causes::explain);
        self.queues = rows::queues(&self.stats, &stats);
        self.findings.retain(|key, _| self.histories.contains_key(key));
        self.stats = stats;
        self.generation += 1;
    }

    /// A run that was started anew has new counts and new ids.
    fn restart(&mut self) {
        self.histories.clear();
        self.statuses.clear();
        self.findings.clear();
        self.stats = Stats::default();
        // Its clock starts at 0 again.
        for occurrence in &mut self.occurrences {
            occurrence.at = 0.0;
        }
    }

    /// There is no answer.
    pub fn lose(&mut self, why: String) {
        if self.lost.is_none() {
            self.note(self.stats.elapsed_seconds, Weight::Bad, format!("the connection is lost: {why}"));
        }
        self.lost = Some(why);
    }

    /// Takes lines of the log.
    pub fn take_log(&mut self, bytes: &[u8]) {
        for line in String::from_utf8_lossy(bytes).lines() {
            if self.log.len() == LINES {
                self.log.pop_front();
            }
            self.log.push_back(plain(line));
        }
    }

    /// Takes the findings about a subscription.
    pub fn take_findings(&mut self, key: String, findings: Vec<String>) {
        self.findings.insert(key, findings);
    }

    /// Notes what an operator did.
    pub fn note_action(&mut self, text: String, done: bool) {
        let weight = if done { Weight::Plain } else { Weight::Warning };
        self.note(self.stats.elapsed_seconds, weight, text);
    }

    fn note(&mut self, at: f64, weight: Weight, text: String) {
        self.keep(Occurrence { at, weight, text });
    }

    fn keep(&mut self, occurrence: Occurrence) {
        if self.occurrences.len() == OCCURRENCES {
            self.occurrences.pop_front();
        }
        self.occurrences.push_back(occurrence);
    }
}

/// A line without the escape sequences that colour it, and without other control characters.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => {
                let rest = characters.as_str();
                let Some(rest) = rest.strip_prefix('[') else { continue };
                let end = rest.find(|end: char| end.is_ascii_alphabetic()).map_or(rest.len(), |end| end + 1);
                characters = rest[end..].chars();
            }
            '\t' => text.push(' '),
            _ if character.is_control() => {}
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stats(value: serde_json::Value) -> Stats {
        serde_json::from_value(value).expect("an answer")
    }

    fn at(elapsed: f64, rate: f64, ago: Option<f64>, ledger: serde_json::Value) -> Stats {
        let one = json!({"subscription": "10.0.0.1@232.1.1.1:5000", "id": 1, "packets_per_second": rate,
                         "last_packet_seconds_ago": ago});
        stats(json!({"elapsed_seconds": elapsed, "interval_seconds": 1.0, "mode": "copy", "ledger": ledger,
                     "packets_per_second": rate, "subscriptions": [one]}))
    }

    fn texts(model: &Model) -> Vec<String> {
        model.occurrences().map(|(_, occurrence)| occurrence.text.clone()).collect()
    }

    #[test]
    fn a_subscription_that_stops_is_noted_and_so_is_its_return() {
        let mut model = Model::new(Duration::from_secs(1));
        model.update(at(1.0, 5.0, Some(0.1), json!({})));
        model.update(at(2.0, 0.0, Some(1.1), json!({})));
        assert_eq!((model.silent(), texts(&model).len()), ((0, 0), 0), "it may come yet");
        model.update(at(5.0, 0.0, Some(4.1), json!({})));
        assert_eq!(model.silent(), (1, 0));
        assert_eq!(texts(&model), ["10.0.0.1@232.1.1.1:5000 has been silent for 4.1 s"]);
        model.update(at(6.0, 3.0, Some(0.0), json!({})));
        assert_eq!(model.silent(), (0, 0));
        assert_eq!(texts(&model)[0], "10.0.0.1@232.1.1.1:5000 receives again");
        let history = model.history(&model.subscriptions()[0]).expect("a history");
        assert_eq!(history.latest(3).collect::<Vec<_>>(), [0.0, 0.0, 3.0]);
    }

    #[test]
    fn drops_have_rates_explanations_and_an_order() {
        let mut model = Model::new(Duration::from_secs(1));
        model.update(at(1.0, 5.0, Some(0.1), json!({"dropped_blocked": 100, "xsk_rx_ring_full": 1, "redirected": 9})));
        model.update(at(3.0, 5.0, Some(0.1), json!({"dropped_blocked": 300, "xsk_rx_ring_full": 1, "redirected": 90})));
        let shown: Vec<_> = model.drops().iter().map(|drop| (drop.cause.as_str(), drop.count, drop.rate)).collect();
        assert_eq!(shown, [("xsk_rx_ring_full", 1, 0.0), ("dropped_blocked", 300, 100.0)]);
    }

    #[test]
    fn link_mode_warnings_and_unaccounted_frames_are_noted() {
        let mut model = Model::new(Duration::from_secs(1));
        model.update(at(1.0, 5.0, Some(0.1), json!({"link_outages": 0})));
        let mut next = at(2.0, 5.0, Some(0.1), json!({"link_outages": 1}));
        next.warnings.push("an older querier".into());
        next.unaccounted = Some(3);
        next.mode = "socket".into();
        model.update(next);
        let texts = texts(&model).join("\n");
        for part in ["the link was down", "an older querier", "3 frames are unaccounted for", "from copy to socket"] {
            assert!(texts.contains(part), "{part}: {texts}");
        }
    }

    #[test]
    fn a_lost_connection_and_a_new_run_are_noted_once() {
        let mut model = Model::new(Duration::from_secs(1));
        model.update(at(50.0, 5.0, Some(0.1), json!({"redirected": 1000})));
        model.lose("no answer".into());
        model.lose("no socket".into());
        assert_eq!((model.lost(), texts(&model).len()), (Some("no socket"), 1));
        model.update(at(1.0, 5.0, Some(0.1), json!({"redirected": 1})));
        assert_eq!(model.lost(), None);
        assert_eq!(texts(&model)[0], "the run was started anew");
        assert_eq!(texts(&model)[1], "the connection is back");
    }

    #[test]
    fn ten_thousand_that_stop_at_once_are_one_line() {
        let many = |ago: f64| {
            let all: Vec<_> = (0..10_000)
                .map(|n| json!({"subscription": format!("s{n}"), "id": n, "last_packet_seconds_ago": ago}))
                .collect();
            stats(json!({"elapsed_seconds": ago, "subscriptions": all}))
        };
        let mut model = Model::new(Duration::from_secs(1));
        model.update(many(0.5));
        model.update(many(60.0));
        assert_eq!(texts(&model), ["10000 subscriptions have been silent for 60 s"]);
    }

    #[test]
    fn log_lines_lose_their_colours() {
        let mut model = Model::default();
        model.take_log(b"\x1b[2m2026\x1b[0m \x1b[33m WARN\x1b[0m a\tb\x07\nsecond\n\x1b");
        assert_eq!(model.log().collect::<Vec<_>>(), ["2026  WARN a b", "second", ""]);
    }
}
