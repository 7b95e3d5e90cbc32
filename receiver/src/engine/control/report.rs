//! What users read while the receiver runs, beside the counters of subscriptions and the ledger: queues, link,
//! memberships.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use super::Control;
use crate::api::error::Error;
use crate::api::membership_report::MembershipReport;
use crate::api::queue_report::QueueReport;
use crate::engine::link::{LinkChange, LinkHistory};
use crate::engine::lock::lock;
use receiver_membership::tables::IgmpVersion;

/// What the kernel's tables had of the memberships at one time.
#[derive(Debug)]
pub(crate) struct TablesCheck {
    /// Groups of which the kernel had less than was joined, and which were not known to be lost; `None` if the tables
    /// did not show it.
    pub missing: Option<BTreeSet<IpAddr>>,
    pub igmp: Option<IgmpVersion>,
    /// Until when an older MLD querier is taken to be on the link.
    pub older_mld: Option<Instant>,
    pub at: SystemTime,
}

impl Control {
    pub fn queues(&self) -> Result<Vec<QueueReport>, Error> {
        let report = |queue: &crate::engine::shared::QueueShared| {
            Ok(QueueReport::new(queue.queue, self.has_rings(), queue.path.counters.read(), queue.ledger()?))
        };
        self.shared.queues.iter().map(report).collect()
    }

    pub fn link_history(&self) -> LinkHistory {
        lock(&self.history).clone()
    }

    /// Records what has happened to the link.
    pub fn record_change(&self, change: LinkChange, count: u64) {
        lock(&self.history).record(change, count, SystemTime::now());
    }

    /// Records what the kernel's tables have of the memberships.
    pub fn record_tables(&self, check: TablesCheck) {
        *lock(&self.tables) = Some(check);
    }

    pub fn memberships(&self) -> MembershipReport {
        let inner = lock(&self.inner);
        let check = lock(&self.tables);
        let check = check.as_ref();
        let groups: BTreeSet<IpAddr> = inner.membership.memberships().map(|(group, ..)| group).collect();
        let missing = |missing: &BTreeSet<IpAddr>| {
            groups.iter().filter(|group| missing.contains(group) || inner.lost.has(**group)).count() as u64
        };
        let igmp = check.and_then(|check| check.igmp);
        MembershipReport {
            interface: inner.membership.interface().name.clone(),
            joined: inner.membership.memberships().len() as u64,
            groups: groups.len() as u64,
            sockets: inner.membership.sockets().len() as u64,
            missing: check.and_then(|check| check.missing.as_ref()).map(missing),
            igmp,
            older_igmp: matches!(igmp, Some(IgmpVersion::V1 | IgmpVersion::V2)),
            older_mld: check.and_then(|check| check.older_mld).is_some_and(|until| Instant::now() < until),
            checked: check.map(|check| check.at),
        }
    }
}
