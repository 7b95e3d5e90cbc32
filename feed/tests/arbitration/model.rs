//! Arbitration as its rules say, message by message, without any care for speed.

use std::collections::BTreeMap;

use crate::wire::Seen;

/// One message's fate.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It arrived at this time, and waits.
    Held(u64),
    Delivered,
    /// It was declared missing; the gap was noticed at this time.
    Missing(u64),
    Lost,
}

#[derive(Debug)]
pub struct Model {
    window_ns: u64,
    recovery_ns: u64,
    reorder: u64,
    next: Option<u64>,
    fates: BTreeMap<u64, Fate>,
    legs: Vec<Option<u64>>,
    pub seen: Vec<Seen>,
}

impl Model {
    pub fn new(legs: usize, window_ns: u64, recovery_ns: u64, reorder: u64) -> Self {
        let (fates, seen) = (BTreeMap::new(), Vec::new());
        Self { window_ns, recovery_ns, reorder, next: None, fates, legs: vec![None; legs], seen }
    }

    pub fn push(&mut self, now_ns: u64, leg: usize, first: u64, count: u64) {
        self.pass_time(now_ns);
        let next = *self.next.get_or_insert(first);
        let end = first + count;
        self.legs[leg] = Some(self.legs[leg].unwrap_or(end).max(end));
        for sequence in first..end {
            match self.fates.get(&sequence) {
                None if sequence >= next => {
                    self.fates.insert(sequence, Fate::Held(now_ns));
                }
                Some(Fate::Missing(_)) => {
                    self.fates.insert(sequence, Fate::Delivered);
                    self.seen.push(Seen::Recovered(sequence));
                }
                _ => {}
            }
        }
        self.settle(now_ns);
    }

    pub fn pass_time(&mut self, now_ns: u64) {
        if self.next.is_some() {
            self.settle(now_ns);
        }
    }

    fn settle(&mut self, now_ns: u64) {
        let mut next = self.next.unwrap();
        loop {
            while matches!(self.fates.get(&next), Some(Fate::Held(_))) {
                self.fates.insert(next, Fate::Delivered);
                self.seen.push(Seen::Data(next));
                next += 1;
            }
            let held = self.fates.range(next..).filter_map(|(sequence, fate)| match fate {
                Fate::Held(arrived_ns) => Some((*sequence, *arrived_ns)),
                _ => None,
            });
            let held: Vec<_> = held.collect();
            let Some(&(to, _)) = held.first() else { break };
            let since_ns = held.iter().map(|held| held.1).min().unwrap();
            let passed = self.legs.iter().all(|leg| leg.is_some_and(|position| position >= to + self.reorder));
            if !passed && now_ns <= since_ns + self.window_ns {
                break;
            }
            self.seen.push(Seen::Gap(next, to, since_ns));
            for sequence in next..to {
                self.fates.insert(sequence, Fate::Missing(since_ns));
            }
            next = to;
        }
        self.next = Some(next);
        // Missing ranges end together where they were noticed together and are adjacent.
        let over = |fate: &Fate| match fate {
            Fate::Missing(since_ns) => now_ns > since_ns + self.window_ns + self.recovery_ns,
            _ => false,
        };
        let lost: Vec<u64> = self.fates.iter().filter(|(_, fate)| over(fate)).map(|(sequence, _)| *sequence).collect();
        for sequence in lost {
            self.fates.insert(sequence, Fate::Lost);
            self.seen.push(Seen::Lost(sequence, sequence + 1));
        }
    }
}
