//! Single situations, one test each.

use bytes::Bytes;
use receiver_feed::arbiter::{Arbiter, Config, Event, LegId, LegLoss, PathClass, Payload, State};
use receiver_feed::protocol::{AnyProtocol, MoldUdp64, NysePillar, Rtp};

use crate::wire::{Record, Seen, mold, mold_empty, pillar, poll, rtp, run};

const MS: u64 = 1_000_000;

fn arbiter(protocol: impl Into<AnyProtocol>, config: Config) -> Arbiter<AnyProtocol, Bytes> {
    Arbiter::new(protocol.into(), config)
}

#[test]
fn overlaps_are_trimmed_by_message() {
    let mut arbiter = arbiter(MoldUdp64, Config::new(2));
    let mut pieces = Vec::new();
    for (leg, first, count) in [(0, 1, 4), (1, 3, 4), (0, 5, 1), (0, 6, 3)] {
        let sink = |delivery: receiver_feed::arbiter::Delivery<Bytes, Bytes>| {
            if let Event::Data(data) = delivery.event {
                pieces.push((data.first, data.skip, data.count, data.leg.index()));
            }
        };
        arbiter.push(LegId::new(leg), 0, mold(first, count), sink).unwrap();
    }
    assert_eq!(pieces, [(1, 0, 4, 0), (5, 2, 2, 1), (7, 1, 2, 0)]);
    let leg = arbiter.streams().next().unwrap().leg(LegId::new(0)).unwrap();
    assert_eq!((leg.first_arrivals, leg.duplicates, leg.missing), (6, 2, 0));
}

#[test]
fn the_state_is_told_with_each_event() {
    let mut arbiter = arbiter(MoldUdp64, Config::new(1).reorder(1).recovery_ns(5 * MS));
    let mut states = Vec::new();
    for (now, first) in [(0, 1), (1, 3), (2, 4), (3, 2), (4, 5)] {
        arbiter.push(LegId::new(0), now, mold(first, 1), |delivery| states.push(delivery.state)).unwrap();
    }
    // Started, 1; gap at 2, 3; 4; 2 recovered; 5.
    let (live, recovering) = (State::Live, State::Recovering);
    assert_eq!(states, [live, live, recovering, recovering, recovering, live, live]);
    arbiter.poll::<Bytes>(1 << 50, |delivery| states.push(delivery.state));
    assert_eq!(states.last(), Some(&State::Stale));
}

#[test]
fn a_lost_tail_shows_in_a_heartbeat_and_at_the_end() {
    let mut arbiter = arbiter(MoldUdp64, Config::new(2));
    let mut record = Record::default();
    let heartbeat = || mold_empty(3, false);
    run(&mut arbiter, [(0, 0, mold(1, 1)), (0, 1, mold(1, 1)), (1, 0, heartbeat())], &mut record);
    assert_eq!(record.data(), [1], "leg 1 may still have it");
    run(&mut arbiter, [(2, 1, mold(2, 1)), (3, 0, mold_empty(4, false)), (4, 1, mold_empty(4, true))], &mut record);
    let expected = [Seen::Data(1), Seen::Data(2), Seen::Gap(3, 4, 3), Seen::End(4)];
    assert_eq!(record.seen, expected);
    run(&mut arbiter, [(5, 0, mold_empty(4, true))], &mut record);
    assert_eq!(record.seen, expected, "the end is reported once");
}

#[test]
fn heartbeats_of_a_leg_that_is_ahead_declare_nothing_that_is_on_its_way() {
    let mut arbiter = arbiter(MoldUdp64, Config::new(2).window_ns(10));
    let mut seen = Vec::new();
    let mut push = |now_ns: u64, leg: u8, packet: Bytes| {
        let sink = |delivery: receiver_feed::arbiter::Delivery<Bytes, Bytes>| match delivery.event {
            Event::Data(data) => seen.push(Ok(data.first)),
            Event::Gap(gap) => seen.push(Err((gap.from, gap.to, gap.since_ns))),
            _ => {}
        };
        arbiter.push(LegId::new(leg), now_ns, packet, sink).expect("well formed");
    };
    push(0, 0, mold(1, 1));
    // Leg 0 has lost its data; leg 1 has all of it, 4 ns later.
    for now_ns in 1..100 {
        push(now_ns, 0, mold(now_ns + 2, 0));
        if now_ns > 4 {
            push(now_ns, 1, mold(now_ns - 4, 1));
        }
    }
    // Leg 1 ends. What it had not sent is missing once the window is over, from when it was noticed.
    push(120, 0, mold(101, 0));
    let delivered: Vec<_> = (1..96).map(Ok).collect();
    assert_eq!(seen[..95], delivered);
    let gaps: Vec<_> = seen[95..].iter().map(|event| event.expect_err("no more data")).collect();
    let reach: Vec<_> = gaps.iter().map(|gap| (gap.0, gap.1)).collect();
    assert_eq!((reach.first().map(|gap| gap.0), reach.len()), (Some(96), 1), "{gaps:?}");
    assert!((90..100).contains(&gaps[0].2), "{gaps:?}");
}

#[test]
fn a_window_is_kept_to_the_nanosecond() {
    for late in [0, 1] {
        let mut arbiter = arbiter(MoldUdp64, Config::new(2).window_ns(MS));
        let mut record = Record::default();
        run(&mut arbiter, [(0, 0, mold(1, 1)), (0, 1, mold(1, 1)), (5, 0, mold(3, 1))], &mut record);
        assert_eq!(arbiter.next_deadline(), Some(5 + MS + 1));
        run(&mut arbiter, [(5 + MS + late, 1, mold(2, 1))], &mut record);
        let expected = match late {
            0 => vec![Seen::Data(1), Seen::Data(2), Seen::Data(3)],
            _ => vec![Seen::Data(1), Seen::Gap(2, 3, 5), Seen::Data(3), Seen::Recovered(2)],
        };
        assert_eq!(record.seen, expected);
    }
}

#[test]
fn beyond_the_bound_the_gap_is_declared() {
    let mut arbiter = arbiter(MoldUdp64, Config::new(2).held(3).window_ns(1 << 60));
    let mut record = Record::default();
    run(&mut arbiter, [(0, 0, mold(1, 1)), (0, 1, mold(1, 1))], &mut record);
    run(&mut arbiter, [3, 5, 7].map(|first| (1, 0, mold(first, 1))), &mut record);
    assert_eq!(record.data(), [1]);
    run(&mut arbiter, [(2, 0, mold(9, 1))], &mut record);
    assert_eq!(record.data(), [1, 3]);
    assert_eq!(arbiter.streams().next().unwrap().statistics().overflows, 1);
}

#[test]
fn a_silent_leg_is_lost_and_no_longer_waited_for() {
    let mut arbiter = arbiter(MoldUdp64, Config::new(2).window_ns(MS).leg_timeout_ns(100 * MS));
    let mut record = Record::default();
    run(&mut arbiter, (1..100).map(|at| (at * 10 * MS, 0, mold(at, 1))), &mut record);
    run(&mut arbiter, [(1_000 * MS, 0, mold(101, 1))], &mut record);
    let lost = Seen::LegLost(1, LegLoss::Silent);
    assert_eq!(record.seen.iter().filter(|seen| **seen == lost).count(), 1);
    assert_eq!(record.seen.last(), Some(&Seen::Data(101)), "the gap is declared at once: nobody can fill it");
    run(&mut arbiter, [(1_001 * MS, 1, mold(102, 1))], &mut record);
    assert!(record.seen.ends_with(&[Seen::LegBack(1), Seen::Data(102)]));
}

#[test]
fn a_leg_that_stays_behind_is_lost() {
    let mut arbiter = arbiter(MoldUdp64, Config::new(2).window_ns(MS).leg_timeout_ns(100 * MS));
    let mut record = Record::default();
    let datagrams = (1..200).flat_map(|at| {
        let old = (at > 100).then(|| (at * MS, 1, mold(at - 100, 1)));
        [Some((at * MS, 0, mold(at + 5_000, 1))), old].into_iter().flatten()
    });
    run(&mut arbiter, datagrams, &mut record);
    run(&mut arbiter, [(200 * MS, 1, mold(5_200, 1))], &mut record);
    assert!(record.seen.contains(&Seen::LegLost(1, LegLoss::Behind)), "{:?}", arbiter.streams().next().unwrap());
    run(&mut arbiter, (201..300).map(|at| (at * MS, 1, mold(at + 5_000, 1))), &mut record);
    assert!(record.seen.contains(&Seen::LegBack(1)));
}

#[test]
fn data_of_days_ago_is_dropped_while_another_leg_is_live() {
    let day = 86_400_000 * MS;
    let mut arbiter = arbiter(NysePillar, Config::new(2));
    let mut record = Record::default();
    let live = |at: u64| (at * MS, 0, pillar(11, at as u32, 1, 20_000 * day + at, 1));
    // Yesterday's numbers are far above today's.
    let old = |at: u64| (at * MS, 1, pillar(11, 900_000 + at as u32, 1, 19_999 * day + at, 0));
    run(&mut arbiter, (1..50).flat_map(|at| [live(at), old(at)]), &mut record);
    assert_eq!(record.data(), (1..50).collect::<Vec<_>>());
    assert!(record.seen.iter().all(|seen| !matches!(seen, Seen::Gap(..) | Seen::Reset(_))));
    assert_eq!(arbiter.streams().next().unwrap().leg(LegId::new(1)).unwrap().dropped, 49);
}

#[test]
fn one_leg_that_restarts_is_not_followed_while_another_goes_on() {
    let mut arbiter = arbiter(NysePillar, Config::new(2).window_ns(MS).leg_timeout_ns(50 * MS));
    let mut record = Record::default();
    let send = |leg: usize, sequence: u32, at: u64| (at * MS, leg, pillar(11, sequence, 1, at * MS, leg as u32));
    run(&mut arbiter, (1..30).flat_map(|at| [send(0, at, at.into()), send(1, at, at.into())]), &mut record);
    let first_leg = (30..200).map(|at| send(0, at, at.into()));
    let second_leg = (30..200).map(|at| send(1, at - 28, at.into()));
    run(&mut arbiter, first_leg.zip(second_leg).flat_map(|(a, b)| [a, b]), &mut record);
    assert_eq!(record.data(), (1..200).collect::<Vec<_>>());
    assert!(record.seen.contains(&Seen::LegLost(1, LegLoss::Astray)));
    assert!(record.seen.iter().all(|seen| !matches!(seen, Seen::Reset(_) | Seen::Gap(..))));
    // The leg with the old numbering falls silent: the other is all there is.
    run(&mut arbiter, (200..300).map(|at| send(1, at - 28, at.into())), &mut record);
    assert!(record.seen.iter().any(|seen| matches!(seen, Seen::Reset(_))));
    assert_eq!(record.data().last(), Some(&271));
}

#[test]
fn an_unstated_restart_is_followed_without_loss() {
    let mut arbiter = arbiter(NysePillar, Config::new(1));
    let mut record = Record::default();
    let send = |sequence: u32, at: u64| (at * MS, 0, pillar(11, sequence, 1, at * MS, 0));
    run(&mut arbiter, (501..600).map(|at| send(at, at.into())), &mut record);
    run(&mut arbiter, (7..20).map(|at| send(at, u64::from(at) + 1_000)), &mut record);
    let mut expected: Vec<_> = (501..600).map(Seen::Data).collect();
    expected.push(Seen::Reset(7));
    expected.extend((7..20).map(Seen::Data));
    assert_eq!(record.seen, expected);
}

#[test]
fn a_reset_after_another_that_one_leg_has_not_seen() {
    let mut arbiter = arbiter(NysePillar, Config::new(2));
    let mut record = Record::default();
    let send = |leg: usize, flag: u8, sequence: u32, at: u64| (at, leg, pillar(flag, sequence, 1, at, 0));
    run(&mut arbiter, [send(0, 11, 7, 1), send(1, 11, 7, 2), send(0, 12, 1, 3), send(0, 11, 2, 4)], &mut record);
    assert_eq!(record.data(), [7], "leg 1 may go on");
    run(&mut arbiter, [send(0, 12, 1, 5), send(1, 12, 1, 6), send(0, 11, 2, 7)], &mut record);
    assert_eq!(record.data(), [7, 1, 2, 1, 2]);
    assert_eq!(arbiter.streams().next().unwrap().statistics().resets, 2);
}

#[test]
fn a_leg_that_is_late_has_its_part_of_a_numbering_that_is_already_over_on_another() {
    let mut arbiter = arbiter(NysePillar, Config::new(2));
    let mut record = Record::default();
    let send = |leg: usize, flag: u8, first: u32, count: u8, at: u64, sent: u64| {
        (at, leg, pillar(flag, first, count, sent, (sent / 100) as u32))
    };
    run(&mut arbiter, [send(0, 11, 7, 1, 1, 1), send(1, 11, 7, 1, 2, 1)], &mut record);
    // Two resets on leg 0. Leg 1 has lost their statements, and has what leg 0 lost, of each.
    run(&mut arbiter, [send(0, 12, 1, 1, 101, 101), send(0, 11, 4, 1, 104, 104)], &mut record);
    run(&mut arbiter, [send(0, 12, 1, 1, 201, 201), send(0, 11, 4, 1, 204, 204)], &mut record);
    run(&mut arbiter, [send(1, 11, 2, 2, 210, 103), send(1, 11, 2, 2, 310, 203)], &mut record);
    assert_eq!(record.data(), [7, 1, 2, 3, 4, 1, 2, 3, 4]);
    assert_eq!(record.marks, [0, 1, 1, 1, 1, 2, 2, 2, 2]);
    assert!(record.seen.iter().all(|seen| !matches!(seen, Seen::Gap(..))));
    assert_eq!(arbiter.streams().next().unwrap().statistics().resets, 2);
}

#[test]
fn a_leg_goes_on_to_another_numbering_without_its_statement_while_a_leg_is_late() {
    let mut arbiter = arbiter(NysePillar, Config::new(3));
    let mut record = Record::default();
    let send = |leg: usize, flag: u8, first: u32, at: u64, sent: u64| {
        (at, leg, pillar(flag, first, 1, sent, (sent / 100) as u32))
    };
    run(&mut arbiter, (0..3).map(|leg| send(leg, 11, 7, 1, 1)), &mut record);
    let numbering = |leg: usize, at: u64, base: u64| {
        [send(leg, 12, 1, at + 1, base + 1), send(leg, 11, 2, at + 2, base + 2), send(leg, 11, 3, at + 3, base + 3)]
    };
    run(&mut arbiter, numbering(1, 100, 100), &mut record);
    run(&mut arbiter, numbering(0, 110, 100), &mut record);
    // Leg 1 has lost the second statement. Leg 2 is late, and has lost the first.
    run(&mut arbiter, [send(1, 11, 2, 202, 202)], &mut record);
    run(&mut arbiter, numbering(0, 210, 200), &mut record);
    run(&mut arbiter, [send(2, 11, 4, 220, 104), send(2, 11, 4, 320, 204)], &mut record);
    assert_eq!(record.data(), [7, 1, 2, 3, 4, 1, 2, 3, 4]);
    assert_eq!(record.marks, [0, 1, 1, 1, 1, 2, 2, 2, 2]);
}

#[test]
fn a_leg_that_lost_a_whole_numbering_enters_the_next() {
    let mut arbiter = arbiter(NysePillar, Config::new(2));
    let mut record = Record::default();
    let send =
        |leg: usize, flag: u8, first: u32, sent: u64| (sent, leg, pillar(flag, first, 1, sent, (sent / 100) as u32));
    run(&mut arbiter, [send(0, 11, 7, 1), send(1, 11, 7, 2)], &mut record);
    run(&mut arbiter, [send(0, 12, 1, 101), send(0, 11, 2, 102), send(0, 12, 1, 201)], &mut record);
    run(&mut arbiter, [send(1, 11, 2, 202), send(0, 11, 3, 203)], &mut record);
    assert_eq!(record.data(), [7, 1, 2, 1, 2, 3]);
    assert_eq!(record.marks, [0, 1, 1, 2, 2, 2]);
}

#[test]
fn one_datagram_out_of_place_changes_nothing() {
    let mut arbiter = arbiter(Rtp, Config::new(1).max_jump(3_000));
    let mut record = Record::default();
    let send = |sequence: u64| (sequence * MS, 0, rtp(sequence, 0));
    run(&mut arbiter, (1_000..1_050).map(send), &mut record);
    for stray in [40_000, 5, 30_000] {
        let (_, leg, datagram) = send(stray);
        run(&mut arbiter, [(1_050 * MS, leg, datagram)], &mut record);
    }
    run(&mut arbiter, (1_050..1_100).map(send), &mut record);
    assert_eq!(record.seen, (1_000..1_100).map(Seen::Data).collect::<Vec<_>>());
}

#[test]
fn a_long_outage_is_a_gap() {
    let mut arbiter = arbiter(MoldUdp64, Config::new(1).max_jump(1_000));
    let mut record = Record::default();
    run(&mut arbiter, [1, 2, 5_000_003, 5_000_004, 5_000_005].map(|at| (at, 0, mold(at, 1))), &mut record);
    let gap = Seen::Gap(3, 5_000_003, 5_000_003);
    let expected: Vec<_> =
        [Seen::Data(1), Seen::Data(2), gap].into_iter().chain((5_000_003..5_000_006).map(Seen::Data)).collect();
    assert_eq!(record.seen, expected);
}

#[test]
fn a_retransmission_fills_a_gap_and_moves_no_leg() {
    let mut arbiter = arbiter(NysePillar, Config::new(1));
    let mut record = Record::default();
    let send = |flag, sequence, at: u64| (at, 0, pillar(flag, sequence, 1, at, 0));
    run(&mut arbiter, [send(11, 1, 1), send(11, 4, 2), send(13, 2, 3), send(15, 3, 4)], &mut record);
    let expected = [Seen::Data(1), Seen::Gap(2, 4, 2), Seen::Data(4), Seen::Recovered(2), Seen::Recovered(3)];
    assert_eq!(record.seen, expected);
    let stream = arbiter.streams().next().unwrap();
    assert_eq!((stream.state(), stream.leg(LegId::new(0)).unwrap().missing), (State::Live, 2));
}

#[test]
fn one_datagram_that_fills_two_gaps_is_cloned_not_copied() {
    let mut arbiter = arbiter(MoldUdp64, Config::new(1));
    let mut record = Record::default();
    run(&mut arbiter, [(0, 0, mold(1, 1)), (1, 0, mold(3, 1)), (2, 0, mold(5, 1))], &mut record);
    let datagram = mold(2, 4);
    let mut pieces = Vec::new();
    let sink = |delivery: receiver_feed::arbiter::Delivery<Bytes, Bytes>| {
        if let Event::Recovered(data) = delivery.event {
            let (Payload::Direct(bytes) | Payload::Held(bytes)) = data.datagram;
            pieces.push((data.first, data.skip, data.count, bytes.as_ptr()));
        }
    };
    arbiter.push(LegId::new(0), 3, datagram.clone(), sink).unwrap();
    assert_eq!(pieces, [(2, 0, 1, datagram.as_ptr()), (4, 2, 1, datagram.as_ptr())]);
}

#[test]
fn sessions_succeed_each_other_and_streams_are_bounded() {
    let mut arbiter = arbiter(MoldUdp64, Config::new(1).max_streams(2));
    let mut started = Vec::new();
    for session in 0..3u8 {
        let mut datagram = mold(1, 1).to_vec();
        datagram[9] = session;
        let sink = |delivery: receiver_feed::arbiter::Delivery<Bytes, Bytes>| {
            if let Event::Started { succeeds } = delivery.event {
                started.push((delivery.stream.index(), succeeds.map(|stream| stream.index())));
            }
        };
        arbiter.push(LegId::new(0), 0, Bytes::from(datagram), sink).unwrap();
    }
    assert_eq!(started, [(0, None), (1, Some(0))]);
    assert_eq!(arbiter.leg(LegId::new(0)).unwrap().untracked, 1);
}

#[test]
fn lead_and_lag_are_measured() {
    let mut arbiter = arbiter(MoldUdp64, Config::new(2));
    let mut record = Record::default();
    let datagrams = (1..1_000u64).flat_map(|at| [(at * MS, 0, mold(at, 1)), (at * MS + 1_000, 1, mold(at, 1))]);
    run(&mut arbiter, datagrams, &mut record);
    let (first, second) = (arbiter.leg(LegId::new(0)).unwrap(), arbiter.leg(LegId::new(1)).unwrap());
    assert_eq!((first.lead.quantile(0.5), second.lag.quantile(0.5)), (Some(1_024), Some(1_024)));
    assert!(first.lead.count() > 50 && first.lead.count() == second.lag.count());
    assert_eq!((first.lag.count(), second.lead.count()), (0, 0));
}

#[test]
fn malformed_datagrams_are_counted() {
    let mut arbiter = arbiter(MoldUdp64, Config::new(1));
    assert!(arbiter.push(LegId::new(0), 0, Bytes::from_static(b"short"), |_| ()).is_err());
    assert_eq!(arbiter.leg(LegId::new(0)).unwrap().malformed, 1);
    assert_eq!(arbiter.streams().count(), 0);
}

#[test]
fn time_alone_declares_a_gap() {
    let mut arbiter = arbiter(MoldUdp64, Config::new(2).window_ns(MS));
    let mut record = Record::default();
    run(&mut arbiter, [(0, 0, mold(1, 1)), (0, 1, mold(1, 1)), (1, 0, mold(3, 1))], &mut record);
    poll(&mut arbiter, 1 + MS, &mut record);
    assert_eq!(record.data(), [1]);
    poll(&mut arbiter, 2 + MS, &mut record);
    assert_eq!(record.seen, [Seen::Data(1), Seen::Gap(2, 3, 1), Seen::Data(3)]);
}

#[test]
fn an_arbiter_can_be_sent_and_printed() {
    fn check<T: Send + Sync + Clone + std::fmt::Debug>() {}
    check::<Arbiter<AnyProtocol, Bytes>>();
    check::<receiver_feed::arbiter::Delivery<Bytes, Bytes>>();
    check::<receiver_feed::arbiter::StreamView<'_, Bytes>>();
    check::<Config>();
}

/// Two legs of RTP, `skew` apart. Leg 0 loses each 7th packet, leg 1 each 11th but none of those. Returns the events
/// that are not data, and how many messages came.
fn st2022_7(class: PathClass, per_ms: u64, skew: u64, length: u64) -> (Vec<Seen>, u64) {
    let mut arbiter = arbiter(Rtp, Config::st2022_7(2, class));
    let mut record = Record::default();
    let gap = MS / per_ms;
    // The timestamp counts 90 kHz.
    let packet = |sequence: u64| rtp(60_000 + sequence, (sequence * gap * 9 / 100_000) as u32);
    let mut legs = [0u64, 0];
    let lost = |leg: usize, at: u64| match at % 77 {
        _ if at <= 20 => false,
        at if leg == 0 => at.is_multiple_of(7),
        at => at.is_multiple_of(11) && at > 0,
    };
    while legs[1] < length {
        let due = [legs[0] * gap, legs[1] * gap + skew];
        let leg = usize::from(legs[0] == length || due[1] < due[0]);
        let at = legs[leg];
        legs[leg] += 1;
        if !lost(leg, at) {
            run(&mut arbiter, [(due[leg], leg, packet(at))], &mut record);
        }
    }
    poll(&mut arbiter, 1 << 50, &mut record);
    let messages = record.data().len() as u64;
    (record.seen.into_iter().filter(|seen| !matches!(seen, Seen::Data(_) | Seen::Stale)).collect(), messages)
}

#[test]
fn st2022_7_classes_hold_at_their_limit_and_fail_beyond() {
    for (class, per_ms) in [
        (PathClass::A, 48),
        (PathClass::B, 48),
        (PathClass::C, 24),
        // 450,000 packets a second: 67,500 in flight, more than 16 bits count.
        (PathClass::CHighRate, 450),
        (PathClass::D, 450),
    ] {
        let gap = MS / per_ms;
        let length = 2 * class.nanoseconds() / gap + 2_000;
        // A lost packet is noticed with the next one, so the limit is one packet more.
        let limit = class.nanoseconds() + gap;
        assert_eq!(st2022_7(class, per_ms, limit, length), (vec![], length), "class {class:?} at its limit");
        let (events, messages) = st2022_7(class, per_ms, limit + 1, length);
        assert!(messages < length && events.iter().any(|seen| matches!(seen, Seen::Gap(..))), "class {class:?} beyond");
    }
}

#[test]
fn a_leg_that_joins_more_than_a_wrap_behind_is_aligned_by_timestamp() {
    const BEHIND: u64 = 67_000;
    let mut arbiter = arbiter(Rtp, Config::st2022_7(2, PathClass::CHighRate).leg_timeout_ns(1 << 50));
    let mut record = Record::default();
    // 450 packets a millisecond, and 200 units of the timestamp each.
    let packet = |sequence: u64| rtp(sequence, (sequence * 200) as u32);
    for at in 0..180_000 {
        if at != 105_000 {
            run(&mut arbiter, [(at * MS / 450, 0, packet(at))], &mut record);
        }
        if at >= 100_000 {
            run(&mut arbiter, [(at * MS / 450 + 1, 1, packet(at - BEHIND))], &mut record);
        }
    }
    assert_eq!(record.data(), (0..180_000).collect::<Vec<_>>());
    let leg = arbiter.streams().next().unwrap().leg(LegId::new(1)).unwrap();
    assert_eq!((leg.first_arrivals, leg.missing), (1, 0));
}

#[test]
fn the_end_of_time_declares_what_is_waited_for() {
    let config = Config::new(1).window_ns(u64::MAX >> 1).reorder(u64::MAX >> 1).recovery_ns(u64::MAX);
    let mut arbiter = arbiter(MoldUdp64, config);
    let mut record = Record::default();
    run(&mut arbiter, [(0, 0, mold(1, 1)), (1, 0, mold(4, 1))], &mut record);
    assert_eq!(record.data(), [1]);
    poll(&mut arbiter, u64::MAX, &mut record);
    assert_eq!(record.data(), [1, 4]);
    assert!(record.seen.contains(&Seen::Gap(2, 4, 1)), "{record:?}");
}
