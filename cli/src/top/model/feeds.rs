//! What happened to the feeds between two answers, in words.

use super::occurrences::{Occurrence, Weight};
use crate::feeds::{FeedReport, FeedState};
use crate::top::stats::Stats;
use crate::units::count;
use crate::view::feeds::with_subscription;

/// The gaps of the later answer, and what became of feeds and legs since the earlier one.
pub fn changes(before: &Stats, now: &Stats) -> Vec<Occurrence> {
    let mut all = Vec::new();
    for feed in &now.feeds {
        let earlier = before.feeds.iter().find(|earlier| earlier.name == feed.name);
        let mut add = |weight, text: String| {
            let text = format!("feed {}: {text}", feed.name);
            all.push(Occurrence { at: now.elapsed_seconds, weight, text });
        };
        gaps(earlier, feed, &mut add);
        for leg in &feed.legs {
            let was_lost = earlier.and_then(|feed| feed.legs.iter().find(|other| other.name == leg.name));
            match (was_lost.is_some_and(|leg| leg.is_lost), leg.is_lost) {
                (false, true) => add(Weight::Bad, format!("leg {} is LOST", with_subscription(leg))),
                (true, false) => add(Weight::Good, format!("leg {} is back", leg.name)),
                _ => {}
            }
        }
        match (earlier.map_or(FeedState::Waiting, |feed| feed.state), feed.state) {
            (FeedState::Stale, FeedState::Stale) => {}
            (_, FeedState::Stale) => add(Weight::Bad, "STALE, no leg sends anything".to_owned()),
            (FeedState::Stale, _) => add(Weight::Good, "it receives again".to_owned()),
            _ => {}
        }
    }
    all
}

fn gaps(earlier: Option<&FeedReport>, now: &FeedReport, add: &mut impl FnMut(Weight, String)) {
    let since = |of: fn(&FeedReport) -> u64| of(now).saturating_sub(earlier.map_or(0, of));
    let missing = since(|feed| feed.total.missing + feed.total.recovered);
    let recovered = since(|feed| feed.total.recovered);
    if missing > 0 {
        let gaps = count(since(|feed| feed.total.gaps), "gap");
        let verb = if missing == 1 { "is" } else { "are" };
        add(Weight::Bad, format!("{} {verb} missing in {gaps}", count(missing, "message")));
    }
    if recovered > 0 {
        add(Weight::Good, format!("{} came late", count(recovered, "missing message")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::feeds::tests::{complete, with_gaps};

    fn stats(feed: FeedReport) -> Stats {
        Stats { elapsed_seconds: 9.0, feeds: vec![feed], ..Stats::default() }
    }

    fn texts(before: FeedReport, now: FeedReport) -> Vec<(Weight, String)> {
        changes(&stats(before), &stats(now)).into_iter().map(|change| (change.weight, change.text)).collect()
    }

    #[test]
    fn gaps_lost_legs_and_stale_feeds_are_noted_once() {
        let stale = FeedReport { state: FeedState::Stale, ..with_gaps() };
        let row = |weight, text: &str| (weight, format!("feed itch: {text}"));
        assert_eq!(
            texts(complete(), with_gaps()),
            [
                row(Weight::Bad, "14 messages are missing in 3 gaps"),
                row(Weight::Good, "2 missing messages came late"),
                row(Weight::Bad, "leg b (10.0.0.1@232.1.1.9:5000) is LOST"),
            ]
        );
        assert_eq!(texts(with_gaps(), with_gaps()), []);
        assert_eq!(texts(with_gaps(), stale.clone()), [row(Weight::Bad, "STALE, no leg sends anything")]);
        let back = FeedReport { legs: complete().legs, ..with_gaps() };
        let expected = [row(Weight::Good, "leg b is back"), row(Weight::Good, "it receives again")];
        assert_eq!(texts(stale, back), expected);
    }
}
