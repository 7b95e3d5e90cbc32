//! What all subscriptions have received together, of each IP version. Those that were left are included, so that the
//! sums only grow.

use std::sync::Arc;

use super::Control;
use crate::api::report::Totals;
use crate::engine::filter::SubscriptionEntry;
use crate::engine::lock::lock;

/// Sums for IPv4 and for IPv6.
type ByFamily = [Totals; 2];

/// Subscriptions that were left.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// The counts of those that no worker holds any more.
    settled: ByFamily,
    /// Workers may still count for these.
    held: Vec<Arc<SubscriptionEntry>>,
}

impl Left {
    /// Adds a subscription that was removed from the filter.
    pub fn add(&mut self, entry: Arc<SubscriptionEntry>) {
        self.settle();
        self.held.push(entry);
    }

    /// Keeps the counts alone of subscriptions that nobody else holds.
    fn settle(&mut self) {
        let settled = &mut self.settled;
        self.held.retain(|entry| {
            let is_held = Arc::strong_count(entry) > 1;
            if !is_held {
                add(settled, entry);
            }
            is_held
        });
    }
}

impl Control {
    pub fn totals(&self) -> Totals {
        let [v4, v6] = self.totals_by_family();
        Totals { packets: v4.packets + v6.packets, bytes: v4.bytes + v6.bytes }
    }

    pub fn totals_by_family(&self) -> ByFamily {
        let mut inner = lock(&self.inner);
        inner.left.settle();
        let mut totals = inner.left.settled;
        for entry in inner.left.held.iter().chain(inner.entries.values()) {
            add(&mut totals, entry);
        }
        totals
    }
}

fn add(totals: &mut ByFamily, entry: &SubscriptionEntry) {
    let totals = &mut totals[usize::from(entry.ipv6)];
    for path in &entry.counters {
        totals.packets += path.packets.get();
        totals.bytes += path.bytes.get();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::filter::{EntryCounters, SubscriptionId};

    #[test]
    fn what_a_worker_still_counts_is_in_the_sum() {
        let counters = Box::new([EntryCounters::default()]);
        let entry = Arc::new(SubscriptionEntry { id: SubscriptionId(0), ipv6: true, counters });
        let mut left = Left::default();
        left.add(Arc::clone(&entry));
        entry.counters[0].record(100, 1);
        left.settle();
        assert_eq!((left.settled, left.held.len()), (ByFamily::default(), 1));
        drop(entry);
        left.settle();
        let ipv6 = Totals { packets: 1, bytes: 100 };
        assert_eq!((left.settled, left.held.len()), ([Totals::default(), ipv6], 0));
    }
}
