//! Missing ranges of sequence numbers: sorted, disjoint, bounded in number.

use std::collections::VecDeque;

use super::event::Gap;

/// Sorted and disjoint. Takes no memory while empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    gaps: VecDeque<Gap>,
}

impl Ranges {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.gaps.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.gaps.len()
    }

    pub(super) fn first(&self) -> Option<&Gap> {
        self.gaps.front()
    }

    pub(super) fn pop_first(&mut self) -> Option<Gap> {
        self.gaps.pop_front()
    }

    pub(super) fn clear(&mut self) {
        self.gaps.clear();
    }

    /// Adds a range above all others.
    pub(super) fn append(&mut self, gap: Gap) {
        debug_assert!(gap.from < gap.to && self.gaps.back().is_none_or(|last| last.to <= gap.from));
        self.gaps.push_back(gap);
    }

    /// Returns true if some of `first..end` is missing.
    pub(super) fn overlap(&self, first: u64, end: u64) -> bool {
        let at = self.gaps.partition_point(|gap| gap.to <= first);
        self.gaps.get(at).is_some_and(|gap| gap.from < end)
    }

    /// Removes what lies within `first..end`, and hands out each removed part in order.
    pub(super) fn take(&mut self, first: u64, end: u64, mut part: impl FnMut(Gap)) {
        let mut at = self.gaps.partition_point(|gap| gap.to <= first);
        while let Some(gap) = self.gaps.get(at).copied().filter(|gap| gap.from < end) {
            let inner = Gap::new(gap.from.max(first), gap.to.min(end), gap.since_ns);
            let (before, after) = (Gap { to: inner.from, ..gap }, Gap { from: inner.to, ..gap });
            match (before.from < before.to, after.from < after.to) {
                (false, false) => {
                    self.gaps.remove(at);
                }
                (true, false) => {
                    self.gaps[at] = before;
                    at += 1;
                }
                (false, true) => self.gaps[at] = after,
                (true, true) => {
                    self.gaps[at] = before;
                    self.gaps.insert(at + 1, after);
                    at += 1;
                }
            }
            part(inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn taking_is_set_difference(
            gaps in prop::collection::vec((1u64..6, 1u64..6), 0..8),
            takes in prop::collection::vec((0u64..60, 0u64..20), 0..12),
        ) {
            let (mut ranges, mut model, mut at) = (Ranges::default(), BTreeSet::new(), 0);
            for (skip, length) in gaps {
                ranges.append(Gap::new(at + skip, at + skip + length, 0));
                model.extend(at + skip..at + skip + length);
                at += skip + length;
            }
            for (first, length) in takes {
                let mut taken = BTreeSet::new();
                ranges.take(first, first + length, |gap| taken.extend(gap.from..gap.to));
                let expected: BTreeSet<u64> = model.range(first..first + length).copied().collect();
                prop_assert_eq!(&taken, &expected);
                model.retain(|sequence| !expected.contains(sequence));
                let left: BTreeSet<u64> = ranges.gaps.iter().flat_map(|gap| gap.from..gap.to).collect();
                prop_assert_eq!(&left, &model);
                prop_assert!(ranges.gaps.iter().all(|gap| gap.from < gap.to));
            }
        }
    }
}
