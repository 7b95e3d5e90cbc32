//! Loss attribution against simulated truth: counts always add up, and no cause but `unknown` gets more than it lost.
//! `PROPTEST_CASES` sets the number of cases of each property.

use proptest::prelude::*;
use receiver_feed::attribution::{Attribution, Drops, FeedLosses, LegLosses, LossCause, Losses, Patience};

fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2000);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A reading: drops at each local place, possible drops, and for each feed its missing and those of its legs.
type Reading = (u64, [u64; 4], u64, Vec<(u64, u64, Vec<(u64, u64, u64)>)>);

fn reading(feeds: usize, legs: usize) -> impl Strategy<Value = Reading> {
    let few = || prop_oneof![3 => Just(0u64), 3 => 0u64..20, 1 => any::<u32>().prop_map(u64::from)];
    let leg = (few(), few(), few());
    let feed = (few(), 0u64..50, prop::collection::vec(leg, legs));
    (0u64..2_000_000_000, [few(), few(), few(), few()], few(), prop::collection::vec(feed, feeds))
}

/// What became of one datagram: each leg's copy arrived, or was lost at a cause.
type Fate = Vec<Option<LossCause>>;

fn fate(legs: usize) -> impl Strategy<Value = Fate> {
    let lost = prop::sample::select(LossCause::ALL[..5].to_vec());
    let copy = prop_oneof![2 => Just(None), 3 => lost.prop_map(Some)];
    prop::collection::vec(copy, legs)
}

/// The feeds of a host: for each, sequence numbers in a datagram and the fates between each two readings.
fn host() -> impl Strategy<Value = Vec<(u64, Vec<Vec<Fate>>)>> {
    let feed = (1u64..5, 1usize..4).prop_flat_map(|(size, legs)| {
        let interval = prop::collection::vec(fate(legs), 0..12);
        (Just(size), prop::collection::vec(interval, 6))
    });
    prop::collection::vec(feed, 1..4)
}

/// Sequence numbers that have a copy lost at the cause, and that have no other copy than lost ones there.
fn truth<'a>(fates: impl Iterator<Item = &'a Fate>, cause: LossCause) -> (u64, u64) {
    let mut counts = (0, 0);
    for fate in fates {
        counts.0 += u64::from(fate.contains(&Some(cause)));
        counts.1 += u64::from(fate.iter().all(|copy| *copy == Some(cause)));
    }
    counts
}

fn check_sum(losses: Losses, missing: u64) -> Result<(), TestCaseError> {
    prop_assert_eq!(losses.total(), missing);
    prop_assert_eq!(losses.iter().map(|(_, count)| count).sum::<u64>(), missing);
    Ok(())
}

proptest! {
    #![proptest_config(cases())]

    /// Whatever the counters show, also if losses are taken back: each missing sequence number has one cause.
    #[test]
    fn causes_add_up(readings in (1usize..4, 0usize..4)
        .prop_flat_map(|(feeds, legs)| prop::collection::vec(reading(feeds, legs), 1..12)))
    {
        let mut attribution = Attribution::new(Patience::default());
        let mut now_ns = 0;
        for (wait_ns, sure, possible, feeds) in readings {
            now_ns += wait_ns;
            let mut drops = Drops::default().with(LossCause::Unknown, 0, possible);
            for (cause, count) in LossCause::LOCAL.into_iter().zip(sure) {
                drops = drops.with(cause, count, 0);
            }
            let feeds: Vec<FeedLosses> = feeds.into_iter().map(|(missing, largest_datagram, legs)| {
                let legs = legs.into_iter().map(|(missing, messages, datagrams)| LegLosses {
                    missing, messages, datagrams
                });
                FeedLosses { missing, largest_datagram, legs: legs.collect() }
            }).collect();
            attribution.observe(now_ns, &drops, &feeds);
            for (number, feed) in feeds.iter().enumerate() {
                check_sum(attribution.feed(number), feed.missing)?;
                for (leg, losses) in feed.legs.iter().enumerate() {
                    check_sum(attribution.leg(number, leg), losses.missing)?;
                }
            }
        }
    }

    /// Every drop is one of the feeds' datagrams and is noticed by the next reading: no cause gets too much, and with
    /// one feed of one leg nothing is unknown.
    #[test]
    fn no_cause_is_blamed_for_more_than_it_lost(host in host()) {
        let mut attribution = Attribution::new(Patience::default());
        for round in 0..6 {
            let mut drops = Drops::default();
            let mut feeds = Vec::new();
            for (size, intervals) in &host {
                let copies = intervals[round].iter().flatten().flatten();
                for cause in copies.copied().filter(|cause| *cause != LossCause::Network) {
                    drops = drops.with(cause, 1, 0);
                }
                let so_far = || intervals[..=round].iter().flatten();
                let legs = intervals.iter().flatten().next().map_or(0, Vec::len);
                let legs = (0..legs).map(|leg| {
                    let lost = so_far().filter(|fate| fate[leg].is_some()).count() as u64;
                    let datagrams = 1000 + so_far().count() as u64 - lost;
                    LegLosses { missing: lost * size, messages: datagrams * size, datagrams }
                }).collect();
                let missing = so_far().filter(|fate| fate.iter().all(Option::is_some)).count() as u64 * size;
                feeds.push(FeedLosses { missing, largest_datagram: *size, legs });
            }
            attribution.observe(round as u64 * 50_000_000, &drops, &feeds);
            for (number, ((size, intervals), feed)) in host.iter().zip(&feeds).enumerate() {
                let missed = || intervals[..=round].iter().flatten().filter(|fate| fate.iter().all(Option::is_some));
                let by = attribution.feed(number);
                check_sum(by, feed.missing)?;
                for cause in LossCause::LOCAL {
                    prop_assert!(by.count(cause) <= truth(missed(), cause).0 * size, "{:?}: {:?}", cause, by);
                }
                let network = truth(missed(), LossCause::Network).1 * size;
                prop_assert!(by.count(LossCause::Network) <= network, "{:?}, {}", by, network);
                for (leg, losses) in feed.legs.iter().enumerate() {
                    let by = attribution.leg(number, leg);
                    check_sum(by, losses.missing)?;
                    for cause in LossCause::ALL.into_iter().filter(|cause| *cause != LossCause::Unknown) {
                        let lost = intervals[..=round].iter().flatten().filter(|fate| fate[leg] == Some(cause));
                        let lost = lost.count() as u64 * size;
                        prop_assert!(by.count(cause) <= lost, "leg {}, {:?}: {:?}", leg, cause, by);
                    }
                }
                if host.len() == 1 && feed.legs.len() == 1 {
                    prop_assert_eq!(by.count(LossCause::Unknown), 0);
                }
            }
        }
    }
}
