//! Joins one subscription, or thousands at once. The cost is linear in their number, also if they share groups: the
//! membership of each group and port changes once.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{Control, Inner};
use crate::api::error::Error;
use crate::engine::filter::{Inserted, SubscriptionId};
use crate::engine::lock::lock;
use receiver_membership::Subscription;

impl Control {
    pub fn join(&self, asked: &Subscription) -> Result<SubscriptionId, Error> {
        let ids = self.join_all(std::slice::from_ref(asked), &|| false)?;
        // One subscription, one id.
        ids.first().copied().ok_or(Error::NoSubscription)
    }

    /// Joins all subscriptions or none, in their order. Returns their ids.
    pub fn join_all(
        &self,
        asked: &[Subscription],
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<SubscriptionId>, Error> {
        for subscription in asked {
            self.config.check_range(subscription)?;
        }
        let mut inner = self.lock()?;
        let paths = self.shared.path_count();
        let inserted = self.shared.filter.change(|table| table.insert_all(asked, paths))?;
        let mut groups = Vec::new();
        let result = self.apply(&mut inner, asked, &inserted, &mut groups, is_cancelled);
        if result.is_err() {
            self.shared.filter.change(|table| inserted.iter().for_each(|one| drop(table.remove(one.entry.id))));
            for (subscription, one) in asked.iter().zip(&inserted) {
                inner.forget(subscription, one.new);
            }
            // Undo the changes. What fails now was reported by the first error.
            for (group, port) in groups {
                let _ = match self.group_filter(group, port) {
                    Some(before) => inner.membership.set_filter(group, port, &before),
                    None => inner.membership.leave(group, port),
                };
            }
        }
        inner.spread_socket_events(&self.shared);
        result?;
        let ids = inserted.iter().map(|one| one.entry.id).collect();
        inner.entries.extend(inserted.into_iter().map(|one| (one.entry.id, one.entry)));
        Ok(ids)
    }

    /// Adds subscriptions that are in the filter's table to the XDP maps, then to the kernel's memberships. Adds to
    /// `groups` those whose membership was changed.
    fn apply(
        &self,
        inner: &mut Inner,
        asked: &[Subscription],
        inserted: &[Inserted],
        groups: &mut Vec<(IpAddr, u16)>,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        // A group's entry is added with its first subscription, so the flows of its other subscriptions are added
        // before.
        for new in [false, true] {
            for (subscription, one) in asked.iter().zip(inserted).filter(|(_, one)| one.new == new) {
                let passes = new && self.passes_unwanted(inner, subscription.group(), subscription.port());
                inner.allow(subscription, one.slot, new.then_some(passes))?;
            }
        }
        let mut done = HashSet::new();
        for (subscription, one) in asked.iter().zip(inserted) {
            let (group, port) = (subscription.group(), subscription.port());
            if !done.insert((group, port)) {
                continue;
            }
            if is_cancelled() {
                return Err(Error::Cancelled);
            }
            let filter = self.group_filter(group, port).unwrap_or_else(|| subscription.filter().clone());
            match one.new {
                true => inner.membership.join(group, port, &filter),
                false => inner.membership.set_filter(group, port, &filter),
            }
            .map_err(|error| if is_cancelled() { Error::Cancelled } else { error.into() })?;
            groups.push((group, port));
        }
        Ok(())
    }

    /// Sets the flag that ends a join, also while sources of one group are joined.
    pub fn cancel_joins_by(&self, flag: Option<Arc<AtomicBool>>) {
        lock(&self.inner).membership.cancel_by(flag);
    }
}
