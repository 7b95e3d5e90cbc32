//! Leaves one subscription, or thousands at once.

use std::collections::HashSet;

use super::Control;
use crate::api::error::Error;
use crate::engine::filter::SubscriptionId;

impl Control {
    pub fn leave(&self, id: SubscriptionId) -> Result<(), Error> {
        self.leave_all(std::slice::from_ref(&id))
    }

    /// Leaves all these subscriptions, or none if one of them is unknown. If the kernel refuses a change, the others
    /// are made, and its first answer is returned.
    pub fn leave_all(&self, ids: &[SubscriptionId]) -> Result<(), Error> {
        let mut inner = self.lock()?;
        let unknown =
            self.shared.filter.read(|table| ids.iter().find(|id| table.subscription(**id).is_none()).copied());
        if let Some(id) = unknown {
            return Err(Error::UnknownSubscription { id: id.number() });
        }
        let mut latest_first = ids.to_vec();
        latest_first.sort_unstable_by(|one, other| other.cmp(one));
        latest_first.dedup();
        let removed: Vec<_> =
            self.shared.filter.change(|table| latest_first.iter().filter_map(|id| table.remove(*id)).collect());
        for id in &latest_first {
            if let Some(entry) = inner.entries.remove(id) {
                inner.left.add(entry);
            }
        }
        for (subscription, _, last) in &removed {
            inner.forget(subscription, *last);
        }
        // The kernel looks for a membership from the latest on: in the order of joining, the time to leave them would
        // grow with the square of their number.
        let mut result = Ok(());
        let mut done = HashSet::new();
        for (subscription, ..) in &removed {
            let (group, port) = (subscription.group(), subscription.port());
            if done.insert((group, port)) {
                let changed = match self.group_filter(group, port) {
                    Some(rest) => inner.membership.set_filter(group, port, &rest),
                    None => inner.membership.leave(group, port),
                };
                result = result.and(changed);
            }
        }
        inner.spread_socket_events(&self.shared);
        drop(inner);
        self.shared.wait_for_workers();
        Ok(result?)
    }
}
