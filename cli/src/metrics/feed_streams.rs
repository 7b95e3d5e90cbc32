//! The streams of feeds that have labels of their own, as many as the limit allows, and for each feed the sum of the
//! others. A stream keeps its labels until the run ends, so that no counter falls.

use std::collections::BTreeMap;

use super::series::OTHER;
use crate::feeds::{FeedReport, StreamReport};

/// What one stream has counted, or the others of its feed together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Sequence numbers that were delivered.
    pub messages: u64,
    /// Sequence numbers that were declared missing; some of them may have come late.
    pub missing: u64,
    /// Gaps that were declared.
    pub gaps: u64,
}

impl From<&StreamReport> for StreamCounts {
    fn from(report: &StreamReport) -> Self {
        Self { messages: report.messages, missing: report.missing + report.recovered, gaps: report.gaps }
    }
}

impl StreamCounts {
    fn each(self, other: Self, of: fn(u64, u64) -> u64) -> Self {
        Self {
            messages: of(self.messages, other.messages),
            missing: of(self.missing, other.missing),
            gaps: of(self.gaps, other.gaps),
        }
    }
}

/// Which streams have labels, and what was counted at the last scrape.
#[derive(Debug)]
pub struct LabelledStreams {
    limit: usize,
    /// By feed and stream.
    own: BTreeMap<(String, String), StreamCounts>,
    /// By feed.
    others: BTreeMap<String, StreamCounts>,
}

impl LabelledStreams {
    /// Gives labels to as many streams as `limit`.
    pub fn new(limit: usize) -> Self {
        Self { limit, own: BTreeMap::new(), others: BTreeMap::new() }
    }

    /// The counts by feed and stream. A feed without streams of different names has none.
    pub fn counts(&mut self, feeds: &[FeedReport]) -> BTreeMap<(String, String), StreamCounts> {
        for feed in feeds {
            for stream in feed.streams.iter().filter(|stream| !stream.stream.is_empty()) {
                let key = (feed.name.clone(), stream.stream.clone());
                let counts = StreamCounts::from(stream);
                if self.own.len() < self.limit || self.own.contains_key(&key) {
                    self.own.insert(key, counts);
                }
            }
            let own = self.own.iter().filter(|((name, _), _)| *name == feed.name);
            let sum = own.fold(StreamCounts::default(), |sum, (_, counts)| sum.each(*counts, |a, b| a + b));
            let rest = StreamCounts::from(&feed.total).each(sum, u64::saturating_sub);
            let others = self.others.entry(feed.name.clone()).or_default();
            *others = others.each(rest, u64::max);
        }
        let others = self.others.iter().filter(|(_, counts)| **counts != StreamCounts::default());
        let others = others.map(|(feed, counts)| ((feed.clone(), OTHER.to_owned()), *counts));
        self.own.clone().into_iter().chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(streams: &[(&str, u64, u64)]) -> FeedReport {
        let streams: Vec<StreamReport> = streams
            .iter()
            .map(|&(name, messages, missing)| StreamReport {
                stream: name.into(),
                messages,
                missing,
                recovered: 1,
                ..StreamReport::default()
            })
            .collect();
        let sum = |of: fn(&StreamReport) -> u64| streams.iter().map(of).sum();
        let total = StreamReport {
            messages: sum(|stream| stream.messages),
            missing: sum(|stream| stream.missing),
            recovered: sum(|stream| stream.recovered),
            ..StreamReport::default()
        };
        FeedReport { name: "f".into(), streams, total, ..FeedReport::default() }
    }

    fn messages(labelled: &mut LabelledStreams, streams: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
        let counts = labelled.counts(&[feed(streams)]);
        counts.into_iter().map(|((_, stream), counts)| (stream, counts.messages, counts.missing)).collect()
    }

    #[test]
    fn streams_beyond_the_limit_are_one_sum_that_never_falls() {
        let mut labelled = LabelledStreams::new(2);
        let row = |name: &str, messages, missing| (name.to_owned(), messages, missing);
        assert_eq!(messages(&mut labelled, &[("a", 1, 0)]), [row("a", 1, 1)]);
        let all = messages(&mut labelled, &[("a", 2, 5), ("b", 3, 0), ("c", 4, 0), ("d", 5, 1)]);
        assert_eq!(all, [row("a", 2, 6), row("b", 3, 1), row("other", 9, 3)]);
        let all = messages(&mut labelled, &[("c", 6, 0), ("d", 7, 0), ("b", 8, 0)]);
        assert_eq!(all, [row("a", 2, 6), row("b", 8, 1), row("other", 11, 3)], "what is gone keeps its counts");
        assert!(LabelledStreams::new(2).counts(&[feed(&[("", 0, 0)])]).keys().all(|(_, stream)| stream == "other"));
    }
}
