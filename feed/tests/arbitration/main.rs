//! Arbitration against a brute-force model: loss, skew, reordering and re-packetization on up to four legs.
//! `PROPTEST_CASES` sets the number of cases of each property.

mod behaviour;
mod model;
mod wire;

use std::collections::BTreeSet;

use bytes::Bytes;
use model::Model;
use proptest::prelude::*;
use receiver_feed::arbiter::{Arbiter, Config, LegId};
use receiver_feed::protocol::{AnyProtocol, MoldUdp64, NysePillar, Rtp};
use wire::{Record, Seen, mold, pillar, poll, rtp, run};

fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2000);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// How one leg carries the messages.
#[derive(Clone, Debug)]
struct Leg {
    skew_ns: u64,
    /// For each datagram: messages, loss (of 100), delay, repeated or not.
    datagrams: Vec<(u64, u8, u64, bool)>,
}

fn leg(max_skew: u64, max_delay: u64) -> impl Strategy<Value = Leg> {
    let repeated = prop::bool::weighted(0.05);
    let datagram = (1u64..6, 0u8..100, prop_oneof![4 => Just(0), 1 => 0..=max_delay], repeated);
    (0..=max_skew, prop::collection::vec(datagram, 20..60)).prop_map(|(skew_ns, datagrams)| Leg { skew_ns, datagrams })
}

/// What every leg carries, and how.
#[derive(Clone, Copy)]
struct Course {
    first: u64,
    messages: u64,
    /// Of 100 datagrams.
    loss: u8,
    /// One message in each datagram.
    one: bool,
    /// No delay near the beginning and the end.
    calm: bool,
    /// Whether a leg's datagram arrives for sure, by their indices.
    sure: fn(usize, usize) -> bool,
}

/// Datagrams at the beginning and messages at the end of a course that are not delayed: reordering across a reset is
/// another subject.
const CALM: (usize, u64) = (4, 20);

/// Arrivals of (time, leg, first, count), in order. A message is sent each 20 ns.
fn arrivals(legs: &[Leg], course: Course) -> Vec<(u64, usize, u64, u64)> {
    let Course { first, messages, loss, one, calm, sure } = course;
    let mut all = Vec::new();
    for (index, leg) in legs.iter().enumerate() {
        let mut at = 0;
        for (number, &(count, luck, delay, repeated)) in leg.datagrams.iter().cycle().enumerate() {
            if at >= messages {
                break;
            }
            let count = if one { 1 } else { count.min(messages - at) };
            let sent = (at + count) * 20;
            let calm = calm && (number < CALM.0 || at + count + CALM.1 > messages);
            let delay = if calm { 0 } else { delay };
            if luck >= loss || sure(index, number) {
                all.push((sent + leg.skew_ns + delay, index, first + at, count));
                if repeated {
                    all.push((sent + leg.skew_ns + delay + 1, index, first + at, count));
                }
            }
            at += count;
        }
    }
    all.sort_by_key(|arrival| (arrival.0, arrival.1));
    all
}

/// Splits ranges into messages, and leaves out what the model does not know.
fn by_message(seen: &[Seen]) -> Vec<Seen> {
    let split = |seen: &Seen| match *seen {
        Seen::Lost(from, to) => (from..to).map(|at| Seen::Lost(at, at + 1)).collect(),
        Seen::Stale | Seen::LegLost(..) | Seen::LegBack(_) => vec![],
        ref other => vec![other.clone()],
    };
    seen.iter().flat_map(split).collect()
}

const FOREVER: u64 = 1 << 60;

proptest! {
    #![proptest_config(cases())]

    /// Every event, in order, as the rules say.
    #[test]
    fn every_event_is_the_models(
        legs in prop::collection::vec(leg(3_000, 900), 1..5),
        window in 0u64..4_000,
        recovery in 1u64..3_000,
        reorder in 0u64..12,
        loss in 0u8..60,
        start in prop_oneof![Just(1u64), Just(65_500), Just(u64::from(u32::MAX) - 20)],
        width in 0usize..3,
    ) {
        // RTP carries one message a datagram, and wraps; so does Pillar, at 32 bits.
        let protocols: [AnyProtocol; 3] = [MoldUdp64.into(), Rtp.into(), NysePillar.into()];
        let (protocol, one) = (protocols[width], width == 1);
        let course = Course { first: start, messages: 120, loss, one, calm: false, sure: |_, _| false };
        let arrivals = arrivals(&legs, course);
        let config = Config::new(legs.len()).window_ns(window).recovery_ns(recovery).reorder(reorder);
        let config = config.leg_timeout_ns(FOREVER).stale_ns(FOREVER);
        let mut arbiter: Arbiter<_, Bytes> = Arbiter::new(protocol, config);
        let mut model = Model::new(legs.len(), window, recovery, reorder);
        let mut record = Record::default();
        // The arbiter counts from the first wire value. What was before it has no number.
        let start_of_wire = arrivals.first().map_or(0, |arrival| arrival.2);
        let base = start_of_wire - (start_of_wire & [u64::MAX, 0xffff, 0xffff_ffff][width]);
        for (now, leg, first, count) in arrivals {
            let Some(first) = first.checked_sub(base) else { continue };
            let sent = 1_000_000_000_000 + (base + first + count) * 20;
            let datagram = match width {
                0 => mold(first, count as u16),
                1 => rtp(first, 0),
                _ => pillar(11, first as u32, count as u8, sent, 0),
            };
            run(&mut arbiter, [(now, leg, datagram)], &mut record);
            model.push(now, leg, first, count);
            prop_assert_eq!(by_message(&record.seen), &model.seen[..], "at {}: leg {} {}+{}", now, leg, first, count);
        }
        poll(&mut arbiter, FOREVER / 2, &mut record);
        model.pass_time(FOREVER / 2);
        prop_assert_eq!(by_message(&record.seen), model.seen);
        for stream in arbiter.streams() {
            let statistics = stream.statistics();
            prop_assert_eq!(statistics.delivered + statistics.missing - statistics.recovered,
                statistics.next_sequence - statistics.first_sequence);
            prop_assert_eq!(statistics.missing, statistics.recovered + statistics.lost);
            prop_assert_eq!(statistics.held, 0);
            let shares: u64 = (0..legs.len()).map(|at| stream.leg(LegId::new(at as u8)).unwrap().first_arrivals).sum();
            prop_assert_eq!(shares, statistics.delivered);
        }
    }

    /// With time enough, exactly what every leg lost is missing.
    #[test]
    fn missing_is_what_every_leg_lost(
        legs in prop::collection::vec(leg(5_000, 2_000), 1..5),
        loss in 0u8..70,
    ) {
        let course = Course { first: 1, messages: 200, loss, one: false, calm: false, sure: |_, _| false };
        let arrivals = arrivals(&legs, course);
        prop_assume!(!arrivals.is_empty());
        let config = Config::new(legs.len()).window_ns(FOREVER / 4).reorder(1_000).leg_timeout_ns(FOREVER);
        let mut arbiter: Arbiter<AnyProtocol, Bytes> = Arbiter::new(MoldUdp64.into(), config.stale_ns(FOREVER));
        let mut record = Record::default();
        let start = arrivals[0].2;
        let union: BTreeSet<u64> = arrivals.iter().flat_map(|arrival| arrival.2..arrival.2 + arrival.3).collect();
        let union: Vec<u64> = union.into_iter().filter(|sequence| *sequence >= start).collect();
        run(&mut arbiter, arrivals.into_iter().map(|(now, leg, first, count)| (now, leg, mold(first, count as u16))),
            &mut record);
        poll(&mut arbiter, FOREVER / 2, &mut record);
        prop_assert_eq!(record.data(), &union[..], "each once, and in order");
        let missing = record.seen.iter().map(|seen| if let Seen::Gap(from, to, _) = seen { to - from } else { 0 });
        prop_assert_eq!(missing.sum::<u64>(), union[union.len() - 1] + 1 - start - union.len() as u64);
    }

    /// All at once: loss, skew, reordering, repetition, other packets on each leg, wraps, and resets that are stated or
    /// not, the legs further apart than a reset but not than a numbering. Every numbering is delivered whole, whichever
    /// leg resets first; each message once and in order, and what no leg had is missing.
    #[test]
    fn resets_lose_nothing(
        legs in prop::collection::vec(leg(500, 300), 1..5),
        numberings in prop::collection::vec((30u64..60, any::<bool>()), 1..5),
        loss in 0u8..25,
        stated in any::<bool>(),
    ) {
        let mut all = Vec::new();
        let mut sent_before = 1_000_000_000_000;
        let mut unions: Vec<BTreeSet<u64>> = Vec::new();
        for (epoch, &(length, wraps)) in numberings.iter().enumerate() {
            let mut union = BTreeSet::new();
            // An unstated restart takes three datagrams in a row; a stated one takes the statement on one leg, and any
            // datagram on the others.
            let sure: fn(usize, usize) -> bool = match (epoch, stated) {
                (0, _) => |_, _| true,
                (_, false) => |_, number| number < 4,
                (_, true) => |leg, number| (leg, number) == (0, 0) || number == 3,
            };
            // An unstated jump ahead is a gap, and no restart. After a wrap, a stated restart begins far from it: a leg
            // without the statement could not tell the two apart.
            let wrapped = stated && epoch > 0 && numberings[epoch - 1].1;
            let start = match (wraps && (stated || epoch == 0), wrapped) {
                (_, true) => 1 << 24,
                (true, _) => u64::from(u32::MAX) - 20,
                _ => 1,
            };
            let course = Course { first: start, messages: length, loss, one: false, calm: true, sure };
            for (now, leg, first, count) in arrivals(&legs, course) {
                let sent = sent_before + (first - start + 1 + count) * 20;
                let flag = if first == start && stated { 12 } else { 11 };
                all.push((sent_before + now, leg, pillar(flag, first as u32, count as u8, sent, epoch as u32)));
                union.extend(first..first + count);
            }
            unions.push(union);
            sent_before += (length + 1) * 20;
        }
        all.sort_by_key(|arrival| (arrival.0, arrival.1));
        let config = Config::new(legs.len()).window_ns(FOREVER / 4).reorder(1_000).leg_timeout_ns(FOREVER / 4);
        let mut arbiter: Arbiter<AnyProtocol, Bytes> = Arbiter::new(NysePillar.into(), config.stale_ns(FOREVER));
        let mut record = Record::default();
        run(&mut arbiter, all, &mut record);
        poll(&mut arbiter, FOREVER / 2, &mut record);
        let mut delivered = vec![Vec::new(); unions.len()];
        for (sequence, epoch) in record.data().into_iter().zip(&record.marks) {
            delivered[*epoch as usize].push(sequence as u32);
        }
        prop_assert!(record.marks.is_sorted(), "no numbering after a later one");
        let whole: Vec<Vec<u32>> = unions.iter().map(|union| union.iter().map(|at| *at as u32).collect()).collect();
        prop_assert_eq!(delivered, whole);
        let missing = record.seen.iter().map(|seen| if let Seen::Gap(from, to, _) = seen { to - from } else { 0 });
        let holes = unions.iter().map(|union| union.last().unwrap() + 1 - union.first().unwrap() - union.len() as u64);
        prop_assert_eq!(missing.sum::<u64>(), holes.sum::<u64>(), "what no leg had");
    }

    /// Whatever arrives: no panic, bounds are kept, nothing is delivered twice between resets.
    #[test]
    fn chaos_keeps_the_bounds(
        datagrams in prop::collection::vec((0u64..400, 0usize..3, 0u8..24, 0u64..300, 0u8..6, 0u64..1_000), 1..400),
        held in 1usize..20,
        window in 0u64..500,
    ) {
        let config = Config::new(3).window_ns(window).held(held).recovery_ns(300).leg_timeout_ns(800).stale_ns(2_000);
        let mut arbiter: Arbiter<AnyProtocol, Bytes> = Arbiter::new(NysePillar.into(), config.max_jump(120));
        let (mut now, mut record, mut checked) = (0, Record::default(), 0);
        let mut delivered = BTreeSet::new();
        for (pause, leg, flag, first, count, sent) in datagrams {
            now += pause;
            let flag = [1, 12, 13, 17].get(usize::from(flag)).copied().unwrap_or(11);
            run(&mut arbiter, [(now, leg, pillar(flag, first as u32, count, sent, 0))], &mut record);
            for seen in &record.seen[checked..] {
                match seen {
                    Seen::Data(at) | Seen::Recovered(at) => prop_assert!(delivered.insert(*at), "{} came twice", at),
                    Seen::Reset(_) => delivered.clear(),
                    _ => {}
                }
            }
            checked = record.seen.len();
            let stream = arbiter.streams().next().unwrap();
            prop_assert!(stream.statistics().held <= 2 * held as u64);
        }
        let statistics = arbiter.streams().next().unwrap().statistics();
        prop_assert_eq!(statistics.recovered + statistics.lost <= statistics.missing, true);
    }
}
