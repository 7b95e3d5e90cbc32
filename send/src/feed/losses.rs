//! What a leg lost, and what all legs lost, in sequence numbers.

use std::collections::VecDeque;

/// The most ranges that a report lists.
const LISTED: usize = 1000;

/// A range of positions: from, and one above the last.
pub(super) type Range = (u64, u64);

/// Lost ranges, added in order, and their sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps {
    pub(super) missing: u64,
    pub(super) gaps: u64,
    pub(super) longest: u64,
    /// The first ones.
    pub(super) listed: Vec<Range>,
    last: Option<Range>,
}

impl Gaps {
    pub(super) fn add(&mut self, (from, to): Range) {
        self.missing += to - from;
        let whole = match self.last {
            Some((begin, end)) if end == from => (begin, to),
            _ => {
                self.gaps += 1;
                (from, to)
            }
        };
        let count = self.listed.len();
        match self.listed.last_mut() {
            Some(listed) if listed.0 == whole.0 => *listed = whole,
            _ if count < LISTED => self.listed.push(whole),
            _ => {}
        }
        self.longest = self.longest.max(whole.1 - whole.0);
        self.last = Some(whole);
    }
}

/// The losses of one stream on all legs.
#[derive(Clone, Debug)]
pub(super) struct Losses {
    /// Of each leg: what it lost, as far as not every leg has passed it.
    recent: Vec<VecDeque<Range>>,
    legs: Vec<Gaps>,
    all: Gaps,
}

impl Losses {
    pub(super) fn new(legs: usize) -> Self {
        Self { recent: vec![VecDeque::new(); legs], legs: vec![Gaps::default(); legs], all: Gaps::default() }
    }

    pub(super) fn lose(&mut self, leg: usize, range: Range) {
        self.legs[leg].add(range);
        self.recent[leg].push_back(range);
    }

    /// Returns true if every other leg has lost a part of the range.
    pub(super) fn are_lost_elsewhere(&self, leg: usize, (from, to): Range) -> bool {
        let others = self.recent.iter().enumerate().filter(|(other, _)| *other != leg);
        let common = others.fold(vec![(from, to)], |common, (_, ranges)| intersection(&common, ranges.iter().copied()));
        !common.is_empty()
    }

    /// Every leg has come to `floor`: what is before it is final.
    pub(super) fn settle(&mut self, floor: u64) {
        if self.recent.iter().all(VecDeque::is_empty) {
            return;
        }
        let common = self.recent.iter().fold(vec![(0, floor)], |common, ranges| {
            if common.is_empty() { common } else { intersection(&common, ranges.iter().copied()) }
        });
        common.into_iter().for_each(|range| self.all.add(range));
        for ranges in &mut self.recent {
            while ranges.front().is_some_and(|range| range.1 <= floor) {
                ranges.pop_front();
            }
            if let Some(range) = ranges.front_mut() {
                range.0 = range.0.max(floor);
            }
        }
    }

    pub(super) fn of_leg(&self, leg: usize) -> &Gaps {
        &self.legs[leg]
    }

    pub(super) fn of_all(&self) -> &Gaps {
        &self.all
    }
}

/// What two ordered lists of ranges have in common.
fn intersection(some: &[Range], others: impl Iterator<Item = Range>) -> Vec<Range> {
    let mut common = Vec::new();
    for other in others {
        let both = some.iter().map(|one| (one.0.max(other.0), one.1.min(other.1)));
        common.extend(both.filter(|(from, to)| from < to));
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbours_are_one_gap() {
        let mut gaps = Gaps::default();
        for range in [(3, 5), (5, 6), (8, 9)] {
            gaps.add(range);
        }
        assert_eq!((gaps.missing, gaps.gaps, gaps.longest), (4, 2, 3));
        assert_eq!(gaps.listed, [(3, 6), (8, 9)]);
    }

    proptest! {
        /// Legs with packets of their own, which are lost or not, against sets of numbers.
        #[test]
        fn all_is_what_every_leg_lost(
            legs in prop::collection::vec(prop::collection::vec((1u64..6, any::<bool>()), 40..60), 1..4),
            exclusive: bool,
        ) {
            let end = legs.iter().map(|leg| leg.iter().map(|(length, _)| length).sum()).min().expect("a leg");
            let mut losses = Losses::new(legs.len());
            let mut lost = vec![std::collections::BTreeSet::new(); legs.len()];
            let mut ends = vec![(0u64, 0usize); legs.len()];
            for now in 1..=end {
                for (leg, packets) in legs.iter().enumerate() {
                    let (from, at) = ends[leg];
                    let (length, is_lost) = packets[at];
                    if from + length > now {
                        continue;
                    }
                    let range = (from, from + length);
                    if is_lost && !(exclusive && losses.are_lost_elsewhere(leg, range)) {
                        losses.lose(leg, range);
                        lost[leg].extend(range.0..range.1);
                    }
                    ends[leg] = (from + length, at + 1);
                    losses.settle(ends.iter().map(|end| end.0).min().expect("a leg"));
                }
            }
            let floor = ends.iter().map(|end| end.0).min().expect("a leg");
            let everywhere: Vec<u64> = (0..floor).filter(|at| lost.iter().all(|leg| leg.contains(at))).collect();
            let listed: Vec<u64> = losses.of_all().listed.iter().flat_map(|range| range.0..range.1).collect();
            prop_assert_eq!(&listed, &everywhere);
            prop_assert!(!exclusive || everywhere.is_empty() || legs.len() == 1);
            let gaps = everywhere.iter().enumerate().filter(|(at, n)| *at == 0 || everywhere[at - 1] + 1 != **n).count();
            prop_assert_eq!((losses.of_all().missing, losses.of_all().gaps), (everywhere.len() as u64, gaps as u64));
            for (leg, lost) in lost.iter().enumerate() {
                prop_assert_eq!(losses.of_leg(leg).missing, lost.len() as u64);
            }
        }
    }
}
