//! Datagrams that arrived ahead of a gap: sorted, disjoint, bounded in number by the caller.

use std::collections::VecDeque;

use super::event::LegId;

/// One datagram, of which `first..end` is new.
#[derive(Clone, Debug)]
pub(super) struct HeldDatagram<H> {
    pub(super) first: u64,
    pub(super) end: u64,
    /// Sequence numbers of the datagram before `first`.
    pub(super) skip: u32,
    pub(super) leg: LegId,
    pub(super) arrived_ns: u64,
    /// When the first datagram at or beyond this one arrived: the gap in front of it is as old.
    pub(super) noticed_ns: u64,
    pub(super) datagram: H,
}

impl<H> HeldDatagram<H> {
    /// Drops the sequence numbers below `first`.
    pub(super) fn trim(&mut self, first: u64) {
        self.skip += (first - self.first) as u32;
        self.first = first;
    }
}

/// Sorted by sequence number, disjoint. Takes no memory until the first datagram is held.
#[derive(Clone, Debug)]
pub(super) struct Held<H> {
    datagrams: VecDeque<HeldDatagram<H>>,
}

impl<H> Default for Held<H> {
    fn default() -> Self {
        Self { datagrams: VecDeque::new() }
    }
}

impl<H> Held<H> {
    pub(super) fn len(&self) -> usize {
        self.datagrams.len()
    }

    pub(super) fn front(&self) -> Option<&HeldDatagram<H>> {
        self.datagrams.front()
    }

    pub(super) fn pop_front(&mut self) -> Option<HeldDatagram<H>> {
        self.datagrams.pop_front()
    }

    /// One above the highest sequence number held.
    pub(super) fn end(&self) -> Option<u64> {
        self.datagrams.back().map(|datagram| datagram.end)
    }

    /// How many sequence numbers of `first..end` are held.
    pub(super) fn overlap(&self, first: u64, end: u64) -> u64 {
        let from = self.datagrams.partition_point(|held| held.end <= first);
        let overlapping = self.datagrams.range(from..).take_while(|held| held.first < end);
        overlapping.map(|held| held.end.min(end) - held.first.max(first)).sum()
    }

    /// Holds `new`, less what is held before it. Held datagrams that it covers whole are dropped. The caller has made
    /// sure that some of it is not held yet.
    pub(super) fn insert(&mut self, mut new: HeldDatagram<H>) {
        let mut at = self.datagrams.partition_point(|held| held.end <= new.first);
        if let Some(before) = self.datagrams.get(at).filter(|held| held.first <= new.first) {
            let end = before.end;
            debug_assert!(end < new.end);
            new.trim(end);
            at += 1;
        }
        while let Some(after) = self.datagrams.get_mut(at).filter(|held| held.first < new.end) {
            new.noticed_ns = new.noticed_ns.min(after.noticed_ns);
            if after.end > new.end {
                after.trim(new.end);
                break;
            }
            self.datagrams.remove(at);
        }
        if let Some(after) = self.datagrams.get(at) {
            new.noticed_ns = new.noticed_ns.min(after.noticed_ns);
        }
        self.datagrams.insert(at, new);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_held_is_the_union(inserts in prop::collection::vec((0u64..60, 1u64..12), 0..30)) {
            let (mut held, mut model) = (Held::default(), [false; 80]);
            for (now, (first, count)) in inserts.into_iter().enumerate() {
                let end = first + count;
                let known = (first..end).filter(|at| model[*at as usize]).count() as u64;
                prop_assert_eq!(held.overlap(first, end), known);
                if known == count {
                    continue;
                }
                model[first as usize..end as usize].fill(true);
                let (leg, now) = (LegId::new(0), now as u64);
                let (skip, arrived_ns, noticed_ns, datagram) = (0, now, now, first);
                let new = HeldDatagram { first, end, skip, leg, arrived_ns, noticed_ns, datagram };
                held.insert(new);
                let mut from = 0;
                let mut seen = [false; 80];
                let mut noticed = 0;
                for datagram in &held.datagrams {
                    prop_assert!(datagram.first >= from && datagram.first < datagram.end, "sorted and disjoint");
                    prop_assert_eq!(datagram.first - u64::from(datagram.skip), datagram.datagram, "head trimmed");
                    prop_assert!(datagram.noticed_ns >= noticed && datagram.noticed_ns <= datagram.arrived_ns);
                    seen[datagram.first as usize..datagram.end as usize].fill(true);
                    (from, noticed) = (datagram.end, datagram.noticed_ns);
                }
                prop_assert_eq!(seen, model);
            }
        }
    }
}
